// One round of a gateway that lies in some of its lanes: it serves calls, commits a batch with
// lies, is watched, and the coalition's wealth is compared with the wealth before.
import fc from 'fast-check';
import { type Claimed, callOf, executionOf, leafOf, serve, settle } from './books.ts';
import { billed, bondOf, mode, slashesIn } from './game.ts';
import {
  type Entry,
  FEE_BPS,
  FLOORS,
  HOUR,
  type House,
  type Lane,
  MIN_BOND,
  type Party,
  TOKEN,
  VICTIMS,
  WINDOWS,
  wealthOf,
} from './house.ts';
import { isUnprovable, LIES, type Lie, lieOn } from './lies.ts';
import type { Outcome } from './outcome.ts';
import { proofsOf, prove } from './watcher.ts';

export const COALITION: readonly Party[] = ['gateway', 'crony', 'accomplice', 'friend'];

export interface LaneStrategy {
  readonly payer: number;
  readonly mode: Lane['mode'];
  readonly billedMs: readonly number[];
  readonly lie: Lie;
  readonly at: number;
  readonly weight: number;
}
export const laneStrategy: fc.Arbitrary<LaneStrategy> = fc.record({
  payer: fc.integer({ min: 0, max: VICTIMS.length - 1 }),
  mode,
  billedMs: billed,
  lie: fc.constantFrom(...LIES),
  at: fc.nat(10),
  weight: fc.integer({ min: 1, max: 100 }),
});

export interface Round {
  readonly lanes: readonly { readonly lane: Lane; readonly strategy: LaneStrategy }[];
  readonly handedOut: ReadonlyMap<Lane, readonly Entry[]>;
}

export async function openAndServe(
  house: House,
  strategies: readonly LaneStrategy[],
): Promise<Round> {
  const lanes: { lane: Lane; strategy: LaneStrategy }[] = [];
  const handedOut = new Map<Lane, readonly Entry[]>();
  for (const strategy of strategies) {
    const lane = await house.openLane(VICTIMS[strategy.payer] ?? 'anna', strategy.mode);
    for (const ms of strategy.billedMs) serve(house, lane, ms);
    handedOut.set(lane, [...lane.served]);
    lanes.push({ lane, strategy });
  }
  return { lanes, handedOut };
}

/**
 * Most that ceilings may let a gateway take beyond honest receipts so that no provable lie pays:
 * 7/12 of its standing bond, 7/48 where the proof is D2. Token units.
 */
export async function allowedExposure(house: House, { lanes }: Round): Promise<bigint> {
  const covering = await coveringBond(house);
  const byD2 = lanes.some(({ strategy }) => strategy.lie === 'omit');
  return (covering * 7n) / (byD2 ? 48n : 12n);
}

/**
 * The bond that covers a batch settled now. A gateway whose standing bond is below MIN_BOND can
 * settle only while all of its bond, with what is unbonding, is above.
 */
async function coveringBond(house: House): Promise<bigint> {
  const { bonded, standing } = await bondOf(house);
  return standing >= MIN_BOND ? standing : bonded;
}

export interface Committed {
  readonly claimed: readonly (Claimed & { readonly lie: Lie })[];
  /** Covering bond just before the settlement, token units. */
  readonly bond: bigint;
  readonly takenUnits: bigint;
}

export async function commit(
  house: House,
  { lanes }: Round,
  exposure: bigint,
): Promise<Committed | undefined> {
  const weights = lanes.reduce((sum, { strategy }) => sum + strategy.weight, 0);
  const bond = await coveringBond(house);
  const settled = await settle(
    house,
    lanes.map(({ lane, strategy }) => {
      const take = (exposure * BigInt(strategy.weight)) / BigInt(weights);
      // Some lies need a price of their own, so a small take is no lie.
      const lie = take < 3n * TOKEN ? 'none' : strategy.lie;
      return lieOn(house, lane, lie, take, strategy.at);
    }),
  );
  if (!settled.ok) return undefined;
  const claimed = settled.claimed.map((one, i) => ({
    ...one,
    lie: one.excessUnits === 0n ? ('none' as const) : (lanes[i]?.strategy.lie ?? 'none'),
  }));
  return {
    claimed,
    bond,
    takenUnits: claimed.reduce((sum, { excessUnits }) => sum + excessUnits, 0n),
  };
}

/** What the gateway's friends do with the evidence before the watcher has it. */
export async function beforeWatcher(
  house: House,
  { claimed }: Committed,
  { handedOut }: Round,
  move: string,
): Promise<void> {
  if (move === 'retireKey') {
    await house.send('gateway', 'Identity', 'retireKey', house.operator.address);
    return;
  }
  for (const one of claimed) {
    const { proofs } = proofsOf(house, one, handedOut.get(one.lane) ?? []);
    if (move === 'frontRun') await prove(house, 'accomplice', proofs);
    if (move === 'smallFirst') {
      const small = proofs.flatMap(({ method, args }) =>
        method === 'proveOmission' ? [{ method, args: [...args.slice(0, 4), []] }] : [],
      );
      await prove(house, 'accomplice', small);
    }
    if (move === 'demandAll') {
      for (const index of one.entries.keys())
        await house.send('accomplice', 'Disputes', 'demand', one.place, index);
    }
  }
}

