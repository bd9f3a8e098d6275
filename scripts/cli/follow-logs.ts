// `defaas logs --follow`: reads the logs again and again and writes each line once.

import { setTimeout } from 'node:timers/promises';
import type { LogLine } from '../../broker/client/logs.ts';

/** A cloud shows a line some time after it was written, with its old time (Azure: minutes), ms. */
const LATE_MS = 600_000;

export interface Following {
  /** The newest lines since then, newest last. */
  readonly read: (sinceMs: number, limit: number) => Promise<readonly LogLine[]>;
  readonly write: (line: LogLine) => void;
  /** A reading failed that was not the first. The next one is made all the same. */
  readonly onError: (error: unknown) => void;
  readonly sinceMs: number;
  /** Most lines of the first reading. */
  readonly limit: number;
  readonly everyMs: number;
  readonly ended: Promise<void>;
}

/** Resolves after `ended`. @throws what the first reading throws */
export async function followLogs(following: Following): Promise<void> {
  const { read, write, onError, everyMs } = following;
  const ending = new AbortController();
  void following.ended.then(() => ending.abort());
  let fromMs = following.sinceMs;
  let { limit } = following;
  /** How often each line of the window was written: a function may log the same twice. */
  let written = new Map<string, number>();

  async function readOnce(): Promise<void> {
    const lines = await read(fromMs, limit);
    const seen = new Map<string, number>();
    for (const line of lines) {
      const key = JSON.stringify(line);
      const count = (seen.get(key) ?? 0) + 1;
      seen.set(key, count);
      if (count > (written.get(key) ?? 0)) write(line);
    }
    // A line that this reading lacks, of a cloud that is silent for a while, is not written again.
    for (const [key, count] of written) seen.set(key, Math.max(count, seen.get(key) ?? 0));
    // Lines older than those of a full first reading were not asked for.
    if (lines.length >= limit) fromMs = lines[0]?.atMs ?? fromMs;
    limit = Number.MAX_SAFE_INTEGER;
    fromMs = Math.max(fromMs, (lines.at(-1)?.atMs ?? 0) - LATE_MS);
    written = new Map([...seen].filter(([key]) => atMsOf(key) >= fromMs));
  }

  await readOnce();
  while (!ending.signal.aborted) {
    await setTimeout(everyMs, undefined, { signal: ending.signal }).catch(() => {});
    if (!ending.signal.aborted) await readOnce().catch(onError);
  }
}

function atMsOf(key: string): number {
  return JSON.parse(key).atMs;
}
