// Logs in a folder, one file per function, and the output of instances cut into lines.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { StringDecoder } from 'node:string_decoder';
import { createLogFile, type LogFile } from './log-file.ts';

/** Most characters of a line. The rest is cut off. */
const MAX_LINE = 8 * 1024;
/** Most lines of a piece, which has 64 KiB. */
const MAX_LINES = 1024;

export interface LogFolder {
  /** `name` is a valid file name. */
  fileOf(name: string): LogFile;
  remove(name: string): Promise<void>;
  /** Resolves when everything is written. */
  close(): Promise<void>;
}

export function openLogFolder(dir: string): LogFolder {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const files = new Map<string, LogFile>();

  const fileOf = (name: string): LogFile => {
    const file = files.get(name) ?? createLogFile(join(dir, `${name}.jsonl`));
    files.set(name, file);
    return file;
  };

  return {
    fileOf,
    async remove(name) {
      await fileOf(name).remove();
      files.delete(name);
    },
    async close() {
      await Promise.all([...files.values()].map((file) => file.flush()));
    },
  };
}

/** Takes the output of one instance in pieces and passes on each line that is not empty. */
export function cutLines(tell: (line: string) => void): (chunk: Buffer) => void {
  const decoder = new StringDecoder('utf8');
  let rest = '';
  return (chunk) => {
    const lines = (rest + decoder.write(chunk)).split('\n');
    rest = (lines.pop() ?? '').slice(0, MAX_LINE);
    const full = lines.filter((line) => line !== '');
    for (const line of full.slice(0, MAX_LINES)) tell(line.slice(0, MAX_LINE));
    if (full.length > MAX_LINES) tell(`${full.length - MAX_LINES} lines are left out here`);
  };
}
