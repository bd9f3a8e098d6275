// The REST control plane of the Google emulator: what the official client sends, checked and answered as the cloud does.
// Wire: `google.cloud.functions.v2.FunctionService` and `google.longrunning.Operations`.

import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ExecutionSums } from '../../emulators/executions.ts';
import { type Fault, type Faults, sendAnswer, spoilBefore } from '../../emulators/faults.ts';
import { readBody } from '../../emulators/request-body.ts';
import { type Functions, memoryMiBOf } from './functions.ts';
import type { Issuer } from './issuer.ts';
import type { Logs } from './logs.ts';
import { listTimeSeries } from './metrics.ts';
import type { FunctionResource, ServiceConfig, StoredOperation } from './state.ts';

export interface ControlParts {
  readonly projectId: string;
  readonly locations: readonly string[];
  readonly functions: Functions;
  readonly logs: Pick<Logs, 'list'>;
  readonly sums: ExecutionSums;
  readonly issuer: Issuer;
  readonly faults: Faults;
  readonly nowMs: () => number;
  /** Origin of this control plane. */
  readonly endpoint: () => string;
  readonly log: (event: string, facts: object) => void;
}

/** Canonical codes with their HTTP statuses (google/rpc/code.proto). */
const HTTP_STATUS = {
  INVALID_ARGUMENT: 400,
  FAILED_PRECONDITION: 400,
  UNAUTHENTICATED: 401,
  PERMISSION_DENIED: 403,
  NOT_FOUND: 404,
  ALREADY_EXISTS: 409,
  ABORTED: 409,
  RESOURCE_EXHAUSTED: 429,
  INTERNAL: 500,
  UNIMPLEMENTED: 501,
  UNAVAILABLE: 503,
} as const;

class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly status: keyof typeof HTTP_STATUS;
  readonly reason: string | undefined;
  readonly httpStatus: number;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: Refusal['status'],
    message: string,
    more: { reason?: string; httpStatus?: number; headers?: Record<string, string> } = {},
  ) {
    super(message);
    this.status = status;
    this.reason = more.reason;
    this.httpStatus = more.httpStatus ?? HTTP_STATUS[status];
    this.headers = more.headers ?? {};
  }
}

type Json = Readonly<Record<string, unknown>>;

interface Call {
  readonly parent: string;
  /** Name of the function or operation, empty for a collection. */
  readonly name: string;
  readonly query: URLSearchParams;
  readonly body: Json;
  readonly fault: Fault | undefined;
}

interface Route {
  readonly operation: string;
  readonly method: string;
  readonly path: RegExp;
  answer(call: Call, parts: ControlParts): Promise<Json> | Json;
}

const PARENT = '(projects/[^/]+/locations/[^/:]+)';
const ROUTES: readonly Route[] = [
  route('GenerateUploadUrl', 'POST', '/functions:generateUploadUrl', generateUploadUrl),
  route('CreateFunction', 'POST', '/functions', createFunction),
  route('ListFunctions', 'GET', '/functions', listFunctions),
  route('GetFunction', 'GET', '/functions/([^/:]+)', getFunction),
  route('UpdateFunction', 'PATCH', '/functions/([^/:]+)', updateFunction),
  route('DeleteFunction', 'DELETE', '/functions/([^/:]+)', deleteFunction),
  route('GetOperation', 'GET', '/operations/([^/:]+)', getOperation),
  route('ListOperations', 'GET', '/operations', listOperations),
];

const UPLOAD_PATH = /^\/upload\/([0-9a-f-]{36}\.zip)$/;
/** Largest zip (Cloud Functions quotas, first generation). */
const MAX_ZIP_BYTES = 100 * 1024 * 1024;
const MAX_JSON_BYTES = 1024 * 1024;
const RUNTIMES = ['nodejs20', 'nodejs22', 'nodejs24'];

