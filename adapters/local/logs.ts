// The log files of the functions on this machine, one per function.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { LogLine } from '../provider.ts';
import { createLogFile, type LogFile } from '../runtime/log-file.ts';

export interface Logs extends Pick<LogFile, 'flush'> {
  append(name: string, line: LogLine): void;
  read(name: string, query: Parameters<LogFile['read']>[0]): ReturnType<LogFile['read']>;
  remove(name: string): Promise<void>;
}

/** @param onLine  receives each line too */
export function createLogs(
  dir: string,
  onLine: ((name: string, line: LogLine) => void) | undefined,
): Logs {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const files = new Map<string, LogFile>();
  const fileOf = (name: string): LogFile => {
    const file = files.get(name) ?? createLogFile(join(dir, `${name}.jsonl`));
    files.set(name, file);
    return file;
  };
  return {
    append: (name, line) => {
      fileOf(name).append(line);
      onLine?.(name, line);
    },
    read: (name, query) => fileOf(name).read(query),
    remove: async (name) => {
      await files.get(name)?.remove();
      files.delete(name);
    },
    flush: async () => {
      await Promise.all([...files.values()].map((file) => file.flush()));
    },
  };
}
