// AWS Lambda on loopback: receives what the real SDK sends, checks its signature, keeps functions on disk and runs the
// uploaded zips in processes of their own. For code the operator trusts: it has the network.

import { randomUUID } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import {
  createFaults,
  type Fault,
  type Faults,
  sendAnswer,
  serveFaults,
  spoilBefore,
} from '../../emulators/faults.ts';
import { openPort } from '../../emulators/port.ts';
import {
  AwsError,
  invalidField,
  platformError,
  storageFull,
  throttled,
  tooLarge,
} from './errors.ts';
import { createEventOperations, openEvents, type Schedule } from './events.ts';
import {
  createUrlOperations,
  findUrlTarget,
  isUrlHost,
  toUrlAnswer,
  toUrlEvent,
} from './function-urls.ts';
import { openFunctions } from './functions.ts';
import { createInvocations, type Invocation } from './invocations.ts';
import { openLogs } from './logs.ts';
import {
  createOperations,
  type Operation,
  type OperationRequest,
  parseName,
} from './operations.ts';
import { type Credentials, createVerifier, expiredToken } from './signature.ts';

export interface AwsLambdaOptions {
  /** Folder of the state; made when missing, found again after `kill -9`. */
  readonly dir: string;
  readonly port?: number;
  /** Serve the fault switch over HTTP too. */
  readonly faults?: boolean;
  readonly credentials: Credentials;
  readonly region?: string;
  readonly accountId?: string;
  /** Idle instances are stopped after this time. Default 3 min. */
  readonly idleMs?: number;
  /** Calls at once in the account, beside reserved ones. Default 100: processes of one machine. */
  readonly accountConcurrency?: number;
  readonly nowMs?: () => number;
  /** What the retries of events wait by; default setTimeout. */
  readonly schedule?: Schedule;
  /** Told of operations that are not offered and of errors of our own. */
  readonly log?: (message: string, fields: Readonly<Record<string, unknown>>) => void;
}

export interface AwsLambda {
  readonly endpoint: string;
  readonly port: number;
  readonly faultsUrl?: string;
  readonly faults: Faults;
  /** Writing requests of the control plane received so far. */
  writes(): number;
  /** Instances that run, idle ones included. */
  instances(): number;
  /** Asynchronous calls that are not finished. */
  events(): number;
  close(): Promise<void>;
}

/** Largest request, bytes (the real error names the first; Lambda quotas has the others). */
const MAX_CONTROL_BYTES = 70_167_211;
const MAX_PAYLOAD_BYTES = 6_291_456;
const MAX_EVENT_BYTES = 262_144;
const LOG_TAIL_BYTES = 4096;
const SETTLE_MS = 10;

interface Route {
  readonly method: string;
  /** Groups: function or ARN, then the item. */
  readonly path: RegExp;
  readonly operation: string;
}

const FUNCTIONS = '/2015-03-31/functions';
const EVENT_CONFIG = '/2019-09-25/functions/([^/]+)/event-invoke-config';
const URL_CONFIG = '/2021-10-31/functions/([^/]+)/url';
const ROUTES: readonly Route[] = [
  route('POST', `${FUNCTIONS}/([^/]+)/invocations`, 'Invoke'),
  route('POST', FUNCTIONS, 'CreateFunction'),
  route('GET', FUNCTIONS, 'ListFunctions'),
  route('GET', `${FUNCTIONS}/([^/]+)`, 'GetFunction'),
  route('DELETE', `${FUNCTIONS}/([^/]+)`, 'DeleteFunction'),
  route('GET', `${FUNCTIONS}/([^/]+)/configuration`, 'GetFunctionConfiguration'),
  route('PUT', `${FUNCTIONS}/([^/]+)/configuration`, 'UpdateFunctionConfiguration'),
  route('PUT', `${FUNCTIONS}/([^/]+)/code`, 'UpdateFunctionCode'),
  route('POST', `${FUNCTIONS}/([^/]+)/versions`, 'PublishVersion'),
  route('GET', `${FUNCTIONS}/([^/]+)/versions`, 'ListVersionsByFunction'),
  route('POST', `${FUNCTIONS}/([^/]+)/aliases`, 'CreateAlias'),
  route('GET', `${FUNCTIONS}/([^/]+)/aliases`, 'ListAliases'),
  route('GET', `${FUNCTIONS}/([^/]+)/aliases/([^/]+)`, 'GetAlias'),
  route('PUT', `${FUNCTIONS}/([^/]+)/aliases/([^/]+)`, 'UpdateAlias'),
  route('DELETE', `${FUNCTIONS}/([^/]+)/aliases/([^/]+)`, 'DeleteAlias'),
  route('PUT', '/2017-10-31/functions/([^/]+)/concurrency', 'PutFunctionConcurrency'),
  route('GET', '/2019-09-30/functions/([^/]+)/concurrency', 'GetFunctionConcurrency'),
  route('DELETE', '/2017-10-31/functions/([^/]+)/concurrency', 'DeleteFunctionConcurrency'),
  route('PUT', EVENT_CONFIG, 'PutFunctionEventInvokeConfig'),
  route('GET', EVENT_CONFIG, 'GetFunctionEventInvokeConfig'),
  route('DELETE', EVENT_CONFIG, 'DeleteFunctionEventInvokeConfig'),
  route('POST', URL_CONFIG, 'CreateFunctionUrlConfig'),
  route('GET', URL_CONFIG, 'GetFunctionUrlConfig'),
  route('DELETE', URL_CONFIG, 'DeleteFunctionUrlConfig'),
  route('GET', '/2017-03-31/tags/([^/]+)', 'ListTags'),
  route('POST', '/2017-03-31/tags/([^/]+)', 'TagResource'),
  route('DELETE', '/2017-03-31/tags/([^/]+)', 'UntagResource'),
];

