// `bench gas`: measures the gas of every action on the chain, with the production bytecode of
// artifacts.gen.ts. A bar is 10 % above the figure of the prototype. Two runs of the same bytecode
// give the same figures.
import { measureGas } from './gas/measure.ts';
import type { Bar, Run } from './main.ts';

/** Gas of the prototype. */
const DESIGN: Readonly<Record<string, number>> = {
  settleFixed: 53_500,
  settlePerLane: 24_500,
  settlePerPayee: 8_200,
  settle1Lane1Payee: 86_000,
  settle100Lanes1Receipt: 2_580_000,
  settle100Lanes1000Receipts: 2_580_000,
  settle100Lanes20000Receipts: 2_580_000,
  depositFirst: 61_000,
  deposit: 49_000,
  allotFirst: 51_000,
  allot: 34_000,
  thaw: 28_000,
  release: 32_000,
  withdraw: 59_000,
};

export const BARS: readonly Bar[] = [
  ...Object.entries(DESIGN).map(([figure, gas]) => ({ figure, limit: Math.floor(gas * 1.1) })),
  { figure: 'receiptsSpread', limit: 199 },
  { figure: 'perCallAt1000', limit: 30 },
  // The prototype of `openLane` did not read the gateway's bond, without which `Underbonded` cannot
  // be told.
  { figure: 'openLane', limit: 51_500 },
  { figure: 'proofVerifyMax', limit: 115_000 },
  { figure: 'proofTotalMax', limit: 220_000 },
  { figure: 'answer', limit: 120_000 },
];

/**
 * Bars known to fail, each with its reason. The gas test fails if one of them holds again or if
 * another bar fails.
 */
export const MISSES: readonly string[] = [];

export const run: Run = async (report) => {
  const { figures, codeBytes } = await measureGas(report);
  return { figures, bars: BARS, details: { codeBytes, misses: MISSES } };
};
