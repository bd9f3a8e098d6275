// The REST control plane of the Google emulator. Checks what the official client sends and answers
// as the cloud does. Cloud Logging and Cloud Monitoring have the same address here.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Fault, sendAnswer, spoilBefore } from '../../../emulators/faults.ts';
import { readBody } from '../../../emulators/request-body.ts';
import { listTimeSeries } from './metrics.ts';
import type { Json } from './operation.ts';
import { findRoute, NOT_EMULATED_QUERY } from './operations.ts';
import type { ControlParts } from './parts.ts';
import { Refusal, refusalDocument } from './refusal.ts';
import { answerUpload, uploadedObject } from './uploads.ts';

const MAX_JSON_BYTES = 1024 * 1024;
const LOGS_PATH = '/v2/entries:list';
const METRICS_PATH = /^\/v3\/projects\/[^/]+\/timeSeries$/;

/** What a request asks for: its name to the fault switch, and the work that answers it. */
interface Asked {
  readonly operation: string;
  /** The function that the request names. */
  readonly target?: string;
  answer(body: Buffer | undefined, fault: Fault | undefined): Promise<Json> | Json;
}

/** Answers one request of the control plane, or an upload to an address that it gave out. */
export async function answerControl(
  parts: ControlParts,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = new URL(request.url ?? '/', parts.endpoint());
  const object = uploadedObject(url.pathname);
  if (object) return answerUpload(parts, object, request, response);

  const asked = readRequest(parts, request.method ?? 'GET', url);
  const fault = parts.faults.take(asked.operation, asked.target);
  const body = await readBody(request, MAX_JSON_BYTES);
  if (!(await spoilBefore(response, fault))) return;
  try {
    checkAccess(parts, request, fault);
    spoil(fault);
    await send(response, 200, await asked.answer(body, fault), fault);
  } catch (error) {
    if (!(error instanceof Refusal)) {
      parts.log('control call failed inside', { error: String(error) });
    }
    const refusal =
      error instanceof Refusal ? error : new Refusal('INTERNAL', 'Internal error encountered.');
    await send(response, refusal.httpStatus, refusalDocument(refusal), fault, refusal.headers);
  }
}

function readRequest(parts: ControlParts, method: string, url: URL): Asked {
  const found = findRoute(method, url);
  parts.log('request', { method, operation: found?.route.operation });
  if (method === 'POST' && url.pathname === LOGS_PATH) {
    return { operation: 'ListLogEntries', answer: (body) => listEntries(parts, body) };
  }
  if (method === 'GET' && METRICS_PATH.test(url.pathname)) {
    return { operation: 'ListTimeSeries', answer: () => timeSeries(parts, url) };
  }
  if (!found) {
    return {
      operation: 'unknown',
      answer() {
        parts.log('unsupported', { method, path: url.pathname });
        throw new Refusal('UNIMPLEMENTED', `${method} ${url.pathname} is not emulated`);
      },
    };
  }
  const { route, parent, name } = found;
  return {
    operation: route.operation,
    ...(name && { target: name }),
    answer(bytes, fault) {
      checkPlace(parts, parent);
      checkQuery(url);
      const body = parseJson(bytes);
      return route.answer({ parent, name, query: url.searchParams, body, fault }, parts);
    },
  };
}

function checkAccess(
  parts: ControlParts,
  request: IncomingMessage,
  fault: Fault | undefined,
): void {
  const [scheme, token] = (request.headers.authorization ?? '').split(' ');
  if (fault?.kind !== 'expire-credentials' && scheme === 'Bearer' && token) {
    if (parts.issuer.checkAccess(token) === undefined) return;
  }
  const reason = request.headers.authorization ? 'ACCESS_TOKEN_EXPIRED' : 'CREDENTIALS_MISSING';
  throw new Refusal(
    'UNAUTHENTICATED',
    'Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.',
    { reason },
  );
}

/** Refuses a request whose fault is an answer of the cloud. */
function spoil(fault: Fault | undefined): void {
  if (fault?.kind === 'throttle') {
    const { retryAfterMs } = fault;
    throw new Refusal('RESOURCE_EXHAUSTED', 'Quota exceeded for quota metric.', {
      reason: 'RATE_LIMIT_EXCEEDED',
      ...(retryAfterMs !== undefined && {
        headers: { 'retry-after': String(Math.ceil(retryAfterMs / 1000)) },
      }),
    });
  }
  if (fault?.kind === 'status') {
    const status = fault.code === 500 ? 'INTERNAL' : 'UNAVAILABLE';
    throw new Refusal(status, 'The service is currently unavailable.', { httpStatus: fault.code });
  }
}

function checkPlace({ projectId, locations }: ControlParts, parent: string): void {
  const [, project, , location] = parent.split('/');
  if (project !== projectId) {
    throw new Refusal('PERMISSION_DENIED', `Permission denied on resource project ${project}.`, {
      reason: 'CONSUMER_INVALID',
    });
  }
  if (!locations.includes(location ?? '')) {
    throw new Refusal(
      'PERMISSION_DENIED',
      `Location ${location} is not found or access is unauthorized.`,
    );
  }
}

/** Refuses the parameters of the cloud that would change the answer. */
function checkQuery({ searchParams }: URL): void {
  const name = NOT_EMULATED_QUERY.find((one) => searchParams.get(one));
  if (name) throw new Refusal('UNIMPLEMENTED', `The parameter ${name} is not emulated`);
}

/** Cloud Logging. */
async function listEntries(parts: ControlParts, body: Buffer | undefined): Promise<Json> {
  const answer = await parts.logs.list(parseJson(body));
  if ('refusal' in answer) throw new Refusal('INVALID_ARGUMENT', String(answer.refusal));
  return { ...answer };
}

/** Cloud Monitoring. */
function timeSeries(parts: ControlParts, { pathname, searchParams }: URL): Json {
  const project = pathname.split('/')[3];
  if (project !== parts.projectId) {
    throw new Refusal(
      'PERMISSION_DENIED',
      `Permission monitoring.timeSeries.list denied on resource projects/${project} (or it may not exist).`,
    );
  }
  const answer = listTimeSeries(searchParams, parts);
  if ('refusal' in answer) throw new Refusal('INVALID_ARGUMENT', String(answer.refusal));
  return { ...answer };
}

function parseJson(body: Buffer | undefined): Json {
  if (body === undefined) {
    throw new Refusal(
      'INVALID_ARGUMENT',
      `Request payload size exceeds the limit: ${MAX_JSON_BYTES} bytes.`,
    );
  }
  if (body.length === 0) return {};
  try {
    const value: unknown = JSON.parse(body.toString());
    if (typeof value === 'object' && value !== null) return value as Json;
  } catch {
    // Refused below, as any other body that is not an object.
  }
  throw new Refusal('INVALID_ARGUMENT', 'Invalid JSON payload received.');
}

function send(
  response: ServerResponse,
  status: number,
  document: Json,
  fault: Fault | undefined,
  extra: Readonly<Record<string, string>> = {},
): Promise<void> {
  const headers = { 'content-type': 'application/json; charset=UTF-8', ...extra };
  const body = Buffer.from(JSON.stringify(document));
  return sendAnswer(response, { status, headers, body }, fault);
}
