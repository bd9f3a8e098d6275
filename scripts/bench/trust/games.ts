// Games against the contracts: each kind draws its strategies from fast-check, plays one on a chain
// of its own, and says what it
// came to in the terms of the rules of trust.
import fc from 'fast-check';
import { hashReceipt } from '../../../contracts/libraries/receipts.ts';
import type { Log, Sent } from './evm.ts';
import {
  type Claimed,
  callOf,
  DAY,
  type Entry,
  entryAt,
  executionOf,
  FEE_BPS,
  FLOORS,
  HOUR,
  type House,
  handOut,
  type Lane,
  leafOf,
  MIN_BOND,
  newKey,
  type Party,
  PLEDGE,
  serve,
  settle,
  TOKEN,
  VICTIMS,
  WINDOWS,
  wealthOf,
  word,
} from './house.ts';
import { isUnprovable, LIES, type Lie, lieOn } from './lies.ts';
import type { Outcome } from './outcome.ts';
import { payerStrategies, payLyingGateway } from './payer.ts';
import { proofsOf, prove } from './watcher.ts';

export interface Game<S> {
  readonly strategies: fc.Arbitrary<S>;
  play(house: House, strategy: S): Promise<Outcome>;
}

const COALITION: readonly Party[] = ['gateway', 'crony', 'accomplice', 'friend'];

const share = fc.integer({ min: 0, max: 1_000 });
const billed = fc.array(fc.integer({ min: 0, max: 20_000 }), { minLength: 1, maxLength: 4 });
const mode = fc.constantFrom('prepaid' as const, 'signed' as const);

interface LaneStrategy {
  readonly payer: number;
  readonly mode: Lane['mode'];
  readonly billedMs: readonly number[];
  readonly lie: Lie;
  readonly at: number;
  readonly weight: number;
}
const laneStrategy: fc.Arbitrary<LaneStrategy> = fc.record({
  payer: fc.integer({ min: 0, max: VICTIMS.length - 1 }),
  mode,
  billedMs: billed,
  lie: fc.constantFrom(...LIES),
  at: fc.nat(10),
  weight: fc.integer({ min: 1, max: 100 }),
});

/** Who comes before the watcher, and with what. */
const moves = fc.constantFrom(
  'nothing',
  'frontRun',
  'smallFirst',
  'demandAll',
  'retireKey' as const,
);

const lies = game(
  fc.record({
    bondTokens: fc.integer({ min: 1_000, max: 50_000 }),
    /** Of what the ceilings may let it take, 1/1000. */
    exposure: share,
    lanes: fc.array(laneStrategy, { minLength: 1, maxLength: 3 }),
    move: moves,
    delayHours: fc.integer({ min: 0, max: 160 }),
  }),
  async (house, strategy) => {
    await house.must(
      'gateway',
      'Billing',
      'bond',
      house.of.gateway,
      BigInt(strategy.bondTokens) * TOKEN,
    );
    const round = await openAndServe(house, strategy.lanes);
    const exposure = ((await allowedExposure(house, round)) * BigInt(strategy.exposure)) / 1_000n;
    const before = await wealthOf(house, COALITION);
    const committed = await commit(house, round, exposure);
    if (!committed) return {};
    await beforeWatcher(house, committed, round, strategy.move);
    house.evm.pass(strategy.delayHours * HOUR);
    await watch(house, committed, round.handedOut);
    return judge(house, { before, committed, round, bond: committed.bond });
  },
);

/**
 * The gateway burns its bond with a friend's help and a lie in the friend's lane, and takes what
 * its ceilings still let it take.
 */
