// The nouns of one call on its way through the gateway, from the request to the answer.
import type { ProviderName } from '../../adapters/provider.ts';
import type { Hex } from '../../contracts/libraries/keccak.ts';
import type { Credential } from '../identity/access-tokens.ts';
import type { Routing } from '../routing/routing.ts';

export type Headers = readonly (readonly [name: string, value: string])[];

/** A request for a function, parsed at the edge; the routes make it. */
export interface Invocation {
  /** Names the call in logs and at the cloud. */
  readonly id: string;
  /** An address or a claimed label. */
  readonly owner: string;
  readonly name: string;
  /** A version number or an alias. */
  readonly reference: string;
  readonly method: string;
  /** What follows the function's address in the request line, byte for byte, `/` if empty: what the receipt commits to. */
  readonly target: string;
  /** As the function sees it, percent-encoded, beginning with `/`. */
  readonly path: string;
  readonly query: string;
  /** As the function sees them. */
  readonly headers: Headers;
  readonly body: Uint8Array;
  readonly credential: Credential | undefined;
  /** As it came in `Defaas-Call`. */
  readonly signedCall?: string | undefined;
  /** `<ceiling>:<signature>` as it came in `Defaas-Voucher`. */
  readonly voucher: string | undefined;
  readonly idempotencyKey: string | undefined;
  /** The payer's own, as `Defaas-Nonce` says it: what `Call.nonce` is; made for `maxPriceUnits`. */
  readonly nonce: Hex | undefined;
  readonly maxPriceUnits: bigint | undefined;
  /** As `Defaas-Routing` says; it narrows what the version says. */
  readonly routing?: Routing | undefined;
}

/** What the caller gets back beside the function's own answer. */
export interface ReceiptLine {
  readonly id: Hex;
  readonly priceUnits: bigint;
  readonly provider: ProviderName;
  readonly seq: number;
}

/** The function's answer, or why there is none. */
export type Reply =
  | {
      readonly ok: true;
      readonly status: number;
      readonly headers: Headers;
      readonly body: Uint8Array;
    }
  | {
      readonly ok: false;
      readonly code: 'FUNCTION_FAILED' | 'FUNCTION_TIMEOUT' | 'INVOCATION_UNKNOWN';
      readonly message: string;
    };

/** The end of a call under which something may have run: always with a receipt. */
export type Answer = Reply & {
  readonly receipt: ReceiptLine;
  /** What the payer's line has left for new calls, base units, when that is low; not told of a sponsor. */
  readonly lowBalanceUnits?: bigint;
  /** It answers an earlier call under the same key. */
  readonly isReplay?: boolean;
};
