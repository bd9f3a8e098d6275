// The control plane of AWS Lambda through the official SDK: plan, deploy, remove and list.

import { notAnswering, probe } from '../deployment/probe.ts';
import type { ControlOptions, Deployment, PlanStep, Provider } from '../provider.ts';
import { type Call, invokeUrl, probePayload } from './call.ts';
import { controlError, createFail, PROVIDER } from './errors.ts';
import { look } from './found.ts';
import { createRequests, removeFunction } from './requests.ts';
import { type LambdaApi, orMissing, type SdkLoader } from './sdk.ts';
import { listWork, type Work } from './steps.ts';
import { createWanted, type Wanted, type WantedOptions } from './wanted.ts';

export interface ControlParts extends WantedOptions {
  /** Origin of the Lambda API, for the URLs of deployments. */
  readonly origin: string;
  readonly sdk: Pick<SdkLoader, 'open'>;
  /** Probes a new deployment. */
  readonly call: Call;
  /** Unix time in milliseconds. */
  readonly clock: () => number;
}

/** How often a deploy starts over after a conflict. */
const MAX_ROUNDS = 5;

export function createControl(
  parts: ControlParts,
): Pick<Provider, 'plan' | 'deploy' | 'remove' | 'list'> {
  return {
    async plan(spec, options) {
      const wanted = createWanted(spec, parts);
      const steps = await guard(parts, 'plan', spec.name, options, (api) =>
        planSteps(parts, api, wanted, options),
      );
      return { steps };
    },

    async deploy(spec, options) {
      const wanted = createWanted(spec, parts);
      return guard(parts, 'deploy', spec.name, options, async (api) => {
        await apply(parts, api, wanted, options);
        const deployment = toDeployment(parts, wanted);
        await probeDeployment(parts.call, deployment, options.signal);
        return deployment;
      });
    },

    remove({ name }, options) {
      return guard(parts, 'remove', name, options, async (api) => {
        await removeFunction(api, name, options.signal);
        options.onStep?.({ action: 'remove', resource: 'function', name, why: 'asked for' });
      });
    },

    async *list(region, options) {
      if (region !== parts.region) return;
      let marker: string | undefined;
      do {
        const page = await guard(parts, 'list', region, options, (api) =>
          listPage(parts, api, marker, options.signal),
        );
        yield* page.ours;
        marker = page.next;
      } while (marker);
    },
  };
}

/** Opens the SDK, runs `work`, and turns every error into a ProviderError. */
async function guard<T>(
  { region, sdk }: ControlParts,
  operation: string,
  target: string,
  { signal }: ControlOptions,
  work: (api: LambdaApi) => Promise<T>,
): Promise<T> {
  try {
    signal.throwIfAborted();
    return await work(await sdk.open());
  } catch (error) {
    throw controlError(error, createFail(region, operation, target), signal);
  }
}

async function readWork(
  { region, clock }: ControlParts,
  api: LambdaApi,
  wanted: Wanted,
  { signal }: ControlOptions,
): Promise<Work[]> {
  const found = await look(api, wanted.spec.name, signal);
  const requests = createRequests(api, wanted, found.live?.Version, { region, clock, signal });
  return listWork(wanted, found, requests);
}

async function planSteps(
  parts: ControlParts,
  api: LambdaApi,
  wanted: Wanted,
  options: ControlOptions,
): Promise<PlanStep[]> {
  const work = await readWork(parts, api, wanted, options);
  return work.map(({ step }) => step);
}

/** Reads the present state and does the steps that are missing. Starts over after a conflict. */
async function apply(
  parts: ControlParts,
  api: LambdaApi,
  wanted: Wanted,
  options: ControlOptions,
): Promise<void> {
  for (let round = 1; ; round += 1) {
    try {
      for (const { step, run } of await readWork(parts, api, wanted, options)) {
        await run?.();
        options.onStep?.(step);
      }
      return;
    } catch (error) {
      // Either somebody else changes the function, or the answer to our own request was lost and
      // the SDK has sent the request again. The next round reads what has been done.
      const isConflict = error instanceof api.sdk.ResourceConflictException;
      if (!isConflict || round === MAX_ROUNDS) throw error;
    }
  }
}

function toDeployment({ origin, region }: ControlParts, { spec, hash }: Wanted): Deployment {
  return {
    provider: PROVIDER,
    name: spec.name,
    region,
    specHash: hash,
    artifactCid: spec.artifactCid,
    memoryMiB: spec.memoryMiB,
    timeoutMs: spec.timeoutMs,
    url: invokeUrl(origin, spec.name),
  };
}

async function probeDeployment(
  call: Call,
  deployment: Deployment,
  signal: AbortSignal,
): Promise<void> {
  const of = { provider: PROVIDER, target: deployment.name, signal } as const;
  await probe(async () => {
    const result = await call(deployment, probePayload(1), signal);
    if (!result.ok) throw notAnswering(of, `${result.error.type}: ${result.error.message}`);
  }, of);
}

/** One page of the account's functions, those of this gateway only. */
async function listPage(
  { region, gateway }: ControlParts,
  { sdk, client }: LambdaApi,
  Marker: string | undefined,
  abortSignal: AbortSignal,
): Promise<{
  ours: Pick<Deployment, 'name' | 'region' | 'specHash'>[];
  next: string | undefined;
}> {
  const listed = await client.send(new sdk.ListFunctionsCommand({ Marker }), { abortSignal });
  const ours: Pick<Deployment, 'name' | 'region' | 'specHash'>[] = [];
  for (const { FunctionName: name, FunctionArn } of listed.Functions ?? []) {
    if (!name?.startsWith('df-') || !FunctionArn) continue;
    const command = new sdk.ListTagsCommand({ Resource: FunctionArn });
    const tagged = await orMissing(sdk, client.send(command, { abortSignal }));
    if (tagged?.Tags?.['defaas-gateway'] !== gateway) continue;
    ours.push({ name, region, specHash: tagged.Tags['defaas-spec'] ?? '' });
  }
  return { ours, next: listed.NextMarker };
}
