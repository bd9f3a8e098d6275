// Folders below a home: one for the house, and one for the receipts of each set of contracts that
// it has served.
import { join } from 'node:path';
import { hasTexts, readState, writeWholeSync } from '../../adapters/runtime/whole-file.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';

const FIRST_BILLING = {
  what: 'the address of the first Billing that was served, { "billing": "0x…" }',
  isWhole: (value: unknown) => hasTexts(value, ['billing']),
  remedy: 'restore it, or write that address: it says whose receipts lie beside it',
};

/** The folder of everything that does not depend on the served contracts. */
export function houseFolder({ home }: { readonly home: string }): string {
  return join(home, 'gateway');
}

/**
 * The folder of a Billing's ledger: the house's own for the first Billing served, a separate folder
 * for each other one. So a ledger is never opened with other contracts, whichever set is configured
 * first.
 */
export function ledgerFolder(of: { readonly home: string }, billing: Address): string {
  const house = houseFolder(of);
  const file = join(house, 'billing.json');
  const known = readState<{ readonly billing: Address }>(file, FIRST_BILLING);
  if (known === undefined) writeWholeSync(file, `${JSON.stringify({ billing })}\n`);
  const first = known ?? { billing };
  return first.billing === billing ? house : join(of.home, 'sets', billing);
}
