// AWS Lambda: the control plane through the official SDK, a call through one signed request on a pooled connection.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import type {
  FunctionConfiguration,
  LambdaClient,
  LambdaClientConfig,
} from '@aws-sdk/client-lambda';
import { checkPackage, checkSpec } from '../deployment/check-spec.ts';
import { specHash } from '../deployment/names.ts';
import { notAnswering, probe } from '../deployment/probe.ts';
import { zip } from '../deployment/zip.ts';
import { type Answer, createSender, SendError } from '../http/send.ts';
import { codeOfStatus } from '../http/status.ts';
import {
  type ControlOptions,
  type Deployment,
  type DeploymentSpec,
  type InvokeResult,
  type Plan,
  type PlanStep,
  type Provider,
  ProviderError,
  type ProviderErrorCode,
  type ProviderErrorOptions,
  type ProviderLimits,
} from '../provider.ts';
import {
  createRequestSigner,
  MAX_ANSWER_BYTES,
  MAX_PAYLOAD_BYTES,
  readAnswer,
  toPayload,
} from './invocation.ts';
import { createLogsReader } from './logs.ts';
import type { AwsCredentials } from './signature.ts';

export interface AwsLambdaOptions {
  readonly region: string;
  /** Of an emulator; without it the region's own. */
  readonly endpoint?: string;
  /** Without them the SDK's chain: environment, shared files, SSO, web identity, ECS, IMDS. */
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string };
  /** What the functions run as; needed to deploy, but on an emulator. */
  readonly roleArn?: string;
  /** Id of this gateway, in the tags. */
  readonly gateway: string;
  /** Unix time in milliseconds. */
  readonly clock?: () => number;
  /** Told of usage that was disputed. */
  readonly log?: (message: string, fields: Readonly<Record<string, unknown>>) => void;
}

type Sdk = typeof import('@aws-sdk/client-lambda');

/** The SDK and a client of it. */
interface Control {
  readonly sdk: Sdk;
  readonly client: LambdaClient;
}

/** What is to be there. */
interface Wanted {
  readonly spec: DeploymentSpec;
  readonly hash: string;
  readonly variables: Readonly<Record<string, string>>;
  readonly tags: Readonly<Record<string, string>>;
  /** Made only when it is needed: to upload, or to compare with what is there. */
  readonly package: () => { readonly bytes: Uint8Array; readonly codeSha256: string };
}

/** What is there; undefined parts are not. */
interface Found {
  readonly latest?: FunctionConfiguration;
  readonly live?: FunctionConfiguration;
  readonly tags: Readonly<Record<string, string>>;
  readonly reserved?: number;
}

/** A step with what does it. */
interface Work {
  readonly step: PlanStep;
  readonly run?: () => Promise<void>;
}

/** https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html; the package limits are those of the errors. */
const LIMITS: ProviderLimits = {
  maxRequestBytes: MAX_PAYLOAD_BYTES,
  maxResponseBytes: MAX_ANSWER_BYTES,
  maxTimeoutMs: 900_000,
  minMemoryMiB: 128,
  maxMemoryMiB: 10_240,
  maxPackageBytes: 52_428_800,
  maxUnpackedBytes: 262_144_000,
  maxEnvBytes: 4096,
  // "from under 100 ms to over 1 second" (Lambda operator guide, execution environments); init itself is in the report.
  coldStartMs: 1000,
};

const NAME = 'aws-lambda';
const ALIAS = 'live';
const INVOKE_QUERY = `Qualifier=${ALIAS}`;
const RUNTIME = 'nodejs22.x';
/** The role an emulator is given; it checks only its form. */
const EMULATOR_ROLE = 'arn:aws:iam::000000000000:role/defaas';
/** Pauses between two looks at a function that is not ready: the first, the growth, the longest. */
const FIRST_POLL_MS = 15;
const POLL_GROWTH = 1.5;
const MAX_POLL_MS = 1000;
/** A role that was just made is not assumable for some seconds. */
const ROLE_WAIT_MS = 30_000;
/** How often `deploy` looks again after a conflict. */
const MAX_ROUNDS = 5;
const CREDENTIALS_MARGIN_MS = 5 * 60 * 1000;

const SHIM: ReadonlyMap<string, Uint8Array> = new Map(
  ['aws.mjs', 'fetch-call.mjs'].map((file) => [
    file,
    readFileSync(new URL(`../shims/${file}`, import.meta.url)),
  ]),
);

