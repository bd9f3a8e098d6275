// How a log becomes state: each room of the view lists what it does on which event; the view plays
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
 * What a room does on each event of a contract. Our contracts wrote the arguments, so their forms
 * are trusted.
 */
export type Replay = {
  readonly [C in ContractName]?: Readonly<Record<string, (args: Result, place: LogPlace) => void>>;
};

/** Lower-case; ethers gives checksummed addresses. */
export function toAddress(value: string): Address {
  return value.toLowerCase() as Address;
}

/**
 * The map under `key`, made when it is missing. An empty one says the same as none, so no history
 * is kept of it.
 */
export function inner<K, L, V>(outer: Map<K, Map<L, V>>, key: K): Map<L, V> {
  const known = outer.get(key);
  if (known !== undefined) return known;
  const fresh = new Map<L, V>();
  outer.set(key, fresh);
  return fresh;
}

/** The list under `key`, made when it is missing. */
export function listOf<K, V>(lists: Map<K, V[]>, key: K): V[] {
  const known = lists.get(key);
  if (known !== undefined) return known;
  const fresh: V[] = [];
  lists.set(key, fresh);
  return fresh;
}
