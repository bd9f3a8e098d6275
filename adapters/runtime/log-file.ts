// The log of one function of the `local` provider: two files in turn, so that it never grows above their sum and keeps at
// least the newest half. A line is a JSON object; it is written in the background, and is not for ever.

import { appendFile, readFile, rename, rm, stat } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import type { LogLine } from '../provider.ts';

export interface LogFile {
  append(line: LogLine): void;
  /** The newest `limit` lines since then, newest last; what was appended before is in them. */
  read(query: { readonly sinceMs: number; readonly limit: number }): Promise<readonly LogLine[]>;
  remove(): Promise<void>;
  /** Resolves when everything is written. */
  flush(): Promise<void>;
}

/** Size at which the file gives way to a new one, bytes. */
const MAX_FILE_BYTES = 1024 * 1024;
/** Most bytes that wait to be written; beyond it lines are lost, and it says so. */
const MAX_PENDING_BYTES = 4 * 1024 * 1024;

/** One write for what comes within this time: a write costs as much as a call. */
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
    // The disk may be full or the folder gone: a log is not worth failing a call for.
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

/** A line that a crash cut off is left out. */
function parseLine(text: string): LogLine[] {
  try {
    return text === '' ? [] : [JSON.parse(text)];
  } catch {
    return [];
  }
}
