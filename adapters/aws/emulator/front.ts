// Answers the requests that reach the emulator: the control plane, calls, function URLs and
// CloudWatch Logs, all at one address. Nothing runs before the signature was verified.

import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Fault, type Faults, sendAnswer, spoilBefore } from '../../emulators/faults.ts';
import { findUrlTarget, isUrlHost, toUrlAnswer, toUrlEvent } from './function-urls.ts';
import type { Events } from './instances/events.ts';
import type { Invocation, Invocations } from './instances/invocations.ts';
import type { Logs } from './instances/logs.ts';
import {
  AwsError,
  invalidField,
  platformError,
  storageFull,
  throttled,
  tooLarge,
} from './model/errors.ts';
import type { Functions } from './model/functions.ts';
import type { Fields, Operations } from './model/operation.ts';
import { type Asked, parseRequest } from './model/routes.ts';
import { expiredToken, type Verify } from './signature.ts';

export interface FrontParts {
  readonly faults: Pick<Faults, 'take'>;
  /** Of the service `lambda`. */
  readonly verify: Verify;
  /** Of the service `logs`. */
  readonly verifyLogs: Verify;
  readonly functions: Functions;
  readonly operations: Operations;
  readonly invocations: Pick<Invocations, 'invoke'>;
  readonly events: Pick<Events, 'accept'>;
  readonly logs: Pick<Logs, 'answer'>;
  /** The zip of a `Code.Location` that is still valid. Undefined for any other URL. */
  readonly download: (url: string) => Buffer | undefined;
  readonly nowMs: () => number;
  /** Receives requests for operations that are not offered, and errors of the emulator itself. */
  readonly log: ((message: string, fields: Fields) => void) | undefined;
}

export interface Front {
  answer(request: IncomingMessage, response: ServerResponse): Promise<void>;
  /** Writing requests of the control plane so far. */
  writes(): number;
}

/** A request whose body is in. */
interface Received {
  readonly request: IncomingMessage;
  readonly body: Buffer;
  readonly requestId: string;
}

interface FrontResponse {
  readonly status: number;
  readonly headers: Record<string, string | string[]>;
  readonly body: Buffer;
}

/** Largest request, bytes (the first is in the API's own error; Lambda quotas has the others). */
const MAX_CONTROL_BYTES = 70_167_211;
const MAX_PAYLOAD_BYTES = 6_291_456;
const MAX_EVENT_BYTES = 262_144;
/** Bytes of the log in the answer to a call. */
const LOG_TAIL_BYTES = 4096;
/** Operations that add to the account's code storage. */
const TAKES_STORAGE = new Set(['CreateFunction', 'UpdateFunctionCode', 'PublishVersion']);

export function createFront(parts: FrontParts): Front {
  let writes = 0;
  return {
    async answer(request, response) {
      const requestId = randomUUID();
      let fault: Fault | undefined;
      let ready: FrontResponse;
      try {
        const other = await answerOther(parts, request, requestId);
        if (other) return await sendAnswer(response, other);
        const asked = parsed(parts, request);
        if (!(asked instanceof Error)) {
          fault = parts.faults.take(asked.operation, asked.functionName);
        }
        // Before the body is read: a lost connection takes the rest of an upload with it.
        if (!(await spoilBefore(response, fault))) return;
        const received = { request, body: await readBody(request), requestId };
        await check(parts.verify, received);
        if (asked instanceof Error) throw asked;
        refuse(fault, asked.operation);
        const isCall = asked.operation === 'Invoke';
        if (!isCall && request.method !== 'GET') writes += 1;
        ready = await (isCall ? invoke : control)(parts, asked, received, fault);
      } catch (error) {
        // The caller closed the connection, so nobody reads an answer.
        if (request.destroyed && !request.complete) return;
        ready = toErrorAnswer(error, parts);
      }
      ready.headers['x-amzn-requestid'] = requestId;
      await sendAnswer(response, ready, fault);
    },

    writes: () => writes,
  };
}

/** The answer of a function URL or of CloudWatch Logs, or undefined for the Lambda API. */
async function answerOther(
  parts: FrontParts,
  request: IncomingMessage,
  requestId: string,
): Promise<FrontResponse | undefined> {
  const { host, 'x-amz-target': target } = request.headers;
  const isUrl = isUrlHost(host);
  if (!isUrl && request.method === 'GET') {
    const zip = parts.download(request.url ?? '');
    if (zip) return { status: 200, headers: { 'content-type': 'application/zip' }, body: zip };
  }
  if (!isUrl && typeof target !== 'string') return undefined;
  const received = { request, body: await readBody(request), requestId };
  return isUrl ? answerUrl(parts, received) : answerLogs(parts, String(target), received);
}

async function answerUrl(
  { functions, invocations, verify, nowMs }: FrontParts,
  received: Received,
): Promise<FrontResponse> {
  const { request, body, requestId } = received;
  const { of, qualifier, authType } = findUrlTarget(functions, request.headers.host);
  if (authType === 'AWS_IAM') await check(verify, received);
  const payload = toUrlEvent(request, body, nowMs());
  return toUrlAnswer(await invocations.invoke(of, { qualifier, payload, requestId }));
}

/** CloudWatch Logs names the operation in a header, not in the path. */
async function answerLogs(
  { faults, verifyLogs, logs }: FrontParts,
  target: string,
  received: Received,
): Promise<FrontResponse> {
  refuse(faults.take('FilterLogEvents'));
  await check(verifyLogs, received);
  const answered = await logs.answer(target, parseJson(received.body));
  return {
    status: 200,
    headers: {
      'content-type': 'application/x-amz-json-1.1',
      'x-amzn-requestid': received.requestId,
    },
    body: Buffer.from(JSON.stringify(answered)),
  };
}

