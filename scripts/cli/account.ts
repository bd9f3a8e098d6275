// Keys on this machine: one file per role in $DEFAAS_HOME/keys, and one per lane, readable by their
// owner only.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import {
  readIfThere,
  readState,
  refuseExposed,
  writeWholeSync,
} from '../../adapters/runtime/whole-file.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { CliError } from './cli-error.ts';

const NAME = /^[a-z0-9-]{1,64}$/i;

export interface Account {
  /** Lower-case. */
  readonly address: Address;
  readonly privateKey: Hex;
}

/** The key of a role: `user`, `publisher`, `gateway`, ... @throws CliError KEY_MISSING */
export function readAccount(home: string, role: string): Account {
  if (!NAME.test(role)) {
    throw new CliError(
      'USAGE',
      `"${role}" is no account, use the name of a file in ${keysFolder(home)}`,
    );
  }
  return readKey(join(keysFolder(home), `${role}.json`), `account ${role}`);
}

/** The key of a lane that `deposit` opened. @throws CliError KEY_MISSING */
export function readLaneKey(home: string, signer: Address): Account {
  return readKey(laneFile(home, signer), `lane ${signer}`);
}

/** Whether its key file exists here. `readLaneKey` reports a file that cannot be read. */
export function hasLaneKey(home: string, signer: Address): boolean {
  return existsSync(laneFile(home, signer));
}

/**
 * Writes the key to disk. Call this before the lane is opened: money behind a lost key can only
 * thaw.
 */
export function writeLaneKey(home: string, account: Account): void {
  writeWholeSync(laneFile(home, account.address), `${JSON.stringify(account)}\n`);
}

/** The account that commands use when neither `--account` nor `account use` names one. */
export const DEFAULT_ACCOUNT = 'user';

/** File that holds the name given to `account use`. */
export function defaultFile(home: string): string {
  return join(home, 'account');
}

/** The account that commands use without `--account`. @throws CliError FILE_UNREADABLE */
export function defaultAccount(home: string): string {
  const file = defaultFile(home);
  const name = readIfThere(file)?.trim() ?? DEFAULT_ACCOUNT;
  if (NAME.test(name)) return name;
  throw new CliError(
    'FILE_UNREADABLE',
    `${file} should hold the name of an account and does not: remove it, and run defaas account use`,
  );
}

export function keysFolder(home: string): string {
  return join(home, 'keys');
}

function laneFile(home: string, signer: Address): string {
  return join(keysFolder(home), `lane-${signer}.json`);
}

/** @throws CliError KEY_MISSING; ExposedKeyError others can read the file */
export function readKey(file: string, what: string): Account {
  const next = 'make one with defaas account new, choose another with --account, or run npm start';
  let known: Account | undefined;
  refuseExposed(file);
  try {
    known = readState<Account>(file, KEY);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new CliError('KEY_MISSING', `the key for ${what} is broken: ${why}`, { cause });
  }
  if (known === undefined) {
    throw new CliError('KEY_MISSING', `no key for ${what}, on ${file}, ${next}`);
  }
  // Safe: the pattern is that of addresses.
  return { address: known.address.toLowerCase() as Address, privateKey: known.privateKey };
}

const KEY = {
  what: 'an address and its privateKey, 0x and hex',
  isWhole: (value: unknown) => {
    if (typeof value !== 'object' || value === null) return false;
    const { address, privateKey }: { address?: unknown; privateKey?: unknown } = value;
    return /^0x[0-9a-f]{40}$/i.test(`${address}`) && /^0x[0-9a-f]{64}$/i.test(`${privateKey}`);
  },
  remedy: 'restore it; without it nothing can be signed for that address',
};