const burnFirst = game(
  fc.record({
    bondTokens: fc.integer({ min: 1_000, max: 20_000 }),
    exposure: share,
    burnTimes: fc.integer({ min: 1, max: 3 }),
    burnShare: share,
    lie: fc.constantFrom<Lie>('overcharge', 'sum', 'lastEdge', 'withhold'),
    lanes: fc.array(laneStrategy, { minLength: 1, maxLength: 2 }),
    waitHours: fc.integer({ min: 0, max: 60 }),
    delayHours: fc.integer({ min: 0, max: 100 }),
  }),
  async (house, strategy) => {
    const bond = BigInt(strategy.bondTokens) * TOKEN;
    await house.must('gateway', 'Billing', 'bond', house.of.gateway, bond);
    const round = await openAndServe(house, strategy.lanes);
    const exposure = ((await allowedExposure(house, round)) * BigInt(strategy.exposure)) / 1_000n;
    const friend = await house.openLane('friend', 'prepaid');
    const before = await wealthOf(house, COALITION);
    for (let i = 0; i < strategy.burnTimes; i += 1) {
      serve(house, friend, 0);
      const take = (bond * BigInt(strategy.burnShare + 1)) / 2_000n + TOKEN;
      await slashItself(house, friend, strategy.lie, take);
    }
    house.evm.pass(strategy.waitHours * HOUR);
    const { standing } = await bondOf(house);
    const committed = await commit(house, round, exposure);
    if (!committed) return {};
    // Payers who see a bond fall have LINE_THAW to fear for what they signed, and no longer.
    const isLate = standing < MIN_BOND && strategy.waitHours * HOUR > WINDOWS.lineThaw;
    if (isLate) return { payerLossUnits: committed.takenUnits };
    house.evm.pass(strategy.delayHours * HOUR);
    await watch(house, committed, round.handedOut);
    const { lieProfitUnits } = await judge(house, { before, committed, round, bond: 0n });
    return lieProfitUnits === undefined ? {} : { lieProfitUnits };
  },
);

/** The gateway takes its bond out and lies on its way, as late as it can. */
const exit = game(
  fc.record({
    bondTokens: fc.integer({ min: 1_500, max: 30_000 }),
    exposure: share,
    keepTokens: fc.constantFrom(0, 500, 1_000, 1_050),
    lanes: fc.array(laneStrategy, { minLength: 1, maxLength: 2 }),
    /** From unbonding to the lie. */
    waitHours: fc.constantFrom(0, 20, 47, 49, 100, 300, 331, 335, 337, 400),
    slashBefore: fc.boolean(),
    leaveFirst: fc.boolean(),
    delayHours: fc.constantFrom(0, 2, 30, 120, 160),
  }),
  async (house, strategy) => {
    const { of, evm } = house;
    const bond = BigInt(strategy.bondTokens) * TOKEN;
    await house.must('gateway', 'Billing', 'bond', of.gateway, bond);
    const round = await openAndServe(house, strategy.lanes);
    const friend = await house.openLane('friend', 'prepaid');
    const before = await wealthOf(house, COALITION);
    await house.send('gateway', 'Billing', 'unbond', bond - BigInt(strategy.keepTokens) * TOKEN);
    evm.pass(strategy.waitHours * HOUR);
    if (strategy.slashBefore) {
      serve(house, friend, 0);
      await slashItself(house, friend, 'lastEdge', 20n * TOKEN);
    }
    const exposure = ((await allowedExposure(house, round)) * BigInt(strategy.exposure)) / 1_000n;
    const committed = await commit(house, round, exposure);
    if (!committed) return {};
    const leave = () => house.send('gateway', 'Billing', 'leave', of.gateway);
    if (strategy.leaveFirst) await leave();
    evm.pass(strategy.delayHours * HOUR);
    await leave();
    await watch(house, committed, round.handedOut);
    evm.pass(30 * DAY);
    await leave();
    return judge(house, { before, committed, round, bond: committed.bond });
  },
);

