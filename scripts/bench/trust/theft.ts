// The game of a stolen operator key.
import fc from 'fast-check';
import { hashReceipt } from '../../../contracts/libraries/receipts.ts';
import { handOut, serve, settle } from './books.ts';
import { game, honestClaim, keptBond, ratio, slashesIn } from './game.ts';
import { HOUR, TOKEN, WINDOWS } from './house.ts';

/** A thief has an operator key of an honest gateway, and lanes of its own there. */
export const theft = game(
  fc.record({
    bondTokens: fc.integer({ min: 1_000, max: 50_000 }),
    calls: fc.integer({ min: 1, max: 6 }),
    priceTokens: fc.constantFrom(0, 1, 50, 1_000, 20_000),
    /** Hours between proofs, and from the last settlement to the key's end. */
    steps: fc.array(fc.constantFrom(0, 1, 24, 100, 167, 168, 169), { minLength: 2, maxLength: 12 }),
    startHours: fc.integer({ min: 0, max: 168 }),
    opened: fc.boolean(),
    retireAfter: fc.integer({ min: 1, max: 12 }),
    /** Nine tenths of the bond are unbonded and not yet taken. */
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
      // The gateway goes on serving and settling. The thief is one of its callers.
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
        // Relative to the bond before the slashes: fees are added to it meanwhile.
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
