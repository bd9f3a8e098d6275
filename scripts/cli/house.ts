// Finding the house: a flag, then the environment, then $DEFAAS_HOME/up.json of a house that is up.
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { hasTexts, readState } from '../../adapters/runtime/whole-file.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { CliError } from './cli-error.ts';

/** Root of the checkout, or of the installed package. */
export const PACKAGE_ROOT = resolve(import.meta.dirname, '../..');

/** What `up` writes when everything is ready; the members that the command line reads. */
export interface UpFile {
  readonly gateway: string;
  readonly chain: {
    readonly rpcUrl: string;
    readonly contracts: Readonly<Record<string, Address | number>>;
  };
  readonly emulators?: Readonly<Record<string, unknown>>;
  readonly pid: number;
  readonly example?: string;
}

export interface House {
  /** Folder that holds all state. */
  readonly home: string;
  /** URL of the gateway. */
  readonly gateway: string;
  /**
   * An RPC of the user's own: named by the user, or that of the house running on this machine.
   * Never one that a gateway names.
   */
  readonly rpcUrl: string | undefined;
  /** The house on this machine, if it is the one in use. */
  readonly up: UpFile | undefined;
}

export interface HouseFlags {
  readonly gateway?: string;
  readonly rpc?: string;
  /** File of the contracts to trust. */
  readonly deployment?: string;
  /** Answers yes to what would be asked on a terminal. */
  readonly yes?: boolean;
}

export interface Home {
  readonly path: string;
  /**
   * `named` by DEFAAS_HOME; `fixed`: of this checkout or of the user; `found` above the folder
   * where the command was typed.
   */
  readonly how: 'named' | 'fixed' | 'found';
}

/**
 * Resolves a user's path from the folder where the command was typed, not from where npm or the
 * launcher runs it.
 */
export function userPath(path: string): string {
  return resolve(process.env.INIT_CWD ?? process.cwd(), path);
}

/**
 * `DEFAAS_HOME`, else `.defaas` of the checkout; for the installed package the nearest `.defaas`
 * upward, else one in the user's home folder.
 */
export function findHome(): string {
  return locateHome().path;
}

export function locateHome(): Home {
  const named = process.env.DEFAAS_HOME;
  if (named) return { path: userPath(named), how: 'named' };
  const isInstalled = PACKAGE_ROOT.split(/[\\/]/).includes('node_modules');
  if (!isInstalled) return { path: join(PACKAGE_ROOT, '.defaas'), how: 'fixed' };
  const own = userFolder();
  for (let folder = userPath('.'); ; folder = dirname(folder)) {
    const path = join(folder, '.defaas');
    if (path === own) break;
    if (existsSync(path)) return { path, how: 'found' };
    if (dirname(folder) === folder) break;
  }
  return { path: own, how: 'fixed' };
}

/** The `.defaas` in the user's own home folder. Nobody else can have put anything there. */
export function userFolder(): string {
  return join(homedir(), '.defaas');
}

/** File of the contracts that the house on this machine has deployed. `up` writes it. */
export function houseFile(home: string): string {
  return join(home, 'deployment.json');
}

/** @throws CliError HOUSE_DOWN nothing names a gateway, and no house is up here */
export function findHouse(flags: HouseFlags): House {
  const home = findHome();
  const gateway = flags.gateway ?? process.env.DEFAAS_GATEWAY;
  const named = (flags.rpc ?? process.env.DEFAAS_CHAIN_RPC_URL?.split(',')[0]) || undefined;
  if (gateway) {
    const rpcUrl = named ?? findUpFile(home)?.chain.rpcUrl;
    return { home, gateway, rpcUrl, up: undefined };
  }
  const up = readUpFile(home);
  return { home, gateway: up.gateway, rpcUrl: named ?? up.chain.rpcUrl, up };
}

function findUpFile(home: string): UpFile | undefined {
  try {
    return readUpFile(home);
  } catch {
    return undefined;
  }
}

const UP = {
  what: 'gateway, chain and pid of a house',
  isWhole: (value: unknown) => {
    if (!hasTexts(value, ['gateway'])) return false;
    const { chain, pid } = value as { chain?: unknown; pid?: unknown }; // it is an object
    return hasTexts(chain, ['rpcUrl']) && Number.isInteger(pid);
  },
  remedy: 'npm start writes it anew',
};

function readUpFile(home: string): UpFile {
  const file = join(home, 'up.json');
  const down = (why: string, cause?: unknown) =>
    new CliError('HOUSE_DOWN', `${why}, on ${file}, run npm start`, { cause });
  let up: UpFile | undefined;
  try {
    up = readState<UpFile>(file, UP);
  } catch (cause) {
    throw down(`no house is known here: ${cause instanceof Error ? cause.message : cause}`, cause);
  }
  if (up === undefined) throw down('no house is up here');
  if (!isAlive(up.pid)) throw down(`the house is down (its process ${up.pid} is gone)`);
  return up;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM means that a process with this id is alive but belongs to somebody else.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
