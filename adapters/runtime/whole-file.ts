// Reads and writes small state files. Writes are atomic: after a kill the file has the old content
// or the new one, never a part.

import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';

let writes = 0;

function temporaryOf(path: string): string {
  writes += 1;
  return `${path}.${process.pid}-${writes}.tmp`;
}

/**
 * Durable when it resolves: writes a temporary file, syncs it, renames it and syncs the folder. The
 * folder must exist.
 */
export async function writeWhole(
  path: string,
  contents: string | Uint8Array,
  mode = 0o600,
): Promise<void> {
  const temporary = temporaryOf(path);
  const file = await open(temporary, 'w', mode);
  try {
    await file.writeFile(contents);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);

  const folder = await open(dirname(path));
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/**
 * The same, durable when it returns; makes the folder, mode 0700. For state that rarely changes.
 */
export function writeWholeSync(path: string, contents: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const temporary = temporaryOf(path);
  writeFileSync(temporary, contents, { mode: 0o600, flush: true });
  renameSync(temporary, path);

  const folder = openSync(dirname(path), 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/** The text of a file; undefined if there is none. */
export function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
