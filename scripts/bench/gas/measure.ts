// Gas of every action on the production bytecode that gets deployed. `bench gas` judges the
// figures, the gas test compares them with the committed snapshot.
import { type BaseContract, MaxUint256, type Wallet } from 'ethers';
import { type Frauds, settleFrauds, TERMS } from './frauds.ts';
import { functionIdOf } from './typed.ts';
import { createWorld, type World } from './world.ts';

/** `check...` is a proof's verification alone, `prove...` all of it (docs/contracts.md 11). */
export interface Measurement {
  readonly figures: Readonly<Record<string, number>>;
  /** Runtime code of each contract. */
  readonly codeBytes: Readonly<Record<string, number>>;
}

const DAY_SEC = 24 * 3600;
/** Receipts of the lane, and lanes of the batch, that proofs are measured in. */
const PROOF_RECEIPTS = 1_000;
const PROOF_LANES = 100;
const LANES = 100;
const PAYEES = 10;

/** Two runs of the same bytecode give the same figures. Takes about 8 s. */
export async function measureGas(report: (line: string) => void = () => {}): Promise<Measurement> {
  const world = await createWorld();
  try {
    report('sizes');
    const codeBytes = await measureCode(world);
    report('functions and money');
    const actions = { ...(await measureFunctions(world)), ...(await measureMoney(world)) };
    report(`settlement of ${LANES} lanes`);
    const settlement = await measureSettlement(world);
    report(`proofs among ${PROOF_RECEIPTS} receipts`);
    return { figures: { ...actions, ...settlement, ...(await measureProofs(world)) }, codeBytes };
  } finally {
    await world.close();
  }
}

async function measureCode(world: World): Promise<Record<string, number>> {
  const sizes: Record<string, number> = {};
  for (const [name, contract] of Object.entries(world.contracts)) {
    const code = await world.provider.getCode(await contract.getAddress());
    sizes[name] = (code.length - 2) / 2;
  }
  return sizes;
}

async function measureFunctions(world: World) {
  const { payer } = world;
  const own = world.as(world.contracts.registry, payer);
  const functionId = functionIdOf(payer.address, 'thumbnail');
  const register = await gasOf(world, own, 'register', 'thumbnail');
  const publish = await gasOf(world, own, 'publish', functionId, TERMS, true);
  return { register, publish };
}

async function measureMoney(world: World) {
  const { billing, usdc, payer, gateway, units } = world;
  const own = world.as(billing, payer);
  const allow = async (amount: bigint) =>
    world.send(world.as(usdc, payer), 'approve', await billing.getAddress(), amount);
  const gas = (method: string, ...args: unknown[]) => gasOf(world, own, method, ...args);
  // As clients do it: an allowance of exactly the amount, which is used up.
  await allow(units(100));
  const depositFirst = await gas('deposit', payer.address, units(100));
  await allow(MaxUint256);
  const deposit = await gas('deposit', payer.address, units(100));
  const allotFirst = await gas('allot', gateway.address, units(20));
  const allot = await gas('allot', gateway.address, units(20));
  const signer = world.newKey().address;
  const openLane = await gas('openLane', gateway.address, signer, units(10), world.expirySec, 1);
  const thaw = await gas('thaw', gateway.address, units(5));
  world.skip(DAY_SEC);
  const release = await gas('release', payer.address, gateway.address);
  const withdraw = await gas('withdraw', payer.address, units(5));
  return { depositFirst, deposit, allotFirst, allot, openLane, thaw, release, withdraw };
}