/** A provider for one region of one account. */
export function createAwsLambda(options: AwsLambdaOptions): Provider {
  const { region, gateway } = options;
  const clock = options.clock ?? Date.now;
  const origin =
    options.endpoint ??
    `https://lambda.${region}.amazonaws.com${region.startsWith('cn-') ? '.cn' : ''}`;
  const sender = createSender();
  const signRequest = createRequestSigner(origin, region);
  const readLogs = createLogsReader({
    // An emulator answers for both services.
    origin: options.endpoint ?? origin.replace('//lambda.', '//logs.'),
    region,
    send: sender.send,
    clock,
  });
  let control: Promise<Control> | undefined;
  let credentials: AwsCredentials | undefined = options.credentials;

  /** The SDK takes a third of a second to load: only for those who deploy, or need its chain of credentials. */
  function openControl(): Promise<Control> {
    control ??= import('@aws-sdk/client-lambda').then((sdk) => {
      const config: LambdaClientConfig = {
        region,
        maxAttempts: 3,
        ...(options.endpoint !== undefined && { endpoint: options.endpoint }),
        ...(options.credentials && { credentials: options.credentials }),
      };
      return { sdk, client: new sdk.LambdaClient(config) };
    });
    return control;
  }

  function freshCredentials(): AwsCredentials | undefined {
    const endMs = credentials?.expiration?.getTime() ?? Number.POSITIVE_INFINITY;
    return endMs - clock() > CREDENTIALS_MARGIN_MS ? credentials : undefined;
  }

  async function renewCredentials(): Promise<AwsCredentials> {
    const { client } = await openControl();
    credentials = await client.config.credentials();
    return credentials;
  }

  function errorOf(operation: string, target: string) {
    return (
      code: ProviderErrorCode,
      ran: 'no' | 'maybe',
      what: string,
      more: Pick<ProviderErrorOptions, 'status' | 'retryAfterMs' | 'cause'> = {},
    ) =>
      new ProviderError(code, `${what}, on ${NAME} ${region} ${target}`, {
        provider: NAME,
        operation,
        target,
        ran,
        ...more,
      });
  }

  /** Runs control-plane work; what the SDK throws becomes ours. No function runs in it, hence `ran: no`. */
  async function guard<T>(
    operation: string,
    target: string,
    { signal }: ControlOptions,
    work: (control: Control) => Promise<T>,
  ): Promise<T> {
    try {
      signal.throwIfAborted();
      return await work(await openControl());
    } catch (error) {
      if (error instanceof ProviderError) throw error;
      const fail = errorOf(operation, target);
      if (signal.aborted)
        throw fail('PROVIDER_DEADLINE', 'no', 'not done in time', { cause: error });
      const { code, what, status } = classify(error);
      throw fail(code, 'no', what, { cause: error, status });
    }
  }

  function want(spec: DeploymentSpec): Wanted {
    check(spec);
    const hash = specHash(spec, SHIM);
    let made: ReturnType<Wanted['package']> | undefined;
    return {
      spec,
      hash,
      variables: variablesOf(spec),
      tags: {
        'defaas-function': spec.functionName,
        'defaas-version': String(spec.version),
        'defaas-cid': spec.artifactCid,
        'defaas-gateway': gateway,
        'defaas-spec': hash,
      },
      package() {
        if (made) return made;
        const bytes = zip(new Map([...spec.files, ...SHIM]));
        checkPackage(spec, bytes.length, { provider: NAME, limits: LIMITS });
        made = { bytes, codeSha256: createHash('sha256').update(bytes).digest('base64') };
        return made;
      },
    };
  }

  /** Refuses what Lambda cannot take, before any request. */
  function check(spec: DeploymentSpec): void {
    checkSpec(spec, {
      ...{ provider: NAME, limits: LIMITS, regions: [region] },
      variables: variablesOf(spec),
    });
    const refuse = errorOf('deploy', spec.name);
    const invalid = (what: string) => refuse('PROVIDER_INVALID', 'no', what);
    for (const path of spec.files.keys()) {
      if (SHIM.has(path))
        throw invalid(`the artifact has a file ${path}, which is the shim's name`);
    }
    if (!options.roleArn && !options.endpoint) throw invalid('no role for functions is configured');
  }

  async function look(
    { sdk, client }: Control,
    name: string,
    abortSignal: AbortSignal,
  ): Promise<Found> {
    const found = await orMissing(
      sdk,
      client.send(new sdk.GetFunctionCommand({ FunctionName: name }), { abortSignal }),
    );
    if (!found?.Configuration) return { tags: {} };
    const live = await orMissing(
      sdk,
      client.send(
        new sdk.GetFunctionConfigurationCommand({ FunctionName: name, Qualifier: ALIAS }),
        { abortSignal },
      ),
    );
    const reserved = found.Concurrency?.ReservedConcurrentExecutions;
    return {
      latest: found.Configuration,
      ...(live && { live }),
      tags: found.Tags ?? {},
      ...(reserved !== undefined && { reserved }),
    };
  }

  /** What is to be done, in order; done from any state that an interrupted run left, it leads to the wanted one. */
  function workFor(
    control: Control,
    wanted: Wanted,
    found: Found,
    abortSignal: AbortSignal,
  ): Work[] {
    const { sdk, client } = control;
    const { spec, hash, tags } = wanted;
    const FunctionName = spec.name;
    const settings = {
      FunctionName,
      Role: options.roleArn ?? EMULATOR_ROLE,
      Runtime: RUNTIME,
      Handler: 'aws.handler',
      Description: describe(hash),
      Timeout: Math.ceil(spec.timeoutMs / 1000),
      MemorySize: spec.memoryMiB,
      Environment: { Variables: { ...wanted.variables } },
    } as const;
    let version = found.live?.Version;
    const work: Work[] = [];
    const add = (
      action: PlanStep['action'],
      resource: string,
      why: string,
      run?: () => Promise<void>,
    ) => work.push({ step: { action, resource, name: FunctionName, why }, ...(run && { run }) });
    const untilReady = (why: string) =>
      add('wait', 'function', why, () => waitUntilReady(control, FunctionName, abortSignal));

    const create = async () => {
      const created = await createFunction(
        control,
        {
          ...settings,
          Runtime: RUNTIME,
          Code: { ZipFile: wanted.package().bytes },
          Publish: true,
          Tags: { ...tags },
        },
        abortSignal,
      );
      version = created.Version;
    };
    const publish = async () => {
      const CodeSha256 = wanted.package().codeSha256;
      const published = await client.send(
        new sdk.PublishVersionCommand({ FunctionName, CodeSha256 }),
        { abortSignal },
      );
      version = published.Version;
    };
    const point = async () => {
      const alias = { FunctionName, Name: ALIAS, FunctionVersion: version };
      if (found.live) await client.send(new sdk.UpdateAliasCommand(alias), { abortSignal });
      else await client.send(new sdk.CreateAliasCommand(alias), { abortSignal });
    };

    const { latest, live } = found;
    if (!latest) {
      add('create', 'function', 'it is not there', create);
      untilReady('Lambda makes it ready');
    } else if (latest.State === 'Failed') {
      add('remove', 'function', latest.StateReason ?? 'its creation failed', async () => {
        await client.send(new sdk.DeleteFunctionCommand({ FunctionName }), { abortSignal });
      });
      add('create', 'function', 'its creation had failed', create);
      untilReady('Lambda makes it ready');
    } else {
      if (isSettling(latest)) untilReady('an earlier change is not finished');
      if (live?.Description !== settings.Description) {
        if (
          latest.Description !== settings.Description ||
          latest.LastUpdateStatus === 'Failed' ||
          latest.CodeSha256 !== wanted.package().codeSha256
        ) {
          add('update', 'code', 'the spec has changed', async () => {
            const ZipFile = wanted.package().bytes;
            await client.send(new sdk.UpdateFunctionCodeCommand({ FunctionName, ZipFile }), {
              abortSignal,
            });
          });
          untilReady('Lambda takes the code over');
          add('update', 'configuration', 'the spec has changed', async () => {
            await client.send(new sdk.UpdateFunctionConfigurationCommand(settings), {
              abortSignal,
            });
          });
          untilReady('Lambda takes the configuration over');
        }
        add('create', 'version', 'no published version has this spec', publish);
      }
    }

    if (!live || found.latest?.State === 'Failed')
      add('create', `alias ${ALIAS}`, 'it is not there', point);
    else if (live.Description !== settings.Description)
      add('update', `alias ${ALIAS}`, 'it points to another spec', point);
    if (found.reserved !== spec.maxConcurrency) {
      add(
        'update',
        'concurrency',
        `${found.reserved ?? 'no limit'} becomes ${spec.maxConcurrency ?? 'no limit'}`,
        async () => {
          const { maxConcurrency } = spec;
          const command =
            maxConcurrency === undefined
              ? client.send(new sdk.DeleteFunctionConcurrencyCommand({ FunctionName }), {
                  abortSignal,
                })
              : client.send(
                  new sdk.PutFunctionConcurrencyCommand({
                    FunctionName,
                    ReservedConcurrentExecutions: maxConcurrency,
                  }),
                  { abortSignal },
                );
          await command;
        },
      );
    }
    if (
      latest?.FunctionArn &&
      Object.entries(tags).some(([key, value]) => found.tags[key] !== value)
    ) {
      const Resource = latest.FunctionArn;
      add('update', 'tags', 'they name another spec', async () => {
        await client.send(new sdk.TagResourceCommand({ Resource, Tags: { ...tags } }), {
          abortSignal,
        });
      });
    }
    if (work.length === 0) add('keep', 'function', 'it is as wanted');
    return work;
  }

  async function apply(
    control: Control,
    wanted: Wanted,
    { signal, onStep }: ControlOptions,
  ): Promise<void> {
    const found = await look(control, wanted.spec.name, signal);
    for (const { step, run } of workFor(control, wanted, found, signal)) {
      await run?.();
      onStep?.(step);
    }
  }

  /** Creates; a role that was just made is given time to become known. */
  async function createFunction(
    { sdk, client }: Control,
    input: ConstructorParameters<Sdk['CreateFunctionCommand']>[0],
    abortSignal: AbortSignal,
  ): Promise<FunctionConfiguration> {
    const untilMs = clock() + ROLE_WAIT_MS;
    for (;;) {
      try {
        return await client.send(new sdk.CreateFunctionCommand(input), { abortSignal });
      } catch (error) {
        const isRoleNew =
          error instanceof sdk.InvalidParameterValueException &&
          /cannot be assumed/.test(error.message);
        if (!isRoleNew || clock() > untilMs) throw error;
        await wait(MAX_POLL_MS, undefined, { signal: abortSignal });
      }
    }
  }

  async function waitUntilReady(
    { sdk, client }: Control,
    name: string,
    signal: AbortSignal,
  ): Promise<void> {
    for (let pauseMs = FIRST_POLL_MS; ; pauseMs = Math.min(pauseMs * POLL_GROWTH, MAX_POLL_MS)) {
      await wait(pauseMs, undefined, { signal });
      const command = new sdk.GetFunctionConfigurationCommand({ FunctionName: name });
      const current = await client.send(command, { abortSignal: signal });
      if (current.State === 'Failed' || current.LastUpdateStatus === 'Failed') {
        const reason = current.StateReason ?? current.LastUpdateStatusReason ?? 'no reason given';
        throw errorOf('deploy', name)('PROVIDER_DEPLOY_FAILED', 'no', reason.slice(0, 256));
      }
      if (!isSettling(current)) return;
    }
  }

  function deploymentOf({ spec, hash }: Wanted): Deployment {
    return {
      provider: NAME,
      name: spec.name,
      region,
      specHash: hash,
      artifactCid: spec.artifactCid,
      memoryMiB: spec.memoryMiB,
      timeoutMs: spec.timeoutMs,
      url: `${origin}${invokePath(spec.name)}?${INVOKE_QUERY}`,
    };
  }

  /** One signed request. @throws ProviderError it is too large, or the API gave no result */
  async function call(
    deployment: Deployment,
    payload: Uint8Array,
    signal: AbortSignal,
  ): Promise<InvokeResult> {
    const { name } = deployment;
    const fail = errorOf('invoke', name);
    if (payload.length > MAX_PAYLOAD_BYTES) {
      const what = `payload is ${payload.length} bytes, limit ${MAX_PAYLOAD_BYTES}`;
      throw fail('PROVIDER_TOO_LARGE', 'no', what);
    }
    const signer = freshCredentials() ?? (await renewCredentials().catch(noCredentials(fail)));
    // The region's origin, not that of the deployment's URL: an emulator comes back on another port.
    const signed = signRequest(invokePath(name), INVOKE_QUERY, payload, signer, clock());
    let answer: Answer;
    try {
      answer = await sender.send(signed, { signal, maxResponseBytes: MAX_ANSWER_BYTES });
    } catch (error) {
      throw sendFailure(error, fail);
    }
    const result = readAnswer(answer, deployment, clock());
    if (!('code' in result)) {
      if (result.usage.disputed) options.log?.('usage disputed', { name, ...result.usage });
      return result;
    }
    const { code, ran, message, retryAfterMs } = result;
    throw fail(code, ran, message, { status: answer.status, retryAfterMs });
  }

  return {
    name: NAME,
    limits: LIMITS,
    regions: [region],

    plan(spec, controlOptions) {
      const wanted = want(spec);
      return guard('plan', spec.name, controlOptions, async (control): Promise<Plan> => {
        const found = await look(control, spec.name, controlOptions.signal);
        return {
          steps: workFor(control, wanted, found, controlOptions.signal).map(({ step }) => step),
        };
      });
    },

    async deploy(spec, controlOptions) {
      const wanted = want(spec);
      return guard('deploy', spec.name, controlOptions, async (control) => {
        for (let round = 1; ; round += 1) {
          try {
            await apply(control, wanted, controlOptions);
            break;
          } catch (error) {
            // Somebody else, or our own request whose answer was lost and which the SDK sent again: look and go on.
            const isConflict = error instanceof control.sdk.ResourceConflictException;
            if (!isConflict || round === MAX_ROUNDS) throw error;
          }
        }
        const deployment = deploymentOf(wanted);
        const { signal } = controlOptions;
        const of = { provider: NAME, target: spec.name, signal } as const;
        await probe(async () => {
          const result = await call(deployment, probeOf(1), signal);
          if (!result.ok) throw notAnswering(of, `${result.error.type}: ${result.error.message}`);
        }, of);
        return deployment;
      });
    },

    async warm(deployment, { holdMs, signal }) {
      const result = await call(deployment, probeOf(holdMs), signal);
      if (result.ok) return;
      const what = `${result.error.type}: ${result.error.message}`.slice(0, 256);
      throw errorOf('warm', deployment.name)('PROVIDER_UNAVAILABLE', 'maybe', what);
    },

    invoke(deployment, request, { signal }) {
      // An event is never shorter than the body in it.
      const isTooLarge = request.body.length > MAX_PAYLOAD_BYTES;
      return call(deployment, isTooLarge ? request.body : toPayload(request), signal);
    },

    remove({ name }, controlOptions) {
      return guard('remove', name, controlOptions, async ({ sdk, client }) => {
        const abortSignal = controlOptions.signal;
        const FunctionName = name;
        await orMissing(
          sdk,
          client.send(new sdk.DeleteFunctionCommand({ FunctionName }), { abortSignal }),
        );
        for (
          let pauseMs = FIRST_POLL_MS;
          ;
          pauseMs = Math.min(pauseMs * POLL_GROWTH, MAX_POLL_MS)
        ) {
          const command = new sdk.GetFunctionConfigurationCommand({ FunctionName });
          if (!(await orMissing(sdk, client.send(command, { abortSignal })))) break;
          await wait(pauseMs, undefined, { signal: abortSignal });
        }
        controlOptions.onStep?.({ action: 'remove', resource: 'function', name, why: 'asked for' });
      });
    },

    async *list(wantedRegion, controlOptions) {
      if (wantedRegion !== region) return;
      const { signal: abortSignal } = controlOptions;
      let Marker: string | undefined;
      do {
        const page = await guard('list', region, controlOptions, async ({ sdk, client }) => {
          const listed = await client.send(new sdk.ListFunctionsCommand({ Marker }), {
            abortSignal,
          });
          const ours: Pick<Deployment, 'name' | 'region' | 'specHash'>[] = [];
          for (const { FunctionName: name, FunctionArn } of listed.Functions ?? []) {
            if (!name?.startsWith('df-') || !FunctionArn) continue;
            const tagged = await orMissing(
              sdk,
              client.send(new sdk.ListTagsCommand({ Resource: FunctionArn }), { abortSignal }),
            );
            if (tagged?.Tags?.['defaas-gateway'] !== gateway) continue;
            ours.push({ name, region, specHash: tagged.Tags['defaas-spec'] ?? '' });
          }
          return { ours, next: listed.NextMarker };
        });
        yield* page.ours;
        Marker = page.next;
      } while (Marker);
    },

    async logs({ name }, query, { signal }) {
      const fail = errorOf('logs', name);
      const signer = freshCredentials() ?? (await renewCredentials().catch(noCredentials(fail)));
      const read = await readLogs({ name, ...query, signal }, signer).catch((error: unknown) => {
        throw sendFailure(error, fail);
      });
      if (!('code' in read)) return read;
      throw fail(read.code, 'no', read.message, { status: read.status });
    },

    async close() {
      await sender.close();
      (await control)?.client.destroy();
    },
  };
}

