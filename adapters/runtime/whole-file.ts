// Files that are there whole or not at all, whenever the process is killed.

import { open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';

let writes = 0;

/** Temporary file, sync, rename, sync of the folder: what was acknowledged survives `kill -9`. The folder must exist. */
export async function writeWhole(
  path: string,
  contents: string | Uint8Array,
  mode = 0o600,
): Promise<void> {
  writes += 1;
  const temporary = `${path}.${process.pid}-${writes}.tmp`;
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
