// `npm test`: the Solidity tests under Hardhat, then everything else under mocha; the last line has
// the sum of both. `npm run test:file -- <paths>` runs only the named files. Not to be confused
// with `check`, which runs no test.
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import Mocha from 'mocha';
import { runHardhat } from './hardhat.ts';

/**
 * How long the event loop may stay busy after the last test before that counts as a failure, ms.
 */
const DRAIN_MS = 10_000;

const TESTS = ['test/**/*.t.sol', 'test/**/*.test.ts'];

interface Tally {
  passed: number;
  failed: number;
  /** One line each; a skipped test's title says why. */
  readonly skipped: string[];
  /** Failures outside of the tests. */
  readonly faults: string[];
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { grep: { type: 'string', short: 'g' } },
});
let isReported = false;
// A test that calls process.exit must not look like a finished run.
process.once('exit', () => {
  if (isReported) return;
  total.faults.push('the test process ended before its tests');
  process.exitCode = print();
});
const total: Tally = { passed: 0, failed: 0, skipped: [], faults: [] };
const files = selectFiles(positionals);

if (files.solidity.length > 0) add(await runSolidity(files.solidity, values.grep));
else if (positionals.length === 0) total.faults.push('no Solidity test was found');

if (files.mocha.length > 0) add(await runMocha(files.mocha, values.grep));
else if (positionals.length === 0) total.faults.push('no mocha test was found');
if (files.solidity.length + files.mocha.length === 0) total.faults.push('no test file was named');

report();

/** The test files to run: all, or those named. */
function selectFiles(paths: readonly string[]): { solidity: string[]; mocha: string[] } {
  const named = paths.length > 0 ? paths : globSync(TESTS, { exclude: ['**/node_modules'] });
  const sorted = named.toSorted();
  return {
    solidity: sorted.filter((path) => path.endsWith('.t.sol')),
    mocha: sorted.filter((path) => !path.endsWith('.t.sol')),
  };
}

/** Runs Hardhat's tests; streams the output and counts the results afterwards. */
async function runSolidity(paths: readonly string[], grep: string | undefined): Promise<Tally> {
  const filter = grep === undefined ? [] : ['--grep', grep];
  const { code, output } = await runHardhat(['test', 'solidity', ...paths, ...filter]);
  const lines = output.split('\n');
  const count = (word: string): number =>
    Number(
      lines.findLast((line) => new RegExp(`^\\s*\\d+ ${word}$`).test(line))?.match(/\d+/) ?? 0,
    );
  const tally: Tally = {
    passed: count('passing'),
    failed: count('failing'),
    skipped: [],
    faults: [],
  };
  for (const line of lines) {
    const title = /^\s+- (\S+\(.*\))$/.exec(line)?.[1];
    if (title !== undefined && count('skipped') > 0) tally.skipped.push(`Solidity: ${title}`);
  }
  if (code !== 0 && tally.failed === 0)
    tally.faults.push(`hardhat test solidity ended with ${code}`);
  else if (tally.passed + tally.failed === 0) tally.faults.push('hardhat found no Solidity test');
  return tally;
}

/**
 * Runs mocha in this process with the options of `.mocharc.json`. The contracts must be built
 * before, because this compiles nothing.
 */
async function runMocha(paths: readonly string[], grep: string | undefined): Promise<Tally> {
  const tally: Tally = { passed: 0, failed: 0, skipped: [], faults: [] };
  const build = await runHardhat(['build']);
  if (build.code !== 0) {
    tally.faults.push(`hardhat build ended with ${build.code}`);
    return tally;
  }
  const options: Mocha.MochaOptions = JSON.parse(readFileSync('.mocharc.json', 'utf8'));
  const mocha = new Mocha({ ...options, ...(grep === undefined ? {} : { grep }) });
  for (const path of paths) mocha.addFile(join(process.cwd(), path));
  await mocha.loadFilesAsync();
  await new Promise<void>((resolve) => {
    const runner = mocha.run(() => resolve());
    runner.on('pass', () => tally.passed++);
    runner.on('fail', () => tally.failed++);
    runner.on('pending', (test) => tally.skipped.push(test.fullTitle()));
  });
  if (tally.passed + tally.failed + tally.skipped.length === 0) {
    tally.faults.push('mocha found no test');
  }
  return tally;
}

function add(tally: Tally): void {
  total.passed += tally.passed;
  total.failed += tally.failed;
  total.skipped.push(...tally.skipped);
  total.faults.push(...tally.faults);
}

/**
 * Prints the sum once no handle is open; a test that leaves a socket or a process open counts as a
 * failure.
 */
function report(): void {
  const late = setTimeout(() => {
    total.faults.push(
      `tests left open: ${[...new Set(process.getActiveResourcesInfo())].join(', ')}`,
    );
    process.exit(print());
  }, DRAIN_MS);
  late.unref();
  process.once('beforeExit', () => process.exit(print()));
}

function print(): number {
  isReported = true;
  for (const title of total.skipped) console.log(`skipped: ${title}`);
  for (const fault of total.faults) console.log(`fault: ${fault}`);
  const failed = total.failed + total.faults.length;
  console.log(`${total.passed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}