/** The gateway slashes itself in a friend's lane, to get its bond out. */
const launder = game(
  fc.record({
    bondTokens: fc.integer({ min: 1_000, max: 50_000 }),
    lies: fc.array(fc.record({ lie: fc.constantFrom(...LIES), take: share, at: fc.nat(10) }), {
      minLength: 1,
      maxLength: 4,
    }),
    mode,
    waitHours: fc.integer({ min: 0, max: 200 }),
  }),
  async (house, strategy) => {
    const bond = BigInt(strategy.bondTokens) * TOKEN;
    await house.must('gateway', 'Billing', 'bond', house.of.gateway, bond);
    const friend = await house.openLane('friend', strategy.mode);
    const before = await wealthOf(house, COALITION);
    let slashed = 0n;
    for (const { lie, take, at } of strategy.lies) {
      serve(house, friend, 1_000);
      serve(house, friend, 2_000);
      slashed += await slashItself(house, friend, lie, (bond * BigInt(take + 1)) / 1_000n, at);
      house.evm.pass(strategy.waitHours * HOUR);
    }
    if (slashed === 0n) return {};
    const lost = before - (await wealthOf(house, COALITION));
    return { launderShare: 1 - ratio(lost, slashed) };
  },
);

/** Somebody has an operator key of an honest gateway, lanes of its own there, and time. */
const theft = game(
  fc.record({
    bondTokens: fc.integer({ min: 1_000, max: 50_000 }),
    calls: fc.integer({ min: 1, max: 6 }),
    priceTokens: fc.constantFrom(0, 1, 50, 1_000, 20_000),
    /** Hours between proofs, and from the last settlement to the key's end. */
    steps: fc.array(fc.constantFrom(0, 1, 24, 100, 167, 168, 169), { minLength: 2, maxLength: 12 }),
    startHours: fc.integer({ min: 0, max: 168 }),
    opened: fc.boolean(),
    retireAfter: fc.integer({ min: 1, max: 12 }),
    /** The gateway has unbonded nine tenths some time ago, and has not taken them yet. */
    hasLeft: fc.boolean(),
  }),
  async (house, strategy) => {
    const { evm, of } = house;
    const bond = BigInt(strategy.bondTokens) * TOKEN;
    await house.must('gateway', 'Billing', 'bond', of.gateway, bond);
    if (strategy.hasLeft) {
      await house.must('gateway', 'Billing', 'bond', of.gateway, 9n * bond);
      await house.must('gateway', 'Billing', 'unbond', 9n * bond);
      evm.pass(WINDOWS.unbond + HOUR);
    }
    evm.pass(strategy.startHours * HOUR);
    const lane = await house.openLane('thief', 'prepaid');
    const slashes: { atSec: number; units: bigint; bond: bigint }[] = [];
    let gained = 0n;
    let step = 0;
    for (const hours of strategy.steps) {
      step += 1;
      // The gateway goes on serving and settling, the thief among its callers.
      for (let i = 0; i < strategy.calls; i += 1) serve(house, lane, strategy.priceTokens * 1_000);
      const settled = await settle(house, [honestClaim(lane)]);
      if (step === strategy.retireAfter)
        await house.send('gateway', 'Identity', 'retireKey', house.operator.address);
      evm.pass(hours * HOUR);
      if (!settled.ok) continue;
      for (const claimed of settled.claimed) {
        for (const [index, { receipt }] of claimed.entries.entries()) {
          const standing = await keptBond(house);
          const forged = handOut(house, { ...receipt, price: 0n, cumulative: 7n });
          const opened = strategy.opened ? [receipt] : [];
          const args = [
            forged,
            claimed.place,
            hashReceipt(receipt),
            claimed.tree.path(index),
            opened,
          ];
          const sent = await house.send('fence', 'Disputes', 'proveOmission', ...args);
          for (const { toPayer, toReporter, amount } of slashesIn(sent)) {
            slashes.push({ atSec: evm.nowSec(), units: amount, bond: standing });
            gained += toPayer + toReporter;
          }
        }
      }
    }
    if (slashes.length === 0) return {};
    let worst = 0;
    for (const [i, first] of slashes.entries()) {
      let sum = 0n;
      for (const one of slashes.slice(i)) {
        if (one.atSec >= first.atSec + WINDOWS.demand) break;
        sum += one.units;
        // Of the bond as it would stand: fees are added to it meanwhile.
        worst = Math.max(worst, ratio(sum, one.bond + sum - one.units));
      }
    }
    const all = slashes.reduce((sum, { units }) => sum + units, 0n);
    const isRetired = strategy.retireAfter === 1;
    return {
      keyTheftBurnShare: worst,
      keyTheftGainShare: ratio(gained, all),
      ...(isRetired && {
        keyTheftTailShare: ratio(
          all,
          (slashes.at(-1)?.bond ?? 0n) + all - (slashes.at(-1)?.units ?? 0n),
        ),
      }),
    };
  },
);

