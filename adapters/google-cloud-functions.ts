// Google Cloud Functions (v2, that is Cloud Run functions): deploys through the official SDK, calls over one pooled HTTP
// request with a cached ID token. One version is one function; the cloud has no versions or aliases of its own.

import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import type { protos, v2 } from '@google-cloud/functions';
import { createGoogleTokens } from './google-tokens.ts';
import { specHash } from './names.ts';
import {
  type ControlOptions,
  type Deployment,
  type DeploymentSpec,
  type FunctionFailure,
  type InvokeRequest,
  type InvokeResult,
  type Plan,
  type PlanStep,
  type Provider,
  ProviderError,
  type ProviderErrorCode,
  type ProviderLimits,
  type Usage,
} from './provider.ts';
import { type Answer, createSender, headerPairs, SendError } from './send.ts';
import { zip } from './zip.ts';

const PROVIDER = 'google-cloud-functions';
const RUNTIME = 'nodejs22';
const ENTRY_POINT = 'main';
const FRAMEWORK_VERSION = '5.0.5';

/** Names of the caller's headers while they pass Google's front and the framework; see `shims/gcp.mjs`. */
const CARRIED = 'x-defaas-h-';

/** The cloud's own timeout is at least this much later than the shim's, so that the shim answers first. */
const SHIM_LEAD_MS = 250;

const POLL_FIRST_MS = 100;
const POLL_MOST_MS = 2_000;
/** Reads of the control plane are tried this often, writing rounds of a deploy too. */
const MAX_TRIES = 3;
const RETRY_FIRST_MS = 200;

/** Cloud Run functions quotas, 2026-11 (doc); package sizes and environment are those of the first generation. */
const LIMITS: ProviderLimits = {
  maxRequestBytes: 32 * 1024 * 1024,
  maxResponseBytes: 32 * 1024 * 1024,
  maxTimeoutMs: 3_600_000,
  minMemoryMiB: 128,
  maxMemoryMiB: 32_768,
  maxPackageBytes: 100 * 1024 * 1024,
  maxUnpackedBytes: 500 * 1024 * 1024,
  maxEnvBytes: 32 * 1024,
};

export interface GoogleCloudFunctionsOptions {
  readonly projectId: string;
  /** Address of the gateway that the deployments belong to; a label of each. */
  readonly gateway: string;
  readonly regions?: readonly string[];
  readonly limits?: Partial<ProviderLimits>;
  /** Control plane of an emulator, `http://127.0.0.1:P`; default the real one. */
  readonly endpoint?: string;
  /** `host:port` of the metadata server to take tokens from; default application default credentials. */
  readonly metadataHost?: string;
  /** Most sockets per function. */
  readonly connections?: number;
  /** Unix time in milliseconds. */
  readonly nowMs?: () => number;
}

type CloudFunction = protos.google.cloud.functions.v2.IFunction;

/**
 * The gateway's account needs `roles/cloudfunctions.developer`, `roles/iam.serviceAccountUser` and `roles/run.invoker` in
 * the project: the functions are private, and called with that account's ID tokens.
 */
