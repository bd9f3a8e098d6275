// Reads the output of a process at a bounded pace, however fast it writes: its own writes wait when
// the pipe is full. So output without end costs the gateway a small share of a core.

import type { Readable } from 'node:stream';

export type From = 'stdout' | 'stderr';

/** Bytes of output that are read at once. */
export const BURST_BYTES = 4 * 1024 * 1024;
/** Bytes of output that are read in each second after that. */
export const BYTES_PER_SECOND = 2 * 1024 * 1024;
/** What a read counts at least: many small ones cost the gateway as much as a large one. */
export const LEAST_READ_BYTES = 4096;
/** Shortest pause. Small writes gather in the pipe meanwhile. */
const LEAST_PAUSE_MS = 25;

/** @returns ends the pace: the rest is in the pipes, and is read at once */
export function readPaced(
  streams: Readonly<Record<From, Readable>>,
  onOutput: (chunk: Buffer, from: From) => void,
): () => void {
  const { stdout, stderr } = streams;
  let credit = BURST_BYTES;
  let countedAtMs = performance.now();
  let paused: NodeJS.Timeout | undefined;
  let isEnded = false;

  function count(bytes: number): void {
    const nowMs = performance.now();
    const earned = ((nowMs - countedAtMs) / 1000) * BYTES_PER_SECOND;
    countedAtMs = nowMs;
    credit = Math.min(credit + earned, BURST_BYTES) - Math.max(bytes, LEAST_READ_BYTES);
    if (credit >= 0 || paused !== undefined || isEnded) return;
    stdout.pause();
    stderr.pause();
    const missingMs = (-credit / BYTES_PER_SECOND) * 1000;
    paused = setTimeout(resume, Math.max(missingMs, LEAST_PAUSE_MS)).unref();
  }

  function resume(): void {
    clearTimeout(paused);
    paused = undefined;
    stdout.resume();
    stderr.resume();
  }

  for (const from of ['stdout', 'stderr'] as const) {
    streams[from].on('data', (chunk: Buffer) => {
      onOutput(chunk, from);
      count(chunk.length);
    });
  }
  return () => {
    isEnded = true;
    resume();
  };
}
