// Who pays for a call.
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import type { Call } from '../../contracts/libraries/receipts.ts';
import type { Draw } from '../routing/beacon.ts';
import type { MandateState } from './mandates.ts';

/** Who pays, and through which lane. */
export interface Caller {
  readonly payer: Address;
  readonly signer: Address;
  /** The payer is the function's publisher, who sponsors the call. */
  readonly sponsored: boolean;
  /** By which somebody else may call at the lane's expense; undefined for the lane's own calls. */
  readonly mandate?: MandateState;
  /** In a signed lane: the Call that authenticates this very request. */
  readonly signed?: SignedCall;
}

/** A Call whose signature and terms hold, with the draw that its epoch gives. */
export interface SignedCall {
  readonly call: Call;
  /** The caller's own, under `input` and `output`; 32 bytes. */
  readonly salt: Uint8Array;
  /** Of the lane's key over the Call, EIP-712. */
  readonly signature: Hex;
  readonly draw: Draw;
}
