// Makes the zip of a deploy. The same files give the same bytes on every machine, so that the
// gateway can compare its zip with the cloud's hash of the code.

import { type Zippable, zipSync } from 'fflate';

/**
 * Parts of a path that lead out of the folder. fflate keeps files in an object and so loses
 * `__proto__`.
 */
const UNUSABLE: ReadonlySet<string> = new Set(['', '.', '..', '__proto__']);

/**
 * Entries are sorted by the bytes of their paths and have mode 0644 and the date 1980-01-01. fflate
 * deflates them (a pinned version in pure JavaScript).
 * @throws TypeError  a path that is absolute, or has `..`, `__proto__`, `\` or an empty part
 */
export function zip(files: ReadonlyMap<string, Uint8Array>): Uint8Array {
  // A zip stores local time. Local parts make the bytes independent of the time zone.
  const mtime = new Date(1980, 0, 1);
  const entries: Zippable = Object.create(null);
  for (const path of sortedPaths(files)) {
    const bytes = files.get(path);
    if (bytes) entries[path] = [bytes, { level: 6, mtime, os: 3, attrs: 0o100644 << 16 }];
  }
  return zipSync(entries);
}

/** The paths in the order of their UTF-8 bytes. */
export function sortedPaths(files: ReadonlyMap<string, Uint8Array>): string[] {
  const paths = [...files.keys()];
  for (const path of paths) {
    const isPlain = path.split('/').every((part) => !UNUSABLE.has(part));
    if (!isPlain || path.includes('\\')) throw new TypeError(`not a relative path: ${path}`);
  }
  return paths.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}
