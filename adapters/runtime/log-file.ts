// The log of one function of the `local` provider. Two files take turns, so that the log has a
// largest size and always keeps the newest half of it. Each line is a JSON object, written in the
// background.

import { appendFile, readFile, rename, rm, stat } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import type { LogLine } from '../provider.ts';

export interface LogFile {
  append(line: LogLine): void;
  /** The newest `limit` lines since then, newest last. Includes all that was appended before. */
  read(query: { readonly sinceMs: number; readonly limit: number }): Promise<readonly LogLine[]>;
  remove(): Promise<void>;
  /** Resolves when everything is written. */
  flush(): Promise<void>;
}

/** Size at which a new file begins, bytes. */
const MAX_FILE_BYTES = 1024 * 1024;
/** Most bytes that wait to be written. Further lines are lost, and a line says so. */
const MAX_PENDING_BYTES = 4 * 1024 * 1024;

/** Lines of this time share one write: a write costs as much CPU as a call. */
const BATCH_MS = 20;

/** Keeps `path` and `path.1`. */
export function createLogFile(path: string): LogFile {
  const older = `${path}.1`;
  let pending: string[] = [];
  let pendingBytes = 0;
  let isLosing = false;
  let fileBytes: number | undefined;
  let writing: Promise<void> | undefined;

  function append(line: LogLine): void {
    const text = `${JSON.stringify(line)}\n`;
    if (pendingBytes + text.length > MAX_PENDING_BYTES) {
      if (isLosing) return;
      isLosing = true;
    }
    pending.push(isLosing ? lost(line) : text);
    pendingBytes += text.length;
    writing ??= write().finally(() => {
      writing = undefined;
    });
  }

  async function write(): Promise<void> {
    // A full disk or a missing folder must not fail a call.
    try {
      while (pending.length > 0) {
        await wait(BATCH_MS);
        const text = pending.join('');
        pending = [];
        pendingBytes = 0;
        isLosing = false;
        fileBytes ??= await sizeOf(path);
        if (fileBytes > MAX_FILE_BYTES) {
          await rename(path, older);
          fileBytes = 0;
        }
        await appendFile(path, text, { mode: 0o600 });
        fileBytes += Buffer.byteLength(text);
      }
    } catch {
      pending = [];
      pendingBytes = 0;
    }
  }

  async function flush(): Promise<void> {
    while (writing) await writing;
  }

  return {
    append,
    flush,

    async read({ sinceMs, limit }) {
      await flush();
      const texts = await Promise.all([older, path].map(readText));
      const lines = texts.join('').split('\n').flatMap(parseLine);
      return lines.filter(({ atMs }) => atMs >= sinceMs).slice(-limit);
    },

    async remove() {
      await flush();
      await Promise.all([path, older].map((each) => rm(each, { force: true })));
      fileBytes = undefined;
    },
  };
}

function lost(line: LogLine): string {
  const text = 'lines were lost here: they came faster than they could be written';
  return `${JSON.stringify({ ...line, level: 'error', text })}\n`;
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch {
    // Not there yet.
    return 0;
  }
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    // Not there yet.
    return '';
  }
}

/** Leaves out a line that a crash has cut off. */
function parseLine(text: string): LogLine[] {
  try {
    return text === '' ? [] : [JSON.parse(text)];
  } catch {
    return [];
  }
}