export const STRANGERS_MOVES = [
  'demand',
  'demandAgain',
  'expireEarly',
  'proveHonest',
  'proveMutated',
  'proveForged',
  'answerForIt',
  'collectForged',
  'settleForIt',
  'leaveForIt',
  'thawAndRelease',
  'slash',
  'retireItsKey',
  'topUp',
  'bondDust',
] as const;

/** An honest gateway that answers within the window, and a stranger who tries everything. */
const hostile = game(
  fc.record({
    bondTokens: fc.integer({ min: 1_000, max: 5_000 }),
    lanes: fc.array(fc.record({ mode, billedMs: billed }), { minLength: 1, maxLength: 2 }),
    moves: fc.array(
      fc.record({
        move: fc.constantFrom(...STRANGERS_MOVES),
        at: fc.nat(1_000),
        hours: fc.integer({ min: 0, max: 30 }),
      }),
      { minLength: 4, maxLength: 16 },
    ),
  }),
  (house, strategy) => besiege(house, strategy),
);

/** A batch is lost to a reorganisation, and the gateway sends the one that it built on it. */
const lostBatch = game(
  fc.record({ billedMs: billed, more: billed, mode, isFree: fc.boolean() }),
  async (house, strategy) => {
    const { of, evm } = house;
    await house.must('gateway', 'Billing', 'bond', of.gateway, 2n * MIN_BOND);
    const lane = await house.openLane('anna', strategy.mode);
    // Failed calls: then the sums of the two states agree, and the payouts too.
    for (const ms of strategy.billedMs) serve(house, lane, ms, strategy.isFree);
    const lost = lane.served;
    // Settled as far as the gateway knows.
    lane.settledSeq = lost.length;
    lane.settledUnits = lost.at(-1)?.receipt.cumulative ?? 0n;
    lane.served = [];
    for (const ms of strategy.more) serve(house, lane, ms);
    const built = lane.served;
    const settled = await settle(house, [honestClaim(lane)]);
    if (settled.ok) {
      // The claim covers all since the state that the contract had, and its tree only what came
      // later: nobody can open its leaves.
      const [claimed] = settled.claimed;
      if (!claimed) return {};
      const place = { ...claimed.place, settledFrom: 0n, seqFrom: 0 };
      const before = await bondOf(house);
      await house.send('stranger', 'Disputes', 'demand', place, 0);
      evm.pass(WINDOWS.answer + HOUR);
      await house.send('stranger', 'Disputes', 'expire', place, 0);
      return { honestLossUnits: before.bonded - (await bondOf(house)).bonded };
    }
    // It starts again from what the chain has.
    lane.settledSeq = 0;
    lane.settledUnits = 0n;
    lane.served = [...lost, ...built];
    const done = await settle(house, [honestClaim(lane)]);
    if (!done.ok) throw new Error(`an honest batch was refused: ${done.error}`);
    return { honestLossUnits: 0n };
  },
);

