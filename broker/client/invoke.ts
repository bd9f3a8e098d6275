// Calling a function and paying for it: the request, the vouchers that it needs, and the receipts that come before each new one.
import type { Hex } from '../../contracts/libraries/keccak.ts';
import { type CallChain, createCallTerms } from './call-terms.ts';
import type { CommittedRequest } from './commitments.ts';
import type { Connection, RequestOptions } from './connection.ts';
import { createCover } from './cover.ts';
import { DefaasClientError, readProblem } from './errors.ts';
import { shortageIn } from './lane.ts';
import { createLaneMemory, type LaneMemory } from './lane-memory.ts';
import { ownCallOf, ownNonce } from './own-calls.ts';
import { readHex, readUnits } from './parse.ts';
import type { ReceiptDocument } from './receipts.ts';
import type { Session } from './session.ts';
import { createCallSigner } from './sign-call.ts';

/** What one step of the ceiling is, base units: 0.10 of a token with 6 decimals. */
export const STEP_UNITS = 100_000n;
/** Longest wait for a call, ms: the longest timeout of a function, and what a cold start takes. */
const TIMEOUT_MS = 330_000;
/** Between two tries of a call that waits for receipts, ms: the first, and the most. */
const WAIT_MS = 100;
const MAX_WAIT_MS = 2_000;
/** A Call is made once more when the epoch, the version or its price has moved on in between. */
const MAX_MADE = 3;
/** How long after its timeout the answer of a call may still come, ms. */
const LOST_AFTER_MS = 15 * 60_000;
/** How long a gateway answers a key again, ms; afterwards the same key is a call once more. */
const KEY_LIFE_MS = 24 * 3_600_000;
/**
 * Codes that say nothing of what ran: of a proxy before the gateway, and of a ledger that broke.
 */
export const SAY_NOTHING = new Set(['GATEWAY_UNREACHABLE', 'GATEWAY_PROTOCOL', 'LEDGER_FAILED']);

export interface InvokeRequest {
  /** `owner/name`, `owner/name@version` or `owner/name@alias`; the owner is an address or a label. */
  readonly function: string;
  /** Path and query below the function, `/thumb?width=100`; `/` when left out. */
  readonly path?: string;
  /** `POST` when there is a body, else `GET`. */
  readonly method?: string;
  readonly headers?: HeadersInit;
  readonly body?: Uint8Array<ArrayBuffer>;
  /** The most that the call may cost, base units. */
  readonly maxPriceUnits?: bigint;
  /** Where it may run, and what goes before: it narrows what the version says. */
  readonly routing?: Routing;
  /** A call repeated under the same key is charged once; without one here or among the headers a fresh one is made. */
  readonly idempotencyKey?: string;
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
  /**
   * How long it may wait until receipts give room for a higher ceiling, ms; `timeoutMs` when left
   * out.
   */
  readonly patienceMs?: number;
}

export interface Routing {
  readonly strategy?: 'balanced' | 'cheapest' | 'fastest';
  /** The only clouds that may run it, such as `aws-lambda`. */
  readonly providers?: readonly string[];
  /** Regions by the clouds' names. */
  readonly excludedRegions?: readonly string[];
}

export interface InvokeReply {
  /** The function's own answer, whatever its status; when it failed, the gateway's problem document. */
  readonly response: Response;
  readonly receipt: ReceiptLine;
  /** What the payer's line has left for new calls, base units, when the gateway says that it is low. */
  readonly lowBalanceUnits?: bigint;
  readonly idempotencyKey: string;
}

/** What the reply's headers say of the receipt. */
export interface ReceiptLine {
  readonly id: Hex;
  readonly provider: string;
  readonly priceUnits: bigint;
  readonly seq: number;
}

export interface Caller {
  /**
   * @example const { response, receipt } = await caller.invoke({ function: '0xabc…/hello', body });
   * @throws PAYMENT_REQUIRED what is missing stands in `problem`; PRICE_ABOVE_MAX, RECEIPT_INVALID, and the gateway's codes: nothing was charged then
   */
  invoke(request: InvokeRequest): Promise<InvokeReply>;
  /** The same in the form of `fetch`: `caller.fetch('owner/name/path', init)`. */
  fetch(target: string, init?: RequestInit): Promise<Response>;
  /** Checks all receipts since the last time. @throws RECEIPT_INVALID */
  acknowledge(): Promise<void>;
  /**
   * The same, and hands the gateway a voucher for what the lane's mandates allow today: without
   * calls of its own a lane needs one each day. @throws RECEIPT_INVALID, RECEIPTS_MISSING,
   * LANE_STOPPED, and the gateway's codes
   */
  renew(): Promise<void>;
}

