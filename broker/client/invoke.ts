// Calling a function and paying for it from a lane. Receipts are checked before a voucher goes
// further.

import type { Hex } from '../../contracts/libraries/keccak.ts';
import { type CallChain, createCallTerms } from './call-terms.ts';
import type { Connection } from './connection.ts';
import { createCover } from './cover.ts';
import { DefaasClientError, readProblem } from './errors.ts';
import {
  headersOf,
  type InvokeRequest,
  requestOf,
  splitTarget,
  TIMEOUT_MS,
  targetOf,
  withKey,
} from './invoke-request.ts';
import { shortageIn } from './lane.ts';
import { createLaneMemory, type LaneMemory } from './lane-memory.ts';
import {
  type CallParts,
  forgetOldKey,
  type MadeCall,
  makeCall,
  recordOpen,
  recordReply,
  sendCall,
} from './made-call.ts';
import { readHex, readUnits } from './parse.ts';
import { pause } from './pause.ts';
import type { ReceiptDocument } from './receipts.ts';
import type { Session } from './session.ts';
import { createCallSigner } from './sign-call.ts';

/** Default step of the ceiling, base units: 0.10 of a token with 6 decimals. */
export const STEP_UNITS = 100_000n;
/** First and longest pause between two tries of a call that waits for receipts, ms. */
const WAIT_MS = 100;
const MAX_WAIT_MS = 2_000;
/**
 * Most times that one call's Call is made anew, because the epoch, the version or its price has
 * changed.
 */
const MAX_MADE = 3;
/** Codes that do not tell whether a call has run: those of a proxy, and of a ledger that failed. */
export const SAY_NOTHING = new Set(['GATEWAY_UNREACHABLE', 'GATEWAY_PROTOCOL', 'LEDGER_FAILED']);

export interface InvokeReply {
  /** The function's answer, whatever its status; the gateway's problem document when it failed. */
  readonly response: Response;
  readonly receipt: ReceiptSummary;
  /** What is left on the payer's line for new calls, base units; present when it is low. */
  readonly lowBalanceUnits?: bigint;
  readonly idempotencyKey: string;
}

/** A receipt as the headers of a reply name it. */
export interface ReceiptSummary {
  readonly id: Hex;
  readonly provider: string;
  readonly priceUnits: bigint;
  readonly seq: number;
}

export interface Caller {
  /**
   * @example const { response, receipt } = await caller.invoke({ function: '0xabc…/hello', body });
   * @throws PAYMENT_REQUIRED `problem` says what is missing; PRICE_ABOVE_MAX, RECEIPT_INVALID, and
   *   the gateway's codes. Nothing was charged then.
   */
  invoke(request: InvokeRequest): Promise<InvokeReply>;
  /** `invoke` in the form of `fetch`: `caller.fetch('owner/name/path', init)`. */
  fetch(target: string, init?: RequestInit): Promise<Response>;
  /** Checks all new receipts. @throws RECEIPT_INVALID */
  acknowledge(): Promise<void>;
  /**
   * Checks all new receipts, and hands the gateway a voucher for what the lane's mandates allow
   * today. A lane without calls of its own needs one each day.
   * @throws RECEIPT_INVALID, RECEIPTS_MISSING, LANE_STOPPED, and the gateway's codes
   */
  renew(): Promise<void>;
}

export interface CallerOptions {
  /** Signed in with the lane's key. Its `ownCallsKey` marks the calls as the lane's own. */
  readonly session: Session;
  /** Reads from the chain which version is called and what it may cost. */
  readonly chain: CallChain;
  /** The lane's mode. In a `signed` one the key signs every Call, and calls need no token. */
  readonly mode?: 'prepaid' | 'signed';
  readonly memory?: LaneMemory;
  /**
   * The least that a voucher covers beyond the checked receipts, base units: what a lying gateway
   * could take. STEP_UNITS by default; 0 in a signed lane, where a voucher covers only the checked
   * receipts and the calls in flight.
   */
  readonly stepUnits?: bigint;
  /** Called with each checked receipt, in order of seq. */
  readonly onReceipt?: (receipt: ReceiptDocument) => void | Promise<void>;
  /** Unix ms, decides the UTC day of mandates; the machine's clock by default. */
  readonly nowMs?: () => number;
}

/**
 * Makes a caller that pays from the session's lane. One voucher covers many calls. All receipts are
 * checked before the next voucher is signed.
 */
export function createCaller(options: CallerOptions): Caller {
  const { session, chain, memory = createLaneMemory() } = options;
  const { connection, key, lane, ownCallsKey } = session;
  if (!lane) throw new TypeError('a caller needs a session with a lane');
  if (!ownCallsKey) {
    throw new TypeError('a key that cannot be exported needs ownCallsKey in its session’s options');
  }
  const terms = createCallTerms(chain);
  const isSigned = options.mode === 'signed';
  const stepUnits = options.stepUnits ?? (isSigned ? 0n : STEP_UNITS);
  const signer = isSigned
    ? createCallSigner({ connection, key, lane, chain, ownCallsKey })
    : undefined;
  const { onReceipt, nowMs } = options;
  const cover = createCover({
    session,
    lane,
    memory,
    chain,
    ownCallsKey,
    isSigned,
    stepUnits,
    onReceipt,
    nowMs,
  });

  const parts = { session, ownCallsKey, memory, terms, cover, signer, stepUnits };
  const invoke: Caller['invoke'] = (request) => payAndCall(parts, request);
  const { acknowledge, renew } = cover;
  return { invoke, acknowledge, renew, fetch: fetchBy(invoke) };
}

/**
 * Sends one call until the gateway answers it. It is sent again, with another voucher or Call, if
 * the ceiling was too low or if the version or the epoch has changed.
 */
