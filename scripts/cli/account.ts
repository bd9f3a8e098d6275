// Keys on this machine: one file per role in $DEFAAS_HOME/keys, and one per lane, readable by their
// owner only.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeWholeSync } from '../../adapters/runtime/whole-file.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { CliError } from './cli-error.ts';

export interface Account {
  /** Lower-case. */
  readonly address: Address;
  readonly privateKey: Hex;
}

/** The key of a role: `user`, `publisher`, `gateway`, ... @throws CliError KEY_MISSING */
export function readAccount(home: string, role: string): Account {
  if (!/^[a-z0-9-]{1,64}$/i.test(role)) {
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

/** The account that commands use without `--account`. */
export function defaultAccount(home: string): string {
  const file = defaultFile(home);
  return existsSync(file) ? readFileSync(file, 'utf8').trim() : DEFAULT_ACCOUNT;
}

export function keysFolder(home: string): string {
  return join(home, 'keys');
}

function laneFile(home: string, signer: Address): string {
  return join(keysFolder(home), `lane-${signer}.json`);
}

/** @throws CliError KEY_MISSING */
export function readKey(file: string, what: string): Account {
  try {
    const { address, privateKey } = JSON.parse(readFileSync(file, 'utf8'));
    if (/^0x[0-9a-f]{40}$/i.test(address) && /^0x[0-9a-f]{64}$/i.test(privateKey)) {
      return { address: address.toLowerCase(), privateKey };
    }
    throw new Error('it has no address and privateKey');
  } catch (cause) {
    throw new CliError(
      'KEY_MISSING',
      `no key for ${what}, on ${file}, make one with defaas account new, choose another with --account, or run npm start`,
      { cause },
    );
  }
}
