// `npm run -s mutate -- [files] [--sample n] [--seed n] [--list] [--near] [--within name]`: mutates
// the contracts in one place at a time and runs the Solidity tests against each mutant. Default:
// the contracts changed since HEAD~1. Equivalent mutants are listed in test/contracts/mutants.json
// with a reason; exit code 1 if any other mutant survives. `--near` runs only the file's own tests.
import { execFileSync } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { parseArgs } from 'node:util';
import { type Arena, createArena } from './mutation/arena.ts';
import { type Mutant, mutantsOf } from './mutation/mutants.ts';
import { CompileError, parse } from './mutation/solc.ts';

const EQUIVALENTS = 'test/contracts/mutants.json';
/**
 * Inputs per fuzz test: many in the near suites; few at first in the others, which take seconds.
 */
const NEAR_RUNS = 64;
const FAR_RUNS = [4, 24] as const;

/** The suites that run first for a file; a survivor then meets all others. */
const SUITES: Readonly<Record<string, readonly string[]>> = {
  Beacon: ['Beacon'],
  Billing: ['Bonds', 'Deposits', 'Lines', 'Settlement'],
  Disputes: ['Disputes'],
  FunctionRegistry: ['FunctionRegistry'],
  Identity: ['Identity'],
  Signatures: ['Libraries', 'Settlement', 'Lines'],
  TypedData: ['Libraries', 'Lines', 'Settlement', 'Identity'],
};
/** Suites of the libraries that LibraryProbe exposes unchanged. */
const LIBRARY_SUITES = ['Libraries'];

/**
 * An equivalent mutant, which no test can notice. `within`, `from`, `to` and `nth` are as `--list`
 * prints them.
 */
interface Equivalent extends Pick<Mutant, 'file' | 'within' | 'from' | 'to' | 'nth'> {
  readonly reason: string;
}

type Fate = 'killed' | 'survived' | 'equivalent' | 'refused';

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      sample: { type: 'string' },
      seed: { type: 'string', default: '1' },
      within: { type: 'string', default: '' },
      list: { type: 'boolean', default: false },
      near: { type: 'boolean', default: false },
    },
  });
  const files = positionals.length > 0 ? globSync(positionals).sort() : changedContracts();
  if (files.length === 0) {
    console.log('no contract has changed since HEAD~1');
    return 0;
  }
  const chosen = files.flatMap((file) => {
    const source = readFileSync(file, 'utf8');
    const all = mutantsOf(file, source, parse(file, new Map())).filter(({ within }) =>
      within.includes(values.within),
    );
    return values.sample === undefined ? all : draw(all, Number(values.sample), values.seed);
  });
  if (values.list) {
    for (const mutant of chosen) console.log(describe(mutant));
    return 0;
  }
  const known = readEquivalents();
  const arena = await createArena();
  const tally: Record<Fate, number> = { killed: 0, survived: 0, equivalent: 0, refused: 0 };
  for (const mutant of chosen) {
    const { fate, by } = await fateOf(mutant, arena, known, values.near);
    tally[fate]++;
    console.log(`${fate.padEnd(10)} ${describe(mutant)}${by === undefined ? '' : `  by ${by}`}`);
  }
  const judged = tally.killed + tally.survived;
  const score = judged === 0 ? 100 : (100 * tally.killed) / judged;
  console.log(
    `${files.join(', ')}: ${tally.killed} killed, ${tally.survived} survived, ` +
      `${tally.equivalent} known to change nothing, ${tally.refused} refused by the compiler; score ${score.toFixed(1)} %`,
  );
  return tally.survived === 0 ? 0 : 1;
}

async function fateOf(
  mutant: Mutant,
  arena: Arena,
  known: readonly Equivalent[],
  nearOnly: boolean,
): Promise<{ readonly fate: Fate; readonly by?: string | undefined }> {
  const name = basename(mutant.file, '.sol');
  const near = SUITES[name] ?? LIBRARY_SUITES;
  const far = nearOnly ? [] : arena.suites.filter((suite) => !near.includes(suite));
  if (known.some((one) => isSame(one, mutant))) return { fate: 'equivalent' };
  try {
    for (const [suites, runs] of [
      [near, NEAR_RUNS],
      ...FAR_RUNS.map((runs) => [far, runs] as const),
    ] as const) {
      const by = suites.length > 0 && (await arena.fight(mutant.file, mutant.source, suites, runs));
      if (by) return { fate: 'killed', by };
    }
    return { fate: 'survived' };
  } catch (error) {
    if (error instanceof CompileError) return { fate: 'refused' };
    throw error;
  }
}

function isSame(one: Equivalent, mutant: Mutant): boolean {
  return (['file', 'within', 'from', 'to', 'nth'] as const).every(
    (key) => one[key] === mutant[key],
  );
}

function readEquivalents(): Equivalent[] {
  return existsSync(EQUIVALENTS) ? JSON.parse(readFileSync(EQUIVALENTS, 'utf8')) : [];
}

/**
 * Contracts changed since HEAD~1, including the working tree; interfaces and test tokens have
 * nothing to mutate.
 */
function changedContracts(): string[] {
  const names = execFileSync('git', ['diff', '--name-only', 'HEAD~1', '--', 'contracts'], {
    encoding: 'utf8',
  });
  return names
    .split('\n')
    .filter((name) => /^contracts\/(libraries\/)?[A-Za-z]+\.sol$/.test(name) && existsSync(name));
}

/** Draws `count` of them with a seed, in their original order. */
function draw(all: readonly Mutant[], count: number, seed: string): Mutant[] {
  let state = Number(seed) >>> 0;
  // mulberry32
  const random = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const drawn = all.map((_, index) => ({ index, at: random() })).toSorted((a, b) => a.at - b.at);
  const kept = new Set(drawn.slice(0, count).map(({ index }) => index));
  return all.filter((_, index) => kept.has(index));
}

function describe({ file, line, within, from, to, nth }: Mutant): string {
  return `${file}:${line} ${within} #${nth}: ${from}  ->  ${to === '' ? '(nothing)' : to}`;
}

process.exitCode = await main();