async function payAndCall(parts: CallParts, given: InvokeRequest): Promise<InvokeReply> {
  const { memory, cover } = parts;
  const request = withKey(given);
  // Throws first, before anything is signed, if the path leaves the function.
  targetOf(request);
  const { idempotencyKey, isFreshKey = false } = request;
  const untilMs = Date.now() + (request.patienceMs ?? request.timeoutMs ?? TIMEOUT_MS);
  const id = crypto.randomUUID();
  let made = await makeCall(parts, request);
  let waitMs = WAIT_MS;
  let isSettled = true;
  let wasSent = false;
  cover.refuseStopped();
  if (!made.isTooDear) {
    forgetOldKey(memory, made.own);
    recordOpen(memory, id, made);
  }
  try {
    for (let times = 1; ; ) {
      try {
        if (!made.isTooDear) await cover.coverOpen();
      } catch (error) {
        // The missing receipts may be shown soon.
        if (!isMissing(error) || Date.now() + waitMs > untilMs) throw error;
        waitMs = await pauseLonger(waitMs, request.signal);
        continue;
      }
      const sentUnits = memory.read().ceilingUnits;
      isSettled = false;
      wasSent = true;
      const sent = await sendCall(parts, request, made);
      const { response } = sent;
      const receipt = receiptIn(response);
      if (receipt) {
        if (!made.isTooDear) recordReply(memory, id, made, sent, { receipt, isFreshKey });
        return { response, receipt, idempotencyKey, ...lowBalanceIn(response) };
      }
      const error = await readProblem(response, `calling ${request.function}`);
      isSettled = !SAY_NOTHING.has(error.code);
      if (hasMoved(error, made) && times < MAX_MADE) {
        times += 1;
        parts.terms.forget();
        parts.signer?.forget();
        made = await makeCall(parts, request);
        recordOpen(memory, id, made);
      } else if (shortageIn(error) !== 'ceiling' || made.isTooDear) {
        throw error;
      } else {
        await cover.raise().catch((cause) => {
          if (!isMissing(cause) || Date.now() > untilMs) throw cause;
        });
        if (memory.read().ceilingUnits > sentUnits) continue;
        // No higher ceiling is allowed yet: receipts of other calls must be shown first.
        if (Date.now() + waitMs > untilMs) throw error;
        waitMs = await pauseLonger(waitMs, request.signal);
      }
    }
  } catch (error) {
    // A call that was sent without an answer may have run, so it stays open until it must have
    // ended. With an idempotency key of the caller's own it may also have run elsewhere; a refused
    // call with a new key costs nothing.
    const isRefused = wasSent && isFreshKey && !isFault(error);
    if (isSettled) memory.dropCall(id, isRefused ? { isRefused } : undefined);
    throw error;
  }
}

/** The version, its price or the epoch has changed since the call was made. */
function hasMoved({ code }: DefaasClientError, { isTooDear }: MadeCall): boolean {
  return code === 'CALL_STALE' || (code === 'PRICE_ABOVE_MAX' && !isTooDear);
}

/** A fault of the gateway and not a refusal: the call may have run. */
function isFault(error: unknown): boolean {
  return !(error instanceof DefaasClientError) || error.code === 'INTERNAL';
}

function isMissing(error: unknown): boolean {
  return error instanceof DefaasClientError && error.code === 'RECEIPTS_MISSING';
}

/** @returns how long to wait the next time, ms */
async function pauseLonger(ms: number, signal: AbortSignal | undefined): Promise<number> {
  await pause(ms, signal);
  signal?.throwIfAborted();
  return Math.min(2 * ms, MAX_WAIT_MS);
}

/** Gives `invoke` the form of `fetch`. */
export function fetchBy(invoke: Caller['invoke']): Caller['fetch'] {
  return async (target, init = {}) => {
    const { name, path } = splitTarget(target);
    // Only parses `init`. `invoke` decides where the request goes.
    const asked = new Request(new URL(path, 'http://localhost'), init);
    const body = asked.body ? new Uint8Array(await asked.arrayBuffer()) : undefined;
    const { response } = await invoke({
      function: name,
      path,
      method: asked.method,
      headers: asked.headers,
      ...(body && { body }),
      signal: asked.signal,
    });
    return response;
  };
}

/**
 * Calls a function whose publisher pays, without signing in.
 * @throws TOKEN_MISSING its callers pay; SPONSOR_EMPTY, and the gateway's codes
 */
export async function invokeSponsored(
  connection: Connection,
  given: InvokeRequest,
): Promise<InvokeReply> {
  const request = withKey(given);
  const response = await connection.send(...requestOf(request, headersOf(request)));
  const receipt = receiptIn(response);
  if (receipt) return { response, receipt, idempotencyKey: request.idempotencyKey };
  throw await readProblem(response, `calling ${request.function}`);
}

function lowBalanceIn({ headers }: Response): Pick<InvokeReply, 'lowBalanceUnits'> {
  const left = headers.get('defaas-low-balance');
  return left === null ? {} : { lowBalanceUnits: readUnits(left, 'Defaas-Low-Balance') };
}

/** The reply's receipt; present exactly if an attempt may have run. */
function receiptIn({ headers }: Response): ReceiptSummary | undefined {
  const id = headers.get('defaas-receipt');
  if (id === null) return undefined;
  return {
    id: readHex(id, 32, 'Defaas-Receipt'),
    provider: headers.get('defaas-provider') ?? '',
    priceUnits: readUnits(headers.get('defaas-price'), 'Defaas-Price'),
    seq: Number(readUnits(headers.get('defaas-seq'), 'Defaas-Seq')),
  };
}
