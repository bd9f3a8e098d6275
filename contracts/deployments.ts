// The contract sets that a user trusts on one chain, from the file of a release, of a house or of
// the user. The addresses that a gateway announces are checked against it.
import { ChainError } from './chain/chain-error.ts';
import type { ContractAddresses } from './chain/types.ts';
import type { Address } from './libraries/keccak.ts';

/** The contract addresses of a set; the token is a separate member. */
const CONTRACTS = ['registry', 'identity', 'billing', 'disputes', 'beacon'] as const;
const STATUSES = ['current', 'retiring', 'revoked'] as const;
/** Pattern of a set's id, which users see and type after `--to` and `--set`. */
export const SET_ID = /^[a-z0-9][a-z0-9.-]{0,63}$/;

/**
 * `current`: in use. `retiring`: still works; move to the set that replaces it. `revoked`: only
 * withdraw your money.
 */
export type SetStatus = (typeof STATUSES)[number];

/** Contracts that belong together. */
export interface ContractSet {
  readonly id: string;
  readonly contracts: Readonly<Record<(typeof CONTRACTS)[number], Address>>;
  /** The set has no logs before this block. */
  readonly fromBlock: number;
  /** The ERC-20 that is billed in. */
  readonly token: Address;
  readonly status: SetStatus;
  /** Id of the set that it replaces, in the same file. */
  readonly replaces?: string;
}

export interface Deployments {
  readonly chainId: number;
  /** At least one set. Each set has its own Billing contract. */
  readonly sets: readonly ContractSet[];
}

/**
 * Reads the text of a file such as `contracts/deployments/<chainId>.json`; `file` names it in
 * errors.
 * @example { "chainId": 31337, "sets": [{ "id": "local", "contracts": { "registry": "0x…", … },
 *   "fromBlock": 2, "token": "0x…", "status": "current" }] }
 * @throws ChainError DEPLOYMENT_INVALID  naming the first member that is wrong
 */
export function parseDeployments(text: string, file: string): Deployments {
  const wrong = (what: string): never => {
    throw new ChainError(
      'DEPLOYMENT_INVALID',
      `${what}, on ${file}, correct it or use another file`,
    );
  };
  const { chainId, sets } = objectOf(parseJson(text, wrong), 'the file', wrong);
  if (!isCount(chainId) || chainId === 0) return wrong('chainId is not a chain id');
  if (!Array.isArray(sets) || sets.length === 0) return wrong('sets is not a list of at least one');
  const parsed = sets.map((set, index) => parseSet(set, `sets[${index}]`, wrong));
  for (const [index, { id, contracts, replaces }] of parsed.entries()) {
    const before = parsed.slice(0, index);
    if (before.some((other) => other.id === id)) wrong(`two sets have the id ${id}`);
    if (before.some((other) => other.contracts.billing === contracts.billing)) {
      wrong(`two sets have the billing ${contracts.billing}`);
    }
    if (replaces === id || (replaces && !parsed.some((other) => other.id === replaces))) {
      wrong(`sets[${index}].replaces names no other set`);
    }
  }
  return { chainId, sets: parsed };
}

/** A deployments file with the one set that a local house has deployed. */
export function deploymentsOf(chainId: number, deployed: ContractAddresses): Deployments {
  const { token, deployedAtBlock, ...contracts } = deployed;
  const place = { contracts, fromBlock: deployedAtBlock, token };
  return { chainId, sets: [{ id: 'local', ...place, status: 'current' }] };
}

/** Converts a set to the form that `createChain` takes. */
export function addressesOf({ contracts, token, fromBlock }: ContractSet): ContractAddresses {
  return { ...contracts, token, deployedAtBlock: fromBlock };
}

/** The set with exactly these contracts, or undefined. */
export function findSet(
  { sets }: Pick<Deployments, 'sets'>,
  said: Omit<ContractAddresses, 'deployedAtBlock'>,
): ContractSet | undefined {
  return sets.find(
    ({ contracts, token }) =>
      token === said.token && CONTRACTS.every((name) => contracts[name] === said[name]),
  );
}

type Wrong = (what: string) => never;

function parseSet(value: unknown, at: string, wrong: Wrong): ContractSet {
  const { id, contracts, fromBlock, token, status, replaces } = objectOf(value, at, wrong);
  if (typeof id !== 'string' || !SET_ID.test(id))
    return wrong(`${at}.id is not of a-z, 0-9, . and -`);
  const named = objectOf(contracts, `${at}.contracts`, wrong);
  const known = STATUSES.find((one) => one === status);
  if (!known) return wrong(`${at}.status is none of ${STATUSES.join(', ')}`);
  if (!isCount(fromBlock)) return wrong(`${at}.fromBlock is not a block number`);
  const before = replaces ?? undefined;
  if (before !== undefined && typeof before !== 'string') return wrong(`${at}.replaces is no id`);
  const addressAt = (name: (typeof CONTRACTS)[number]) =>
    addressOf(named[name], `${at}.contracts.${name}`, wrong);
  return {
    id,
    contracts: {
      registry: addressAt('registry'),
      identity: addressAt('identity'),
      billing: addressAt('billing'),
      disputes: addressAt('disputes'),
      beacon: addressAt('beacon'),
    },
    fromBlock,
    token: addressOf(token, `${at}.token`, wrong),
    status: known,
    ...(before !== undefined && { replaces: before }),
  };
}

function parseJson(text: string, wrong: Wrong): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return wrong('it is no JSON');
  }
}

function objectOf(value: unknown, at: string, wrong: Wrong): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return wrong(`${at} is not an object`);
  }
  // Safe: JSON objects have string keys; members are read with a check.
  return value as Record<string, unknown>;
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function addressOf(value: unknown, at: string, wrong: Wrong): Address {
  if (typeof value !== 'string' || !/^0x[0-9a-fA-F]{40}$/.test(value)) {
    return wrong(`${at} is not an address`);
  }
  // Safe: the pattern above is that of an Address.
  return value.toLowerCase() as Address;
}
