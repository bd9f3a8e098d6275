// Payout vouchers: what a batch owes each payee, signed. With one, a payee that a batch left out,
// or that cannot wait, collects from the float.
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import type { Gateway } from '../gateway.ts';
import type { StoredPayout } from '../ledger/ledger.ts';

type Parts = Pick<Gateway, 'address' | 'chain' | 'ledger' | 'groupSigner' | 'log'>;

/** A payee's voucher in the form that is published. */
export interface PayoutVoucher {
  /** Total ever owed to the payee, base units. */
  readonly cumulative: bigint;
  readonly key: Address;
  readonly signature: Hex;
}

/**
 * Signs one payout per payee of a batch that is about to be sent. `cumulative` is all that the
 * payee has earned up to and including this batch, whether earlier batches paid it or left it out.
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
    // A ledger that started anew has no sum. Everything that batches have paid was owed, so use
    // that as the minimum.
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
 * The stored voucher. If the operator key has changed since, signs it again: contracts accept no
 * retired key.
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
