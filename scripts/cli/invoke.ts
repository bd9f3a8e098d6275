// `defaas invoke <function>`: one call, paid from the account's lane, its receipt checked before
// anything more is signed.
import { accessSync, constants, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, extname } from 'node:path';
import { lookup } from 'mrmime';
import type { ChainReader } from '../../broker/client/chain-reader.ts';
import type { Connection } from '../../broker/client/connection.ts';
import { elapsedOf } from '../../broker/client/cover.ts';
import { DefaasClientError } from '../../broker/client/errors.ts';
import {
  createCaller,
  type InvokeReply,
  invokeSponsored,
  type ReceiptSummary,
  SAY_NOTHING,
} from '../../broker/client/invoke.ts';
import {
  committedOf,
  type InvokeRequest,
  type KeyedRequest,
  type Routing,
  withKey,
} from '../../broker/client/invoke-request.ts';
import { ownCallsKey } from '../../broker/client/own-calls.ts';
import { fetchReceipt, type ReceiptDocument } from '../../broker/client/receipts.ts';
import type { Session } from '../../broker/client/session.ts';
import { verifyReceipt } from '../../broker/client/verify-receipt.ts';
import type { Hex } from '../../contracts/libraries/keccak.ts';
import { hasLaneKey, readLaneKey } from './account.ts';
import { openReader } from './chain.ts';
import { CliError, describeError } from './cli-error.ts';
import { parseClouds } from './clouds.ts';
import {
  type Flags,
  note,
  type Opened,
  type Outcome,
  openGateway,
  openSession,
} from './context.ts';
import { formatFunctionName, parseFunctionName } from './function-name.ts';
import { userPath } from './house.ts';
import { lanesHere, noLane } from './lanes-here.ts';
import type { StoredLane } from './store.ts';
import { formatTokens, parseTokens } from './units.ts';

/** How long a call waits for receipts that its gateway does not show, ms. */
const PATIENCE_MS = 10_000;
const STRATEGIES = ['balanced', 'cheapest', 'fastest'] as const;

export interface InvokeOptions {
  readonly file?: string;
  readonly data?: string;
  readonly header: readonly string[];
  readonly method?: string;
  readonly path?: string;
  readonly query?: string;
  readonly out?: string;
  readonly max?: string;
  readonly route?: string;
}

/**
 * Done when the function answered below 400. What was paid for is printed also where its receipt
 * cannot be had.
 * @throws CliError FILE_UNREADABLE `--out` cannot be written; LANE_UNKNOWN nothing was deposited,
 *   KEY_MISSING; DefaasClientError PRICE_ABOVE_MAX, RECEIPT_INVALID, and the gateway's codes
 */
export async function invoke(
  flags: Flags,
  target: string,
  options: InvokeOptions,
): Promise<Outcome> {
  const body = readBody(options);
  const headers = readHeaders(options, body);
  const maxPriceUnits = options.max === undefined ? undefined : parseTokens(options.max, '--max');
  const routing = options.route === undefined ? undefined : parseRoute(options.route);
  if (options.out !== undefined) refuseUnwritable(options.out);
  const opened = await openGateway(flags);
  try {
    const name = formatFunctionName(parseFunctionName(target, opened.account.address));
    const query = options.query ? `?${options.query.replace(/^\?/, '')}` : '';
    const reply = await callAndCheck(opened, {
      function: name,
      path: `${slashed(options.path ?? '')}${query}`,
      ...(options.method && { method: options.method.toUpperCase() }),
      headers,
      ...(body && { body }),
      ...(maxPriceUnits !== undefined && { maxPriceUnits }),
      ...(routing && { routing }),
      patienceMs: PATIENCE_MS,
    });
    return outcomeOf(flags, reply, options.out);
  } catch (error) {
    return refusal(error);
  } finally {
    opened.close();
  }
}

/** A reply that was read to its end, and what is known of its receipt. */
interface Answer {
  readonly response: Response;
  readonly output: Uint8Array;
  /** Of the checked receipt; of the headers where none was checked. */
  readonly receipt: ReceiptSummary;
  readonly lowBalanceUnits?: bigint;
  /** The receipt is over the compressed output, which fetch does not show. */
  readonly isCompressed?: boolean;
  /** Why the receipt could not be checked. */
  readonly failure?: Outcome['failure'];
}