/** Answers one request of the control plane, or an upload to an address that it gave out. */
export async function answerControl(
  parts: ControlParts,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = new URL(request.url ?? '/', parts.endpoint());
  const upload = UPLOAD_PATH.exec(url.pathname)?.[1];
  if (upload) return answerUpload(parts, upload, request, response);

  const found = findRoute(request.method ?? 'GET', url);
  parts.log('request', { method: request.method, operation: found?.route.operation });
  const isLogs = request.method === 'POST' && url.pathname === '/v2/entries:list';
  const isMetrics =
    request.method === 'GET' && /^\/v3\/projects\/[^/]+\/timeSeries$/.test(url.pathname);
  const operation = isLogs
    ? 'ListLogEntries'
    : isMetrics
      ? 'ListTimeSeries'
      : (found?.route.operation ?? 'unknown');
  const fault = parts.faults.take(operation, found?.name || undefined);
  const body = await readBody(request, MAX_JSON_BYTES);
  if (!(await spoilBefore(response, fault))) return;
  try {
    checkAccess(parts, request, fault);
    spoil(fault);
    if (isLogs) return await send(response, 200, await listEntries(parts, body), fault);
    if (isMetrics) return await send(response, 200, timeSeries(parts, url), fault);
    if (!found) {
      parts.log('unsupported', { method: request.method, path: url.pathname });
      throw new Refusal('UNIMPLEMENTED', `${request.method} ${url.pathname} is not emulated`);
    }
    checkPlace(parts, found.parent);
    const call = { ...found, query: url.searchParams, body: parseJson(body), fault };
    await send(response, 200, await found.route.answer(call, parts), fault);
  } catch (error) {
    const refusal = error instanceof Refusal ? error : undefined;
    if (!refusal) parts.log('control call failed inside', { error: String(error) });
    const { httpStatus, headers, ...rest } =
      refusal ?? new Refusal('INTERNAL', 'Internal error encountered.');
    const message = refusal?.message ?? 'Internal error encountered.';
    const details = rest.reason
      ? [
          {
            '@type': 'type.googleapis.com/google.rpc.ErrorInfo',
            reason: rest.reason,
            domain: 'googleapis.com',
          },
        ]
      : [];
    const document = { error: { code: httpStatus, message, status: rest.status, details } };
    await send(response, httpStatus, document, fault, headers);
  }
}

function route(operation: string, method: string, path: string, answer: Route['answer']): Route {
  return { operation, method, path: new RegExp(`^/v2/${PARENT}${path}$`), answer };
}