export function createGoogleCloudFunctions(options: GoogleCloudFunctionsOptions): Provider {
  const limits: ProviderLimits = { ...LIMITS, ...options.limits };
  const regions = options.regions ?? ['us-central1'];
  const nowMs = options.nowMs ?? Date.now;
  const sender = createSender(
    options.connections === undefined ? {} : { connections: options.connections },
  );
  const tokens = createGoogleTokens({
    projectId: options.projectId,
    ...(options.metadataHost !== undefined && { metadataHost: options.metadataHost }),
    sender,
    nowMs,
  });
  let opening: Promise<v2.FunctionServiceClient> | undefined;

  function client(): Promise<v2.FunctionServiceClient> {
    opening ??= openClient();
    return opening;
  }

  async function openClient(): Promise<v2.FunctionServiceClient> {
    const [{ v2: api }, auth] = await Promise.all([
      import('@google-cloud/functions'),
      tokens.auth(),
    ]);
    const endpoint = options.endpoint === undefined ? undefined : new URL(options.endpoint);
    return new api.FunctionServiceClient({
      fallback: true,
      projectId: options.projectId,
      auth,
      ...(endpoint && {
        apiEndpoint: endpoint.hostname,
        port: Number(endpoint.port),
        protocol: endpoint.protocol.slice(0, -1),
      }),
    });
  }

  const parentOf = (region: string) => `projects/${options.projectId}/locations/${region}`;
  const pathOf = (of: { name: string; region: string }) =>
    `${parentOf(of.region)}/functions/${of.name}`;

  /** One control call, ended by the signal. @throws ProviderError */
  async function control<T>(
    operation: string,
    target: string,
    signal: AbortSignal,
    call: (api: v2.FunctionServiceClient) => Promise<T>,
  ): Promise<T> {
    try {
      return await abortable(signal, async () => call(await client()));
    } catch (error) {
      throw controlError(error, { operation, target, signal });
    }
  }

  /** A control call that changes nothing, tried again when the cloud is busy or away. */
  async function read<T>(
    operation: string,
    target: string,
    signal: AbortSignal,
    call: (api: v2.FunctionServiceClient) => Promise<T>,
  ): Promise<T> {
    for (let tries = 1; ; tries += 1) {
      try {
        return await control(operation, target, signal, call);
      } catch (error) {
        if (tries === MAX_TRIES || !isPassing(error)) throw error;
        await pause(RETRY_FIRST_MS * 2 ** (tries - 1), { operation, target, signal });
      }
    }
  }

  async function find(
    of: { name: string; region: string },
    signal: AbortSignal,
  ): Promise<CloudFunction | undefined> {
    try {
      const [found] = await read('GetFunction', of.name, signal, (api) =>
        api.getFunction({ name: pathOf(of) }),
      );
      return found;
    } catch (error) {
      if (error instanceof ProviderError && error.code === 'PROVIDER_NOT_FOUND') return undefined;
      throw error;
    }
  }

  async function stepFor(
    spec: DeploymentSpec,
    hash: string,
    signal: AbortSignal,
  ): Promise<{ step: PlanStep; found?: CloudFunction }> {
    const found = await find(spec, signal);
    const step = (action: PlanStep['action'], why: string): PlanStep => ({
      action,
      resource: 'function',
      name: spec.name,
      why,
    });
    if (!found) return { step: step('create', 'not there yet') };
    if (found.labels?.['defaas-gateway'] !== labelValue(options.gateway)) {
      throw new ProviderError('PROVIDER_CONFLICT', `${spec.name} belongs to another gateway`, {
        provider: PROVIDER,
        operation: 'GetFunction',
        target: spec.name,
        ran: 'no',
      });
    }
    const state = stateOf(found);
    if (state === 'DEPLOYING' || state === 'DELETING') {
      return { step: step('wait', `is ${state.toLowerCase()}`), found };
    }
    if (state !== 'ACTIVE') return { step: step('update', `is ${state.toLowerCase()}`), found };
    if (found.labels?.['defaas-spec'] !== hash) {
      return { step: step('update', 'deployed from another specification'), found };
    }
    return { step: step('keep', 'is as wanted'), found };
  }

  async function plan(spec: DeploymentSpec, { signal }: ControlOptions): Promise<Plan> {
    checkSpec(spec, limits, regions);
    const hash = specHash(spec, await readShim());
    const { step } = await stepFor(spec, hash, signal);
    return { steps: [step] };
  }

  async function deploy(
    spec: DeploymentSpec,
    { signal, onStep }: ControlOptions,
  ): Promise<Deployment> {
    checkSpec(spec, limits, regions);
    const shim = await readShim();
    const hash = specHash(spec, shim);
    let lastWriting = '';
    for (let writes = 0; ; ) {
      const { step, found } = await stepFor(spec, hash, signal);
      if (step.action === 'keep' && found) {
        if (lastWriting === '') onStep?.(step);
        return deploymentOf(spec, hash, found);
      }
      if (step.action === 'wait') {
        await settled(spec, signal);
        onStep?.(step);
        continue;
      }
      lastWriting = step.action;
      writes += 1;
      try {
        await write(spec, hash, shim, step.action === 'create', signal);
        onStep?.(step);
      } catch (error) {
        // Whether the write took is not known, or somebody else's did: the next look at the cloud tells.
        if (writes >= MAX_TRIES || !(isPassing(error) || isConflict(error))) throw error;
        const target = spec.name;
        await pause(RETRY_FIRST_MS * 2 ** (writes - 1), { operation: 'deploy', target, signal });
      }
    }
  }

  async function write(
    spec: DeploymentSpec,
    hash: string,
    shim: ReadonlyMap<string, Uint8Array>,
    isNew: boolean,
    signal: AbortSignal,
  ): Promise<void> {
    const bytes = zip(new Map([...spec.files, ...shim]));
    if (bytes.length > limits.maxPackageBytes) throw tooLarge(spec, bytes.length, limits);
    const parent = parentOf(spec.region);
    const [target] = await control('GenerateUploadUrl', spec.name, signal, (api) =>
      api.generateUploadUrl({ parent, environment: 'GEN_2' }),
    );
    await upload(target.uploadUrl ?? '', bytes, spec.name, signal);

    const wanted = functionOf(spec, hash, pathOf(spec), options.gateway, target.storageSource);
    const operation = isNew ? 'CreateFunction' : 'UpdateFunction';
    const [started] = await control(operation, spec.name, signal, (api) =>
      isNew
        ? api.createFunction({ parent, functionId: spec.name, function: wanted })
        : api.updateFunction({ function: wanted, updateMask: { paths: [...UPDATED_FIELDS] } }),
    );
    await finished(started.name ?? '', operation, spec.name, signal);
  }

  async function upload(
    uploadUrl: string,
    bytes: Uint8Array,
    target: string,
    signal: AbortSignal,
  ): Promise<void> {
    const facts = { provider: PROVIDER, operation: 'upload', target, ran: 'no' } as const;
    const url = new URL(uploadUrl);
    let answer: Answer;
    try {
      answer = await sender.send(
        {
          origin: url.origin,
          method: 'PUT',
          path: url.pathname + url.search,
          // Signed for exactly this header, and for no authorization.
          headers: { 'content-type': 'application/zip' },
          body: bytes,
        },
        { signal, maxResponseBytes: 64 * 1024 },
      );
    } catch (cause) {
      const code = signal.aborted ? 'PROVIDER_DEADLINE' : 'PROVIDER_CONNECTION';
      throw new ProviderError(code, `upload of ${target} broke off`, { ...facts, cause });
    }
    if (answer.status === 200) return;
    const code = answer.status >= 500 ? 'PROVIDER_UNAVAILABLE' : codeOfStatus(answer.status);
    throw new ProviderError(code, `upload of ${target} was answered ${answer.status}`, {
      ...facts,
      status: answer.status,
    });
  }

  /** Waits for a long-running operation. @throws ProviderError PROVIDER_DEPLOY_FAILED with the cloud's first line */
  async function finished(
    name: string,
    operation: string,
    target: string,
    signal: AbortSignal,
  ): Promise<void> {
    for (let ms = POLL_FIRST_MS; ; ms = Math.min(ms * 1.5, POLL_MOST_MS)) {
      await pause(ms, { operation, target, signal });
      const [state] = await read('GetOperation', target, signal, (api) =>
        // The declared type wants the message's class; the call takes the plain object.
        api.operationsClient.getOperation({
          name,
        } as protos.google.longrunning.GetOperationRequest),
      );
      if (!state.done) continue;
      if (!state.error) return;
      const { code, message } = state.error;
      const reason = firstLine(message ?? 'no reason given');
      throw new ProviderError(
        code === 6 ? 'PROVIDER_CONFLICT' : 'PROVIDER_DEPLOY_FAILED',
        `${reason}, on ${target}`,
        { provider: PROVIDER, operation, target, ran: 'no', cause: state.error },
      );
    }
  }

  /** Waits until the function is neither being deployed nor deleted. */
  async function settled(of: { name: string; region: string }, signal: AbortSignal): Promise<void> {
    for (let ms = POLL_FIRST_MS; ; ms = Math.min(ms * 1.5, POLL_MOST_MS)) {
      await pause(ms, { operation: 'GetFunction', target: of.name, signal });
      const found = await find(of, signal);
      const state = found && stateOf(found);
      if (state !== 'DEPLOYING' && state !== 'DELETING') return;
    }
  }

  async function remove(
    of: Pick<Deployment, 'name' | 'region'>,
    { signal, onStep }: ControlOptions,
  ): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      if (!(await find(of, signal))) return;
      try {
        const [started] = await control('DeleteFunction', of.name, signal, (api) =>
          api.deleteFunction({ name: pathOf(of) }),
        );
        await finished(started.name ?? '', 'DeleteFunction', of.name, signal);
        onStep?.({ action: 'remove', resource: 'function', name: of.name, why: 'asked for' });
      } catch (error) {
        if (error instanceof ProviderError && error.code === 'PROVIDER_NOT_FOUND') return;
        if (tries >= MAX_TRIES || !(isPassing(error) || isConflict(error))) throw error;
        await settled(of, signal);
      }
    }
  }

  async function* list(
    region: string,
    { signal }: ControlOptions,
  ): AsyncIterable<Pick<Deployment, 'name' | 'region' | 'specHash'>> {
    let pageToken = '';
    do {
      const [functions, , page] = await read('ListFunctions', region, signal, (api) =>
        api.listFunctions(
          { parent: parentOf(region), pageSize: 100, pageToken },
          { autoPaginate: false },
        ),
      );
      for (const { name, labels } of functions) {
        if (labels?.['defaas-gateway'] !== labelValue(options.gateway)) continue;
        yield {
          name: name?.split('/').at(-1) ?? '',
          region,
          specHash: labels['defaas-spec'] ?? '',
        };
      }
      pageToken = page?.nextPageToken ?? '';
    } while (pageToken !== '');
  }

  async function invoke(
    deployment: Deployment,
    request: InvokeRequest,
    { signal }: { readonly signal: AbortSignal },
  ): Promise<InvokeResult> {
    const { name: target, url } = deployment;
    const facts = { provider: PROVIDER, operation: 'invoke', target } as const;
    if (request.body.length > limits.maxRequestBytes) {
      const message = `request of ${request.body.length} bytes, limit ${limits.maxRequestBytes}, on ${PROVIDER}`;
      throw new ProviderError('PROVIDER_TOO_LARGE', message, { ...facts, ran: 'no' });
    }

    let token: string;
    try {
      token = await abortable(signal, () => tokens.idToken(url));
    } catch (cause) {
      const code = signal.aborted ? 'PROVIDER_DEADLINE' : 'PROVIDER_UNAUTHENTICATED';
      throw new ProviderError(code, `no ID token for ${target}`, { ...facts, ran: 'no', cause });
    }

    const startedMs = performance.now();
    let answer: Answer;
    try {
      answer = await sender.send(
        {
          origin: url,
          method: request.method,
          path: '/',
          headers: requestHeaders(request, token),
          body: request.body,
        },
        // Above the limit by what a refusal needs; the shim tells an answer above the limit itself.
        { signal, maxResponseBytes: limits.maxResponseBytes + 64 * 1024 },
      );
    } catch (error) {
      if (!(error instanceof SendError)) throw error;
      if (error.reason === 'too-large') {
        return failed(
          { kind: 'too-large', type: 'ResponseSizeTooLarge', message: error.message },
          clockUsage(deployment, performance.now() - startedMs, limits.maxResponseBytes),
          request.callId,
        );
      }
      const code = error.reason === 'aborted' ? 'PROVIDER_DEADLINE' : 'PROVIDER_CONNECTION';
      throw new ProviderError(code, `call of ${target}: ${error.message}`, {
        ...facts,
        ran: error.began ? 'maybe' : 'no',
        cause: error,
      });
    }

    const result = resultOf(answer, deployment, request.callId);
    if (result) return result;
    if (answer.status === 401) tokens.forget(url);
    throw platformError(answer, target, nowMs());
  }

  return {
    name: PROVIDER,
    limits,
    regions,
    plan,
    deploy,
    invoke,
    remove,
    list,
    async logs(deployment) {
      throw new ProviderError('PROVIDER_UNSUPPORTED', 'logs are in Cloud Logging', {
        provider: PROVIDER,
        operation: 'logs',
        target: deployment.name,
        ran: 'no',
      });
    },
    async close() {
      const opened = await opening?.catch(() => undefined);
      await Promise.all([opened?.close(), sender.close()]);
    },
  };
}

