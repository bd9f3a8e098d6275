// What a gateway says that it owes a payee, with its signed voucher. Trust only the voucher's
// signature and the chain.
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { type Eip712Domain, hashPayout } from '../../contracts/libraries/typed-data.ts';
import { recoverAddress } from '../../contracts/signatures.ts';
import type { Connection } from './connection.ts';
import {
  readAddress,
  readArray,
  readCount,
  readHex,
  readJson,
  readObject,
  readText,
  readUnits,
} from './parse.ts';

/** The total that a gateway has ever owed a payee, signed by its operator key. */
export interface PayoutVoucher {
  readonly cumulativeUnits: bigint;
  readonly signature: Hex;
}

/** One batch's share of the statement. */
export interface PayeeBatch {
  /** The gateway's own number of the batch, used for paging. */
  readonly n: number;
  /** `prepared`: on its way to the chain; `void`: it never got there. */
  readonly state: string;
  /** Number on the chain, once it is there. */
  readonly batch: number | undefined;
  readonly units: bigint;
  readonly cumulativeUnits: bigint;
  /** Signature of the voucher over `cumulativeUnits`; undefined if all of it is credited. */
  readonly signature: Hex | undefined;
}

export interface PayeeStatement {
  readonly payee: Address;
  readonly voucher: PayoutVoucher | undefined;
  /** Newest first. */
  readonly batches: readonly PayeeBatch[];
  /** Value of `before` for the next page. */
  readonly next: number | undefined;
}

/**
 * Fetches a page of a payee's statement. Anybody may read anybody's.
 * @example const { voucher } = await fetchPayouts(connection,
 *   '0x15d34aaf54267db7d7c367839aaf71a00a2c6a65');
 * @throws GATEWAY_UNREACHABLE, GATEWAY_PROTOCOL, REQUEST_INVALID
 */
export async function fetchPayouts(
  connection: Pick<Connection, 'request'>,
  payee: Address,
  page: { readonly before?: number; readonly limit?: number } = {},
): Promise<PayeeStatement> {
  const query = new URLSearchParams();
  if (page.before !== undefined) query.set('before', `${page.before}`);
  if (page.limit !== undefined) query.set('limit', `${page.limit}`);
  const reply = await connection.request(`/payouts/${payee}?${query}`);
  const said = await readJson(reply, 'the statement');
  const voucher = said.voucher === null ? undefined : readObject(said.voucher, 'voucher');
  return {
    payee: readAddress(said.payee, 'payee'),
    voucher: voucher && {
      cumulativeUnits: readUnits(voucher.cumulativeUnits, 'cumulativeUnits'),
      signature: readHex(voucher.signature, 65, 'signature'),
    },
    batches: readArray(said.batches, 'batches').map((one) => {
      const { n, state, batch, units, cumulativeUnits, signature } = readObject(one, 'a batch');
      return {
        n: readCount(n, 'n'),
        state: readText(state, 'state'),
        batch: batch === null ? undefined : readCount(batch, 'batch'),
        units: readUnits(units, 'units'),
        cumulativeUnits: readUnits(cumulativeUnits, 'cumulativeUnits'),
        signature: signature === null ? undefined : readHex(signature, 65, 'signature'),
      };
    }),
    next: said.next === null ? undefined : readCount(said.next, 'next'),
  };
}

/**
 * The account whose key signed the voucher; undefined if the signature is malformed. The chain
 * tells whether the key is the gateway's.
 */
export function payoutSigner(
  domain: Eip712Domain,
  of: { readonly gateway: Address; readonly payee: Address },
  { cumulativeUnits, signature }: PayoutVoucher,
): Address | undefined {
  const digest = hashPayout(domain, { ...of, cumulative: cumulativeUnits });
  return recoverAddress(digest, signature);
}