async function measureSettlement(world: World) {
  // Each lane has a payer of its own, so that nothing is warm by luck.
  const lanes: Wallet[] = [];
  for (let i = 0; i < LANES; i++) lanes.push(await world.openOwnLane());
  const payees = Array.from({ length: PAYEES }, () => world.newKey().address);
  const settled = lanes.map(() => 0n);
  const settle = async (laneCount: number, payeeCount: number, seq: number, amount: bigint) => {
    const rows = lanes.slice(0, laneCount);
    const claims = await Promise.all(
      rows.map((signer) => world.claim(signer, signer, amount, seq)),
    );
    const total = rows.reduce((sum, _, i) => sum + amount - (settled[i] ?? 0n), 0n);
    settled.fill(amount, 0, laneCount);
    const share = total / BigInt(payeeCount);
    const shares = payees.slice(0, payeeCount).map((payee) => [payee, share]);
    return gasOf(world, world.settling, 'settle', world.gateway.address, claims, shares, CID);
  };
  // Everything has been written once before: first writes cost more and happen once. Every `seq`
  // has two bytes that are not zero, which calldata charges for.
  await settle(LANES, PAYEES, 300, 1_000n);
  const settle1Lane1Payee = await settle(1, 1, 301, 2_000n);
  const twoLanes = await settle(2, 1, 302, 3_000n);
  const twoPayees = await settle(2, 2, 303, 4_000n);
  await settle(LANES, PAYEES, 304, 5_000n);
  const settle100Lanes1Receipt = await settle(LANES, PAYEES, 305, 6_000n);
  const settle100Lanes1000Receipts = await settle(LANES, PAYEES, 1_305, 7_000n);
  const settle100Lanes20000Receipts = await settle(LANES, PAYEES, 21_305, 8_000n);
  const batches = [settle100Lanes1Receipt, settle100Lanes1000Receipts, settle100Lanes20000Receipts];
  const settlePerLane = twoLanes - settle1Lane1Payee;
  const settlePerPayee = twoPayees - twoLanes;
  return {
    settleFixed: settle1Lane1Payee - settlePerLane - settlePerPayee,
    settlePerLane,
    settlePerPayee,
    settle1Lane1Payee,
    settle100Lanes1Receipt,
    settle100Lanes1000Receipts,
    settle100Lanes20000Receipts,
    receiptsSpread: Math.max(...batches) - Math.min(...batches),
    perCallAt1000: settle100Lanes1000Receipts / (LANES * 1_000),
  };
}

async function measureProofs(world: World) {
  const figures: Record<string, number> = {};
  const [checks, proofs]: [number[], number[]] = [[], []];
  const { proofs: frauds, place, open } = await settleFrauds(world, PROOF_RECEIPTS, PROOF_LANES);
  for (const { name, args } of frauds) {
    const check = await gasOf(world, world.checking, `check${name}`, ...args);
    const prove = await gasOf(world, await world.disputing(), `prove${name}`, ...args);
    figures[`check${name}`] = check;
    figures[`prove${name}`] = prove;
    checks.push(check);
    proofs.push(prove);
  }
  const demands = await measureDemands(world, place, open);
  const [proofVerifyMax, proofTotalMax] = [Math.max(...checks), Math.max(...proofs)];
  return { ...figures, ...demands, proofVerifyMax, proofTotalMax };
}

/**
 * In the signed lane, whose answers carry a signature too. The first answer that a gateway gives
 * pays for the word of its free money.
 */
async function measureDemands(world: World, place: Frauds['place'], open: Frauds['open']) {
  const disputes = world.as(world.contracts.disputes, world.payer);
  const demand = await gasOf(world, disputes, 'demand', place, 500);
  await world.send(disputes, 'demand', place, 501);
  await world.send(disputes, 'demand', place, 502);
  const answerFirst = await gasOf(world, disputes, 'answer', ...(await open(500)));
  const answer = await gasOf(world, disputes, 'answer', ...(await open(501)));
  world.skip(3 * DAY_SEC);
  const expire = await gasOf(world, disputes, 'expire', place, 502);
  return { demand, answerFirst, answer, expire };
}

async function gasOf(
  world: World,
  contract: BaseContract,
  method: string,
  ...args: unknown[]
): Promise<number> {
  return Number((await world.send(contract, method, ...args)).gasUsed);
}

/** Of a batch that nobody reads, sha2-256. */
const CID = `0x${'11'.repeat(32)}`;
