// Runs the Python programs of this folder: each reads one JSON document and prints one.
import { execFile, spawnSync } from 'node:child_process';
import { join } from 'node:path';

const PYTHON = '/usr/bin/python3';
/** Of Debian's packages python3-cryptography, python3-pycryptodome, python3-cbor2. */
const MODULES = 'cryptography, Cryptodome, cbor2';
const MAX_OUTPUT_BYTES = 16 * 1024 * 1024;

const missing = ((): string | undefined => {
  const { error, status } = spawnSync(PYTHON, ['-c', `import ${MODULES}`]);
  if (error) return `there is no ${PYTHON}`;
  return status === 0 ? undefined : `${PYTHON} lacks one of ${MODULES}`;
})();

/** For titles: why the tests do not run on this machine; empty where they do. */
export const reason = missing === undefined ? '' : ` (skipped: ${missing})`;
export const describeInPython = missing === undefined ? describe : describe.skip;

/** The JSON document that a program printed. */
export type Printed = ReturnType<JSON['parse']>;

/**
 * @example await run('main.py', ['audit'], { place, receipts: [] })
 * @throws Error with what the program wrote to stderr
 */
export function run(
  program: string,
  args: readonly string[],
  document: object = {},
): Promise<Printed> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      PYTHON,
      [join(import.meta.dirname, program), ...args],
      { encoding: 'utf8', maxBuffer: MAX_OUTPUT_BYTES, env: { PYTHONDONTWRITEBYTECODE: '1' } },
      (error, stdout, stderr) => {
        if (error) reject(new Error(`${program} ${args.join(' ')}: ${stderr || error.message}`));
        else resolve(JSON.parse(stdout));
      },
    );
    child.stdin?.end(JSON.stringify(document));
  });
}
