// Turns logs into state: each part of the view has a table of handlers by event; the view applies
// the logs in the chain's order.
import type { Result } from 'ethers';
import type { Address, Hex } from '../libraries/keccak.ts';
import type { ContractName } from './abi.ts';

/** Where and when a log was written. */
export interface LogPlace {
  readonly blockNumber: number;
  readonly timestampSec: number;
  readonly tx: Hex;
}

/**
 * Handlers by event of a contract. Our contracts wrote the arguments, so their forms are trusted.
 */
export type Replay = {
  readonly [C in ContractName]?: Readonly<Record<string, (args: Result, place: LogPlace) => void>>;
};

/** Lower-case; ethers gives checksummed addresses. */
export function toAddress(value: string): Address {
  return value.toLowerCase() as Address;
}

/**
 * Gets or creates the map under `key`. An empty map means the same as none, so the creation needs
 * no undo step.
 */
export function inner<K, L, V>(outer: Map<K, Map<L, V>>, key: K): Map<L, V> {
  const known = outer.get(key);
  if (known !== undefined) return known;
  const fresh = new Map<L, V>();
  outer.set(key, fresh);
  return fresh;
}

/** Gets or creates the list under `key`. */
export function listOf<K, V>(lists: Map<K, V[]>, key: K): V[] {
  const known = lists.get(key);
  if (known !== undefined) return known;
  const fresh: V[] = [];
  lists.set(key, fresh);
  return fresh;
}
