// The economics of trust, in a sample that every run can afford; `npm run -s bench -- trust` plays thousands.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { GAMES, type GameName } from '../../../scripts/bench/trust/games.ts';
import { createHouse, type House } from '../../../scripts/bench/trust/house.ts';
import type { Outcome } from '../../../scripts/bench/trust/outcome.ts';
import { RULES, sourceWithout } from '../../../scripts/bench/trust/rules.ts';
import { besiege, STRANGERS_MOVES } from '../../../scripts/bench/trust/siege.ts';

const SAMPLE = 12;

describe('the economics of trust', () => {
  let house: House;
  before(async () => {
    house = await createHouse();
  });
  after(() => house.evm.close());

  // The names are those of the games.
  for (const name of Object.keys(GAMES) as GameName[]) {
    it(`shows no loss beyond the rules in a sample of the game "${name}"`, async () => {
      for (const play of GAMES[name].sample(SAMPLE, 7)) {
        assertKept(await house.evm.within(() => play(house)));
      }
    });
  }

  it('leaves an honest gateway whole after 1,000 random actions of a stranger over weeks', async () => {
    const moves = fc.array(
      fc.record({
        move: fc.constantFrom(...STRANGERS_MOVES),
        at: fc.nat(1_000),
        hours: fc.integer({ min: 0, max: 3 }),
      }),
      { minLength: 1_000, maxLength: 1_000, size: 'max' },
    );
    const [strangers = []] = fc.sample(moves, { numRuns: 1, seed: 11 });
    const lanes = [
      { mode: 'prepaid' as const, billedMs: [10, 500, 20_000] },
      { mode: 'signed' as const, billedMs: [1, 2] },
    ];

    const outcome = await house.evm.within(() =>
      besiege(house, { bondTokens: 10_000, lanes, moves: strangers }),
    );

    assert.equal(strangers.length, 1_000);
    assert.equal(outcome.honestLossUnits, 0n);
  });

  it('finds the source text of each rule that the bench switches off', () => {
    for (const rule of RULES) {
      const { length } = sourceWithout(rule);
      assert.ok(length > 0, rule.name);
    }
  });
});

function assertKept(outcome: Outcome): void {
  const { lieProfitUnits = 0n, victimsUnpaidUnits = 0n, honestLossUnits = 0n } = outcome;
  assert.ok(lieProfitUnits <= 0n, `a lie brought ${lieProfitUnits}`);
  assert.equal(victimsUnpaidUnits, 0n);
  assert.equal(honestLossUnits, 0n);
  assert.equal(outcome.payerLossUnits ?? 0n, 0n);
  assert.ok((outcome.keyTheftBurnShare ?? 0) <= 0.25);
  assert.ok((outcome.keyTheftGainShare ?? 0) < 0.42);
  assert.ok((outcome.launderShare ?? 0) < 0.42);
}
