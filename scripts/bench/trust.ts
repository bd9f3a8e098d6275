// `bench trust`: plays strategies of liars, thieves and strangers against the real contracts on a
// chain in this process. Then switches off each rule in turn, which must show a loss.
import type { Bar, Run } from './main.ts';
import { GAMES, type GameName } from './trust/games.ts';
import { createHouse, type House } from './trust/house.ts';
import type { Outcome } from './trust/outcome.ts';
import { buildWithout, RULES } from './trust/rules.ts';

/** Strategies of each game with all rules on. */
const COUNTS: Readonly<Record<GameName, number>> = {
  payer: 400,
  lies: 1_700,
  burnFirst: 500,
  exit: 800,
  launder: 500,
  theft: 350,
  hostile: 500,
  lostBatch: 100,
  payee: 250,
  otherEpoch: 60,
  orderly: 60,
};
const SEED = 20_261_130;
/** Strategies that may look for the loss when a rule is off. */
const MOST_WITHOUT_A_RULE = 600;

const BARS: readonly Bar[] = [
  { figure: 'strategies', limit: 5_000, kind: 'least' },
  { figure: 'honestLossUnits', limit: 0 },
  { figure: 'bestLieProfitUnits', limit: 0 },
  { figure: 'victimsUnpaidUnits', limit: 0 },
  { figure: 'payerWorstUnitsOverAllowance', limit: 0 },
  { figure: 'keyTheftBurnShare', limit: 0.25 },
  { figure: 'keyTheftGainShare', limit: 0.42 },
  { figure: 'launderShare', limit: 0.42 },
  { figure: 'rulesWithTeeth', limit: RULES.length, kind: 'least' },
];

export const run: Run = async (report) => {
  const house = await createHouse();
  const worst = createWorst();
  const rows: Record<string, unknown> = {};
  try {
    for (const name of Object.keys(GAMES) as GameName[]) {
      const startMs = Date.now();
      const count = COUNTS[name];
      for (const play of GAMES[name].sample(count, SEED))
        worst.add(await house.evm.within(() => play(house)));
      rows[name] = { strategies: count, seconds: Math.round((Date.now() - startMs) / 1000) };
      report(`${name}: ${count} strategies in ${Math.round((Date.now() - startMs) / 1000)} s`);
    }
  } finally {
    await house.evm.close();
  }
  let teeth = 0;
  const found: Record<string, unknown> = {};
  for (const rule of RULES) {
    const loss = await lossWithout(rule);
    if (loss !== undefined) teeth += 1;
    found[rule.name] = loss ?? 'no loss found';
    report(`without "${rule.name}": ${loss ?? 'no loss found'}`);
  }
  const strategies = Object.values(COUNTS).reduce((sum, count) => sum + count, 0);
  return {
    figures: { strategies, ...worst.figures(), rules: RULES.length, rulesWithTeeth: teeth },
    bars: BARS,
    details: { games: rows, withoutEachRule: found, keyTheftTailShare: worst.tail() },
  };
};

/** The first loss that a rule's games show when it is off, in words. */
async function lossWithout(rule: (typeof RULES)[number]): Promise<string | undefined> {
  const house: House = await createHouse(buildWithout(rule));
  let played = 0;
  try {
    for (const name of rule.games) {
      for (const play of GAMES[name].sample(MOST_WITHOUT_A_RULE, SEED)) {
        played += 1;
        const loss = lossIn(await house.evm.within(() => play(house)));
        if (loss !== undefined) return `${loss}, strategy ${played} of ${name}`;
      }
    }
    return undefined;
  } finally {
    await house.evm.close();
  }
}

function lossIn(outcome: Outcome): string | undefined {
  const worst = createWorst();
  worst.add(outcome);
  const figures: Record<string, number> = worst.figures();
  const broken = BARS.find(
    ({ figure, limit, kind }) => kind !== 'least' && (figures[figure] ?? 0) > limit,
  );
  return broken && `${broken.figure} ${figures[broken.figure]}`;
}

function createWorst() {
  let honest = 0n;
  let profit: bigint | undefined;
  let unpaid = 0n;
  let payer = 0n;
  let burn = 0;
  let tail = 0;
  let gain = 0;
  let launder = 0;
  const larger = (a: bigint, b: bigint | undefined) => (b !== undefined && b > a ? b : a);
  return {
    add: (one: Outcome): void => {
      honest = larger(honest, one.honestLossUnits);
      if (one.lieProfitUnits !== undefined)
        profit = larger(profit ?? one.lieProfitUnits, one.lieProfitUnits);
      unpaid = larger(unpaid, one.victimsUnpaidUnits);
      payer = larger(payer, one.payerLossUnits);
      burn = Math.max(burn, one.keyTheftBurnShare ?? 0);
      tail = Math.max(tail, one.keyTheftTailShare ?? 0);
      gain = Math.max(gain, one.keyTheftGainShare ?? 0);
      launder = Math.max(launder, one.launderShare ?? 0);
    },
    figures: () => ({
      payerWorstUnitsOverAllowance: Number(payer),
      honestLossUnits: Number(honest),
      bestLieProfitUnits: Number(profit ?? 0n),
      victimsUnpaidUnits: Number(unpaid),
      keyTheftBurnShare: burn,
      keyTheftGainShare: gain,
      launderShare: launder,
    }),
    tail: () => tail,
  };
}
