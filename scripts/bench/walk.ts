// `bench walk`: counts the files of ours that one warm paid call passes through, by V8's precise
// coverage of the gateway's main thread. It measures how many files a reader must visit, not time.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { PACKAGE_ROOT } from '../cli/house.ts';
import { startLoad } from './http/load.ts';
import { startPaidGateway } from './http/paid-gateway.ts';
import type { WalkedFile } from './http/walk-probe.ts';
import type { Bar, Run } from './main.ts';

const FUNCTION = 'walk';
const BODY = JSON.stringify({ text: 'x'.repeat(118) });
/** Warm-up calls before the counted one. */
const WARM_CALLS = 500;
const LEG_MS = 60_000;
/** Longer than receipts wait for their index, so that the counted time holds one call alone. */
const REST_MS = 3_000;

const BARS: readonly Bar[] = [{ figure: 'filesPerCall', limit: 35 }];

export const run: Run = async (report) => {
  const stub = fork(join(import.meta.dirname, 'http/stub-upstream.ts'));
  const load = startLoad();
  let gateway: Awaited<ReturnType<typeof startPaidGateway>> | undefined;
  try {
    const [{ ready }] = await once(stub, 'message');
    gateway = await startPaidGateway({
      functions: [
        { name: FUNCTION, idempotent: true, upstreams: [`http://127.0.0.1:${ready.port}`] },
      ],
      execArgv: ['--import', join(import.meta.dirname, 'http/walk-probe.ts')],
    });
    const signedIn = await gateway.target(BODY);
    const call = async (count: number): Promise<void> => {
      const target = { ...signedIn, each: Array.from({ length: count }, () => ({})) };
      const { requests, failures, failure } = await load.run({
        ...{ target, connections: 1, warmUpMs: 0, durationMs: LEG_MS },
      });
      if (failures > 0 || requests !== count) {
        throw new Error(`${requests} calls were answered, ${failures} failed: ${failure}`);
      }
    };
    await call(WARM_CALLS);
    await sleep(REST_MS);
    const idle = await walk(gateway.process, () => sleep(REST_MS));
    const walked = await walk(gateway.process, () => call(1));
    // Background work of the gateway (it follows the chain) is no part of the call.
    const beside = new Set(idle.flatMap((one) => namesOf(one)));
    const files = walked
      .filter((one) => namesOf(one).some((name) => !beside.has(name)))
      .map(({ url }) => relative(PACKAGE_ROOT, fileURLToPath(url)))
      .sort();
    for (const file of files) report(file);
    return { figures: { filesPerCall: files.length }, bars: BARS, details: { files } };
  } finally {
    load.close();
    await gateway?.close();
    stub.kill('SIGTERM');
  }
};

/** Our own files in which a function ran meanwhile. */
async function walk(child: ChildProcess, work: () => Promise<unknown>): Promise<WalkedFile[]> {
  await ask(child, 'walk-begin', 'walking');
  await work();
  const files = (await ask(child, 'walk-end', 'walked')) as WalkedFile[];
  return files.filter(({ url }) => {
    if (!url.startsWith('file:')) return false;
    const file = relative(PACKAGE_ROOT, fileURLToPath(url));
    return /^(adapters|broker|contracts|ipfs)\//.test(file);
  });
}

function namesOf({ url, functions }: WalkedFile): string[] {
  return functions.map((name) => `${url} ${name}`);
}

function ask(child: ChildProcess, question: string, answer: string): Promise<unknown> {
  return new Promise((resolve) => {
    const hear = (message: Readonly<Record<string, unknown>>): void => {
      if (!(answer in message)) return;
      child.off('message', hear);
      resolve(message[answer]);
    };
    child.on('message', hear);
    child.send(question);
  });
}