/** Returns the error of a bad path: only a caller who has signed is told it. */
function parsed({ functions, log }: FrontParts, { method = '', url = '/' }: IncomingMessage) {
  try {
    return parseRequest(method, url, functions);
  } catch (error) {
    const isUnknown = error instanceof AwsError && error.type === 'UnknownOperationException';
    if (isUnknown) log?.('unsupported', { method, path: url.split('?', 1)[0] });
    return error instanceof Error ? error : new Error(String(error));
  }
}

async function check(verify: Verify, { request, body }: Received): Promise<void> {
  const { method = '', url = '', headers } = request;
  await verify({ method, url, headers, body });
}

async function control(
  { operations }: FrontParts,
  asked: Asked,
  { body }: Received,
  fault: Fault | undefined,
): Promise<FrontResponse> {
  const operation = operations[asked.operation];
  if (!operation) throw new TypeError(`no operation ${asked.operation}`);
  const { status, body: value } = await operation({ ...asked, body: parseJson(body), fault });
  if (value === undefined) return { status, headers: {}, body: Buffer.alloc(0) };
  return {
    status,
    headers: { 'content-type': 'application/json' },
    body: Buffer.from(JSON.stringify(value)),
  };
}

async function invoke(
  { functions, invocations, events }: FrontParts,
  { functionName, qualifier }: Asked,
  { request, body: payload, requestId }: Received,
  fault: Fault | undefined,
): Promise<FrontResponse> {
  refuseAbove(payload, MAX_PAYLOAD_BYTES);
  // AWS names the version of a missing function, though none was asked for.
  const of = functions.get(functionName, qualifier ?? '$LATEST');
  functions.version(of, qualifier);
  checkPayload(payload);
  const context = request.headers['x-amz-client-context'];
  const call = {
    qualifier,
    payload: payload.length > 0 ? payload : Buffer.from('{}'),
    requestId,
    ...(typeof context === 'string' && {
      clientContext: Buffer.from(context, 'base64').toString(),
    }),
  };
  const type = request.headers['x-amz-invocation-type'] ?? 'RequestResponse';
  switch (type) {
    case 'RequestResponse': {
      const done = await invocations.invoke(of, { ...call, fault });
      return toAnswer(done, request.headers['x-amz-log-type'] === 'Tail');
    }
    case 'Event':
      refuseAbove(payload, MAX_EVENT_BYTES);
      await events.accept({ ...call, functionName });
      return { status: 202, headers: {}, body: Buffer.alloc(0) };
    case 'DryRun':
      return { status: 204, headers: {}, body: Buffer.alloc(0) };
    default:
      throw invalidField(
        type,
        'invocationType',
        'Member must satisfy enum value set: [Event, RequestResponse, DryRun]',
      );
  }
}

function refuseAbove(payload: Buffer, maxBytes: number): void {
  if (payload.length <= maxBytes) return;
  throw tooLarge(`Request must be smaller than ${maxBytes} bytes for the InvokeFunction operation`);
}

/** The answer to a call that ran. */
function toAnswer(done: Invocation, withTail: boolean): FrontResponse {
  const tail = Buffer.from(done.log).subarray(-LOG_TAIL_BYTES).toString('base64');
  return {
    status: 200,
    headers: {
      'content-type': 'application/json',
      'x-amz-executed-version': done.executedVersion,
      ...(done.failed && { 'x-amz-function-error': 'Unhandled' }),
      ...(withTail && { 'x-amz-log-result': tail }),
    },
    body: done.payload,
  };
}

function toErrorAnswer(error: unknown, { log }: FrontParts): FrontResponse {
  if (!(error instanceof AwsError)) log?.('failed', { error });
  const known = error instanceof AwsError ? error : platformError(500);
  return {
    status: known.status,
    headers: {
      'content-type': 'application/json',
      'x-amzn-errortype': known.type,
      // The headers of AwsError have one value each.
      ...(known.headers as Record<string, string>),
    },
    body: Buffer.from(JSON.stringify(known.body)),
  };
}

/** Throws the refusal of the platform that a fault asks for. */
function refuse(fault: Fault | undefined, operation?: string): void {
  if (fault?.kind === 'throttle') {
    throw throttled('CallerRateLimitExceeded', 'Rate exceeded', fault.retryAfterMs);
  }
  if (fault?.kind === 'status') throw platformError(fault.code);
  if (fault?.kind === 'expire-credentials') throw expiredToken();
  if (fault?.kind === 'quota' && operation && TAKES_STORAGE.has(operation)) throw storageFull();
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > MAX_CONTROL_BYTES) {
      // Drop the bytes but read to the end: the caller reads no answer before it has sent all.
      chunks.length = 0;
      continue;
    }
    chunks.push(chunk);
  }
  if (bytes > MAX_CONTROL_BYTES) {
    throw tooLarge(
      `Request must be smaller than ${MAX_CONTROL_BYTES} bytes for the CreateFunction operation`,
    );
  }
  return Buffer.concat(chunks, bytes);
}

function parseJson(body: Buffer): Fields {
  if (body.length === 0) return {};
  try {
    const value: unknown = JSON.parse(body.toString());
    // Each field is checked where it is read, so an object of any shape is safe.
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {
    // Reported below.
  }
  throw new AwsError(400, 'SerializationException', {
    Message: 'The request body is not a JSON object',
  });
}

function checkPayload(payload: Buffer): void {
  if (payload.length === 0) return;
  try {
    JSON.parse(payload.toString());
  } catch (error) {
    throw new AwsError(400, 'InvalidRequestContentException', {
      Type: 'User',
      message: `Could not parse request body into json: Could not parse payload into json: ${error instanceof Error ? error.message : error}`,
    });
  }
}
