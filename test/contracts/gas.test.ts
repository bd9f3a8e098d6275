// Gas of every action against the bars of the design, on the production bytecode that gets deployed, and the sizes of it.
import assert from 'node:assert/strict';
import { type BaseContract, MaxUint256, type Wallet } from 'ethers';
import { createWorld, type World } from './world.ts';

/** A cold word of storage that the design's prototype did not read: the gateway's bond in openLane, the limit in thaw. */
const COLD_WORD = 2_100;
/** Measured by the design's prototype, gas; a bar is 10 % above. Proof bars are as they stand. */
const MEASURED = {
  settleFixed: 53_500,
  settlePerLane: 24_500,
  settlePerPayee: 8_200,
  settle1Lane1Payee: 86_000,
  settle100Lanes: 2_580_000,
  depositFirst: 61_000,
  deposit: 49_000,
  allotFirst: 51_000,
  allot: 34_000,
  openLane: 45_000 + COLD_WORD,
  thaw: 28_000 + COLD_WORD,
  release: 32_000,
  withdraw: 59_000,
} as const;
const PROOF_VERIFY_MAX = 110_000;
const PROOF_TOTAL_MAX = 200_000;
/** EIP-170, bytes. */
const MAX_CODE_BYTES = 24_576;

const gas: Record<string, number> = {};
let world: World;

async function measure(contract: BaseContract, method: string, args: unknown[]): Promise<number> {
  const tx = await contract.getFunction(method).send(...args);
  const receipt = await tx.wait();
  assert.ok(receipt);
  return Number(receipt.gasUsed);
}

function assertWithin(name: keyof typeof MEASURED): void {
  const bar = Math.floor(MEASURED[name] * 1.1);
  const used = gas[name];
  assert.ok(used !== undefined && used <= bar, `${name}: ${used} gas, bar ${bar}`);
}

describe('gas', () => {
  before(async () => {
    world = await createWorld();
  });

  after(async () => {
    await world.close();
  });

  it('keeps every contract below the size limit', async () => {
    for (const contract of Object.values(world.contracts)) {
      const code = await world.provider.getCode(await contract.getAddress());
      assert.ok((code.length - 2) / 2 < MAX_CODE_BYTES);
    }
  });

  it('moves a payer’s money within the bars', async () => {
    const { billing, payer, gateway, units } = world;
    const own = billing.connect(payer) as BaseContract;
    // As clients do it: an allowance of exactly the amount, which is used up.
    await world.send(
      world.as(world.usdc, payer),
      'approve',
      await billing.getAddress(),
      units(100),
    );
    gas.depositFirst = await measure(own, 'deposit', [payer.address, units(100)]);
    await world.send(
      world.as(world.usdc, payer),
      'approve',
      await billing.getAddress(),
      MaxUint256,
    );
    gas.deposit = await measure(own, 'deposit', [payer.address, units(100)]);
    gas.allotFirst = await measure(own, 'allot', [gateway.address, units(20)]);
    gas.allot = await measure(own, 'allot', [gateway.address, units(20)]);
    gas.openLane = await measure(own, 'openLane', [
      gateway.address,
      world.newKey().address,
      units(10),
      world.expirySec,
      1,
    ]);
    gas.thaw = await measure(own, 'thaw', [gateway.address, units(5)]);
    await world.skip(24 * 3600);
    gas.release = await measure(own, 'release', [payer.address, gateway.address]);
    gas.withdraw = await measure(own, 'withdraw', [payer.address, units(5)]);
    for (const name of [
      'depositFirst',
      'deposit',
      'allotFirst',
      'allot',
      'openLane',
      'thaw',
      'release',
      'withdraw',
    ] as const) {
      assertWithin(name);
    }
  });

  it('settles within the bars, whatever the number of receipts', async () => {
    // Each lane has a payer of its own, so that nothing is warm by luck.
    const lanes: Wallet[] = [];
    for (let i = 0; i < 100; i++) lanes.push(await world.openOwnLane());
    const payees = Array.from({ length: 10 }, () => world.newKey().address);
    const settled = lanes.map(() => 0n);
    const settle = async (laneCount: number, payeeCount: number, seq: number, amount: bigint) => {
      const rows = lanes.slice(0, laneCount);
      const claims = await Promise.all(
        rows.map((signer) => world.claim(signer, signer, amount, seq)),
      );
      const total = rows.reduce((sum, _, i) => sum + amount - (settled[i] ?? 0n), 0n);
      settled.fill(amount, 0, laneCount);
      const shares = payees
        .slice(0, payeeCount)
        .map((payee) => [payee, total / BigInt(payeeCount)]);
      const args = [world.gateway.address, claims, shares, world.word(1)];
      return measure(world.settling, 'settle', args);
    };
    // Everything has been written once before: first writes cost more and happen once.
    await settle(100, 10, 1, 1_000n);
    gas.settle1Lane1Payee = await settle(1, 1, 2, 2_000n);
    const two = await settle(2, 1, 3, 3_000n);
    const payees2 = await settle(2, 2, 4, 4_000n);
    gas.settle100Lanes = await settle(100, 10, 5, 5_000n);
    gas.settle100Lanes1000Receipts = await settle(100, 10, 1_005, 6_000n);
    gas.settle100Lanes20000Receipts = await settle(100, 10, 21_005, 7_000n);
    gas.settlePerLane = two - gas.settle1Lane1Payee;
    gas.settlePerPayee = payees2 - two;
    gas.settleFixed = gas.settle1Lane1Payee - gas.settlePerLane - gas.settlePerPayee;
    gas.perCallAt1000 = gas.settle100Lanes1000Receipts / 100_000;

    for (const name of [
      'settleFixed',
      'settlePerLane',
      'settlePerPayee',
      'settle1Lane1Payee',
      'settle100Lanes',
    ] as const) {
      assertWithin(name);
    }
    assert.ok(Math.abs(gas.settle100Lanes20000Receipts - gas.settle100Lanes1000Receipts) < 200);
    assert.ok(gas.perCallAt1000 <= 30);
  });

  it('proves every kind of fraud within the bars', async () => {
    const proofs = await world.settleFrauds(1_000, 100);
    let verifyMax = 0;
    let totalMax = 0;
    for (const { name, args } of proofs) {
      const check = await measure(world.checking, `check${name}`, args);
      const prove = await measure(await world.disputing(), `prove${name}`, args);
      gas[`check${name}`] = check;
      gas[`prove${name}`] = prove;
      verifyMax = Math.max(verifyMax, check);
      totalMax = Math.max(totalMax, prove);
    }
    gas.proofVerifyMax = verifyMax;
    gas.proofTotalMax = totalMax;
    assert.ok(verifyMax <= PROOF_VERIFY_MAX, `${verifyMax}`);
    assert.ok(totalMax <= PROOF_TOTAL_MAX, `${totalMax}`);
  });
});
