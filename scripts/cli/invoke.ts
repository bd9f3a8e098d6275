// `defaas invoke <function>`: one call, paid from the account's lane, its receipt checked before anything more is signed.
import { readFileSync, writeFileSync } from 'node:fs';
import { extname } from 'node:path';
import type { ChainReader } from '../../broker/client/chain-reader.ts';
import { DefaasClientError } from '../../broker/client/errors.ts';
import {
  createCaller,
  type InvokeReply,
  type InvokeRequest,
  invokeSponsored,
  type Routing,
  STEP_UNITS,
} from '../../broker/client/invoke.ts';
import { fetchReceipt } from '../../broker/client/receipts.ts';
import type { Session } from '../../broker/client/session.ts';
import { verifyReceipt } from '../../broker/client/verify-receipt.ts';
import { readLaneKey } from './account.ts';
import { openReader } from './chain.ts';
import { CliError } from './cli-error.ts';
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
import type { StoredLane } from './store.ts';
import { formatTokens, parseTokens } from './units.ts';

/** Content types by file ending; what is not here goes as bytes. */
const CONTENT_TYPES: Readonly<Record<string, string>> = {
  '.json': 'application/json',
  '.txt': 'text/plain; charset=utf-8',
  '.md': 'text/markdown; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.csv': 'text/csv; charset=utf-8',
  '.xml': 'application/xml',
  '.jpg': 'image/jpeg',
  '.jpeg': 'image/jpeg',
  '.png': 'image/png',
  '.gif': 'image/gif',
  '.webp': 'image/webp',
  '.svg': 'image/svg+xml',
  '.pdf': 'application/pdf',
  '.zip': 'application/zip',
  '.wasm': 'application/wasm',
  '.mp3': 'audio/mpeg',
  '.mp4': 'video/mp4',
};

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
 * Done when the function answered below 400.
 * @throws CliError LANE_UNKNOWN nothing was deposited; DefaasClientError PRICE_ABOVE_MAX, RECEIPT_INVALID, and the gateway's codes
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
    });
    return outcomeOf(flags, reply, options.out);
  } catch (error) {
    return refusal(error);
  } finally {
    opened.close();
  }
}

/** A reply that was read to its end, and whose receipt is good. */
interface Answer extends Omit<InvokeReply, 'idempotencyKey'> {
  readonly output: Uint8Array;
}

async function callAndCheck(opened: Opened, request: InvokeRequest): Promise<Answer> {
  const lanes = opened.store.lanes(opened.account.address);
  if (lanes.length === 0) return callSponsored(opened, request);
  const reader = openReader(opened);
  try {
    const { reply, session } = await call(opened, reader, lanes, request);
    const output = new Uint8Array(await reply.response.arrayBuffer());
    await checkReceipt(opened, reader, session, reply, { input: request.body, output });
    return { ...reply, output };
  } finally {
    reader.close();
  }
}

/** Without a lane there is nothing to pay with: the call goes without a token, for functions whose publisher pays. */
async function callSponsored(
  { connection, account }: Opened,
  request: InvokeRequest,
): Promise<Answer> {
  try {
    const reply = await invokeSponsored(connection, request);
    return { ...reply, output: new Uint8Array(await reply.response.arrayBuffer()) };
  } catch (error) {
    if (!(error instanceof DefaasClientError) || error.code !== 'TOKEN_MISSING') throw error;
    throw new CliError(
      'LANE_UNKNOWN',
      `account ${account.address} has no lane to pay from, at gateway ${connection.document.gateway}, run defaas deposit`,
      { cause: error },
    );
  }
}

/** Calls through the newest lane, and through an older one where a lane is used up. */
async function call(
  opened: Opened,
  reader: ChainReader,
  lanes: readonly StoredLane[],
  request: InvokeRequest,
): Promise<{ reply: InvokeReply; session: Session }> {
  const { store } = opened;
  // One key for all tries: whichever lane pays, the call is charged once.
  const idempotencyKey = crypto.randomUUID();
  for (const [index, lane] of lanes.entries()) {
    const session = await openSession(opened, readLaneKey(opened.house.home, lane.signer), lane);
    const stepUnits = max(request.maxPriceUnits ?? 0n, STEP_UNITS);
    const caller = createCaller({
      session,
      chain: reader,
      memory: store.laneMemory(lane),
      stepUnits,
      onReceipt: (document) => store.putReceipt(document),
    });
    try {
      return { reply: await caller.invoke({ ...request, idempotencyKey }), session };
    } catch (error) {
      if (index === lanes.length - 1 || !isUsedUp(error)) throw error;
    }
  }
  throw new CliError('LANE_UNKNOWN', 'no lane could pay, run defaas deposit');
}

function isUsedUp(error: unknown): boolean {
  return (
    error instanceof DefaasClientError &&
    error.code === 'PAYMENT_REQUIRED' &&
    ['cap', 'expiry', 'lane'].includes(String(error.problem?.reason))
  );
}

/** The call's own receipt, against what was sent and what came back; kept to be compared with what the gateway shows later. */
async function checkReceipt(
  { connection, store }: Opened,
  reader: ChainReader,
  session: Session,
  reply: InvokeReply,
  bodies: { readonly input: Uint8Array | undefined; readonly output: Uint8Array },
): Promise<void> {
  const document = await fetchReceipt(session, reply.receipt.id);
  const lane = session.lane as StoredLane; // the caller was made with it
  await verifyReceipt(document, {
    domain: connection.domain,
    gateway: connection.document.gateway,
    lane,
    chain: reader,
    idempotencyKey: reply.idempotencyKey,
    input: bodies.input ?? new Uint8Array(),
    output: bodies.output,
  });
  store.putReceipt(document);
}

function outcomeOf(
  flags: Flags,
  { response, receipt, output, lowBalanceUnits }: Answer,
  out: string | undefined,
): Outcome {
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
  if (out !== undefined) writeFileSync(userPath(out), output);
  const place = out === undefined ? '' : ` · ${output.length} bytes in ${out}`;
  const price = `${formatTokens(priceUnits)} tokens`;
  if (lowBalanceUnits !== undefined) {
    note(flags, `low balance: ${formatTokens(lowBalanceUnits)} tokens left, run defaas deposit`);
  }
  note(flags, `${response.status} · ${provider} · ${price} · receipt ${id}${place}`);
  const isLine = text !== undefined && process.stdout.isTTY && !text.endsWith('\n');
  return {
    document,
    ...(out === undefined && { bytes: isLine ? Buffer.from(`${text}\n`) : output }),
    ...(response.status >= 400 && {
      failure: {
        code: 'FUNCTION_STATUS',
        message: `the function answered ${response.status}, and was paid for it, look at its answer`,
      },
    }),
  };
}

/** What the gateway says of a function that failed. A function may call anything a problem document, so its `type` decides. */
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

/** A refusal of the gateway is an answer too: with `--json` the problem document is printed in the place of the body. */
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

/** `fastest`, `aws,google`, `cheapest,not:us-east-1`: a strategy, clouds, regions to avoid. @throws CliError USAGE, PROVIDER_UNKNOWN */
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
  if (body && !headers.has('content-type')) {
    headers.set('content-type', data === undefined ? typeOfFile(file ?? '') : typeOfText(data));
  }
  return headers;
}

function typeOfFile(file: string): string {
  return CONTENT_TYPES[extname(file).toLowerCase()] ?? 'application/octet-stream';
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

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
