// The key in which a gateway signs: receipt groups and what it owes payees. The chain says which
// keys are its own.
import type { Chain } from '../contracts/chain.ts';
import type { Address, Hex } from '../contracts/libraries/keccak.ts';
import { hashPayout, hashReceiptGroup } from '../contracts/libraries/typed-data.ts';
import { createDigestSigner } from './ecdsa.ts';
import type { GroupSigner } from './invocation/journal.ts';

export interface OperatorKey extends GroupSigner {
  /** Over Payout(gateway, payee, cumulative), base units. */
  signPayout(payee: Address, cumulative: bigint): Hex;
  /** Whether clients and contracts accept what it signs now. */
  isInForce(): boolean;
}

export function createOperatorKey(
  privateKey: Hex,
  chain: Pick<Chain, 'domain' | 'view'>,
  gateway: Address,
): OperatorKey {
  const { address, sign } = createDigestSigner(privateKey);
  return {
    key: address,
    sign: (root, count) => sign(hashReceiptGroup(chain.domain, { gateway, root, count })),
    signPayout: (payee, cumulative) =>
      sign(hashPayout(chain.domain, { gateway, payee, cumulative })),
    isInForce: () => chain.view.isKeyInForce(address, gateway),
  };
}