/** No event of the gateway's calls: `shims/aws.mjs` answers it itself, after so long. */
function probeOf(holdMs: number): Buffer {
  return Buffer.from(JSON.stringify({ 'x-defaas-probe': holdMs }));
}

function invokePath(name: string): string {
  return `/2015-03-31/functions/${name}/invocations`;
}

/** The published version's own word for its spec: tags belong to the function and may be ahead of its versions. */
function describe(hash: string): string {
  return `defaas-spec ${hash}`;
}

function variablesOf({
  env,
  secrets,
  functionName,
  version,
}: DeploymentSpec): Record<string, string> {
  return { ...env, ...secrets, DEFAAS_FUNCTION: functionName, DEFAAS_VERSION: String(version) };
}

function isSettling({ State, LastUpdateStatus }: FunctionConfiguration): boolean {
  return State === 'Pending' || LastUpdateStatus === 'InProgress';
}

/** The answer, or undefined where the cloud says that there is no such thing. */
async function orMissing<T>(sdk: Sdk, answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof sdk.ResourceNotFoundException) return undefined;
    throw error;
  }
}

type Fail = (
  code: ProviderErrorCode,
  ran: 'no' | 'maybe',
  what: string,
  more: { cause: unknown },
) => ProviderError;

function noCredentials(fail: Fail): (cause: unknown) => never {
  return (cause) => {
    throw fail('PROVIDER_UNAUTHENTICATED', 'no', 'no credentials found', { cause });
  };
}

