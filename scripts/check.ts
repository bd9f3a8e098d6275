// `npm run check`: checks format, lint with import fences, types, and that generated files and
// lists are up to date. Runs every check and exits 1 if one failed. Runs no tests.
import { spawnSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { lintSolidity } from './lint-solidity.ts';
import { findMissingOptional, findRegistryAddresses } from './lockfile.ts';
import { compareVariables } from './variables.ts';

const checks: Record<string, () => readonly string[]> = {
  'format and lint': () =>
    runProgram('node_modules/@biomejs/biome/bin/biome', 'check', '--error-on-warnings', '.'),
  solidity: lintSolidity,
  types: () => runProgram('node_modules/typescript/bin/tsc', '--noEmit', '-p', 'tsconfig.json'),
  'generated files': () =>
    ['scripts/generate-artifacts.ts', 'scripts/generate-manifest-page.ts'].flatMap((program) =>
      runProgram(program, '--check'),
    ),
  lockfiles: () =>
    ['package-lock.json', 'test/peers/package-lock.json'].flatMap((path) => {
      const text = readFileSync(path, 'utf8');
      return [
        ...findMissingOptional(JSON.parse(text)).map(
          (name) => `${path}: no entry for optional ${name}`,
        ),
        ...findRegistryAddresses(text).map((line) => `registry address in ${path}: ${line}`),
      ];
    }),
  variables: () => {
    const sources = globSync(['{broker,scripts}/**/*.{ts,mjs}', '.ci/run']);
    const readable = sources.filter((path) => !path.startsWith('scripts/examples/'));
    const texts = readable.map((path) => readFileSync(path, 'utf8'));
    return compareVariables(readFileSync('.env.example', 'utf8'), texts);
  },
};

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  const startedAtMs = Date.now();
  const faults = check();
  const seconds = ((Date.now() - startedAtMs) / 1000).toFixed(1);
  console.log(`${faults.length === 0 ? 'ok  ' : 'FAIL'} ${name} (${seconds} s)`);
  for (const fault of faults) console.log(`     ${fault}`);
  if (faults.length > 0) failed++;
}
process.exitCode = failed === 0 ? 0 : 1;

/** Runs a program under this Node and shows its output; no faults if its exit code is 0. */
function runProgram(program: string, ...args: string[]): readonly string[] {
  const { status, signal } = spawnSync(process.execPath, [program, ...args], {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, HARDHAT_DISABLE_TELEMETRY_PROMPT: 'true' },
  });
  return status === 0 ? [] : [`${program} ${args.join(' ')} ended with ${status ?? signal}`];
}