export interface CallerOptions {
  /** Signed in with the lane's key; it marks the calls as the lane's own (`ownCallsKey`). */
  readonly session: Session;
  /** What is called, and what it may cost, by the chain itself. */
  readonly chain: CallChain;
  /** As the lane was opened: with `signed`, the key signs every Call, and calls need no token. */
  readonly mode?: 'prepaid' | 'signed';
  readonly memory?: LaneMemory;
  /**
   * How far a voucher goes at least beyond the receipts that were checked, base units: what a lying
   * gateway
   * could take. 0.10 token when left out; in a signed lane 0, so that each voucher covers what is
   * checked and the calls in flight and no more.
   */
  readonly stepUnits?: bigint;
  /** Called with each checked receipt, in order of seq. */
  readonly onReceipt?: (receipt: ReceiptDocument) => void | Promise<void>;
  /** Unix ms, by which the days of mandates go; the machine's own clock when left out. */
  readonly nowMs?: () => number;
}

/** Makes a caller that pays from the session's lane. One voucher covers many calls; before each next one all receipts are checked. */
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

  /** The call as it is sent: who made it, and for how much at most. */
  const make = async (request: KeyedRequest): Promise<MadeRequest> => {
    const { idempotencyKey, maxPriceUnits: allowedUnits } = request;
    const { functionId, worstUnits, timeoutMs } = await terms.of(request.function);
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
    if (allowedUnits === undefined && worstUnits > stepUnits)
      throw aboveStep(worstUnits, stepUnits);
    const isTooDear = allowedUnits !== undefined && worstUnits > allowedUnits;
    const maxPriceUnits = isTooDear ? allowedUnits : worstUnits;
    const nonce = ownNonce(ownCallsKey, { functionId, maxPriceUnits }, idempotencyKey);
    const headers = { 'defaas-nonce': nonce, 'defaas-max-price': `${maxPriceUnits}` };
    return { own: ownCallOf(nonce, functionId), maxPriceUnits, timeoutMs, headers, isTooDear };
  };
  const put = (id: string, { own, maxPriceUnits, timeoutMs }: MadeRequest) =>
    memory.putCall({
      id,
      call: own,
      maxPriceUnits,
      expiresAtMs: Date.now() + timeoutMs + LOST_AFTER_MS,
    });
  const send = async (request: KeyedRequest, made: MadeRequest) => {
    const headers = headersOf(request);
    for (const [name, value] of Object.entries(made.headers)) headers.set(name, value);
    const voucher = await cover.voucher();
    if (voucher !== undefined) headers.set('defaas-voucher', voucher);
    const sentAtMs = performance.now();
    const sender = signer ? connection : session;
    const response = await sender.send(...requestOf(request, headers));
    return { response, elapsedMs: performance.now() - sentAtMs };
  };
  /**
   * A reply that answers an earlier call names the receipt of that one, which may be of another
   * lane.
   */
  const announce = (
    id: string,
    made: MadeRequest,
    { response, elapsedMs }: Awaited<ReturnType<typeof send>>,
    { receipt, isFresh }: { readonly receipt: ReceiptLine; readonly isFresh: boolean },
  ) => {
    const isReplay = response.headers.has('idempotent-replayed') && !isFresh;
    if (isReplay) return memory.dropCall(id);
    const { own, maxPriceUnits } = made;
    if (receipt.seq <= memory.read().verifiedSeq) {
      // Checked and paid by another program, or no receipt of this call at all: its own may follow.
      return memory.dropCall(id, memory.paid(own) ? undefined : { elapsedMs });
    }
    const { seq, priceUnits } = receipt;
    const answer = { seq, id: receipt.id, priceUnits, elapsedMs };
    memory.putCall({ id, call: own, maxPriceUnits, expiresAtMs: 0, answer });
  };

  const invoke: Caller['invoke'] = async (given) => {
    const request = withKey(given);
    // Before anything is asked for it: what is not a path below a function is not called.
    targetOf(request);
    const { idempotencyKey, isFreshKey: isFresh = false } = request;
    const untilMs = Date.now() + (request.patienceMs ?? request.timeoutMs ?? TIMEOUT_MS);
    const id = crypto.randomUUID();
    let made = await make(request);
    let waitMs = WAIT_MS;
    let isSettled = true;
    let wasSent = false;
    cover.refuseStopped();
    if (!made.isTooDear) {
      rearm(memory, made.own);
      put(id, made);
    }
    try {
      for (let times = 1; ; ) {
        try {
          if (!made.isTooDear) await cover.coverOpen();
        } catch (error) {
          // It may heal by itself: what is not shown now may be shown soon.
          if (!isMissing(error) || Date.now() + waitMs > untilMs) throw error;
          waitMs = await pause(waitMs, request.signal);
          continue;
        }
        const sentUnits = memory.read().ceilingUnits;
        isSettled = false;
        wasSent = true;
        const sent = await send(request, made);
        const receipt = receiptLine(sent.response);
        if (receipt) {
          if (!made.isTooDear) announce(id, made, sent, { receipt, isFresh });
          return {
            response: sent.response,
            receipt,
            idempotencyKey,
            ...lowBalanceIn(sent.response),
          };
        }
        const error = await readProblem(sent.response, `calling ${request.function}`);
        isSettled = !SAY_NOTHING.has(error.code);
        if (hasMoved(error, made) && times < MAX_MADE) {
          times += 1;
          terms.forget();
          signer?.forget();
          made = await make(request);
          put(id, made);
        } else if (shortageIn(error) !== 'ceiling' || made.isTooDear) {
          throw error;
        } else {
          await cover.raise().catch((cause) => {
            if (!isMissing(cause) || Date.now() > untilMs) throw cause;
          });
          if (memory.read().ceilingUnits > sentUnits) continue;
          // The formula gives no more room: what others have served must be shown first.
          if (Date.now() + waitMs > untilMs) throw error;
          waitMs = await pause(waitMs, request.signal);
        }
      }
    } catch (error) {
      // What was sent and has no answer may have run: it is in flight until it would have ended.
      // A key of the caller's own may run elsewhere; what was refused under a fresh one costs nothing.
      const isRefused = wasSent && isFresh && !isFault(error);
      if (isSettled) memory.dropCall(id, isRefused ? { isRefused } : undefined);
      throw error;
    }
  };
  const { acknowledge, renew } = cover;
  return { invoke, acknowledge, renew, fetch: fetchBy(invoke) };
}