function findRoute(method: string, url: URL) {
  const path = decodeURIComponent(url.pathname);
  for (const one of ROUTES) {
    const match = one.method === method ? one.path.exec(path) : null;
    if (!match) continue;
    const name = match[2] ?? url.searchParams.get('functionId') ?? '';
    return { route: one, parent: match[1] ?? '', name };
  }
  return undefined;
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

/** Cloud Logging, at the same address. */
async function listEntries(parts: ControlParts, body: Buffer | undefined): Promise<Json> {
  const answer = await parts.logs.list(parseJson(body));
  if ('refusal' in answer) throw new Refusal('INVALID_ARGUMENT', String(answer.refusal));
  return { ...answer };
}

/** Cloud Monitoring, at the same address. */
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

function generateUploadUrl(_call: Call, parts: ControlParts): Json {
  const object = `${randomUUID()}.zip`;
  return {
    uploadUrl: `${parts.endpoint()}/upload/${object}`,
    storageSource: { bucket: `gcf-v2-uploads-${parts.projectId}`, object },
  };
}

async function answerUpload(
  parts: ControlParts,
  object: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  parts.log('request', { method: request.method, operation: 'Upload' });
  const fault = parts.faults.take('Upload');
  // Before the body is read: a network that is lost takes the rest of an upload with it.
  if (!(await spoilBefore(response, fault))) return;
  const zip = await readBody(request, MAX_ZIP_BYTES);
  const { authorization, 'content-type': type } = request.headers;
  const isSigned = request.method === 'PUT' && type === 'application/zip' && !authorization;
  let status = isSigned ? 200 : 403;
  if (zip === undefined) status = 413;
  if (fault?.kind === 'status') status = fault.code;
  if (fault?.kind === 'throttle') status = 429;
  if (zip && status === 200) await parts.functions.saveSource(object, zip);
  const text =
    status === 200
      ? ''
      : `<?xml version='1.0' encoding='UTF-8'?><Error><Code>${status === 403 ? 'SignatureDoesNotMatch' : 'InternalError'}</Code></Error>`;
  const headers = { 'content-type': 'application/xml; charset=UTF-8' };
  await sendAnswer(response, { status, headers, body: Buffer.from(text) }, fault);
}

async function createFunction(call: Call, { functions, nowMs }: ControlParts): Promise<Json> {
  const { parent, name: id, body } = call;
  if (!/^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/.test(id)) {
    throw new Refusal(
      'INVALID_ARGUMENT',
      `Invalid function id ${id}: must match [a-z]([a-z0-9-]{0,61}[a-z0-9])?`,
    );
  }
  const target = `${parent}/functions/${id}`;
  if (functions.isBusy(target)) throw busy();
  if (functions.find(target)) {
    throw new Refusal('ALREADY_EXISTS', `Resource '${target}' already exists`);
  }
  const now = new Date(nowMs()).toISOString();
  const wanted = checked(
    {
      ...body,
      name: target,
      environment: 'GEN_2',
      state: 'DEPLOYING',
      createTime: now,
      updateTime: now,
    },
    functions,
  );
  const operation = await functions.begin({ verb: 'create', target, wanted, ...faultOf(call) });
  return operationJson(operation, functions);
}

async function updateFunction(call: Call, { functions, nowMs }: ControlParts): Promise<Json> {
  const target = `${call.parent}/functions/${call.name}`;
  const former = functions.find(target);
  if (!former) throw notFound(target);
  if (functions.isBusy(target)) throw busy();

  const mask = call.query.get('updateMask');
  const paths = mask ? mask.split(',').map(camelCased) : Object.keys(call.body);
  let wanted: Json = { ...former };
  for (const path of paths) {
    if (!UPDATABLE.test(path)) {
      throw new Refusal('INVALID_ARGUMENT', `Invalid field ${path} in update_mask`);
    }
    wanted = replaced(wanted, path.split('.'), call.body);
  }
  const full = checked(
    { ...wanted, name: target, state: 'DEPLOYING', updateTime: new Date(nowMs()).toISOString() },
    functions,
  );
  const asked = { verb: 'update', target, wanted: full, ...faultOf(call) } as const;
  return operationJson(await functions.begin(asked), functions);
}

async function deleteFunction(call: Call, { functions }: ControlParts): Promise<Json> {
  const target = `${call.parent}/functions/${call.name}`;
  if (!functions.find(target)) throw notFound(target);
  if (functions.isBusy(target)) throw busy();
  const operation = await functions.begin({ verb: 'delete', target, ...faultOf(call) });
  return operationJson(operation, functions);
}

function getFunction({ parent, name }: Call, { functions }: ControlParts): Json {
  const target = `${parent}/functions/${name}`;
  const found = functions.find(target);
  if (!found) throw notFound(target);
  return { ...found };
}

function listFunctions(call: Call, { functions }: ControlParts): Json {
  const { page, nextPageToken } = pageOf(functions.list(call.parent), call.query);
  return { functions: page, nextPageToken, unreachable: [] };
}

function getOperation({ parent, name }: Call, { functions }: ControlParts): Json {
  const operation = functions.operation(`${parent}/operations/${name}`);
  if (!operation) throw notFound(`${parent}/operations/${name}`);
  return operationJson(operation, functions);
}

function listOperations(call: Call, { functions }: ControlParts): Json {
  const { page, nextPageToken } = pageOf(functions.operations(call.parent), call.query);
  return { operations: page.map((one) => operationJson(one, functions)), nextPageToken };
}

/** A page token is the place to go on at. */
function pageOf<T>(
  all: readonly T[],
  query: URLSearchParams,
): { page: T[]; nextPageToken: string } {
  const size = Math.min(Number(query.get('pageSize') ?? 0) || 1000, 1000);
  const from = Number(query.get('pageToken') || 0);
  const next = from + size;
  return { page: all.slice(from, next), nextPageToken: next < all.length ? String(next) : '' };
}

/** Its response is the function as it is now: a copy kept in the operation would keep its secrets when it is gone. */
function operationJson(operation: StoredOperation, functions: Pick<Functions, 'find'>): Json {
  const { name, verb, target, createTime, endTime, error } = operation;
  const isDone = endTime !== undefined;
  const type = verb === 'delete' ? 'protobuf.Empty' : 'cloud.functions.v2.Function';
  const response = {
    '@type': `type.googleapis.com/google.${type}`,
    ...(verb !== 'delete' && (functions.find(target) ?? { name: target })),
  };
  return {
    name,
    metadata: {
      '@type': 'type.googleapis.com/google.cloud.functions.v2.OperationMetadata',
      createTime,
      ...(endTime !== undefined && { endTime }),
      target,
      verb,
      cancelRequested: false,
      apiVersion: 'v2',
    },
    done: isDone,
    ...(error && { error }),
    ...(isDone && !error && { response }),
  };
}

function faultOf({ fault }: Call): Pick<StoredOperation, 'fault'> | undefined {
  return fault?.kind === 'operation-fails' ||
    fault?.kind === 'stuck-operation' ||
    fault?.kind === 'quota'
    ? { fault: fault.kind }
    : undefined;
}

/** What an update may name: a field of the settings, or all of them. */
const UPDATABLE =
  /^(description|labels|buildConfig|serviceConfig|buildConfig\.(runtime|entryPoint|source|environmentVariables)|serviceConfig\.(timeoutSeconds|availableMemory|availableCpu|maxInstanceCount|minInstanceCount|maxInstanceRequestConcurrency|environmentVariables|ingressSettings|serviceAccountEmail))$/;

function camelCased(path: string): string {
  return path.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/** `into` with the value at `path` taken from `from`; absent there means unset. */
function replaced(into: Json, [key = '', ...rest]: string[], from: Json): Json {
  if (rest.length === 0) return { ...into, [key]: from[key] };
  return { ...into, [key]: replaced(recordAt(into, key), rest, recordAt(from, key)) };
}

function recordAt(record: Json, key: string): Json {
  const value = record[key];
  return typeof value === 'object' && value !== null ? (value as Json) : {};
}

/** Fills in the cloud's defaults. @throws Refusal INVALID_ARGUMENT */
function checked(resource: Json, functions: Functions): FunctionResource {
  const build = recordAt(resource, 'buildConfig');
  const service = recordAt(resource, 'serviceConfig');
  const source = recordAt(recordAt(build, 'source'), 'storageSource');
  const refuse = (message: string): never => {
    throw new Refusal('INVALID_ARGUMENT', message);
  };

  const { runtime, entryPoint } = build;
  if (typeof runtime !== 'string' || !RUNTIMES.includes(runtime)) {
    return refuse(`Runtime ${String(runtime)} is not supported. Supported: ${RUNTIMES.join(', ')}`);
  }
  if (typeof entryPoint !== 'string' || entryPoint === '') {
    return refuse('build_config.entry_point is required');
  }
  const { bucket, object } = source;
  if (
    typeof bucket !== 'string' ||
    typeof object !== 'string' ||
    !/^[0-9a-f-]{36}\.zip$/.test(object)
  ) {
    return refuse('build_config.source.storage_source is required');
  }
  const isUnchanged =
    functions.find(String(resource.name))?.buildConfig.source.storageSource.object === object;
  if (!isUnchanged && !functions.hasSource(object)) {
    return refuse(`Source object gs://${bucket}/${object} not found`);
  }

  const serviceConfig: ServiceConfig = {
    ...service,
    timeoutSeconds: wholeNumber(service, 'timeoutSeconds', 60, 1, 3600),
    availableMemory: String(service.availableMemory || '256Mi'),
    maxInstanceCount: wholeNumber(service, 'maxInstanceCount', 100, 1, 3000),
    maxInstanceRequestConcurrency: wholeNumber(
      service,
      'maxInstanceRequestConcurrency',
      1,
      1,
      1000,
    ),
    environmentVariables: texts(service, 'environmentVariables'),
    ingressSettings: 'ALLOW_ALL',
  };
  const memoryMiB = memoryMiBOf(serviceConfig.availableMemory);
  if (memoryMiB === undefined || memoryMiB < 128 || memoryMiB > 32_768) {
    return refuse(
      `Invalid value for service_config.available_memory: ${serviceConfig.availableMemory}`,
    );
  }
  const labels = texts(resource, 'labels');
  for (const [name, value] of Object.entries(labels)) {
    if (!/^[a-z][a-z0-9_-]{0,62}$/.test(name) || !/^[a-z0-9_-]{0,63}$/.test(value)) {
      return refuse(`Invalid label ${name}=${value}`);
    }
  }
  // Checked above, field by field; the rest is ours.
  return {
    ...resource,
    buildConfig: { ...build, runtime, entryPoint, source: { storageSource: { bucket, object } } },
    serviceConfig,
    labels,
  } as unknown as FunctionResource;
}

function wholeNumber(
  record: Json,
  key: string,
  unset: number,
  least: number,
  most: number,
): number {
  const value = Number(record[key] || unset);
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new Refusal('INVALID_ARGUMENT', `${key} must be from ${least} to ${most}, is ${value}`);
}

function texts(record: Json, key: string): Record<string, string> {
  return Object.fromEntries(
    Object.entries(recordAt(record, key)).map(([name, value]) => [name, String(value)]),
  );
}

function notFound(name: string): Refusal {
  return new Refusal('NOT_FOUND', `Resource '${name}' was not found`);
}

function busy(): Refusal {
  return new Refusal('ABORTED', 'unable to queue the operation');
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
    // Told below, as any other body that is no object.
  }
  throw new Refusal('INVALID_ARGUMENT', 'Invalid JSON payload received.');
}

function send(
  response: ServerResponse,
  status: number,
  document: Json,
  fault: Fault | undefined,
  headers: Readonly<Record<string, string>> = {},
): Promise<void> {
  return sendAnswer(
    response,
    {
      status,
      headers: { 'content-type': 'application/json; charset=UTF-8', ...headers },
      body: Buffer.from(JSON.stringify(document)),
    },
    fault,
  );
}
