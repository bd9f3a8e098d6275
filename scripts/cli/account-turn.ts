// One account at a time: commands that send from the same account wait for each other, also in
// other processes. Each would take the other's nonce and allowance.
import { AsyncLocalStorage } from 'node:async_hooks';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout } from 'node:timers/promises';
import type { Exclusively } from '../../contracts/chain/exclusively.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { CliError } from './cli-error.ts';

/** Longest wait for a turn, and time between two looks, ms. */
const MAX_WAIT_MS = 600_000;
const LOOK_EVERY_MS = 25;
/** SQLite's result code when another connection has locked the file. */
const SQLITE_BUSY = 5;

/** Accounts whose turn the running code has. */
const turns = new AsyncLocalStorage<ReadonlySet<string>>();

/**
 * Turns of the accounts of a home folder. A turn is SQLite's exclusive lock on an empty database:
 * the kernel drops it when its process ends, however it ends.
 */
export function accountTurns(home: string): Exclusively {
  return async (account, act) => {
    const file = join(home, 'turns', `${account}.sqlite`);
    const held = turns.getStore();
    if (held?.has(file)) return act();
    const lock = await takeTurn(file, account);
    try {
      return await turns.run(new Set([...(held ?? []), file]), act);
    } finally {
      lock.close();
    }
  };
}

/** @throws CliError CHAIN_PENDING another command has kept the account for the longest wait */
async function takeTurn(file: string, account: Address): Promise<DatabaseSync> {
  mkdirSync(join(file, '..'), { recursive: true, mode: 0o700 });
  const lock = new DatabaseSync(file, { timeout: 0 });
  try {
    for (const untilMs = performance.now() + MAX_WAIT_MS; performance.now() < untilMs; ) {
      if (isLocked(lock)) return lock;
      await setTimeout(LOOK_EVERY_MS);
    }
  } catch (error) {
    lock.close();
    throw error;
  }
  lock.close();
  throw new CliError(
    'CHAIN_PENDING',
    `another command has been sending from account ${account} for ${MAX_WAIT_MS / 1000} s, nothing was sent, wait for it or end it`,
  );
}

function isLocked(lock: DatabaseSync): boolean {
  try {
    lock.exec('BEGIN EXCLUSIVE');
    return true;
  } catch (error) {
    if (error instanceof Error && 'errcode' in error && error.errcode === SQLITE_BUSY) return false;
    throw error;
  }
}