/** A request with what marks it as the lane's own. */
interface MadeRequest {
  /** `ownCallOf` its nonce. */
  readonly own: string;
  readonly maxPriceUnits: bigint;
  /** Of the version. */
  readonly timeoutMs: number;
  readonly headers: Readonly<Record<string, string>>;
  /**
   * The version may cost more than the caller allows: only an answer of before can come, so nothing
   * is signed for it.
   */
  readonly isTooDear?: boolean;
}

/** A key is a call once more when the gateways have forgotten it. */
function rearm(memory: LaneMemory, own: string): void {
  const paid = memory.paid(own);
  if (paid && Date.now() - paid.atMs > KEY_LIFE_MS) memory.forgetPaid(own);
}

/** The gateway knows a newer version or epoch than the call was made for. */
function hasMoved({ code }: DefaasClientError, { isTooDear }: MadeRequest): boolean {
  return code === 'CALL_STALE' || (code === 'PRICE_ABOVE_MAX' && !isTooDear);
}

/** A fault of the gateway, not a refusal: the call may have run before it. */
function isFault(error: unknown): boolean {
  return !(error instanceof DefaasClientError) || error.code === 'INTERNAL';
}

function isMissing(error: unknown): boolean {
  return error instanceof DefaasClientError && error.code === 'RECEIPTS_MISSING';
}

/** @returns how long to wait the next time, ms */
async function pause(ms: number, signal: AbortSignal | undefined): Promise<number> {
  await new Promise((resolve) => setTimeout(resolve, ms));
  signal?.throwIfAborted();
  return Math.min(2 * ms, MAX_WAIT_MS);
}

