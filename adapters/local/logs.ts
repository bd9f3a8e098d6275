// The log files of the functions on this machine, one per function.

import type { LogLine } from '../provider.ts';
import type { LogFile } from '../runtime/log-file.ts';
import { openLogFolder } from '../runtime/log-folder.ts';

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
  const folder = openLogFolder(dir);
  return {
    append: (name, line) => {
      folder.fileOf(name).append(line);
      onLine?.(name, line);
    },
    read: (name, query) => folder.fileOf(name).read(query),
    remove: folder.remove,
    flush: folder.close,
  };
}
