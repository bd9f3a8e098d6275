// A payer's signed ceiling: checked, durable, then in force. It comes with a call or by itself (PUT /lanes/…/voucher).

import type { Chain } from '../../contracts/chain.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { hashVoucher } from '../../contracts/libraries/typed-data.ts';
import { DefaasError } from '../errors.ts';
import { recoverSigner } from '../identity/ecdsa.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { Caller } from './caller.ts';
import type { Lanes } from './lanes.ts';

/** What a voucher needs of the gateway. */
export interface VoucherParts {
  readonly address: Address;
  readonly chain: Pick<Chain, 'domain' | 'provider'>;
  readonly lanes: Pick<Lanes, 'lane' | 'has' | 'raise'>;
  readonly ledger: Pick<Ledger, 'putVoucher'>;
}

/** A claim's amounts are uint88 (docs/contracts.md 6.1); a higher ceiling could not be settled. */
const MAX_CEILING_UNITS = 2n ** 88n - 1n;

/**
 * Takes the voucher of a `Defaas-Voucher` header, `<ceiling in base units>:<0x signature>`. One that is not above the
 * newest is left unread, and one for a lane that the chain does not have is not kept.
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
  // Safe: the pattern above is that of Hex.
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
  // Every call brings it again; kept before, a stranger's fresh keys would fill the ledger.
  if (!parts.lanes.has(payer, signer)) return;
  await parts.ledger.putVoucher({ payer, signer, ceiling, signature });
  parts.lanes.raise({ payer, signer, ceiling });
}

/**
 * A contract may take back its word between the call and the settlement (ERC-1271), so service is given for the word of a key only.
 * Billing takes both.
 */
async function notSigned(
  { chain }: VoucherParts,
  { payer, signer }: Pick<Caller, 'payer' | 'signer'>,
): Promise<DefaasError> {
  if (signer === payer && (await chain.provider.getCode(payer)) !== '0x') {
    return new DefaasError(
      'VOUCHER_BY_CONTRACT',
      `${payer} is a contract, whose word can change until it is settled: let it open a lane for a session key (openLane with the key as signer) and sign with that key`,
    );
  }
  return invalid(`it is not signed by the lane's key ${signer}`);
}

function invalid(why: string): DefaasError {
  return new DefaasError('VOUCHER_INVALID', `the voucher is refused: ${why}, sign it again`);
}
