// Who pays for a call.
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import type { Call } from '../../contracts/libraries/receipts.ts';
import type { Draw } from '../routing/beacon.ts';
import type { MandateState } from './mandates.ts';

/** The payer, and the lane that the call is charged to. */
export interface Caller {
  readonly payer: Address;
  readonly signer: Address;
  /** The payer is the function's publisher, who sponsors the call. */
  readonly sponsored: boolean;
  /**
   * The mandate that lets somebody else call at the lane's expense; undefined for the lane owner's
   * own calls.
   */
  readonly mandate?: MandateState;
  /**
   * The name that a handed-on token has in mandates, the most lasting one; undefined for the lane
   * owner's own calls.
   */
  readonly holder?: Hex | undefined;
  /** In a signed lane: the Call that authenticates this request. */
  readonly signed?: SignedCall;
}

/** A Call whose signature and terms are verified, with the draw of its epoch. */
export interface SignedCall {
  readonly call: Call;
  /** The caller's salt of the commitments `input` and `output`, 32 bytes. */
  readonly salt: Uint8Array;
  /** EIP-712 signature over the Call, by the lane's key. */
  readonly signature: Hex;
  readonly draw: Draw;
}