async function callAndCheck(opened: Opened, given: InvokeRequest): Promise<Answer> {
  // One key for all tries: whichever lane pays, the call is charged once.
  const request = withKey(given);
  const lanes = lanesHere(opened);
  if (lanes.length === 0) return callSponsored(opened, request);
  const reader = openReader(opened);
  try {
    const { reply, session } = await call(opened, reader, lanes, request);
    const output = await readOutput(reply.response, request);
    const answer = { ...reply, output, isCompressed: isCompressed(reply.response) };
    try {
      const receipt = await stoppingLane(opened, session, () =>
        checkReceipt(opened, { reader, session, reply, request, output }),
      );
      return { ...answer, receipt };
    } catch (error) {
      const { code, message } = describeError(error);
      if (code === 'RECEIPT_INVALID') throw error;
      const what = `the answer is here and was paid for, its receipt ${reply.receipt.id} is not checked, run defaas receipts`;
      return { ...answer, failure: { code, message: `${message}; ${what}` } };
    }
  } finally {
    reader.close();
  }
}

/** What contradicts what was agreed stops the lane of the call, for good. */
async function stoppingLane<T>(
  { store }: Opened,
  { lane }: Session,
  act: () => Promise<T>,
): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if (error instanceof DefaasClientError && error.evidence && lane) {
      store.laneMemory(lane).stop(error);
    }
    throw error;
  }
}

/**
 * Without a lane there is nothing to pay with: the call goes without a token, for functions whose
 * publisher pays.
 */
async function callSponsored(opened: Opened, request: KeyedRequest): Promise<Answer> {
  try {
    const reply = await send(opened, request, (connection) => invokeSponsored(connection, request));
    return { ...reply, output: await readOutput(reply.response, request) };
  } catch (error) {
    if (!(error instanceof DefaasClientError) || error.code !== 'TOKEN_MISSING') throw error;
    throw noLane(opened, 'run defaas deposit', error);
  }
}

/** Calls through the newest lane, and through an older one where a lane is used up. */
async function call(
  opened: Opened,
  reader: ChainReader,
  lanes: readonly StoredLane[],
  request: KeyedRequest,
): Promise<{ reply: InvokeReply; session: Session }> {
  const { store, house } = opened;
  for (const [index, lane] of lanes.entries()) {
    try {
      return await send(opened, request, async (connection) => {
        const key = readLaneKey(house.home, lane.signer);
        const session = await openSession({ connection, store }, key, lane);
        const caller = createCaller({
          session,
          chain: reader,
          memory: store.laneMemory(lane),
          onReceipt: (document) => store.putReceipt(document),
        });
        return { reply: await caller.invoke(request), session };
      });
    } catch (error) {
      if (index === lanes.length - 1 || !isUsedUp(error)) throw error;
    }
  }
  throw noLane(opened, 'run defaas deposit');
}

/**
 * @throws as `attempt`; where the call was sent and nothing came back, the error says how to repeat
 *   it without paying twice
 */
async function send<T>(
  { connection }: Opened,
  request: KeyedRequest,
  attempt: (connection: Connection) => Promise<T>,
): Promise<T> {
  let wasSent = false;
  const watched: Connection = {
    ...connection,
    send: (path, options) => {
      wasSent ||= path.startsWith('/functions/');
      return connection.send(path, options);
    },
  };
  try {
    return await attempt(watched);
  } catch (error) {
    const isSilent = error instanceof DefaasClientError && SAY_NOTHING.has(error.code);
    throw wasSent && isSilent ? unanswered(error, request) : error;
  }
}

function unanswered(error: DefaasClientError, { idempotencyKey }: KeyedRequest): DefaasClientError {
  const { code, message, status, problem } = error;
  return new DefaasClientError(
    code,
    `${message}; the call may have run, ask the same again with --header 'Idempotency-Key: ${idempotencyKey}', then it is charged once`,
    { cause: error, ...(status !== undefined && { status }), ...(problem && { problem }) },
  );
}

/** To its end: what breaks off is no answer. @throws GATEWAY_UNREACHABLE */
async function readOutput(response: Response, request: KeyedRequest): Promise<Uint8Array> {
  try {
    return new Uint8Array(await response.arrayBuffer());
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    const message = `the answer of ${request.function} broke off: ${why}`;
    throw unanswered(new DefaasClientError('GATEWAY_UNREACHABLE', message, { cause }), request);
  }
}

/** Then fetch has undone it, and the gateway has hashed what it was. */
function isCompressed({ headers }: Response): boolean {
  return (headers.get('content-encoding') ?? 'identity') !== 'identity';
}

function isUsedUp(error: unknown): boolean {
  return (
    error instanceof DefaasClientError &&
    error.code === 'PAYMENT_REQUIRED' &&
    ['cap', 'expiry', 'lane'].includes(String(error.problem?.reason))
  );
}

/**
 * The call's own receipt, against what was sent and what came back; kept to be compared with what
 * the gateway shows later.
 */