/** Gives `invoke` the form of `fetch`. */
export function fetchBy(invoke: Caller['invoke']): Caller['fetch'] {
  return async (target, init = {}) => {
    const { name, path } = splitTarget(target);
    // Only read: where it goes is `invoke`'s to say.
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
  const receipt = receiptLine(response);
  if (receipt) return { response, receipt, idempotencyKey: request.idempotencyKey };
  throw await readProblem(response, `calling ${request.function}`);
}

export type KeyedRequest = InvokeRequest & {
  readonly idempotencyKey: string;
  /** It was made for this very call: no answer of before can come under it. */
  readonly isFreshKey?: boolean;
};

/** The request with its key: its own, that of its headers, or a fresh one. */
export function withKey(request: InvokeRequest | KeyedRequest): KeyedRequest {
  const own = request.idempotencyKey ?? new Headers(request.headers).get('idempotency-key');
  if (own !== null) return { ...request, idempotencyKey: own };
  return { ...request, idempotencyKey: crypto.randomUUID(), isFreshKey: true };
}

function aboveStep(worstUnits: bigint, stepUnits: bigint): DefaasClientError {
  return new DefaasClientError(
    'PRICE_ABOVE_MAX',
    `the call may cost ${worstUnits} units, more than a step of ${stepUnits}; allow that much as its maximum price`,
  );
}

function requestOf(request: InvokeRequest, headers: Headers): [string, RequestOptions] {
  const options: RequestOptions = {
    method: methodOf(request),
    headers,
    ...(request.body && { body: request.body }),
    ...(request.signal && { signal: request.signal }),
    timeoutMs: request.timeoutMs ?? TIMEOUT_MS,
    redirect: 'manual',
  };
  targetOf(request);
  return [`/functions/${request.function}${pathOf(request)}`, options];
}

/** The request as its receipt commits to it. @throws REQUEST_INVALID  its path leads out of the function */
export function committedOf(request: InvokeRequest): CommittedRequest {
  const body = request.body ?? new Uint8Array();
  return { method: methodOf(request), target: targetOf(request), body };
}

/** As fetch sends it: it writes the common methods in capitals. */
function methodOf(request: InvokeRequest): string {
  return new Request('http://localhost', {
    method: request.method ?? (request.body ? 'POST' : 'GET'),
  }).method;
}

/** Path and query below the function, as fetch sends them. */
function targetOf(request: InvokeRequest): string {
  const place = `/functions/${request.function}`;
  const [base, whole] = [place, `${place}${pathOf(request)}`].map(
    (one) => new URL(one, 'http://localhost'),
  );
  // A path that a stranger wrote must not lead to another function, or with our token to a route of the gateway's own.
  if (
    base?.pathname.split('/').length !== 4 ||
    !whole ||
    !`${whole.pathname}/`.startsWith(`${base.pathname}/`)
  ) {
    throw new DefaasClientError(
      'REQUEST_INVALID',
      `"${place}${pathOf(request)}" leads out of the function`,
    );
  }
  return `${whole.pathname}${whole.search}`.slice(base.pathname.length) || '/';
}

function headersOf(request: KeyedRequest): Headers {
  const headers = new Headers(request.headers);
  headers.set('idempotency-key', request.idempotencyKey);
  if (request.maxPriceUnits !== undefined) {
    headers.set('defaas-max-price', `${request.maxPriceUnits}`);
  }
  if (request.routing) headers.set('defaas-routing', routingText(request.routing));
  return headers;
}

/** As the header `Defaas-Routing` has it: a dictionary (RFC 9651), names as strings. */
function routingText({ strategy, providers, excludedRegions }: Routing): string {
  const list = (names: readonly string[]) => `(${names.map((name) => `"${name}"`).join(' ')})`;
  return [
    ...(strategy ? [`strategy=${strategy}`] : []),
    ...(providers ? [`providers=${list(providers)}`] : []),
    ...(excludedRegions ? [`exclude-regions=${list(excludedRegions)}`] : []),
  ].join(', ');
}

function pathOf(request: InvokeRequest): string {
  const path = request.path ?? '';
  return path === '' || path.startsWith('/') || path.startsWith('?') ? path : `/${path}`;
}

/** `owner/name@2/a/b?c` -> the function and what is below it. */
function splitTarget(target: string): { name: string; path: string } {
  const [, name, path = ''] = /^\/?([^/?]+\/[^/?]+)(.*)$/.exec(target) ?? [];
  if (name === undefined) {
    throw new DefaasClientError('FUNCTION_UNKNOWN', `"${target}" is not of the form owner/name`);
  }
  return { name, path: path.startsWith('/') ? path : `/${path}` };
}

function lowBalanceIn({ headers }: Response): Pick<InvokeReply, 'lowBalanceUnits'> {
  const left = headers.get('defaas-low-balance');
  return left === null ? {} : { lowBalanceUnits: readUnits(left, 'Defaas-Low-Balance') };
}

/** Present exactly when something may have run. */
function receiptLine({ headers }: Response): ReceiptLine | undefined {
  const id = headers.get('defaas-receipt');
  if (id === null) return undefined;
  return {
    id: readHex(id, 32, 'Defaas-Receipt'),
    provider: headers.get('defaas-provider') ?? '',
    priceUnits: readUnits(headers.get('defaas-price'), 'Defaas-Price'),
    seq: Number(readUnits(headers.get('defaas-seq'), 'Defaas-Seq')),
  };
}
