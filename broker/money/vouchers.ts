// A voucher, the payer's signed ceiling: check it, store it durably, then apply it. It comes with a
// call or by PUT /lanes/…/voucher.

import type { Chain } from '../../contracts/chain.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { hashVoucher } from '../../contracts/libraries/typed-data.ts';
import { DefaasError } from '../errors.ts';
import { recoverSigner } from '../identity/ecdsa.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { Caller } from './caller.ts';
import type { Lanes } from './lanes.ts';

/** The parts of the gateway that vouchers use. */
export interface VoucherParts {
  readonly address: Address;
  readonly chain: Pick<Chain, 'domain' | 'hasCode'>;
  readonly lanes: Pick<Lanes, 'lane' | 'has' | 'raise'>;
  readonly ledger: Pick<Ledger, 'putVoucher'>;
}

/** A claim's amounts are uint88 (docs/contracts.md 6.1); a higher ceiling could not be settled. */
const MAX_CEILING_UNITS = 2n ** 88n - 1n;

/**
 * Accepts the voucher of a `Defaas-Voucher` header, `<ceiling in base units>:<0x signature>`. A
 * voucher that is not above the newest is ignored unverified. A voucher for a lane that is not on
 * the chain is verified but not stored.
 * @throws DefaasError VOUCHER_INVALID  another form, too high, or not signed by the lane's key
 * @throws DefaasError VOUCHER_BY_CONTRACT  the lane's signer is a contract wallet
 */
export async function acceptVoucher(
  parts: VoucherParts,
  caller: Pick<Caller, 'payer' | 'signer'>,
  header: string,
): Promise<void> {
  const [, digits, hex] = /^(\d{1,27}):(0x[0-9a-fA-F]{2,4096})$/.exec(header.trim()) ?? [];
  if (digits === undefined || hex === undefined) {
    throw invalid('its form is <ceiling in base units>:<0x signature>');
  }
  // Safe: the pattern above matches Hex only.
  const signature = hex.toLowerCase() as Hex;
  const { payer, signer } = caller;
  const ceiling = BigInt(digits);
  if (ceiling > MAX_CEILING_UNITS) throw invalid(`its ceiling is above ${MAX_CEILING_UNITS}`);
  if (ceiling <= parts.lanes.lane(payer, signer).ceiling) return;
  const digest = hashVoucher(parts.chain.domain, {
    payer,
    gateway: parts.address,
    signer,
    ceiling,
  });
  if (recoverSigner(digest, signature) !== signer) throw await notSigned(parts, caller);
  // Do not store it yet: the client sends it again with every call, and vouchers of freshly made
  // keys could fill the ledger.
  if (!parts.lanes.has(payer, signer)) return;
  await parts.ledger.putVoucher({ payer, signer, ceiling, signature });
  parts.lanes.raise({ payer, signer, ceiling });
}

/**
 * Only a key's signature is accepted for calls: a contract may withdraw its ERC-1271 approval
 * between call and settlement. Billing accepts both.
 */
async function notSigned(
  { chain }: VoucherParts,
  { payer, signer }: Pick<Caller, 'payer' | 'signer'>,
): Promise<DefaasError> {
  if (signer === payer && (await chain.hasCode(payer))) {
    return new DefaasError(
      'VOUCHER_BY_CONTRACT',
      `${payer} is a contract, whose approval can change until settlement: let it open a lane for a session key (openLane with the key as signer) and sign with that key`,
    );
  }
  return invalid(`it is not signed by the lane's key ${signer}`);
}

function invalid(why: string): DefaasError {
  return new DefaasError('VOUCHER_INVALID', `the voucher is refused: ${why}, sign it again`);
}
