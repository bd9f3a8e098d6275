// Payees whose batches paid them less than their receipts earned, from the audit's findings.
import type { Address } from '../../contracts/libraries/keccak.ts';
import type { Finding } from '../client/findings.ts';

/**
 * What one gateway's batches have not paid a payee. `Due` tells whether its float has compensated
 * for it.
 */
export interface Shortfall {
  readonly gateway: Address;
  readonly payee: Address;
  /** Base units of the billing token. */
  readonly units: bigint;
  /** Batch numbers in chain order. */
  readonly batches: readonly number[];
}

/** One row per gateway and payee, covering the listed findings only. */
export function shortfallsOf(findings: readonly Finding[]): readonly Shortfall[] {
  const rows = new Map<string, Shortfall>();
  for (const { code, gateway, payee, batch, units } of findings) {
    if (code !== 'PAYOUT_SHORT' || payee === undefined) continue;
    const key = `${gateway}:${payee}`;
    const known = rows.get(key) ?? { gateway, payee, units: 0n, batches: [] };
    rows.set(key, { ...known, units: known.units + units, batches: [...known.batches, batch] });
  }
  return [...rows.values()];
}
