// The types of one call in the gateway, from the request to the answer.
import type { ProviderName } from '../../adapters/provider.ts';
import type { Hex } from '../../contracts/libraries/keccak.ts';
import type { Credential } from '../identity/access-tokens.ts';
import type { Routing } from '../routing/routing.ts';

export type Headers = readonly (readonly [name: string, value: string])[];

/** A request for a function, parsed by the routes. */
export interface Invocation {
  /** Names the call in logs and at the cloud. */
  readonly id: string;
  /** The client's address, as `Peers.peerOf` tells it. */
  readonly peer: string;
  /** An address or a claimed label. */
  readonly owner: string;
  readonly name: string;
  /** A version number or an alias. */
  readonly reference: string;
  readonly method: string;
  /**
   * The part of the request line that follows the function's address, byte for byte, `/` if empty.
   * The receipt commits to it.
   */
  readonly target: string;
  /** As the function sees it, percent-encoded, beginning with `/`. */
  readonly path: string;
  readonly query: string;
  /** As the function sees them. */
  readonly headers: Headers;
  readonly body: Uint8Array;
  /** Of a CloudEvent: hash over its attributes and data, the same in each mode. */
  readonly eventDigest?: string | undefined;
  readonly credential: Credential | undefined;
  /** Value of the `Defaas-Call` header. */
  readonly signedCall?: string | undefined;
  /** Value of the `Defaas-Voucher` header: `<ceiling>:<signature>`. */
  readonly voucher: string | undefined;
  readonly idempotencyKey: string | undefined;
  /** Value of the `Defaas-Nonce` header, which becomes `Call.nonce`; made for `maxPriceUnits`. */
  readonly nonce: Hex | undefined;
  readonly maxPriceUnits: bigint | undefined;
  /** Value of `Defaas-Routing`; it narrows the version's routing. */
  readonly routing?: Routing | undefined;
}

/** What the caller gets back beside the function's own answer. */
export interface CallReceipt {
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

/** The end of a call that may have run: always with a receipt. */
export type Answer = Reply & {
  readonly receipt: CallReceipt;
  /**
   * What the payer's line has left for new calls, base units; only when it is low, never for a
   * sponsor.
   */
  readonly lowBalanceUnits?: bigint;
  /** It answers an earlier call under the same key. */
  readonly isReplay?: boolean;
};
