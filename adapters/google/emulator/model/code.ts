// The files of functions: uploaded zips, and the unpacked code that revisions run.

import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { writeWhole } from '../../../runtime/whole-file.ts';
import { BuildError, build } from './build.ts';
import type { State } from './state.ts';

/** Keep an uploaded zip for this long when no operation uses it. */
const KEEP_SOURCE_MS = 60 * 60 * 1000;

export interface Code {
  saveSource(object: string, zip: Uint8Array): Promise<void>;
  hasSource(object: string): boolean;
  removeSource(object: string): void;
  /** Unpacks a source. @returns the name of the new folder. @throws BuildError */
  build(functionName: string, object: string): string;
  dirOf(name: string): string;
  remove(name: string | undefined): void;
  /** Removes unused code and sources, which a killed emulator leaves. */
  sweep(state: State, nowMs: number): void;
}

export function openCode(dir: string): Code {
  const sourcesDir = join(dir, 'sources');
  const codeRoot = join(dir, 'code');
  mkdirSync(sourcesDir, { recursive: true });
  mkdirSync(codeRoot, { recursive: true });

  function remove(name: string | undefined): void {
    if (name !== undefined) rmSync(join(codeRoot, name), { recursive: true, force: true });
  }

  return {
    saveSource: (object, zip) => writeWhole(join(sourcesDir, object), zip),
    hasSource: (object) => existsSync(join(sourcesDir, object)),
    removeSource: (object) => rmSync(join(sourcesDir, object), { force: true }),
    build(functionName, object) {
      const file = join(sourcesDir, object);
      if (!existsSync(file)) throw new BuildError(`source ${object} not found`);
      const name = `${basename(functionName)}-${randomUUID()}`;
      build(readFileSync(file), join(codeRoot, name));
      return name;
    },
    dirOf: (name) => join(codeRoot, name),
    remove,
    sweep({ functions, operations }, nowMs) {
      const used = new Set(Object.values(functions).map(({ serving }) => serving?.code));
      for (const name of readdirSync(codeRoot)) if (!used.has(name)) remove(name);
      const wanted = new Set(
        Object.values(operations)
          .filter(({ endTime }) => endTime === undefined)
          .map((operation) => operation.wanted?.buildConfig.source.storageSource.object),
      );
      for (const name of readdirSync(sourcesDir)) {
        const file = join(sourcesDir, name);
        const isOld = statSync(file).mtimeMs < nowMs - KEEP_SOURCE_MS;
        if (isOld && !wanted.has(name)) rmSync(file, { force: true });
      }
    },
  };
}
