// Calling a function and paying for it: the request, the vouchers that it needs, and the receipts that come before each new one.
import type { Hex } from '../../contracts/libraries/keccak.ts';
import { type CallChain, createCallTerms } from './call-terms.ts';
import type { CommittedRequest } from './commitments.ts';
import type { Connection, RequestOptions } from './connection.ts';
import { DefaasClientError, readProblem } from './errors.ts';
import {
  createLaneMemory,
  fetchLane,
  type LaneMemory,
  nextCeiling,
  type Shortage,
  shortageIn,
  signedCeiling,
  signVoucher,
  voucherHeader,
} from './lane.ts';
import { ownNonce } from './own-calls.ts';
import { readHex, readUnits } from './parse.ts';
import { fetchReceipts, type ReceiptDocument } from './receipts.ts';
import type { Session } from './session.ts';
import { type CallSigner, createCallSigner } from './sign-call.ts';
import { verifyReceipt } from './verify-receipt.ts';

/** What one step of the ceiling is, base units: 0.10 of a token with 6 decimals. */
export const STEP_UNITS = 100_000n;
/** Longest wait for a call, ms: the longest timeout of a function, and what a cold start takes. */
const TIMEOUT_MS = 330_000;
/** Parallel calls take each other's room under the ceiling, also those of other programs: then a call waits for their receipts. */
const MAX_RAISES = 100;
const RAISE_WAIT_MS = 100;
/** A Call is signed once more when the epoch or the version has moved on in between. */
const MAX_SIGNATURES = 3;

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
   * How far a voucher goes beyond the receipts that were checked, base units, for each call under way: what a lying gateway could take.
   * In a signed lane it is 0 when left out: each voucher covers what is checked and the calls in flight, so each call signs one.
   */
  readonly stepUnits?: bigint;
  /** Called with each checked receipt, in order of seq. */
  readonly onReceipt?: (receipt: ReceiptDocument) => void | Promise<void>;
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
  const stepUnits = options.stepUnits ?? (options.mode === 'signed' ? 0n : STEP_UNITS);
  const signer =
    options.mode === 'signed'
      ? createCallSigner({ connection, key, lane, chain, ownCallsKey })
      : undefined;
  /** Signed lanes: the most that calls may cost which are under way, and which are answered but whose receipts are not checked. */
  const inFlight = new Map<string, bigint>();
  const unchecked = new Map<number, bigint>();
  /** The newest receipt that a reply has named: it is durable by then, so the gateway must be able to show it. */
  let announced: Pick<ReceiptLine, 'seq' | 'id'> = { seq: 0, id: '0x' };
  let callsUnderWay = 0;
  let checking: Promise<void> | undefined;
  let voucher = { ceilingUnits: 0n, header: '' };

  /** What this memory does not know of, because it has been lost or another one signs for the lane too: by the key's own signature. */
  const recall = async () => {
    const { gateway } = connection.document;
    const document = { ...(await fetchLane(session, lane)), ...lane, gateway };
    const signed = signedCeiling(connection.domain, document);
    memory.update((record) =>
      record.ceilingUnits >= signed ? record : { ...record, ceilingUnits: signed },
    );
  };
  const checkReceipts = async () => {
    const due = announced;
    for await (const document of fetchReceipts(session, lane, memory.read().verifiedSeq)) {
      // Another program on this lane may have checked it in the meantime.
      if (document.receipt.seq <= memory.read().verifiedSeq) continue;
      if (document.receipt.cumulative > memory.read().ceilingUnits) await recall();
      const after = memory.read();
      const { gateway } = connection.document;
      const isSigned = options.mode === 'signed';
      const known = { domain: connection.domain, gateway, lane, chain, isSigned, after };
      await verifyReceipt(document, {
        ...known,
        ...(document.receipt.seq === due.seq && { id: due.id }),
      });
      await options.onReceipt?.(document);
      const { seq, cumulative } = document.receipt;
      unchecked.delete(seq);
      memory.update((record) =>
        record.verifiedSeq >= seq
          ? record
          : { ...record, verifiedSeq: seq, verifiedUnits: cumulative },
      );
    }
    if (memory.read().verifiedSeq < due.seq) {
      throw new DefaasClientError(
        'RECEIPT_INVALID',
        `the gateway has named receipt ${due.id} (seq ${due.seq}) and does not show it; nothing more is signed for this gateway`,
      );
    }
  };
  const announce = (response: Response, { seq, id }: ReceiptLine) => {
    // A replay names the receipt of an earlier call, which may be of another lane.
    if (response.headers.has('idempotent-replayed')) return false;
    if (seq > announced.seq) announced = { seq, id };
    return true;
  };
  const acknowledge = () => {
    checking ??= checkReceipts().finally(() => {
      checking = undefined;
    });
    return checking;
  };
  /** Whether the ceiling is high enough now. */
  const raise = async (shortage: Pick<Shortage, 'needUnits' | 'ceilingUnits'>) => {
    await acknowledge();
    let isEnough = false;
    memory.update((record) => {
      const next = nextCeiling(record, shortage, stepUnits, callsUnderWay);
      isEnough = next !== undefined;
      return { ...record, ceilingUnits: next ?? record.ceilingUnits };
    });
    return isEnough;
  };
  const newestVoucher = async () => {
    const { ceilingUnits } = memory.read();
    if (ceilingUnits !== voucher.ceilingUnits) {
      const signature = await signVoucher(connection, key, lane.payer, ceilingUnits);
      voucher = { ceilingUnits, header: voucherHeader(ceilingUnits, signature) };
    }
    return voucher.header;
  };

  const openUnits = () => {
    let sum = 0n;
    for (const units of [...inFlight.values(), ...unchecked.values()]) sum += units;
    return sum;
  };
  /** The ceiling is what is checked and what is in flight, and no more than `stepUnits` beyond it. */
  const coverOpen = async () => {
    const { ceilingUnits, verifiedUnits } = memory.read();
    if (ceilingUnits < verifiedUnits + openUnits()) await raiseToOpen();
  };
  const raiseToOpen = async () => {
    await acknowledge();
    memory.update((record) => {
      const next = record.verifiedUnits + openUnits() + stepUnits;
      return next > record.ceilingUnits ? { ...record, ceilingUnits: next } : record;
    });
  };
  const invokeSigned = async (request: KeyedRequest, by: CallSigner): Promise<InvokeReply> => {
    const call = {
      function: request.function,
      request: committedOf(request),
      idempotencyKey: request.idempotencyKey,
      maxPriceUnits: request.maxPriceUnits,
    };
    const { worstUnits } = await terms.of(request.function);
    const place = crypto.randomUUID();
    inFlight.set(place, worstUnits);
    let signedCall = await by.sign(call);
    try {
      for (let tries = 1; ; tries += 1) {
        await coverOpen();
        const headers = headersOf(request);
        headers.set('defaas-call', signedCall.header);
        headers.set('defaas-voucher', await newestVoucher());
        const response = await connection.send(...requestOf(request, headers));
        const receipt = receiptLine(response);
        if (receipt) {
          const isNew = announce(response, receipt) && receipt.seq > memory.read().verifiedSeq;
          if (isNew) unchecked.set(receipt.seq, worstUnits);
          return { response, receipt, idempotencyKey: request.idempotencyKey };
        }
        const error = await readProblem(response, `calling ${request.function}`);
        if (tries === MAX_SIGNATURES) throw error;
        // Receipts of calls whose answers were lost: what they cost is checked, then covered.
        if (shortageIn(error)?.reason === 'ceiling') await raiseToOpen();
        else if (error.code === 'CALL_STALE') {
          by.forget();
          signedCall = await by.sign(call);
        } else throw error;
      }
    } finally {
      inFlight.delete(place);
    }
  };

  const invokePrepaid = async (request: KeyedRequest): Promise<InvokeReply> => {
    if (memory.read().ceilingUnits === 0n) await raise({ ceilingUnits: 0n, needUnits: 1n });
    const { functionId, worstUnits } = await terms.of(request.function);
    const { maxPriceUnits: allowedUnits = worstUnits } = request;
    const maxPriceUnits = allowedUnits < worstUnits ? allowedUnits : worstUnits;
    const named = { functionId, maxPriceUnits };
    const nonce = ownNonce(ownCallsKey, named, request.idempotencyKey);
    for (let raises = 0; ; raises += 1) {
      const headers = headersOf(request);
      headers.set('defaas-nonce', nonce);
      headers.set('defaas-max-price', `${maxPriceUnits}`);
      headers.set('defaas-voucher', await newestVoucher());
      const response = await session.send(...requestOf(request, headers));
      const receipt = receiptLine(response);
      if (receipt) {
        announce(response, receipt);
        const { idempotencyKey } = request;
        return { response, receipt, idempotencyKey, ...lowBalanceIn(response) };
      }
      const error = await readProblem(response, `calling ${request.function}`);
      const shortage = shortageIn(error);
      if (shortage?.reason !== 'ceiling' || raises === MAX_RAISES) throw error;
      if (await raise(shortage)) continue;
      if (shortage.priceUnits > stepUnits) throw aboveStep(shortage, stepUnits);
      await new Promise((resolve) => setTimeout(resolve, RAISE_WAIT_MS));
      request.signal?.throwIfAborted();
    }
  };

  const invoke: Caller['invoke'] = async (given) => {
    const request = withKey(given);
    // Before anything is asked for it: what is not a path below a function is not called.
    targetOf(request);
    if (signer) return invokeSigned(request, signer);
    callsUnderWay += 1;
    try {
      return await invokePrepaid(request);
    } finally {
      callsUnderWay -= 1;
    }
  };
  return { invoke, acknowledge, fetch: fetchBy(invoke) };
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

export type KeyedRequest = InvokeRequest & { readonly idempotencyKey: string };

/** The request with its key: its own, that of its headers, or a fresh one. */
export function withKey(request: InvokeRequest): KeyedRequest {
  const own = request.idempotencyKey ?? new Headers(request.headers).get('idempotency-key');
  return { ...request, idempotencyKey: own ?? crypto.randomUUID() };
}

function aboveStep({ priceUnits }: Shortage, stepUnits: bigint): DefaasClientError {
  return new DefaasClientError(
    'PRICE_ABOVE_MAX',
    `the call may cost ${priceUnits} units, a voucher goes ${stepUnits} beyond what is checked; allow a larger step`,
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
