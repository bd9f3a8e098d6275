// Games without a liar: lost blocks, payees, payers who leave. No honest party may lose.
import fc from 'fast-check';
import { entryAt, serve, settle } from './books.ts';
import { billed, bondOf, game, honestClaim, mode } from './game.ts';
import { DAY, FEE_BPS, FLOORS, HOUR, MIN_BOND, TOKEN, WINDOWS, wealthOf, word } from './house.ts';
import { proofsOf, prove } from './watcher.ts';

/** A reorganisation removes a batch, and the gateway sends the next one, which builds on it. */
export const lostBatch = game(
  fc.record({ billedMs: billed, more: billed, mode, isFree: fc.boolean() }),
  async (house, strategy) => {
    const { of, evm } = house;
    await house.must('gateway', 'Billing', 'bond', of.gateway, 2n * MIN_BOND);
    const lane = await house.openLane('anna', strategy.mode);
    // With failed calls, both states have the same sums and payouts.
    for (const ms of strategy.billedMs) serve(house, lane, ms, strategy.isFree);
    const lost = lane.served;
    // The gateway believes these settled.
    lane.settledSeq = lost.length;
    lane.settledUnits = lost.at(-1)?.receipt.cumulative ?? 0n;
    lane.served = [];
    for (const ms of strategy.more) serve(house, lane, ms);
    const built = lane.served;
    const settled = await settle(house, [honestClaim(lane)]);
    if (settled.ok) {
      // The claim covers everything since the contract's state, but its tree only the later
      // receipts: nobody can open the leaves before.
      const [claimed] = settled.claimed;
      if (!claimed) return {};
      const place = { ...claimed.place, settledFrom: 0n, seqFrom: 0 };
      const before = await bondOf(house);
      await house.send('stranger', 'Disputes', 'demand', place, 0);
      evm.pass(WINDOWS.answer + HOUR);
      await house.send('stranger', 'Disputes', 'expire', place, 0);
      return { honestLossUnits: before.bonded - (await bondOf(house)).bonded };
    }
    // It starts again from the chain's state.
    lane.settledSeq = 0;
    lane.settledUnits = 0n;
    lane.served = [...lost, ...built];
    const done = await settle(house, [honestClaim(lane)]);
    if (!done.ok) throw new Error(`an honest batch was refused: ${done.error}`);
    return { honestLossUnits: 0n };
  },
);

/** A provider collects its share from the float, before and after the batches that pay it. */
export const payee = game(
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
 * A reorganisation changes the value of an epoch that the gateway drew by: all its receipts look
 * misrouted.
 */
export const otherEpoch = game(
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
    // The documented loss: one floor for each deployment and epoch.
    const atMost = 4n * FLOORS.misroute * TOKEN;
    return { honestLossUnits: lost > atMost ? lost - atMost : 0n };
  },
);

/**
 * Edge cases of orderly payers: a permit without an allowance, a top-up of a payer who has nothing,
 * a lane that is served while its line is empty.
 */
export const orderly = game(
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

    // Anna's line is empty and has a top-up limit. The publisher has a limit too, and no tokens.
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