/** Proves, demands, lets the gateway try to answer, and expires. */
export async function watch(
  house: House,
  { claimed }: Committed,
  handedOut: ReadonlyMap<Lane, readonly Entry[]>,
): Promise<void> {
  for (const one of claimed) {
    const held = handedOut.get(one.lane) ?? [];
    const { proofs, unopened } = proofsOf(house, one, held);
    await prove(house, 'watcher', proofs);
    for (const index of unopened)
      await house.send('watcher', 'Disputes', 'demand', one.place, index);
    const opened = await answerIfPossible(house, one);
    if (one.shown !== 'hidden' || opened.size < one.entries.length) continue;
    // The answers opened the leaves that the pages hid.
    await prove(house, 'watcher', proofsOf(house, { ...one, shown: 'pages' }, held).proofs);
  }
  house.evm.pass(WINDOWS.answer + HOUR);
  for (const one of claimed) {
    for (const index of one.entries.keys()) {
      await house.send('watcher', 'Disputes', 'expire', one.place, index);
    }
  }
}

/** Answers what was demanded. Returns the leaves that an answer opened as committed. */
export async function answerIfPossible(house: House, one: Claimed): Promise<ReadonlySet<number>> {
  const opened = new Set<number>();
  for (const [index, entry] of one.entries.entries()) {
    const leaf = leafOf(one, index);
    const signature = entry.callSignature ?? `0x${'11'.repeat(65)}`;
    // A liar first shows a forged Execution that would justify the price.
    const execution = executionOf(entry.execution);
    const fair = { ...execution, billedMs: 100_000_000 };
    for (const shown of one.shown === 'hidden' ? [fair, execution] : [execution]) {
      const opening = [callOf(entry.call), shown, signature];
      const sent = await house.send('gateway', 'Disputes', 'answer', one.place, leaf, ...opening);
      if (sent.ok && shown === execution) opened.add(index);
    }
  }
  return opened;
}

export async function judge(
  house: House,
  of: {
    readonly before: bigint;
    readonly committed: Committed;
    readonly round: Round;
    readonly bond: bigint;
  },
): Promise<Outcome> {
  const { committed, round } = of;
  const after = await wealthOf(house, COALITION);
  const worth = round.lanes.reduce((sum, { lane }) => sum + lane.worthUnits, 0n);
  const unprovable = committed.claimed
    .filter(({ lie, lane }) => isUnprovable(lie, lane))
    .reduce((sum, { excessUnits }) => sum + excessUnits, 0n);
  const lieProfitUnits = after - of.before - (worth * FEE_BPS) / 10_000n - unprovable;

  const provable = committed.claimed.filter(
    ({ lie, lane, excessUnits }) => excessUnits > 0n && !isUnprovable(lie, lane),
  );
  if (provable.length === 0) return { lieProfitUnits };
  const byD2 = provable.some(({ lie }) => lie === 'omit');
  // Upper bound of all slashes: three times what each claim took, and a floor for each receipt that
  // was handed out and then changed.
  const most = provable.reduce((sum, { deltaUnits, excessUnits, entries, lie }) => {
    const whole =
      lie === 'overcharge' || lie === 'omit' || lie === 'sum' ? excessUnits : deltaUnits;
    const floors = BigInt(entries.length) * FLOORS.grave * TOKEN;
    return sum + 3n * whole + floors;
  }, 0n);
  if (most > (byD2 ? of.bond / 4n : (of.bond * 3n) / 4n)) return { lieProfitUnits };
  let victimsUnpaidUnits = 0n;
  for (const victim of VICTIMS) {
    const owed = provable
      .filter(({ lane }) => lane.payer === victim)
      .reduce((sum, { excessUnits }) => sum + excessUnits, 0n);
    if (owed === 0n) continue;
    const [free] = await house.evm.read('Billing', 'free', house.of[victim]);
    const repaid = free - 100_000n * TOKEN;
    if (repaid < owed) victimsUnpaidUnits += owed - repaid;
  }
  return { lieProfitUnits, victimsUnpaidUnits };
}

/** Lies in a friend's lane, which an accomplice proves. Returns the slashed token units. */
export async function slashItself(
  house: House,
  friend: Lane,
  lie: Lie,
  take: bigint,
  at = 0,
): Promise<bigint> {
  const handed = [...friend.served];
  const settled = await settle(house, [lieOn(house, friend, lie, take, at)]);
  if (!settled.ok) return 0n;
  let slashed = 0n;
  for (const one of settled.claimed) {
    const { proofs, unopened } = proofsOf(house, one, handed);
    slashed += await prove(house, 'accomplice', proofs);
    for (const index of unopened) {
      const sent = await house.send('accomplice', 'Disputes', 'demand', one.place, index);
      if (!sent.ok) continue;
      house.evm.pass(WINDOWS.answer + 1);
      const expired = await house.send('accomplice', 'Disputes', 'expire', one.place, index);
      for (const { amount } of slashesIn(expired)) slashed += amount;
    }
  }
  return slashed;
}
