// Writes files atomically: after a kill the file has the old content or the new one, never a part.

import { open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';

let writes = 0;

/**
 * Durable when it resolves: writes a temporary file, syncs it, renames it and syncs the folder. The
 * folder must exist.
 */
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