/** What a request asks for, before anything of it is believed. */
interface Asked {
  readonly operation: string;
  readonly functionName: string;
  readonly qualifier: string | undefined;
  readonly item: string;
  readonly query: URLSearchParams;
}

interface Answer {
  readonly status: number;
  readonly headers: Record<string, string | string[]>;
  readonly body: Buffer;
}

/** Opens the emulator; what was in `dir` is there again. @throws Error EADDRINUSE */
export async function startAwsLambda(options: AwsLambdaOptions): Promise<AwsLambda> {
  const { region = 'us-east-1', accountId = '000000000000', nowMs = Date.now, log } = options;
  mkdirSync(options.dir, { recursive: true });
  const faults = createFaults();
  const identity = { credentials: options.credentials, region, nowMs };
  const verify = createVerifier({ ...identity, service: 'lambda' });
  const verifyLogs = createVerifier({ ...identity, service: 'logs' });
  const logs = openLogs(join(options.dir, 'logs'), nowMs);
  const functions = openFunctions({ dir: options.dir, region, accountId, settleMs: SETTLE_MS });
  const invocations = createInvocations({
    dir: options.dir,
    functions,
    idleMs: options.idleMs ?? 180_000,
    accountConcurrency: options.accountConcurrency ?? 100,
    logs,
  });
  const events = openEvents({
    dir: join(options.dir, 'events'),
    functions,
    invocations,
    nowMs,
    schedule: options.schedule ?? startTimer,
    log,
  });
  const operations: Readonly<Record<string, Operation>> = {
    ...createOperations({ functions, invocations, nowMs }),
    ...createEventOperations({ functions, nowMs }),
    ...createUrlOperations({ functions, nowMs, port: () => port.port }),
  };
  let writes = 0;

  const server = createServer((request, response) => void answer(request, response));
  server.keepAliveTimeout = 65_000;
  const port = await openPort(server, options.port);
  const switchboard = options.faults ? await serveFaults(faults) : undefined;
  faults.onChange(() => port.refuse(faults.isOut('control') || faults.isOut('invoke')));

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const requestId = randomUUID();
    let fault: Fault | undefined;
    let ready: Answer;
    try {
      const { host, 'x-amz-target': target } = request.headers;
      if (isUrlHost(host)) {
        const body = await readBody(request);
        return await sendAnswer(response, await answerUrl(request, body, requestId));
      }
      if (typeof target === 'string') {
        const body = await readBody(request);
        return await sendAnswer(response, await answerLogs(request, target, body, requestId));
      }
      const asked = parsed(request);
      if (!(asked instanceof Error)) fault = faults.take(asked.operation, asked.functionName);
      // Before the body is read: a network that is lost takes the rest of an upload with it.
      if (!(await spoilBefore(response, fault))) return;
      const body = await readBody(request);
      check(request, body);
      if (asked instanceof Error) throw asked;
      refuse(fault, asked.operation);
      ready =
        asked.operation === 'Invoke'
          ? await invoke(asked, request, body, requestId, fault)
          : await control(asked, request, body, fault);
    } catch (error) {
      // The caller hung up: there is nobody to answer.
      if (request.destroyed && !request.complete) return;
      ready = describe(error);
    }
    ready.headers['x-amzn-requestid'] = requestId;
    await sendAnswer(response, ready, fault);
  }

  function check(request: IncomingMessage, body: Buffer): void {
    const { method = '', url = '', headers } = request;
    verify({ method, url, headers, body });
  }

  /** CloudWatch Logs, at the same address: its requests name their operation in a header. */
  async function answerLogs(
    request: IncomingMessage,
    target: string,
    body: Buffer,
    requestId: string,
  ): Promise<Answer> {
    const { method = '', url = '', headers } = request;
    const fault = faults.take('FilterLogEvents');
    refuse(fault);
    verifyLogs({ method, url, headers, body });
    const answered = await logs.answer(target, parseJson(body));
    return {
      status: 200,
      headers: { 'content-type': 'application/x-amz-json-1.1', 'x-amzn-requestid': requestId },
      body: Buffer.from(JSON.stringify(answered)),
    };
  }

  async function answerUrl(
    request: IncomingMessage,
    body: Buffer,
    requestId: string,
  ): Promise<Answer> {
    const { of, qualifier, authType } = findUrlTarget(functions, request.headers.host);
    if (authType === 'AWS_IAM') check(request, body);
    const payload = toUrlEvent(request, body, nowMs());
    return toUrlAnswer(await invocations.invoke(of, { qualifier, payload, requestId }));
  }

  /** What is wrong with the path is told only to those who have signed. */
  function parsed(request: IncomingMessage): Asked | Error {
    try {
      return parse(request);
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  function parse(request: IncomingMessage): Asked {
    const url = new URL(request.url ?? '/', 'http://127.0.0.1');
    const found = ROUTES.find(
      ({ method, path }) => method === request.method && path.test(url.pathname),
    );
    if (!found) {
      log?.('unsupported', { method: request.method, path: url.pathname });
      throw new AwsError(404, 'UnknownOperationException', {
        message: `This emulator does not offer ${request.method} ${url.pathname}`,
      });
    }
    const [, target = '', item = ''] = found.path.exec(url.pathname) ?? [];
    const named =
      target === '' ? { functionName: '' } : parseName(decodeURIComponent(target), { region });
    return {
      operation: found.operation,
      functionName: named.functionName,
      qualifier: url.searchParams.get('Qualifier') ?? named.qualifier,
      item: decodeURIComponent(item),
      query: url.searchParams,
    };
  }

  async function control(
    asked: Asked,
    request: IncomingMessage,
    body: Buffer,
    fault: Fault | undefined,
  ): Promise<Answer> {
    const operation = operations[asked.operation];
    if (!operation) throw new TypeError(`no operation ${asked.operation}`);
    if (request.method !== 'GET') writes += 1;
    const { status, body: value } = await operation({ ...asked, body: parseJson(body), fault });
    const isEmpty = value === undefined;
    return {
      status,
      headers: isEmpty ? {} : { 'content-type': 'application/json' },
      body: isEmpty ? Buffer.alloc(0) : Buffer.from(JSON.stringify(value)),
    };
  }

  async function invoke(
    asked: Asked,
    request: IncomingMessage,
    payload: Buffer,
    requestId: string,
    fault: Fault | undefined,
  ): Promise<Answer> {
    if (payload.length > MAX_PAYLOAD_BYTES) {
      throw tooLarge(
        `Request must be smaller than ${MAX_PAYLOAD_BYTES} bytes for the InvokeFunction operation`,
      );
    }
    const { functionName, qualifier } = asked;
    const of = functions.get(functionName, qualifier);
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
        if (payload.length > MAX_EVENT_BYTES) {
          throw tooLarge(
            `Request must be smaller than ${MAX_EVENT_BYTES} bytes for the InvokeFunction operation`,
          );
        }
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

  function describe(error: unknown): Answer {
    if (!(error instanceof AwsError)) log?.('failed', { error });
    const known = error instanceof AwsError ? error : platformError(500);
    return {
      status: known.status,
      headers: {
        'content-type': 'application/json',
        'x-amzn-errortype': known.type,
        // Our own errors have only single headers.
        ...(known.headers as Record<string, string>),
      },
      body: Buffer.from(JSON.stringify(known.body)),
    };
  }

  return {
    endpoint: `http://127.0.0.1:${port.port}`,
    port: port.port,
    ...(switchboard && { faultsUrl: switchboard.url }),
    faults,
    writes: () => writes,
    instances: () => invocations.size(),
    events: () => events.size(),
    async close() {
      await port.close();
      await switchboard?.close();
      events.close();
      await invocations.close();
      await functions.close();
      await logs.close();
    },
  };
}

function route(method: string, path: string, operation: string): Route {
  return { method, path: new RegExp(`^${path}$`), operation };
}

function startTimer(work: () => void, delayMs: number): () => void {
  const timer = setTimeout(work, delayMs);
  return () => clearTimeout(timer);
}

/** What adds to the account's code storage. */
const TAKES_STORAGE = new Set(['CreateFunction', 'UpdateFunctionCode', 'PublishVersion']);

/** The platform's refusals that a fault asks for. */
function refuse(fault: Fault | undefined, operation?: string): void {
  if (fault?.kind === 'throttle') {
    throw throttled('CallerRateLimitExceeded', 'Rate exceeded', fault.retryAfterMs);
  }
  if (fault?.kind === 'status') throw platformError(fault.code);
  if (fault?.kind === 'expire-credentials') throw expiredToken();
  if (fault?.kind === 'quota' && operation && TAKES_STORAGE.has(operation)) throw storageFull();
}

function toAnswer(done: Invocation, withTail: boolean): Answer {
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

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > MAX_CONTROL_BYTES) {
      // The rest is not kept; answered when all of it is in, as the caller does not read before.
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

function parseJson(body: Buffer): OperationRequest['body'] {
  if (body.length === 0) return {};
  try {
    const value: unknown = JSON.parse(body.toString());
    // Fields are looked at one by one, so that an object of any shape is safe.
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {
    // Told below.
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
