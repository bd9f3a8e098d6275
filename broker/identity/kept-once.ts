// Ids that may be used once, also across a restart: `jti` of DPoP proofs and of client assertions.
// They are in memory, and in two files of one life each.
import { hash } from 'node:crypto';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { readIfThere, writeWhole } from '../../adapters/runtime/whole-file.ts';
import { createOnce, type OnceOptions } from './once.ts';

/** Characters kept of an id's hash, base64url: 132 bits. */
const NAME_CHARACTERS = 22;

/** Whatever remembers ids: in memory, or in files too. */
export interface TakesOnce {
  /** True the first time, when it is remembered; then false as long as the id can be presented. */
  take(id: string): Promise<boolean> | boolean;
}

export interface KeptOnce extends TakesOnce {
  close(): Promise<void>;
}

/**
 * Opens or makes the files `<file>` and `<file>.before`. An id is written before `take` resolves,
 * so it outlives the process. It is not synced: a power cut may lose the newest ones.
 */
export async function openKeptOnce(options: OnceOptions & { file: string }): Promise<KeptOnce> {
  const { file, lifeMs, nowMs } = options;
  const before = `${file}.before`;
  const once = createOnce(options);
  const kept: string[] = [];
  for (const path of [before, file]) {
    for (const line of (readIfThere(path) ?? '').split('\n')) {
      const [atMs = '', name = ''] = line.split(' ');
      // A crash may have cut off the last line.
      const isWhole = name.length === NAME_CHARACTERS;
      if (isWhole && Number(atMs) > nowMs() - lifeMs && once.take(name)) kept.push(`${line}\n`);
    }
  }
  await writeWhole(file, kept.join(''));
  await rm(before, { force: true });
  let handle: FileHandle = await open(file, 'a', 0o600);
  let openedMs = nowMs();
  let lines = '';
  let last: Promise<void> = Promise.resolve();
  let next: Promise<void> | undefined;

  const turn = async (): Promise<void> => {
    await handle.close();
    await rename(file, before);
    handle = await open(file, 'a', 0o600);
    openedMs = nowMs();
  };
  const write = async (): Promise<void> => {
    const text = lines;
    lines = '';
    next = undefined;
    // What is older than one life is in the file before, which the turn overwrites.
    if (nowMs() - openedMs >= lifeMs) await turn();
    await handle.appendFile(text);
  };
  return {
    take: async (id) => {
      const name = hash('sha256', id, 'base64url').slice(0, NAME_CHARACTERS);
      if (!once.take(name)) return false;
      lines += `${nowMs()} ${name}\n`;
      // Ids that arrive while a write runs go out together in the next one.
      next ??= last.then(write, write);
      last = next;
      await next;
      return true;
    },
    close: async () => {
      await last.catch(() => undefined);
      await handle.close();
    },
  };
}
