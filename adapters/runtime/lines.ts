// Cuts the output of a process into lines. Long lines, and output without end, are cut off.

import { StringDecoder } from 'node:string_decoder';
import type { From } from './paced.ts';

/** Most bytes of a line. */
const MAX_LINE_BYTES = 8 * 1024;
/** Most bytes and lines between two calls of `restart`. */
const MAX_BYTES = 256 * 1024;
const MAX_LINES = 4096;

export interface LineReader {
  read(chunk: Buffer, from: From): void;
  /** The last line, even if it has no end. */
  readonly last: string;
  /** Resets the counts. */
  restart(): void;
  /** Passes on the last lines, which have no end. */
  end(): void;
}

export function createLineReader(onLine: (text: string, from: From) => void): LineReader {
  const rest: Record<From, string> = { stdout: '', stderr: '' };
  const decoders = { stdout: new StringDecoder('utf8'), stderr: new StringDecoder('utf8') };
  let bytes = 0;
  let lines = 0;
  let last = '';

  function tell(text: string, from: From): void {
    if (text === '') return;
    last = text;
    lines += 1;
    if (lines <= MAX_LINES) onLine(text, from);
    else if (bytes <= MAX_BYTES) cutOff(`output above ${MAX_LINES} lines is cut off here`);
  }

  /** Nothing is told after it, until `restart`. */
  function cutOff(notice: string): void {
    bytes = MAX_BYTES + 1;
    last = notice;
    onLine(notice, 'stderr');
  }

  return {
    read(chunk, from) {
      if (bytes > MAX_BYTES) return;
      bytes += chunk.length;
      if (bytes > MAX_BYTES) return cutOff(`output above ${MAX_BYTES} bytes is cut off here`);
      const parts = `${rest[from]}${decoders[from].write(chunk)}`.split('\n');
      rest[from] = parts.pop() ?? '';
      for (const part of parts) tell(part.slice(0, MAX_LINE_BYTES), from);
      if (rest[from].length < MAX_LINE_BYTES) return;
      tell(rest[from].slice(0, MAX_LINE_BYTES), from);
      rest[from] = '';
    },

    get last() {
      return rest.stderr || rest.stdout || last;
    },

    restart() {
      bytes = 0;
      lines = 0;
    },

    end() {
      for (const from of ['stdout', 'stderr'] as const) {
        tell(rest[from], from);
        rest[from] = '';
      }
    },
  };
}