async function checkReceipt(
  opened: Opened,
  called: {
    readonly reader: ChainReader;
    readonly session: Session;
    readonly reply: InvokeReply;
    readonly request: KeyedRequest;
    readonly output: Uint8Array;
  },
): Promise<ReceiptSummary> {
  const { connection, store, account } = opened;
  const { reader, reply, request, output } = called;
  const { id } = reply.receipt;
  // A key of before may be answered by the receipt of another lane, of which only the payer is told
  // everything.
  const isReplay = reply.response.headers.has('idempotent-replayed');
  const session = isReplay ? await openSession(opened, account) : called.session;
  const document = await fetchReceipt(session, id);
  const lane = laneOf(opened, called.session, document, isReplay);
  // What was paid before under the key is not held against what is allowed now.
  const isKnown = isReplay && store.receipts(lane).get(document.receipt.seq) === id;
  await verifyReceipt(document, {
    domain: connection.domain,
    gateway: connection.document.gateway,
    lane,
    chain: reader,
    id,
    functionVersion: await versionOf(reader, document, request, isReplay),
    maxPriceUnits: isKnown ? undefined : request.maxPriceUnits,
    ownCallsKey: ownCallsKeyOf(opened, lane),
    idempotencyKey: reply.idempotencyKey,
    elapsedMsOf: (own) => elapsedOf(store.laneMemory(lane), own),
    request: committedOf(request),
    ...(!isCompressed(reply.response) && { output }),
  });
  store.putReceipt(document);
  const { provider, receipt } = document;
  return { id, provider, priceUnits: receipt.price, seq: receipt.seq };
}

/** A replay may be of a lane whose key is gone: then there is nothing to know its calls by. */
function ownCallsKeyOf({ house }: Opened, { signer }: StoredLane): Hex | undefined {
  if (!hasLaneKey(house.home, signer)) return undefined;
  return ownCallsKey(readLaneKey(house.home, signer).privateKey);
}

/**
 * The lane that must have paid: the call's own, for a replay any that the account has opened here.
 */
function laneOf(
  { store, account }: Opened,
  session: Session,
  { receipt }: ReceiptDocument,
  isReplay: boolean,
): StoredLane {
  const own = session.lane as StoredLane; // the caller was made with it
  if (!isReplay) return own;
  return store.lanes(account.address).find(({ signer }) => signer === receipt.signer) ?? own;
}

/**
 * A version of the very function that was called: which one an alias meant is the gateway's word, a
 * number is the caller's own, unless the answer is that of an earlier call.
 */
async function versionOf(
  reader: ChainReader,
  { id, function: ran }: ReceiptDocument,
  request: InvokeRequest,
  isReplay: boolean,
): Promise<Hex> {
  const [name, reference = ''] = request.function.split('@');
  const [, number] = /@(\d{1,9})$/.exec(ran) ?? [];
  const isPinned = /^\d+$/.test(reference) && !isReplay;
  if (number === undefined || (isPinned && Number(reference) !== Number(number))) {
    throw new DefaasClientError(
      'RECEIPT_INVALID',
      `receipt ${id} is for ${ran}, called was ${request.function}; nothing more is signed for this gateway`,
    );
  }
  return reader.functionVersion(`${name}@${number}`);
}

function outcomeOf(flags: Flags, answer: Answer, out: string | undefined): Outcome {
  const { response, receipt, output, lowBalanceUnits, isCompressed = false } = answer;
  const { id, provider, priceUnits, seq } = receipt;
  const text = decodeText(output);
  const document = {
    status: response.status,
    headers: Object.fromEntries(response.headers),
    ...(text === undefined
      ? { bodyBase64: Buffer.from(output).toString('base64') }
      : { body: text }),
    receipt: { id, provider, priceUnits, seq },
  };
  const problem = problemIn(response, text);
  // The function gave no answer: there is nothing to print or to keep but why.
  if (problem) return { document, failure: problem };
  const unwritten = out === undefined ? undefined : write(out, output);
  const isKept = out !== undefined && !unwritten;
  const place = isKept ? ` · ${output.length} bytes in ${out}` : '';
  const price = `${formatTokens(priceUnits)} tokens`;
  if (lowBalanceUnits !== undefined) {
    note(flags, `low balance: ${formatTokens(lowBalanceUnits)} tokens left, run defaas deposit`);
  }
  if (isCompressed) {
    note(flags, `the output was not checked against its receipt: it came compressed`);
  }
  note(flags, `${response.status} · ${provider} · ${price} · receipt ${id}${place}`);
  const isLine = text !== undefined && process.stdout.isTTY && !text.endsWith('\n');
  const failure = unwritten ?? answer.failure ?? refusalOf(response);
  return {
    document,
    ...(!isKept && { bytes: isLine ? Buffer.from(`${text}\n`) : output }),
    ...(failure && { failure }),
  };
}

function refusalOf({ status }: Response): Outcome['failure'] {
  if (status < 400) return undefined;
  return {
    code: 'FUNCTION_STATUS',
    message: `the function answered ${status}, and was paid for it, look at its answer`,
  };
}

