// Games of gateways that settle lies about what they served.
import fc from 'fast-check';
import { serve } from './books.ts';
import { bondOf, game, mode, ratio, share } from './game.ts';
import { DAY, HOUR, MIN_BOND, TOKEN, WINDOWS, wealthOf } from './house.ts';
import { LIES, type Lie } from './lies.ts';
import {
  allowedExposure,
  beforeWatcher,
  COALITION,
  commit,
  judge,
  laneStrategy,
  openAndServe,
  slashItself,
  watch,
} from './round.ts';

/** What the gateway's friends do before the watcher. */
const moves = fc.constantFrom(
  'nothing',
  'frontRun',
  'smallFirst',
  'demandAll',
  'retireKey' as const,
);

export const lies = game(
  fc.record({
    bondTokens: fc.integer({ min: 1_000, max: 50_000 }),
    /** Share of the allowed exposure, 1/1000. */
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
 * The gateway burns its bond by lies in a friend's lane, and then takes what its ceilings still
 * allow.
 */
export const burnFirst = game(
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
    // Payers who see the bond fall can withdraw after LINE_THAW. Until then their vouchers count.
    const isLate = standing < MIN_BOND && strategy.waitHours * HOUR > WINDOWS.lineThaw;
    if (isLate) return { payerLossUnits: committed.takenUnits };
    house.evm.pass(strategy.delayHours * HOUR);
    await watch(house, committed, round.handedOut);
    const { lieProfitUnits } = await judge(house, { before, committed, round, bond: 0n });
    return lieProfitUnits === undefined ? {} : { lieProfitUnits };
  },
);

/** The gateway unbonds and lies on its way out, as late as it can. */
export const exit = game(
  fc.record({
    bondTokens: fc.integer({ min: 1_500, max: 30_000 }),
    exposure: share,
    keepTokens: fc.constantFrom(0, 500, 1_000, 1_050),
    lanes: fc.array(laneStrategy, { minLength: 1, maxLength: 2 }),
    /** Hours from unbonding to the lie. */
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

/** The gateway has itself slashed in a friend's lane, to get its bond out. */
export const launder = game(
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
