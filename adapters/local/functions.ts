// The functions that are deployed on this machine, each a record and a folder of files. Both are
// written whole or not at all, so they are found again after a restart or a `kill -9`.

import { chmodSync, mkdirSync, readdirSync } from 'node:fs';
import { chmod, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { hasTexts, readState, writeWhole } from '../runtime/whole-file.ts';

/** A function's record. It contains secrets, so only the gateway's user may read the file. */
export interface LocalFunction {
  readonly name: string;
  readonly specHash: string;
  /** `0x` address or name of the owner. */
  readonly publisher: string;
  readonly gateway: string;
  readonly memoryMiB: number;
  readonly timeoutMs: number;
  readonly maxConcurrency?: number;
  readonly env: Readonly<Record<string, string>>;
}

const RECORD = {
  what: 'the record of a function that is deployed here',
  isWhole: (value: unknown) => hasTexts(value, ['name', 'specHash', 'publisher', 'gateway']),
  remedy: 'remove it and deploy the function again',
};

export interface LocalFunctions {
  get(name: string): LocalFunction | undefined;
  all(): readonly LocalFunction[];
  /** Folder of the function's files. */
  codeDir(of: LocalFunction): string;
  /**
   * Writes the files, then the record, which makes the function callable. Until then an earlier
   * record of that name stays.
   */
  put(of: LocalFunction, files: ReadonlyMap<string, Uint8Array>): Promise<void>;
  /** Deletes the record. The files stay for running calls, until `clean`. */
  remove(name: string): Promise<void>;
  /** Deletes the files of a function whose record is gone. */
  clean(of: LocalFunction): Promise<void>;
}

/** Reads the records, and deletes files that an interrupted `put` left. */
export function openLocalFunctions(dir: string): LocalFunctions {
  const recordsDir = join(dir, 'functions');
  const codeRoot = join(dir, 'code');
  for (const each of [dir, recordsDir, codeRoot]) {
    mkdirSync(each, { recursive: true, mode: 0o700 });
    chmodSync(each, 0o700);
  }
  const functions = new Map<string, LocalFunction>();
  for (const file of readdirSync(recordsDir)) {
    if (!file.endsWith('.json')) continue;
    const record = readState<LocalFunction>(join(recordsDir, file), RECORD);
    if (record) functions.set(record.name, record);
  }
  const folderOf = (of: LocalFunction) => `${of.name}-${of.specHash}`;
  const known = new Set([...functions.values()].map(folderOf));
  const swept = Promise.all(
    readdirSync(codeRoot)
      .filter((folder) => !known.has(folder))
      .map((folder) => rm(join(codeRoot, folder), { recursive: true, force: true })),
  );

  return {
    get: (name) => functions.get(name),
    all: () => [...functions.values()],
    codeDir: (of) => join(codeRoot, folderOf(of)),

    async put(of, files) {
      await swept;
      const target = join(codeRoot, folderOf(of));
      const fresh = `${target}.new`;
      await rm(fresh, { recursive: true, force: true });
      for (const [path, bytes] of files) {
        const file = join(fresh, path);
        await mkdir(dirname(file), { recursive: true });
        await writeFile(file, bytes, { flag: 'wx' });
        await chmod(file, 0o444);
      }
      // An instance runs as another user. It sees this folder through its sandbox; those above are
      // closed to it.
      const folders = [...files.keys()].map((path) => dirname(join(fresh, path)));
      for (const folder of new Set([fresh, ...folders.flatMap((each) => upTo(fresh, each))])) {
        await chmod(folder, 0o755);
      }
      await rm(target, { recursive: true, force: true });
      await rename(fresh, target);
      await writeWhole(join(recordsDir, `${of.name}.json`), JSON.stringify(of));
      functions.set(of.name, of);
    },

    async remove(name) {
      functions.delete(name);
      await rm(join(recordsDir, `${name}.json`), { force: true });
    },

    clean: (of) => rm(join(codeRoot, folderOf(of)), { recursive: true, force: true }),
  };
}

/** `folder` and its parents, up to `root`, which is not among them. */
function upTo(root: string, folder: string): string[] {
  return folder === root ? [] : [folder, ...upTo(root, dirname(folder))];
}
