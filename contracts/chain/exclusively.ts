// Takes turns on one account: whoever sends from it holds it until the transaction is included.
import type { Address } from '../libraries/keccak.ts';

/**
 * Runs `act` while nobody else sends from the account. Calls inside `act` run at once. A client
 * without it relies on the chain alone: a nonce that was taken is read again.
 */
export type Exclusively = <T>(account: Address, act: () => Promise<T>) => Promise<T>;

export const notExclusive: Exclusively = (_account, act) => act();
