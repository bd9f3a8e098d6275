// The local chain's data on disk: every operation since its beginning, in segments, and from time
// to time a whole state. A segment `<n>.journal` holds the operations from number n on; `<n>.state`
// is the state before operation n.
import { closeSync, fdatasync, openSync, writeSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { writeWhole } from '../../adapters/runtime/whole-file.ts';

/**
 * An operation that changes the chain. `atSec` is the chain's clock at its arrival, so that a
 * replay gives the same timestamps.
 */
export type Operation =
  | { readonly kind: 'transaction'; readonly atSec: number; readonly raw: string }
  | {
      readonly kind: 'mine';
      readonly atSec: number;
      readonly blocks: number;
      readonly everySec: number;
    }
  | { readonly kind: 'balance'; readonly address: string; readonly balance: string }
  | { readonly kind: 'clock'; readonly offsetSec: number };

export interface Head {
  readonly number: number;
  readonly hash: string;
  readonly timestampSec: number;
}

/** A line of a segment: an operation, or the head that the operation with number `after` led to. */
type HistoryLine =
  | { readonly operation: Operation }
  | { readonly after: number; readonly head: Head };

export interface State {
  readonly head: Head;
  readonly offsetSec: number;
  /** Output of `anvil_dumpState`. */
  readonly dump: string;
}

/**
 * An operation with its resulting head; without a head it was refused, or the process ended before
 * it was executed.
 */
export interface Recorded {
  readonly operation: Operation;
  readonly head?: Head;
}

export interface History {
  /** Number of the next operation. */
  readonly next: number;
  /** Bases from which a restore can begin, newest first; undefined is the genesis. */
  readonly bases: readonly (number | undefined)[];
  readState(base: number): Promise<State>;
  /** The operations since a base, oldest first. */
  read(base: number | undefined): Promise<Recorded[]>;
  /** Appends operations; durable when it resolves, with the number of the first. */
  append(operations: readonly Operation[]): Promise<number>;
  /** Written at once but not synced: it only serves to verify a replay. */
  noteHead(after: number, head: Head): void;
  /** Saves a state as the base of the next segment; deletes states older than the previous one. */
  keep(state: State): Promise<void>;
  close(): void;
}

const sync = promisify(fdatasync);

/**
 * Opens the folder's history. A last line truncated by a crash is dropped: its operation was never
 * acknowledged.
 */
export async function openHistory(dir: string): Promise<History> {
  await mkdir(dir, { recursive: true });
  const names = await readdir(dir);
  const numbers = (ending: string): number[] =>
    names
      .filter((name) => name.endsWith(ending))
      .map((name) => Number(name.slice(0, -ending.length)))
      .sort((a, b) => a - b);
  const segments = numbers('.journal');
  const states = numbers('.state');
  if (segments.length === 0) segments.push(0);
  let segment = segments.at(-1) ?? 0;
  const path = (number: number, ending: string): string =>
    join(dir, `${String(number).padStart(9, '0')}${ending}`);
  let next = segment + operationsOf(await readSegment(path(segment, '.journal')), segment).length;
  let file = openSync(path(segment, '.journal'), 'a', 0o600);

  return {
    get next() {
      return next;
    },
    bases: [...states.toReversed(), undefined],
    async readState(base) {
      return JSON.parse(await readFile(path(base, '.state'), 'utf8'));
    },
    async read(base = 0) {
      const lines: HistoryLine[] = [];
      for (const number of segments.filter((first) => first >= base)) {
        lines.push(...(await readSegment(path(number, '.journal'))));
      }
      return operationsOf(lines, base);
    },
    async append(operations) {
      writeSync(file, operations.map((operation) => `${JSON.stringify({ operation })}\n`).join(''));
      await sync(file);
      const first = next;
      next += operations.length;
      return first;
    },
    noteHead(after, head) {
      writeSync(file, `${JSON.stringify({ after, head })}\n`);
    },
    async keep(state) {
      if (next === segment) return;
      segment = next;
      segments.push(segment);
      closeSync(file);
      file = openSync(path(segment, '.journal'), 'a', 0o600);
      await writeWhole(path(segment, '.state'), JSON.stringify(state));
      states.push(segment);
      for (const old of states.splice(0, states.length - 2)) await rm(path(old, '.state'));
    },
    close: () => closeSync(file),
  };
}

/** Returns the complete lines of a segment and truncates the file after the last one. */
async function readSegment(path: string): Promise<HistoryLine[]> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  const whole = text.slice(0, text.lastIndexOf('\n') + 1);
  if (whole.length < text.length) await truncate(path, Buffer.byteLength(whole));
  return whole
    .split('\n')
    .filter((line) => line !== '')
    .map((line): HistoryLine => JSON.parse(line));
}

/** The operations from number `first` on, each with the head it led to. */
function operationsOf(lines: readonly HistoryLine[], first: number): Recorded[] {
  const heads = new Map(
    lines.flatMap((line) => ('head' in line ? [[line.after, line.head] as const] : [])),
  );
  return lines
    .flatMap((line) => ('operation' in line ? line.operation : []))
    .map((operation, index) => {
      const head = heads.get(first + index);
      return head === undefined ? { operation } : { operation, head };
    });
}