/** A provider who collects its share from the float, before and after the batches that pay it. */
const payee = game(
  fc.record({
    floatTokens: fc.integer({ min: 0, max: 2_000 }),
    steps: fc.array(
      fc.constantFrom('serve', 'settle', 'collect', 'payOut', 'collectOld' as const),
      {
        minLength: 3,
        maxLength: 14,
      },
    ),
    ms: fc.integer({ min: 0, max: 100_000 }),
  }),
  async (house, strategy) => {
    const { of } = house;
    await house.must('gateway', 'Billing', 'bond', of.gateway, 5n * MIN_BOND);
    await house.send(
      'gateway',
      'Billing',
      'allot',
      of.provider,
      BigInt(strategy.floatTokens) * TOKEN,
    );
    const lane = await house.openLane('anna', 'prepaid');
    const before = await wealthOf(house, ['provider']);
    const feeOf = (units: bigint) => (units * FEE_BPS) / 10_000n;
    let owed = 0n;
    let older = 0n;
    const settleNow = async () => {
      if (lane.served.length === 0) return;
      const settled = await settle(house, [honestClaim(lane)]);
      if (!settled.ok) throw new Error(settled.error);
    };
    for (const step of strategy.steps) {
      if (step === 'serve') {
        const { receipt } = serve(house, lane, strategy.ms);
        older = owed;
        owed += receipt.price;
      } else if (step === 'settle') await settleNow();
      else if (step === 'payOut')
        await house.send('provider', 'Billing', 'payOut', of.gateway, of.provider);
      else {
        const cumulative = step === 'collect' ? owed : older;
        const due = cumulative - feeOf(cumulative);
        const signature = house.signPayout('provider', due);
        await house.send('provider', 'Billing', 'collect', of.gateway, of.provider, due, signature);
      }
    }
    await settleNow();
    await house.send('provider', 'Billing', 'payOut', of.gateway, of.provider);
    const got = (await wealthOf(house, ['provider'])) - before;
    const due = owed - feeOf(owed);
    // Each batch rounds a share once.
    const rounding = BigInt(strategy.steps.length);
    return { honestLossUnits: got > due + rounding ? got - due : 0n };
  },
);

/**
 * An epoch that the gateway drew with is another one after a reorganisation: each of its receipts
 * looks misrouted.
 */
const otherEpoch = game(
  fc.record({
    calls: fc.integer({ min: 1, max: 8 }),
    bondTokens: fc.integer({ min: 1_000, max: 9_000 }),
  }),
  async (house, strategy) => {
    await house.must(
      'gateway',
      'Billing',
      'bond',
      house.of.gateway,
      BigInt(strategy.bondTokens) * TOKEN,
    );
    const lane = await house.openLane('anna', 'prepaid');
    for (let i = 0; i < strategy.calls; i += 1) {
      const last = lane.served.at(-1)?.receipt;
      const place = { seq: i + 1, before: last?.cumulative ?? 0n, billedMs: 0 };
      const entry = entryAt(house, lane, place, { execution: { deployment: 1 + (i % 4) } });
      lane.served.push(entry);
    }
    const settled = await settle(house, [honestClaim(lane)]);
    if (!settled.ok) throw new Error(settled.error);
    const before = await bondOf(house);
    for (const claimed of settled.claimed) {
      const { proofs } = proofsOf(house, claimed, []);
      await prove(house, 'stranger', proofs);
    }
    const lost = before.bonded - (await bondOf(house)).bonded;
    // Said in the documents: one floor for each deployment and epoch.
    const atMost = 4n * FLOORS.misroute * TOKEN;
    return { honestLossUnits: lost > atMost ? lost - atMost : 0n };
  },
);

/**
 * Payers who left an allowance, a list of top-ups with a payer who has nothing, a lane on borrowed
 * time.
 */
