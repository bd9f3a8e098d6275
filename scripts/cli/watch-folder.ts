// Reports changes of a publisher's own files, in every folder except node_modules and hidden ones,
// including folders created later.
import { type FSWatcher, readdirSync, watch } from 'node:fs';
import { join } from 'node:path';

/** Events within this time count as one change, ms: editors write a file in several steps. */
const SETTLE_MS = 60;

/** `onChange` is called after each change, until `close`. */
export function watchFolder(root: string, onChange: () => void): { close(): void } {
  const watchers = new Map<string, FSWatcher>();
  let timer: NodeJS.Timeout | undefined;

  function look(): void {
    const folders = new Set(foldersIn(root));
    for (const [folder, watcher] of watchers) {
      if (folders.has(folder)) continue;
      watcher.close();
      watchers.delete(folder);
    }
    for (const folder of folders) if (!watchers.has(folder)) add(folder);
  }

  function add(folder: string): void {
    try {
      const watcher = watch(folder, changed);
      // The folder was removed; the next read reports that.
      watcher.on('error', changed);
      watchers.set(folder, watcher);
    } catch {
      // Removed since it was listed.
    }
  }

  function changed(): void {
    clearTimeout(timer);
    timer = setTimeout(() => {
      look();
      onChange();
    }, SETTLE_MS);
  }

  look();
  return {
    close() {
      clearTimeout(timer);
      for (const watcher of watchers.values()) watcher.close();
    },
  };
}

function foldersIn(folder: string): string[] {
  try {
    const inside = readdirSync(folder, { withFileTypes: true }).filter(
      (entry) =>
        entry.isDirectory() && entry.name !== 'node_modules' && !entry.name.startsWith('.'),
    );
    return [folder, ...inside.flatMap(({ name }) => foldersIn(join(folder, name)))];
  } catch {
    // Removed, or not readable.
    return [];
  }
}
