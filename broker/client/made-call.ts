// One call of a lane: its maximum price and the nonce that marks it as the lane's own, how it is
// sent, and how its reply is recorded in the lane's memory.

import type { Hex } from '../../contracts/libraries/keccak.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import type { CallTermsReader } from './call-terms.ts';
import type { Cover } from './cover.ts';
import { DefaasClientError } from './errors.ts';
import { committedOf, headersOf, type KeyedRequest, requestOf } from './invoke-request.ts';
import type { LaneMemory } from './lane-memory.ts';
import { ownCallOf, ownNonce } from './own-calls.ts';
import type { Session } from './session.ts';
import type { CallSigner } from './sign-call.ts';

/** How long after its timeout a call may still be answered, ms. */
const LOST_AFTER_MS = 15 * 60_000;
/** How long a gateway replays the answer of an idempotency key, ms. Later the key is a new call. */
const KEY_LIFE_MS = 24 * 3_600_000;

/** What the calls of one caller share. */
export interface CallParts {
  readonly session: Session;
  readonly ownCallsKey: Hex;
  readonly memory: LaneMemory;
  readonly terms: CallTermsReader;
  readonly cover: Cover;
  /** Present in a signed lane. */
  readonly signer: CallSigner | undefined;
  readonly stepUnits: bigint;
}

/** What a call adds to its request. */
export interface MadeCall {
  /** `ownCallOf` its nonce. */
  readonly own: string;
  readonly maxPriceUnits: bigint;
  /** Timeout of the version, ms. */
  readonly timeoutMs: number;
  readonly headers: Readonly<Record<string, string>>;
  /**
   * The version may cost more than the caller allows. The call can only replay an earlier answer,
   * so nothing is signed for it.
   */
  readonly isTooDear?: boolean;
}

/** @throws PRICE_ABOVE_MAX, FUNCTION_UNKNOWN, and the codes of the signer */
export async function makeCall(parts: CallParts, request: KeyedRequest): Promise<MadeCall> {
  const { signer, stepUnits } = parts;
  const { idempotencyKey, maxPriceUnits: allowedUnits } = request;
  const { functionId, worstUnits, timeoutMs } = await parts.terms.of(request.function);
  if (signer) {
    const { call, header } = await signer.sign({
      function: request.function,
      request: committedOf(request),
      idempotencyKey,
      maxPriceUnits: allowedUnits,
    });
    const own = ownCallOf(call.nonce, functionId);
    return { own, maxPriceUnits: call.maxPrice, timeoutMs, headers: { 'defaas-call': header } };
  }
  if (allowedUnits === undefined && worstUnits > stepUnits) throw aboveStep(worstUnits, stepUnits);
  const isTooDear = allowedUnits !== undefined && worstUnits > allowedUnits;
  const maxPriceUnits = isTooDear ? allowedUnits : worstUnits;
  const nonce = ownNonce(parts.ownCallsKey, { functionId, maxPriceUnits }, idempotencyKey);
  const headers = { 'defaas-nonce': nonce, 'defaas-max-price': `${maxPriceUnits}` };
  return { own: ownCallOf(nonce, functionId), maxPriceUnits, timeoutMs, headers, isTooDear };
}

/** Records a call as open: ceilings cover it from now on. `id` names it in the memory. */
export function recordOpen(memory: LaneMemory, id: string, made: MadeCall): void {
  const { own: call, maxPriceUnits, timeoutMs } = made;
  memory.putCall({
    id,
    call,
    maxPriceUnits,
    expiresAtMs: Date.now() + timeoutMs + LOST_AFTER_MS,
  });
}

/**
 * Forgets that a call was paid once gateways no longer know its idempotency key: it is a new call
 * then.
 */
export function forgetOldKey(memory: LaneMemory, own: string): void {
  const paid = memory.paid(own);
  if (paid && Date.now() - paid.atMs > KEY_LIFE_MS) memory.forgetPaid(own);
}

/** A reply, and the time from the request to it, ms. */
export interface SentCall {
  readonly response: Response;
  readonly elapsedMs: number;
}

/** Sends a call with the newest voucher: by token, or without one where the Call is signed. */
export async function sendCall(
  { session, signer, cover }: CallParts,
  request: KeyedRequest,
  made: MadeCall,
): Promise<SentCall> {
  const headers = headersOf(request);
  for (const [name, value] of Object.entries(made.headers)) headers.set(name, value);
  const voucher = await cover.voucher();
  if (voucher !== undefined) headers.set('defaas-voucher', voucher);
  const sentAtMs = performance.now();
  const sender = signer ? session.connection : session;
  const response = await sender.send(...requestOf(request, headers));
  return { response, elapsedMs: performance.now() - sentAtMs };
}

/**
 * Records which receipt the reply of an open call names. A replay names the receipt of the earlier
 * call, which may be of another lane, so nothing is recorded for it.
 */
export function recordReply(
  memory: LaneMemory,
  id: string,
  made: MadeCall,
  { response, elapsedMs }: SentCall,
  reply: {
    readonly receipt: { readonly id: Hex; readonly seq: number; readonly priceUnits: bigint };
    readonly isFreshKey: boolean;
  },
): void {
  const { receipt, isFreshKey } = reply;
  const isReplay = response.headers.has('idempotent-replayed') && !isFreshKey;
  if (isReplay) {
    memory.dropCall(id);
    return;
  }
  const { own, maxPriceUnits } = made;
  if (receipt.seq <= memory.read().verifiedSeq) {
    // Either another program has checked and paid this receipt, or it is not the receipt of this
    // call; the call's own one may follow.
    memory.dropCall(id, memory.paid(own) ? undefined : { elapsedMs });
    return;
  }
  const { seq, priceUnits } = receipt;
  const answer = { seq, id: receipt.id, priceUnits, elapsedMs };
  memory.putCall({ id, call: own, maxPriceUnits, expiresAtMs: 0, answer });
}

function aboveStep(worstUnits: bigint, stepUnits: bigint): DefaasClientError {
  return new DefaasClientError(
    'PRICE_ABOVE_MAX',
    `the call may cost ${formatTokens(worstUnits)} tokens, more than a step of ${formatTokens(stepUnits)}; allow that much as its maximum price`,
  );
}