/** What the adapter adds to the artifact; the same for every function. */
async function readShim(): Promise<ReadonlyMap<string, Uint8Array>> {
  const [gcp, fetchCall] = await Promise.all(
    ['gcp.mjs', 'fetch-call.mjs'].map((file) =>
      readFile(new URL(`./shims/${file}`, import.meta.url)),
    ),
  );
  const manifest = {
    private: true,
    main: 'gcp.mjs',
    dependencies: { '@google-cloud/functions-framework': FRAMEWORK_VERSION },
  };
  return new Map<string, Uint8Array>([
    ['package.json', Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`)],
    ['gcp.mjs', gcp ?? new Uint8Array()],
    ['fetch-call.mjs', fetchCall ?? new Uint8Array()],
  ]);
}

/** What an update sets: everything that the spec decides. */
const UPDATED_FIELDS = [
  'build_config.runtime',
  'build_config.entry_point',
  'build_config.source',
  'service_config.timeout_seconds',
  'service_config.available_memory',
  'service_config.max_instance_count',
  'service_config.max_instance_request_concurrency',
  'service_config.environment_variables',
  'labels',
] as const;

function functionOf(
  spec: DeploymentSpec,
  hash: string,
  name: string,
  gateway: string,
  storageSource: protos.google.cloud.functions.v2.IStorageSource | null | undefined,
): CloudFunction {
  return {
    name,
    buildConfig: {
      runtime: RUNTIME,
      entryPoint: ENTRY_POINT,
      source: { storageSource: storageSource ?? null },
    },
    serviceConfig: {
      timeoutSeconds: timeoutSecondsOf(spec),
      availableMemory: `${spec.memoryMiB}Mi`,
      // Module state is not shared by calls that overlap, as on AWS.
      maxInstanceRequestConcurrency: 1,
      ...(spec.maxConcurrency !== undefined && { maxInstanceCount: spec.maxConcurrency }),
      environmentVariables: {
        ...spec.env,
        ...spec.secrets,
        DEFAAS_FUNCTION: spec.functionName,
        DEFAAS_VERSION: String(spec.version),
        DEFAAS_TIMEOUT_MS: String(spec.timeoutMs),
      },
    },
    labels: {
      'defaas-function': labelValue(spec.functionName),
      'defaas-version': String(spec.version),
      'defaas-cid': labelValue(spec.artifactCid),
      'defaas-gateway': labelValue(gateway),
      'defaas-spec': hash,
    },
  };
}

/** Whole seconds, at most the cloud's 3600, with room for the shim to answer first. */
function timeoutSecondsOf({ timeoutMs }: { readonly timeoutMs: number }): number {
  return Math.min(3600, Math.ceil((timeoutMs + SHIM_LEAD_MS) / 1000));
}

/** Labels allow `[a-z0-9_-]`, 63 characters; a text that is not so is cut and told apart by its hash. */
function labelValue(text: string): string {
  const plain = text.toLowerCase().replace(/[^a-z0-9_-]/g, '_');
  if (plain.length <= 63) return plain;
  return `${plain.slice(0, 54)}-${createHash('sha256').update(text).digest('hex').slice(0, 8)}`;
}

function checkSpec(spec: DeploymentSpec, limits: ProviderLimits, regions: readonly string[]): void {
  const refuse = (code: ProviderErrorCode, message: string): never => {
    throw new ProviderError(code, message, {
      provider: PROVIDER,
      operation: 'plan',
      target: spec.name,
      ran: 'no',
    });
  };
  const { timeoutMs, memoryMiB, region } = spec;
  if (!regions.includes(region)) {
    refuse(
      'PROVIDER_INVALID',
      `region ${region} is not one of ${regions.join(', ')}, on ${PROVIDER}`,
    );
  }
  if (timeoutMs > limits.maxTimeoutMs) {
    refuse(
      'PROVIDER_INVALID',
      `timeoutMs ${timeoutMs} is above ${limits.maxTimeoutMs}, on ${PROVIDER}, lower it or drop ${PROVIDER} from providers`,
    );
  }
  if (memoryMiB < limits.minMemoryMiB || memoryMiB > limits.maxMemoryMiB) {
    refuse(
      'PROVIDER_INVALID',
      `memoryMiB ${memoryMiB} is not within ${limits.minMemoryMiB} to ${limits.maxMemoryMiB}, on ${PROVIDER}, change it or drop ${PROVIDER} from providers`,
    );
  }
  const envBytes = Buffer.byteLength(JSON.stringify({ ...spec.env, ...spec.secrets }));
  if (envBytes > limits.maxEnvBytes) {
    refuse(
      'PROVIDER_INVALID',
      `environment of ${envBytes} bytes, limit ${limits.maxEnvBytes}, on ${PROVIDER}`,
    );
  }
  let unpackedBytes = 0;
  for (const bytes of spec.files.values()) unpackedBytes += bytes.length;
  if (unpackedBytes > limits.maxUnpackedBytes) {
    refuse(
      'PROVIDER_TOO_LARGE',
      `artifact is ${unpackedBytes} bytes, limit ${limits.maxUnpackedBytes}, on ${PROVIDER}`,
    );
  }
}

function tooLarge(spec: DeploymentSpec, bytes: number, limits: ProviderLimits): ProviderError {
  const [largest] = [...spec.files].sort(([, a], [, b]) => b.length - a.length);
  const message = `package is ${bytes} bytes, limit ${limits.maxPackageBytes}, on ${PROVIDER}, largest: ${largest?.[0]} ${largest?.[1].length} bytes`;
  return new ProviderError('PROVIDER_TOO_LARGE', message, {
    provider: PROVIDER,
    operation: 'deploy',
    target: spec.name,
    ran: 'no',
  });
}

function deploymentOf(spec: DeploymentSpec, hash: string, found: CloudFunction): Deployment {
  const url = found.serviceConfig?.uri;
  if (!url) {
    throw new ProviderError('PROVIDER_PROTOCOL', `${spec.name} is active but has no address`, {
      provider: PROVIDER,
      operation: 'GetFunction',
      target: spec.name,
      ran: 'no',
    });
  }
  return {
    provider: PROVIDER,
    name: spec.name,
    region: spec.region,
    specHash: hash,
    artifactCid: spec.artifactCid,
    memoryMiB: spec.memoryMiB,
    timeoutMs: spec.timeoutMs,
    url: new URL(url).origin,
  };
}

/** States of `google.cloud.functions.v2.Function`; the wire has numbers or names. */
const STATES = ['STATE_UNSPECIFIED', 'ACTIVE', 'FAILED', 'DEPLOYING', 'DELETING', 'UNKNOWN'];

function stateOf({ state }: CloudFunction): string {
  return typeof state === 'number' ? (STATES[state] ?? 'UNKNOWN') : (state ?? 'UNKNOWN');
}

function requestHeaders(request: InvokeRequest, token: string): Record<string, string | string[]> {
  const headers: Record<string, string | string[]> = {
    authorization: `Bearer ${token}`,
    'x-defaas-path': request.query === '' ? request.path : `${request.path}?${request.query}`,
  };
  // The framework reads a body only when it has a type.
  if (request.body.length > 0) headers['content-type'] = 'application/octet-stream';
  for (const [name, value] of request.headers) {
    const carried = CARRIED + name;
    const before = headers[carried];
    headers[carried] = before === undefined ? value : [before, value].flat();
  }
  return headers;
}

/** The result that an answer is, or undefined when the platform and not the function has answered. */
function resultOf(
  answer: Answer,
  deployment: Deployment,
  callId: string,
): InvokeResult | undefined {
  const { headers, body, status, measuredMs } = answer;
  const requestId = one(headers, 'function-execution-id') ?? callId;
  const outcome = one(headers, 'x-defaas-outcome');
  if (outcome === undefined) {
    if (status !== 504 || measuredMs < deployment.timeoutMs) return undefined;
    return failed(timeoutAfter(deployment), clockUsage(deployment, measuredMs, 0), requestId);
  }

  const usage = shimUsage(answer, deployment);
  const cold = one(headers, 'x-defaas-cold') === '1';
  if (outcome !== 'ok')
    return { ...failed(failureOf(outcome, body, deployment), usage, requestId), cold };
  return {
    ok: true,
    status,
    headers: ownHeaders(headers),
    body,
    usage,
    requestId,
    cold,
  };
}

function failed(error: FunctionFailure, usage: Usage, requestId: string): InvokeResult {
  return { ok: false, error, usage, requestId };
}

function timeoutAfter({ timeoutMs }: Deployment): FunctionFailure {
  return { kind: 'timeout', type: 'Timeout', message: `no answer within ${timeoutMs} ms` };
}

const FAILURE_KINDS = ['thrown', 'timeout', 'exit', 'init', 'too-large'] as const;

/** The shim's word on what went wrong; it shares a process with the publisher's code, so it is taken with care. */
function failureOf(outcome: string, body: Buffer, deployment: Deployment): FunctionFailure {
  if (outcome === 'timeout') return timeoutAfter(deployment);
  try {
    const said: unknown = JSON.parse(body.toString());
    if (typeof said === 'object' && said !== null) {
      const { kind, type, message } = said as Record<string, unknown>;
      return {
        kind: FAILURE_KINDS.find((known) => known === kind) ?? 'thrown',
        type: String(type),
        message: String(message),
      };
    }
  } catch {
    // Not the shim's JSON: the mark alone counts.
  }
  return { kind: 'thrown', type: 'Error', message: 'the function failed' };
}

function shimUsage({ headers, body, measuredMs }: Answer, deployment: Deployment): Usage {
  const saidMs = numberIn(headers, 'x-defaas-duration-ms');
  const saidMiB = numberIn(headers, 'x-defaas-memory-mib');
  if (saidMs === undefined) return clockUsage(deployment, measuredMs, body.length);
  const mostMs = Math.ceil(measuredMs);
  const billedMs = Math.ceil(saidMs);
  return {
    billedMs: Math.min(billedMs, mostMs),
    memoryMiB: deployment.memoryMiB,
    ...(saidMiB !== undefined && { peakMemoryMiB: saidMiB }),
    egressBytes: body.length,
    measuredMs,
    source: 'shim',
    ...(billedMs > mostMs && { disputed: true }),
  };
}

function clockUsage(deployment: Deployment, measuredMs: number, egressBytes: number): Usage {
  return {
    billedMs: Math.ceil(measuredMs),
    memoryMiB: deployment.memoryMiB,
    egressBytes,
    measuredMs,
    source: 'gateway',
  };
}

/** An answer without the shim's mark: the platform's own. */
function platformError(answer: Answer, target: string, nowMs: number): ProviderError {
  const { status, headers } = answer;
  const isRefusal = status >= 400 && status < 500;
  const code = status >= 500 ? 'PROVIDER_UNAVAILABLE' : codeOfStatus(status);
  const said = firstLine(answer.body.toString('utf8', 0, 1024));
  return new ProviderError(code, `${target} was answered ${status} by the platform: ${said}`, {
    provider: PROVIDER,
    operation: 'invoke',
    target,
    ran: isRefusal ? 'no' : 'maybe',
    status,
    retryAfterMs: retryAfterMs(one(headers, 'retry-after'), nowMs),
  });
}

function codeOfStatus(status: number): ProviderErrorCode {
  switch (status) {
    case 400:
      return 'PROVIDER_INVALID';
    case 401:
      return 'PROVIDER_UNAUTHENTICATED';
    case 403:
      return 'PROVIDER_FORBIDDEN';
    case 404:
      return 'PROVIDER_NOT_FOUND';
    case 409:
      return 'PROVIDER_CONFLICT';
    case 413:
      return 'PROVIDER_TOO_LARGE';
    case 429:
      return 'PROVIDER_THROTTLED';
    default:
      return 'PROVIDER_PROTOCOL';
  }
}

function ownHeaders(headers: Answer['headers']): [string, string][] {
  const own: [string, string][] = [];
  for (const [name, value] of headerPairs(headers)) {
    if (name.startsWith(CARRIED)) own.push([name.slice(CARRIED.length), value]);
    else if (name === 'set-cookie') own.push([name, value]);
  }
  return own;
}

function one(headers: Answer['headers'], name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value[0] : value;
}

function numberIn(headers: Answer['headers'], name: string): number | undefined {
  const number = Number(one(headers, name) ?? Number.NaN);
  return Number.isFinite(number) && number >= 0 ? number : undefined;
}

/** RFC 9110 section 10.2.3: seconds or a date. */
function retryAfterMs(value: string | undefined, nowMs: number): number | undefined {
  if (value === undefined) return undefined;
  const seconds = Number(value);
  const ms = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(value) - nowMs;
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}

/** gRPC codes as `google.rpc.Code` numbers them. */
const CODES: Readonly<Record<number, ProviderErrorCode>> = {
  3: 'PROVIDER_INVALID',
  4: 'PROVIDER_DEADLINE',
  5: 'PROVIDER_NOT_FOUND',
  6: 'PROVIDER_CONFLICT',
  7: 'PROVIDER_FORBIDDEN',
  8: 'PROVIDER_THROTTLED',
  9: 'PROVIDER_CONFLICT',
  10: 'PROVIDER_CONFLICT',
  11: 'PROVIDER_INVALID',
  13: 'PROVIDER_UNAVAILABLE',
  14: 'PROVIDER_UNAVAILABLE',
  16: 'PROVIDER_UNAUTHENTICATED',
};

function controlError(
  error: unknown,
  { operation, target, signal }: { operation: string; target: string; signal: AbortSignal },
): ProviderError {
  if (error instanceof ProviderError) return error;
  const { code: number, cause, message } = grpcError(error);
  const facts = { provider: PROVIDER, operation, target, ran: 'no', cause: error } as const;
  if (signal.aborted) {
    return new ProviderError('PROVIDER_DEADLINE', `${operation} of ${target} was stopped`, facts);
  }
  // The SDK calls a request that got no answer UNAVAILABLE; the cause has the socket's own code.
  const isSocket = number === 14 && typeof cause === 'string';
  const code = isSocket ? 'PROVIDER_CONNECTION' : (CODES[number] ?? 'PROVIDER_PROTOCOL');
  return new ProviderError(code, `${firstLine(message)}, on ${target}`, facts);
}

/** Number and text of an SDK error, and the code of the socket error beneath it. */
function grpcError(error: unknown): { code: number; message: string; cause: string | undefined } {
  if (!(error instanceof Error)) return { code: 2, message: String(error), cause: undefined };
  const number = 'code' in error && typeof error.code === 'number' ? error.code : 2;
  const { cause } = error;
  const socket = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  return {
    code: number,
    message: error.message,
    cause: typeof socket === 'string' ? socket : undefined,
  };
}

/** The cloud is busy or away: the same call may work later. */
function isPassing(error: unknown): boolean {
  return (
    error instanceof ProviderError &&
    ['PROVIDER_UNAVAILABLE', 'PROVIDER_CONNECTION', 'PROVIDER_THROTTLED'].includes(error.code)
  );
}

function isConflict(error: unknown): boolean {
  return error instanceof ProviderError && error.code === 'PROVIDER_CONFLICT';
}

function firstLine(text: string): string {
  return (text.split('\n', 1)[0] ?? '').slice(0, 256);
}

/** Waits, unless the signal ends it. @throws ProviderError PROVIDER_DEADLINE */
async function pause(
  ms: number,
  { operation, target, signal }: { operation: string; target: string; signal: AbortSignal },
): Promise<void> {
  try {
    await wait(ms, undefined, { signal });
  } catch (error) {
    throw controlError(error, { operation, target, signal });
  }
}

/** The SDK takes no signal: its answer is waited for no longer than the signal says. */
function abortable<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    work()
      .then(resolve, reject)
      .finally(() => signal.removeEventListener('abort', onAbort));
  });
}
