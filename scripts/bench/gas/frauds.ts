// A settled batch with one fraud of each kind in it, and the evidence of each.
import { AbiCoder, type HDNodeWallet, keccak256 } from 'ethers';
import {
  type Fields,
  functionIdOf,
  hashStruct,
  levelsOf,
  pathOf,
  rootOf,
  typed,
  word,
} from './typed.ts';
import type { World } from './world.ts';

export type Proof = { readonly name: string; readonly args: unknown[] };
export interface Frauds {
  readonly proofs: readonly Proof[];
  readonly place: Fields;
  /** The arguments that answer a demand for receipt i. */
  open(i: number): Promise<unknown[]>;
}

/** A version as `publish` takes it, with the tariff of the template. */
export const TERMS = {
  manifest: word(1),
  artifact: word(2),
  manifestCodec: 0x55,
  artifactCodec: 0x70,
  tariff: {
    perCall: 20,
    perGiBSecond: 40,
    maxPrice: 100_000,
    minBilledMs: 0,
    roundMs: 1,
    publisherBps: 0,
  },
  accessMode: 0,
  memoryMiB: 128,
  timeoutMs: 10_000,
  idempotent: false,
  deterministic: false,
} as const;

/**
 * Settles one batch of `laneCount` lanes. The first, a signed one, has `receiptCount` receipts with
 * one fraud of each kind. The lanes are empty before.
 * @returns the evidence of each fraud, and what answers a demand
 */
export async function settleFrauds(
  world: World,
  receiptCount: number,
  laneCount: number,
): Promise<Frauds> {
  const { gateway, payer, friend, billing, as, send, claim, openLane, units } = world;
  const published = await publish(world);
  const signer = await openLane(payer, 2);
  const made = makeReceipts(world, signer.address, published, receiptCount);
  const { calls, executions, receipts, cumulative } = made;
  const levels = levelsOf(receipts.map((receipt) => hashStruct('Receipt', receipt)));
  const settledTo = cumulative + 12n;
  await send(as(billing, payer), 'allot', gateway.address, units(100));
  const others = [];
  for (let i = 1; i < laneCount; i++) others.push(await openLane(payer, 1));
  const claims = [await claim(payer, signer, settledTo, receiptCount, rootOf(levels))];
  for (const other of others) claims.push(await claim(payer, other, 100n, 1_000));
  const total = claims.reduce((sum, row) => sum + row.amount, 0n);
  const payouts = [[friend.address, total]];
  await send(world.settling, 'settle', gateway.address, claims, payouts, word(1));
  const settledAt = world.nowSec();
  const batch = Number((await billing.getFunction('standing').staticCall(gateway.address))[3]) - 1;
  const place = {
    gateway: gateway.address,
    batch,
    settledAt,
    claims: claims.length,
    claim: 0,
    outside: word(0),
    path: pathOf(levelsOf(claims.map(hashClaim)), 0),
    payer: payer.address,
    signer: signer.address,
    settledFrom: 0,
    settledTo,
    seqFrom: 0,
    seqTo: receiptCount,
    receipts: rootOf(levels),
  };
  const leaf = (i: number) => ({ receipt: receipts[i] ?? {}, index: i, path: pathOf(levels, i) });
  const opened = (i: number) => [place, leaf(i), calls[i], executions[i]];
  return {
    proofs: await proofsOf(world, { place, leaf, opened, ids: published.ids, receiptCount }),
    place,
    open: async (i) => [...opened(i), await signCall(world, signer, calls[i] ?? {})],
  };
}

function signCall({ domain }: World, signer: HDNodeWallet, call: Fields): Promise<string> {
  return signer.signTypedData(domain, typed('Call'), call);
}

/** A version of a function with 32 deployments, and an epoch to draw by. */
async function publish({ gateway, contracts, provider, as, send, mine, nowSec }: World) {
  const { registry, beacon } = contracts;
  const owner = as(registry, gateway);
  await send(owner, 'register', 'hello');
  const functionId = functionIdOf(gateway.address, 'hello');
  await send(owner, 'publish', functionId, TERMS, true);
  const functionVersion = await registry.getFunction('functionVersionOf').staticCall(functionId, 1);
  const ids = Array.from({ length: 32 }, (_, i) => i + 1);
  for (const _ of ids) await send(owner, 'enrol', functionVersion, 'aws-lambda', 'us-east-1');
  await send(owner, 'setCandidates', functionVersion, ids);
  for (let i = 0; i < 3; i++) await mine();
  const epoch = (await provider.getBlockNumber()) - 1;
  await send(beacon, 'checkpoint', epoch);
  return { functionVersion, ids, epoch, epochTimeSec: nowSec() };
}