function sendFailure(error: unknown, fail: Fail): unknown {
  if (!(error instanceof SendError)) return error;
  const ran = error.began ? 'maybe' : 'no';
  const more = { cause: error };
  switch (error.reason) {
    case 'aborted':
      return fail('PROVIDER_DEADLINE', ran, 'no answer in time', more);
    case 'connection':
      return fail('PROVIDER_CONNECTION', ran, 'the connection failed', more);
    case 'too-large':
      return fail('PROVIDER_PROTOCOL', ran, `the answer is above ${MAX_ANSWER_BYTES} bytes`, more);
    default:
      return error.reason satisfies never;
  }
}

/** Names of the API's and the SDK's errors that their status does not tell. */
const CODES: Readonly<Record<string, ProviderErrorCode>> = {
  CredentialsProviderError: 'PROVIDER_UNAUTHENTICATED',
  AccessDeniedException: 'PROVIDER_FORBIDDEN',
  CodeStorageExceededException: 'PROVIDER_QUOTA',
  RequestEntityTooLargeException: 'PROVIDER_TOO_LARGE',
};

function classify(error: unknown): {
  code: ProviderErrorCode;
  what: string;
  status: number | undefined;
} {
  if (!(error instanceof Error))
    return { code: 'PROVIDER_PROTOCOL', what: String(error), status: undefined };
  const metadata = '$metadata' in error ? error.$metadata : undefined;
  const status =
    typeof metadata === 'object' && metadata !== null && 'httpStatusCode' in metadata
      ? Number(metadata.httpStatusCode)
      : undefined;
  const what = `${error.name}: ${error.message}`.slice(0, 256);
  return { code: CODES[error.name] ?? codeOf(status), what, status };
}

function codeOf(status: number | undefined): ProviderErrorCode {
  if (status === undefined) return 'PROVIDER_CONNECTION';
  if (status === 412) return 'PROVIDER_INVALID';
  // A missing right has a name of its own, above.
  return status === 403 ? 'PROVIDER_UNAUTHENTICATED' : codeOfStatus(status);
}
