// The Call that a receipt is about: who calls what, with which input, for how much at most.
import type { InvokeRequest } from '../../adapters/provider.ts';
import { type Hex, toHex } from '../../contracts/libraries/keccak.ts';
import { type Call, hashCall, NO_AUTHORITY } from '../../contracts/libraries/receipts.ts';
import { mandatedNonce } from '../client/mandates.ts';
import type { Caller } from '../money/caller.ts';
import type { LaneState } from '../money/lanes.ts';
import type { Draw } from '../routing/beacon.ts';
import type { Target } from '../routing/target.ts';
import { commitRequest, drawBytes } from './commitments.ts';
import type { Invocation } from './invocation.ts';

/**
 * Time after the version's timeout in which a prepaid call may still end: a cold start, and clocks
 * apart.
 */
const DEADLINE_SLACK_SEC = 60;

/** A Call with what opens it. */
export interface OpenCall {
  readonly call: Call;
  /** `hashCall` of it. */
  readonly callHash: Hex;
  /** 32 bytes, under `Call.input` and `Execution.output`. */
  readonly salt: Uint8Array;
  /** The random part of a mandated call's nonce. */
  readonly item: Hex | undefined;
  /** Of the lane's key over the Call, in a signed lane. */
  readonly callSignature: Hex | undefined;
}

interface CallTerms {
  readonly gateway: Call['gateway'];
  readonly invocation: Invocation;
  readonly caller: Caller;
  readonly target: Target;
  readonly lane: LaneState;
  readonly draw: Draw;
  readonly maxPriceUnits: bigint;
  readonly nowMs: number;
}

/** The caller's own signed Call, or in a prepaid lane one that the gateway makes for it. */
export function openCall(terms: CallTerms): OpenCall {
  const { invocation, caller, target, lane, draw } = terms;
  const { signed, mandate } = caller;
  if (signed !== undefined) {
    const { call, salt, signature } = signed;
    return { call, callHash: hashCall(call), salt, item: undefined, callSignature: signature };
  }
  const salt = drawBytes(32);
  const item = mandate && toHex(drawBytes(32));
  const own = ownNonceOf(invocation, caller);
  const call: Call = {
    payer: lane.payer,
    gateway: terms.gateway,
    signer: lane.signer,
    nonce: mandate && item ? mandatedNonce(mandate.hash, item) : (own ?? toHex(drawBytes(32))),
    functionVersion: target.version.functionVersion,
    input: commitRequest(salt, invocation.method, invocation.target, invocation.body),
    // A nonce of the payer's is made for one maximum price and holds for no other.
    maxPrice: (own && invocation.maxPriceUnits) ?? terms.maxPriceUnits,
    deadlineSec:
      Math.floor(terms.nowMs / 1000) +
      Math.ceil(target.version.timeoutMs / 1000) +
      DEADLINE_SLACK_SEC,
    beacon: draw.epoch,
    authority: mandate?.hash ?? NO_AUTHORITY,
  };
  return { call, callHash: hashCall(call), salt, item, callSignature: undefined };
}

/** The payer's own nonce. Whoever calls under a mandate cannot make one. */
export function ownNonceOf({ nonce }: Invocation, { mandate }: Caller): Hex | undefined {
  return mandate === undefined ? nonce : undefined;
}

/** The request that a provider passes to the function. */
export function requestFor(invocation: Invocation): InvokeRequest {
  return {
    callId: invocation.id,
    method: invocation.method,
    path: invocation.path,
    query: invocation.query,
    headers: invocation.headers,
    body: invocation.body,
  };
}