/** The receipts of the lane, with what they open. Comments name the fraud of each. */
function makeReceipts(
  { payer, gateway, expirySec }: World,
  signer: string,
  published: Awaited<ReturnType<typeof publish>>,
  count: number,
) {
  const lane = { payer: payer.address, gateway: gateway.address, signer };
  const { functionVersion, epoch, epochTimeSec } = published;
  const calls: Fields[] = [];
  const executions: Fields[] = [];
  const receipts: Fields[] = [];
  let cumulative = 0n;
  for (let i = 0; i < count; i++) {
    const call = {
      ...lane,
      // Receipts 20 and 21 charge one Call twice.
      nonce: word(i === 21 ? 20 : i),
      functionVersion,
      input: word(3),
      // Receipt 40 costs more than its Call allows.
      maxPrice: i === 40 ? 10n : 1_000_000n,
      deadline: expirySec,
      beacon: epoch,
      authority: word(0),
    };
    const execution = {
      deployment: 1,
      request: word(4),
      billedMs: 1,
      initMs: 0,
      memoryMiB: 64,
      status: 200,
      input: word(3),
      output: word(5),
      finishedAt: epochTimeSec,
    };
    // Receipt 60 costs more than the tariff.
    const price = i === 60 ? 1_000n : 21n;
    cumulative += price;
    calls.push(call);
    executions.push(execution);
    receipts.push({
      ...lane,
      seq: i + 1,
      call: hashStruct('Call', call),
      execution: hashStruct('Execution', execution),
      provider: gateway.address,
      // All name place 9 of 32, which most draws contradict.
      attempt: 9,
      atBlock: epoch,
      price,
      // From receipt 80 on every sum is 5 too high, and the last one is 7 below what was taken.
      cumulative: i >= 80 ? cumulative + 5n : cumulative,
    });
  }
  return { calls, executions, receipts, cumulative };
}

/** Leaf of a claim in the batch tree, by ethers. */
function hashClaim(row: Awaited<ReturnType<World['claim']>>): string {
  return keccak256(
    AbiCoder.defaultAbiCoder().encode(
      ['address', 'address', 'uint256', 'uint256', 'uint256', 'uint256', 'bytes32'],
      [row.payer, row.signer, 0, row.amount, 0, row.seq, row.receipts],
    ),
  );
}

async function proofsOf(
  world: World,
  of: {
    readonly place: Fields;
    readonly leaf: (i: number) => Fields & { readonly receipt: Fields; readonly path: string[] };
    /** Place, leaf, Call and Execution of receipt i. */
    readonly opened: (i: number) => unknown[];
    readonly ids: readonly number[];
    readonly receiptCount: number;
  },
): Promise<Proof[]> {
  const { place, leaf, opened, ids, receiptCount } = of;
  const { receipt, path } = leaf(200);
  const node = hashStruct('Receipt', receipt);
  const handedOut = await world.sign({ ...receipt, price: 20n });
  return [
    { name: 'Omission', args: [handedOut, place, node, path, [receipt]] },
    { name: 'Break', args: [place, leaf(79), leaf(80)] },
    { name: 'Edge', args: [place, leaf(receiptCount - 1)] },
    { name: 'Overcharge', args: opened(60) },
    { name: 'OverLimit', args: opened(40) },
    { name: 'Duplicate', args: [place, leaf(20), place, leaf(21)] },
    { name: 'Misroute', args: await misroute(world, opened, ids) },
  ];
}

/**
 * The first receipt from 300 on that proves a misroute. One draw in 32 puts its deployment at place
 * 9; which ones do depends on a block's hash.
 */
async function misroute(
  { contracts }: World,
  opened: (i: number) => unknown[],
  ids: readonly number[],
): Promise<unknown[]> {
  for (let i = 300; ; i++) {
    const args = [...opened(i), 1, ids];
    const [isFraud] = await contracts.disputes.getFunction('checkMisroute').staticCall(...args);
    if (isFraud) return args;
  }
}