/** What was paid for goes to stdout when it cannot go into the file after all. */
function write(out: string, output: Uint8Array): Outcome['failure'] {
  try {
    writeFileSync(userPath(out), output);
    return undefined;
  } catch (error) {
    return describeError(error);
  }
}

/** Before anything is paid: what can be known of it beforehand. @throws CliError FILE_UNREADABLE */
function refuseUnwritable(out: string): void {
  const path = userPath(out);
  try {
    const found = statSync(path, { throwIfNoEntry: false });
    if (found?.isDirectory()) throw new Error('it is a folder');
    accessSync(found ? path : dirname(path), constants.W_OK);
    if (!found && !statSync(dirname(path)).isDirectory()) throw new Error('its folder is a file');
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new CliError(
      'FILE_UNREADABLE',
      `the answer could not be written (${why}), on ${path}, so nothing was called, check --out`,
      { cause },
    );
  }
}

/**
 * What the gateway says of a function that failed. A function may call anything a problem document,
 * so its `type` decides.
 */
function problemIn(response: Response, text: string | undefined) {
  const isProblem = response.headers.get('content-type')?.startsWith('application/problem+json');
  if (response.status < 500 || !isProblem || text === undefined) return undefined;
  try {
    const { code, detail, type } = JSON.parse(text);
    return type === `urn:defaas:error:${code}` ? { code, message: detail } : undefined;
  } catch {
    return undefined;
  }
}

/**
 * A refusal of the gateway is an answer too: with `--json` the problem document is printed in the
 * place of the body.
 */
function refusal(error: unknown): Outcome {
  if (!(error instanceof DefaasClientError) || !error.problem) throw error;
  const { code, message, status, problem } = error;
  return {
    document: {
      status,
      headers: { 'content-type': 'application/problem+json' },
      body: JSON.stringify(problem),
      receipt: null,
      problem,
    },
    failure: { code, message },
  };
}

/**
 * `fastest`, `aws,google`, `cheapest,not:us-east-1`: a strategy, clouds, regions to avoid.
 * @throws CliError USAGE, PROVIDER_UNKNOWN
 */
export function parseRoute(text: string): Routing {
  const words = text.split(',').map((word) => word.trim());
  const excludedRegions = words.flatMap((word) => /^not:([a-z0-9-]+)$/.exec(word)?.[1] ?? []);
  const strategies = STRATEGIES.filter((strategy) => words.includes(strategy));
  const [strategy] = strategies;
  if (strategies.length > 1) {
    throw new CliError(
      'USAGE',
      `${strategies.join(' and ')}, on --route ${text}, give one of them`,
    );
  }
  const clouds = words.filter((word) => word !== strategy && !word.startsWith('not:'));
  if (words.length > clouds.length + excludedRegions.length + strategies.length) {
    throw new CliError('USAGE', `a word is no region, on --route ${text}, write not:us-east-1`);
  }
  return {
    ...(strategy && { strategy }),
    ...(clouds.length > 0 && { providers: parseClouds(clouds.join(','), '--route') }),
    ...(excludedRegions.length > 0 && { excludedRegions }),
  };
}

function readBody({ file, data }: InvokeOptions): Uint8Array<ArrayBuffer> | undefined {
  if (file !== undefined && data !== undefined) {
    throw new CliError('USAGE', 'there is --file and --data, give one of them');
  }
  if (data !== undefined) return new TextEncoder().encode(data);
  if (file === undefined) return undefined;
  return new Uint8Array(readFileSync(file === '-' ? 0 : userPath(file)));
}

function readHeaders({ header, file, data }: InvokeOptions, body: Uint8Array | undefined): Headers {
  const headers = new Headers();
  for (const line of header) {
    const [, name, value = ''] = /^([^:\s]+):\s*(.*)$/.exec(line) ?? [];
    if (name === undefined) {
      throw new CliError('USAGE', `"${line}" is no header, write --header "name: value"`);
    }
    headers.append(name, value);
  }
  // What fetch decodes on the way is not what the gateway has hashed.
  if (!headers.has('accept-encoding')) headers.set('accept-encoding', 'identity');
  if (body && !headers.has('content-type')) {
    headers.set('content-type', data === undefined ? typeOfFile(file ?? '') : typeOfText(data));
  }
  return headers;
}

/** The content type by the file's ending. Text is taken as UTF-8. */
function typeOfFile(file: string): string {
  const type = lookup(extname(file)) ?? 'application/octet-stream';
  return type.startsWith('text/') ? `${type}; charset=utf-8` : type;
}

function typeOfText(data: string): string {
  try {
    JSON.parse(data);
    return 'application/json';
  } catch {
    return 'text/plain; charset=utf-8';
  }
}

/** UTF-8, or undefined when it is none. */
function decodeText(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

function slashed(path: string): string {
  return path === '' || path.startsWith('/') ? path : `/${path}`;
}