const orderly = game(
  fc.record({ tokens: fc.integer({ min: 1, max: 900 }), ms: fc.integer({ min: 0, max: 50_000 }) }),
  async (house, strategy) => {
    const { of, evm } = house;
    await house.must('gateway', 'Billing', 'bond', of.gateway, 2n * MIN_BOND);
    const amount = BigInt(strategy.tokens) * TOKEN;
    const tokensOf = async (): Promise<bigint> =>
      (await evm.read('MockUSDC', 'balanceOf', of.boris))[0];
    const tokens = await tokensOf();
    const permit = [of.boris, amount, evm.nowSec() + DAY, 27, word(1), word(2)];
    await house.send('stranger', 'Billing', 'depositWithPermit', ...permit);
    const forced = tokens - (await tokensOf());

    // Anna's line is empty and has a standing order; the stranger's has one too and nothing behind
    // it.
    await house.must('anna', 'Billing', 'thaw', of.gateway, 900_000n * TOKEN);
    evm.pass(WINDOWS.lineThaw + HOUR);
    await house.must('anna', 'Billing', 'release', of.anna, of.gateway);
    const lane = await house.openLane('anna', 'prepaid');
    await house.must('anna', 'Billing', 'setLimit', of.gateway, 1_000n * TOKEN);
    await house.must('publisher', 'Billing', 'setLimit', of.gateway, 1_000n * TOKEN);
    const { receipt } = serve(house, lane, strategy.ms);
    await house.send('gateway', 'Billing', 'topUp', of.gateway, [of.publisher, of.anna]);
    const settled = await settle(house, [honestClaim(lane)]);
    return { payerLossUnits: forced, honestLossUnits: settled.ok ? 0n : receipt.price };
  },
);

/** The client's checks and ceilings against a gateway that shows it what it likes. */
const payer = game(payerStrategies, payLyingGateway);

export const GAMES = {
  payer,
  lies,
  burnFirst,
  exit,
  launder,
  theft,
  hostile,
  lostBatch,
  payee,
  otherEpoch,
  orderly,
} as const;
export type GameName = keyof typeof GAMES;

/** Binds strategies to how they are played, whatever their type. */
function game<S>(
  strategies: fc.Arbitrary<S>,
  play: (house: House, strategy: S) => Promise<Outcome>,
): { sample(count: number, seed: number): readonly ((house: House) => Promise<Outcome>)[] } {
  return {
    sample: (count, seed) =>
      fc
        .sample(strategies, { numRuns: count, seed })
        .map((strategy) => (house: House) => play(house, strategy)),
  };
}

interface Round {
  readonly lanes: readonly { readonly lane: Lane; readonly strategy: LaneStrategy }[];
  readonly handedOut: ReadonlyMap<Lane, readonly Entry[]>;
}

