// Google Cloud Functions (v2, that is Cloud Run functions): deploys through the official SDK, calls over one pooled HTTP
// request with a cached ID token. One version is one function; the cloud has no versions or aliases of its own.

import { setTimeout as wait } from 'node:timers/promises';
import type { protos, v2 } from '@google-cloud/functions';
import { checkPackage, checkSpec } from '../deployment/check-spec.ts';
import { specHash } from '../deployment/names.ts';
import { probe } from '../deployment/probe.ts';
import { zip } from '../deployment/zip.ts';
import { type Answer, createSender, SendError } from '../http/send.ts';
import { codeOfStatus } from '../http/status.ts';
import {
  type ControlOptions,
  type Deployment,
  type DeploymentSpec,
  type InvokeRequest,
  type InvokeResult,
  type Plan,
  type PlanStep,
  type Provider,
  ProviderError,
  type ProviderLimits,
  type WarmOptions,
} from '../provider.ts';
import { controlError, isConflict, isPassing, operationError, PROVIDER } from './errors.ts';
import {
  type CloudFunction,
  deploymentOf,
  functionOf,
  LIMITS,
  labelValue,
  readShim,
  stateOf,
  UPDATED_FIELDS,
  variablesOf,
} from './function.ts';
import { clockUsage, failed, platformError, requestHeaders, resultOf } from './invocation.ts';
import { createLogsReader } from './logs.ts';
import { createExecutionMetric } from './metrics.ts';
import { createGoogleTokens } from './tokens.ts';

const POLL_FIRST_MS = 100;
const POLL_MOST_MS = 2_000;
/** Reads of the control plane are tried this often, writing rounds of a deploy too. */
const MAX_TRIES = 3;
const RETRY_FIRST_MS = 200;

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

/**
 * The gateway's account needs `roles/cloudfunctions.developer`, `roles/iam.serviceAccountUser` and `roles/run.invoker` in
 * the project: the functions are private, and called with that account's ID tokens. `roles/logging.viewer` is for logs,
 * `roles/monitoring.viewer` for the execution metric.
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
  const reading = {
    projectId: options.projectId,
    ...(options.endpoint !== undefined && { endpoint: options.endpoint }),
    send: sender.send,
    accessToken: async () => (await (await tokens.auth()).getAccessToken()) ?? '',
  };
  const readLogs = createLogsReader(reading);
  let opening: Promise<v2.FunctionServiceClient> | undefined;

  function client(): Promise<v2.FunctionServiceClient> {
    opening ??= openClient().catch((error: unknown) => {
      // Credentials that are put right later are found then.
      opening = undefined;
      throw error;
    });
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

  const check = (spec: DeploymentSpec) =>
    checkSpec(spec, { provider: PROVIDER, limits, regions, variables: variablesOf(spec) });

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
    check(spec);
    const hash = specHash(spec, await readShim());
    const { step } = await stepFor(spec, hash, signal);
    return { steps: [step] };
  }

  async function deploy(
    spec: DeploymentSpec,
    { signal, onStep }: ControlOptions,
  ): Promise<Deployment> {
    check(spec);
    const shim = await readShim();
    const hash = specHash(spec, shim);
    let lastWriting = '';
    for (let writes = 0; ; ) {
      const { step, found } = await stepFor(spec, hash, signal);
      if (step.action === 'keep' && found) {
        if (lastWriting === '') onStep?.(step);
        const deployment = deploymentOf(spec, hash, found);
        const of = { provider: PROVIDER, target: spec.name, signal } as const;
        await probe(() => probeOnce(deployment, { holdMs: 1, signal }), of);
        return deployment;
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
    checkPackage(spec, bytes.length, { provider: PROVIDER, limits });
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
    throw new ProviderError(
      codeOfStatus(answer.status),
      `upload of ${target} was answered ${answer.status}`,
      {
        ...facts,
        status: answer.status,
      },
    );
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
        api.operationsClient.getOperation(
          // The declared type wants the message's class; the call takes the plain object.
          { name } as protos.google.longrunning.GetOperationRequest,
          // The one call that the SDK would try again by itself, for ten minutes.
          { retry: null },
        ),
      );
      if (!state.done) continue;
      if (!state.error) return;
      throw operationError(state.error, { operation, target });
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

  async function tokenFor({ name, url }: Deployment, signal: AbortSignal): Promise<string> {
    try {
      const held = tokens.idToken(url);
      return typeof held === 'string' ? held : await abortable(signal, () => held);
    } catch (error) {
      throw controlError(error, { operation: 'invoke', target: name, signal });
    }
  }

  /** What the gateway's account may call, and which shim answers, shows in one call. */
  async function probeOnce(deployment: Deployment, { holdMs, signal }: WarmOptions): Promise<void> {
    const { name: target, url: origin } = deployment;
    const token = await tokenFor(deployment, signal);
    const headers = { authorization: `Bearer ${token}`, 'x-defaas-probe': `${holdMs}` };
    const request = { origin, method: 'POST', path: '/', headers, body: new Uint8Array() };
    const answer = await sender
      .send(request, { signal, maxResponseBytes: 64 * 1024 })
      .catch((error: unknown) => {
        if (!(error instanceof SendError)) throw error;
        const code = error.reason === 'aborted' ? 'PROVIDER_DEADLINE' : 'PROVIDER_CONNECTION';
        const facts = { provider: PROVIDER, operation: 'probe', target, ran: 'no' } as const;
        throw new ProviderError(code, `probe of ${target}: ${error.message}`, facts);
      });
    if (answer.headers['x-defaas-outcome'] === 'ok') return;
    tokens.forget(origin);
    const { code, message, status } = platformError(answer, target, nowMs());
    const facts = { provider: PROVIDER, operation: 'probe', target, ran: 'no', status } as const;
    throw new ProviderError(code, message, facts);
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

    const token = await tokenFor(deployment, signal);
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
    executionMetric: createExecutionMetric(reading),
    plan,
    deploy,
    invoke,
    warm: probeOnce,
    remove,
    list,
    async logs({ name, region }, query, { signal }) {
      try {
        return await readLogs({ name, region, ...query, signal });
      } catch (error) {
        throw controlError(error, { operation: 'logs', target: name, signal });
      }
    },
    async close() {
      const opened = await opening?.catch(() => undefined);
      await Promise.all([opened?.close(), sender.close()]);
    },
  };
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
