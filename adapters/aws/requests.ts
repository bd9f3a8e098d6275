// The changing requests of a deploy, one function each. `steps.ts` decides which of them run.

import { setTimeout as wait } from 'node:timers/promises';
import type { FunctionConfiguration } from '@aws-sdk/client-lambda';
import { ALIAS } from './call.ts';
import { createFail } from './errors.ts';
import { isSettling } from './found.ts';
import { type LambdaApi, orMissing } from './sdk.ts';
import type { Wanted } from './wanted.ts';

/** Pauses between two polls: the first, the factor of growth, the longest. */
const FIRST_POLL_MS = 15;
const POLL_GROWTH = 1.5;
const MAX_POLL_MS = 1000;
/** Lambda cannot assume a new role for some seconds. */
const ROLE_WAIT_MS = 30_000;

export interface RequestsParts {
  readonly region: string;
  /** Unix time in milliseconds. */
  readonly clock: () => number;
  /** Aborts requests and pauses. */
  readonly signal: AbortSignal;
}

export interface Requests {
  /** Creates the function and publishes its first version. */
  create(): Promise<void>;
  delete(): Promise<void>;
  /** Waits until Lambda accepts the next change. @throws ProviderError PROVIDER_DEPLOY_FAILED */
  ready(): Promise<void>;
  updateCode(): Promise<void>;
  updateConfiguration(): Promise<void>;
  /** Publishes `$LATEST` if its code is that of the package. */
  publish(): Promise<void>;
  /** The alias then names the version of `create` or `publish`, else the one it named before. */
  createAlias(): Promise<void>;
  updateAlias(): Promise<void>;
  setConcurrency(): Promise<void>;
  tag(functionArn: string): Promise<void>;
}

/** `version` is the one that the alias names now. */
export function createRequests(
  api: LambdaApi,
  wanted: Wanted,
  version: string | undefined,
  parts: RequestsParts,
): Requests {
  const { sdk, client } = api;
  const { settings, tags, spec } = wanted;
  const { FunctionName } = settings;
  const options = { abortSignal: parts.signal };
  let FunctionVersion = version;
  const alias = () => ({ FunctionName, Name: ALIAS, FunctionVersion });
  return {
    async create() {
      const created = await createFunction(api, wanted, parts);
      FunctionVersion = created.Version;
    },
    async delete() {
      await client.send(new sdk.DeleteFunctionCommand({ FunctionName }), options);
    },
    ready: () => waitUntilReady(api, FunctionName, parts),
    async updateCode() {
      const ZipFile = wanted.package().bytes;
      await client.send(new sdk.UpdateFunctionCodeCommand({ FunctionName, ZipFile }), options);
    },
    async updateConfiguration() {
      await client.send(new sdk.UpdateFunctionConfigurationCommand(settings), options);
    },
    async publish() {
      const CodeSha256 = wanted.package().codeSha256;
      const command = new sdk.PublishVersionCommand({ FunctionName, CodeSha256 });
      FunctionVersion = (await client.send(command, options)).Version;
    },
    async createAlias() {
      await client.send(new sdk.CreateAliasCommand(alias()), options);
    },
    async updateAlias() {
      await client.send(new sdk.UpdateAliasCommand(alias()), options);
    },
    async setConcurrency() {
      const ReservedConcurrentExecutions = spec.maxConcurrency;
      if (ReservedConcurrentExecutions === undefined) {
        await client.send(new sdk.DeleteFunctionConcurrencyCommand({ FunctionName }), options);
        return;
      }
      const limit = { FunctionName, ReservedConcurrentExecutions };
      await client.send(new sdk.PutFunctionConcurrencyCommand(limit), options);
    },
    async tag(Resource) {
      await client.send(new sdk.TagResourceCommand({ Resource, Tags: { ...tags } }), options);
    },
  };
}

/** Creates the function. Tries again while Lambda cannot assume the role, which may be new. */
async function createFunction(
  { sdk, client }: LambdaApi,
  { settings, tags, package: pack }: Wanted,
  { clock, signal }: RequestsParts,
): Promise<FunctionConfiguration> {
  const input = {
    ...settings,
    Code: { ZipFile: pack().bytes },
    Publish: true,
    Tags: { ...tags },
  };
  const untilMs = clock() + ROLE_WAIT_MS;
  for (;;) {
    try {
      return await client.send(new sdk.CreateFunctionCommand(input), { abortSignal: signal });
    } catch (error) {
      const isRoleNew =
        error instanceof sdk.InvalidParameterValueException &&
        /cannot be assumed/.test(error.message);
      if (!isRoleNew || clock() > untilMs) throw error;
      await wait(MAX_POLL_MS, undefined, { signal });
    }
  }
}

/**
 * Polls until Lambda accepts the next change. The SDK's waiters (`waitUntilFunctionActiveV2`,
 * `waitUntilFunctionUpdatedV2`) are as quick with `minDelay: 0.015`, but they retry every error
 * until their time is over: a missing right or a deleted function would end as PROVIDER_DEADLINE.
 * They also send one more request after their signal has aborted.
 */
async function waitUntilReady(
  { sdk, client }: LambdaApi,
  name: string,
  { region, signal }: RequestsParts,
): Promise<void> {
  for (let pauseMs = FIRST_POLL_MS; ; pauseMs = longer(pauseMs)) {
    await wait(pauseMs, undefined, { signal });
    const command = new sdk.GetFunctionConfigurationCommand({ FunctionName: name });
    const current = await client.send(command, { abortSignal: signal });
    if (current.State === 'Failed' || current.LastUpdateStatus === 'Failed') {
      const reason = current.StateReason ?? current.LastUpdateStatusReason ?? 'no reason given';
      const fail = createFail(region, 'deploy', name);
      throw fail('PROVIDER_DEPLOY_FAILED', 'no', reason.slice(0, 256));
    }
    if (!isSettling(current)) return;
  }
}

/** Deletes a function and waits until the API no longer knows it. A missing one is success. */
export async function removeFunction(
  { sdk, client }: LambdaApi,
  FunctionName: string,
  abortSignal: AbortSignal,
): Promise<void> {
  const removal = new sdk.DeleteFunctionCommand({ FunctionName });
  await orMissing(sdk, client.send(removal, { abortSignal }));
  for (let pauseMs = FIRST_POLL_MS; ; pauseMs = longer(pauseMs)) {
    const command = new sdk.GetFunctionConfigurationCommand({ FunctionName });
    if (!(await orMissing(sdk, client.send(command, { abortSignal })))) return;
    await wait(pauseMs, undefined, { signal: abortSignal });
  }
}

function longer(pauseMs: number): number {
  return Math.min(pauseMs * POLL_GROWTH, MAX_POLL_MS);
}