async function openAndServe(house: House, strategies: readonly LaneStrategy[]): Promise<Round> {
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
 * All that the ceilings may let a gateway take beyond honest receipts so that no provable lie pays:
 * 7/12 of what stands, by D2 7/48.
 */
async function allowedExposure(house: House, { lanes }: Round): Promise<bigint> {
  const covering = await coveringBond(house);
  const byD2 = lanes.some(({ strategy }) => strategy.lie === 'omit');
  return (covering * 7n) / (byD2 ? 48n : 12n);
}

/**
 * What outlives a batch of now: on its way out below MIN_BOND a gateway settles only while that
 * holds for all of its bond.
 */
async function coveringBond(house: House): Promise<bigint> {
  const { bonded, standing } = await bondOf(house);
  return standing >= MIN_BOND ? standing : bonded;
}

interface Committed {
  readonly claimed: readonly (Claimed & { readonly lie: Lie })[];
  /** What covered it just before. */
  readonly bond: bigint;
  readonly takenUnits: bigint;
}

async function commit(
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
      // Less than two tokens is no lie worth telling, and some need a price of their own.
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

/** What the gateway's friends do with the evidence before anybody else has it. */
async function beforeWatcher(
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
async function watch(
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
    // The answers have shown what the pages did not.
    await prove(house, 'watcher', proofsOf(house, { ...one, shown: 'pages' }, held).proofs);
  }
  house.evm.pass(WINDOWS.answer + HOUR);
  for (const one of claimed) {
    for (const index of one.entries.keys()) {
      await house.send('watcher', 'Disputes', 'expire', one.place, index);
    }
  }
}

/** The leaves whose Call and Execution an answer has shown as they are committed. */
async function answerIfPossible(house: House, one: Claimed): Promise<ReadonlySet<number>> {
  const opened = new Set<number>();
  for (const [index, entry] of one.entries.entries()) {
    const leaf = leafOf(one, index);
    const signature = entry.callSignature ?? `0x${'11'.repeat(65)}`;
    // A liar shows another Execution first, by which the price would be right.
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

async function judge(
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
  // What the proofs can come to at most: no claim repays more than it took, and each receipt that
  // was handed out and is not there as it was brings its floor once.
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

/** A lie in a friend's lane, proven by an accomplice. The units that were slashed. */
async function slashItself(
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

export interface SiegeStrategy {
  readonly bondTokens: number;
  readonly lanes: readonly { readonly mode: Lane['mode']; readonly billedMs: readonly number[] }[];
  readonly moves: readonly {
    readonly move: (typeof STRANGERS_MOVES)[number];
    readonly at: number;
    readonly hours: number;
  }[];
}

/**
 * The stranger's moves one after the other; after each the gateway answers what is demanded of it.
 */
export async function besiege(house: House, strategy: SiegeStrategy): Promise<Outcome> {
  const { of, evm } = house;
  await house.must('gateway', 'Billing', 'bond', of.gateway, BigInt(strategy.bondTokens) * TOKEN);
  const claimed: Claimed[] = [];
  const lanes: Lane[] = [];
  for (const { mode, billedMs } of strategy.lanes) {
    const lane = await house.openLane('anna', mode);
    for (const ms of billedMs) serve(house, lane, ms);
    lanes.push(lane);
  }
  const settleAll = async () => {
    const waiting = lanes.filter(({ served }) => served.length > 0);
    if (waiting.length === 0) return;
    const settled = await settle(house, waiting.map(honestClaim));
    if (!settled.ok) throw new Error(`an honest batch was refused: ${settled.error}`);
    claimed.push(...settled.claimed);
  };
  await settleAll();
  const before = await wealthOf(house, ['gateway', 'crony']);
  let earned = 0n;
  const forger = newKey();
  for (const { move, at, hours } of strategy.moves) {
    const one = claimed[at % claimed.length];
    if (!one) break;
    const index = at % one.entries.length;
    await strangersMove(house, { move, one, index, at, forger });
    await answerIfPossible(house, one);
    evm.pass(hours * HOUR);
    if (at % 5 === 0) {
      for (const lane of lanes) earned += serve(house, lane, at * 10).receipt.price;
      await settleAll();
    }
  }
  evm.pass(WINDOWS.answer + HOUR);
  for (const one of claimed) {
    for (const index of one.entries.keys())
      await house.send('stranger', 'Disputes', 'expire', one.place, index);
  }
  const fee = (earned * FEE_BPS) / 10_000n - BigInt(strategy.moves.length * lanes.length + 1);
  const lost = before + (fee > 0n ? fee : 0n) - (await wealthOf(house, ['gateway', 'crony']));
  return { honestLossUnits: lost > 0n ? lost : 0n };
}

async function strangersMove(
  house: House,
  of: {
    readonly move: (typeof STRANGERS_MOVES)[number];
    readonly one: Claimed;
    readonly index: number;
    readonly at: number;
    readonly forger: House['operator'];
  },
): Promise<void> {
  const { move, one, index, at, forger } = of;
  const { place, entries, tree } = one;
  const entry = entries[index];
  if (!entry) return;
  const act = (contract: 'Billing' | 'Disputes' | 'Identity', method: string, ...args: unknown[]) =>
    house.send('stranger', contract, method, ...args);
  const opened = [place, leafOf(one, index), callOf(entry.call), executionOf(entry.execution)];
  const { gateway, stranger } = house.of;
  switch (move) {
    case 'demand':
    case 'demandAgain':
      await act('Disputes', 'demand', place, index);
      if (move === 'demandAgain') await act('Disputes', 'demand', place, index);
      return;
    case 'expireEarly':
      await act('Disputes', 'expire', place, index);
      return;
    case 'proveHonest':
      await act('Disputes', 'proveOvercharge', ...opened);
      await act('Disputes', 'proveOverLimit', ...opened);
      await act('Disputes', 'proveMisroute', ...opened, 1, house.ids);
      await act('Disputes', 'proveEdge', place, leafOf(one, index));
      if (entries.length > index + 1) {
        const next = leafOf(one, index + 1);
        await act('Disputes', 'proveBreak', place, leafOf(one, index), next);
        await act('Disputes', 'proveDuplicate', place, leafOf(one, index), place, next);
      }
      return;
    case 'proveMutated': {
      const call = { ...callOf(entry.call), maxPrice: 1n };
      const execution = { ...executionOf(entry.execution), billedMs: at };
      await act('Disputes', 'proveOvercharge', place, leafOf(one, index), call, execution);
      const moved = { ...place, settledTo: one.deltaUnits + 1n };
      await act('Disputes', 'proveEdge', moved, leafOf(one, index));
      await act('Disputes', 'proveMisroute', ...opened, 0, []);
      await act('Disputes', 'demand', { ...place, claim: 7 }, index);
      return;
    }
    case 'proveForged': {
      const forged = handOut(house, { ...entry.receipt, price: 0n }, forger);
      const node = hashReceipt(entry.receipt);
      await act('Disputes', 'proveOmission', forged, place, node, tree.path(index), [
        entry.receipt,
      ]);
      const real = handOut(house, entry.receipt);
      await act('Disputes', 'proveOmission', real, place, node, tree.path(index), []);
      return;
    }
    case 'answerForIt':
      await act('Disputes', 'demand', place, index);
      await act('Disputes', 'answer', ...opened, entry.callSignature ?? '0x');
      return;
    case 'collectForged':
      await act('Billing', 'collect', gateway, stranger, 5n * TOKEN, forger.sign(word(at)));
      return;
    case 'settleForIt':
      await act('Billing', 'settle', gateway, [], [], word(1));
      await act('Billing', 'topUp', gateway, [house.of.anna]);
      return;
    case 'leaveForIt':
      await act('Billing', 'leave', gateway);
      await act('Billing', 'payOut', gateway, stranger);
      return;
    case 'thawAndRelease':
      await act('Billing', 'release', house.of.anna, gateway);
      return;
    case 'slash':
      await act('Billing', 'slash', gateway, TOKEN, stranger, 0n, stranger, 0n);
      await act('Billing', 'unpledge', stranger, PLEDGE);
      return;
    case 'retireItsKey':
      await act('Identity', 'retireKey', house.operator.address);
      return;
    case 'topUp':
      await act('Billing', 'topUp', gateway, [stranger]);
      return;
    case 'bondDust':
      await act('Billing', 'bond', gateway, 1n);
  }
}

function honestClaim(lane: Lane) {
  const settledTo = lane.served.at(-1)?.receipt.cumulative ?? lane.settledUnits;
  return { lane, entries: lane.served, settledTo };
}

/** At stake, and what of it is not on its way out; token units. */
async function bondOf(
  house: House,
): Promise<{ readonly bonded: bigint; readonly standing: bigint }> {
  const at = await house.evm.read('Billing', 'standing', house.of.gateway);
  const [bonded, unbonding]: bigint[] = [at[0], at[1]];
  if (bonded === undefined || unbonding === undefined) throw new Error('no bond');
  return { bonded, standing: bonded > unbonding ? bonded - unbonding : 0n };
}

/** Of the bond, what never began to leave. */
async function keptBond(house: House): Promise<bigint> {
  const [{ bond, unbonding }] = await house.evm.read('Billing', 'gatewayBondOf', house.of.gateway);
  return BigInt(bond) - BigInt(unbonding);
}

function slashesIn(sent: Sent): readonly Log['args'][] {
  return sent.ok ? sent.logs.filter(({ name }) => name === 'Slashed').map(({ args }) => args) : [];
}

function ratio(part: bigint, whole: bigint): number {
  return whole === 0n ? 0 : Number((part * 1_000_000n) / whole) / 1_000_000;
}
