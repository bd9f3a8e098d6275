// Runs Hardhat as a child process and streams its output, for the test, check and build programs.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { stripVTControlCharacters } from 'node:util';

/**
 * Returns the exit code and the output without colours. Suppresses Hardhat's question about
 * telemetry.
 */
export async function runHardhat(
  args: readonly string[],
): Promise<{ readonly code: number; readonly output: string }> {
  const child = spawn(process.execPath, ['node_modules/hardhat/dist/src/cli.js', ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      ...process.env,
      HARDHAT_DISABLE_TELEMETRY_PROMPT: 'true',
      ...(process.stdout.isTTY ? { FORCE_COLOR: '1' } : {}),
    },
  });
  const stop = (): boolean => child.kill('SIGTERM');
  for (const signal of STOP_SIGNALS) process.once(signal, stop);
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
    process.stdout.write(text);
  });
  const [code, signal]: (number | string | null)[] = await once(child, 'close');
  for (const name of STOP_SIGNALS) process.off(name, stop);
  if (typeof signal === 'string') process.kill(process.pid, signal);
  return { code: typeof code === 'number' ? code : 1, output: stripVTControlCharacters(output) };
}

const STOP_SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;
