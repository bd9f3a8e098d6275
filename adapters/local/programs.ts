// The programs that run inside each instance: the shim and what it imports.

import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** By file name. The first is the one that an instance starts. */
export const SHIM: ReadonlyMap<string, Uint8Array> = new Map(
  ['local.mjs', 'fetch-call.mjs', 'fetch-answer.mjs'].map((file) => [
    file,
    readFileSync(new URL(`../shims/${file}`, import.meta.url)),
  ]),
);

/**
 * Copies the programs to `dir`, readable for every user: an instance runs as another user, who may
 * not be able to read our own files.
 * @returns absolute paths, the started program first
 */
export function writePrograms(dir: string): string[] {
  mkdirSync(dir, { recursive: true });
  return [...SHIM].map(([file, bytes]) => {
    const path = join(dir, file);
    writeFileSync(path, bytes);
    chmodSync(path, 0o644);
    return path;
  });
}
