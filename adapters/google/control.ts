// The control plane of Cloud Run functions through the official SDK: plan, deploy, remove and list.
// A version is one function: Google has no versions or aliases of a function.

import { probe } from '../deployment/probe.ts';
import type {
  ControlOptions,
  Deployment,
  Provider,
  ProviderLimits,
  WarmOptions,
} from '../provider.ts';
import { isConflict, isMissing, isTemporary, PROVIDER } from './errors.ts';
import { deploymentOf } from './found.ts';
import {
  type FunctionName,
  find,
  listPage,
  type RequestsParts,
  removeFunction,
  waitUntilSettled,
  write,
} from './requests.ts';
import { MAX_TRIES, pauseBeforeRetry } from './sdk.ts';
import { nextStep } from './steps.ts';
import { createWanted, type Wanted } from './wanted.ts';

export interface ControlParts extends RequestsParts {
  readonly limits: ProviderLimits;
  readonly regions: readonly string[];
  /** Calls a new deployment once. The shim answers. */
  readonly probe: (deployment: Deployment, options: WarmOptions) => Promise<void>;
}

export function createControl(
  parts: ControlParts,
): Pick<Provider, 'plan' | 'deploy' | 'remove' | 'list'> {
  return {
    async plan(spec, { signal }) {
      const wanted = await createWanted(spec, parts);
      const found = await find(parts, spec, signal);
      return { steps: [nextStep(wanted, found, parts.gateway)] };
    },

    async deploy(spec, options) {
      const { signal } = options;
      const deployment = await apply(parts, await createWanted(spec, parts), options);
      const of = { provider: PROVIDER, target: spec.name, signal } as const;
      await probe(() => parts.probe(deployment, { holdMs: 1, signal }), of);
      return deployment;
    },

    remove: ({ name, region }, options) => remove(parts, { name, region }, options),

    async *list(region, { signal }) {
      let pageToken = '';
      do {
        const page = await listPage(parts, region, pageToken, signal);
        yield* page.ours;
        pageToken = page.next;
      } while (pageToken !== '');
    },
  };
}

/** Reads the present state and does the next step, until the function is as wanted. */
async function apply(
  parts: ControlParts,
  wanted: Wanted,
  { signal, onStep }: ControlOptions,
): Promise<Deployment> {
  const { spec, hash } = wanted;
  for (let writes = 0; ; ) {
    const found = await find(parts, spec, signal);
    const step = nextStep(wanted, found, parts.gateway);
    if (step.action === 'keep' && found) {
      if (writes === 0) onStep?.(step);
      return deploymentOf(spec, hash, found);
    }
    if (step.action === 'wait') {
      await waitUntilSettled(parts, spec, signal);
      onStep?.(step);
      continue;
    }
    writes += 1;
    try {
      await write(parts, wanted, step.action === 'create' ? 'create' : 'update', signal);
      onStep?.(step);
    } catch (error) {
      // Either it is not known whether the write was done, or somebody else has written. The next
      // round reads what has been done.
      if (writes >= MAX_TRIES || !(isTemporary(error) || isConflict(error))) throw error;
      await pauseBeforeRetry(writes, { operation: 'deploy', target: spec.name, signal });
    }
  }
}

/** Removes until the function is not there. A missing one is success. */
async function remove(
  parts: ControlParts,
  of: FunctionName,
  { signal, onStep }: ControlOptions,
): Promise<void> {
  for (let tries = 1; await find(parts, of, signal); tries += 1) {
    try {
      await removeFunction(parts, of, signal);
      onStep?.({ action: 'remove', resource: 'function', name: of.name, why: 'asked for' });
    } catch (error) {
      if (isMissing(error)) return;
      if (tries >= MAX_TRIES || !(isTemporary(error) || isConflict(error))) throw error;
      await waitUntilSettled(parts, of, signal);
    }
  }
}
