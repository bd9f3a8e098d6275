// What a batch owes its payees, signed: a payee that a batch leaves out, or that cannot wait for
// it, collects with that from the float.
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import type { Gateway } from '../gateway.ts';
import type { StoredPayout } from '../ledger/ledger.ts';

type Parts = Pick<Gateway, 'address' | 'chain' | 'ledger' | 'groupSigner' | 'log'>;

/** A payee's voucher as it is given out. */
export interface PayoutVoucher {
  /** All that was ever owed, base units. */
  readonly cumulative: bigint;
  readonly key: Address;
  readonly signature: Hex;
}

/**
 * One payout per row of a batch that is about to be sent. Cumulative is all that the payee's
 * receipts have brought it up to and with
 * this batch, whether earlier batches paid it or left it out.
 */
export async function signPayouts(
  { chain, address, ledger, groupSigner, log }: Parts,
  rows: readonly { readonly payee: Address; readonly amount: bigint }[],
): Promise<readonly Omit<StoredPayout, 'n'>[]> {
  const { key } = groupSigner;
  if (!groupSigner.isInForce()) {
    log.error({ key }, 'payouts are signed with a key that is not in force');
  }
  const owed = await ledger.owed(rows.map(({ payee }) => payee));
  return rows.map(({ payee, amount }) => {
    const { credited, advanced } = chain.view.due(address, payee);
    // What batches have paid was owed, whatever a ledger that began anew has of it.
    const before = larger(owed.get(payee) ?? 0n, credited - advanced);
    const cumulative = before + amount;
    return {
      payee,
      units: amount,
      cumulative,
      key,
      signature: groupSigner.signPayout(payee, cumulative),
    };
  });
}

/**
 * The stored voucher, or where another key signs by now, the same under that one: contracts take no
 * key that is retired.
 */
export function voucherOf(
  { groupSigner }: Pick<Parts, 'groupSigner'>,
  { payee, cumulative, key, signature }: StoredPayout,
): PayoutVoucher {
  if (key === groupSigner.key) return { cumulative, key, signature };
  const fresh = groupSigner.signPayout(payee, cumulative);
  return { cumulative, key: groupSigner.key, signature: fresh };
}

function larger(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
