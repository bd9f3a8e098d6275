// The control plane of this machine: plan, deploy, remove and list.

import {
  type ControlOptions,
  type Deployment,
  type PlanStep,
  type Provider,
  ProviderError,
} from '../provider.ts';
import { createFail, PROVIDER } from './errors.ts';
import type { LocalFunction, LocalFunctions } from './functions.ts';
import { REGION } from './limits.ts';
import type { Logs } from './logs.ts';
import type { Running } from './running.ts';
import { createWanted, type WantedOptions } from './wanted.ts';

export interface ControlParts extends WantedOptions {
  readonly functions: LocalFunctions;
  readonly running: Pick<Running, 'leave'>;
  readonly logs: Pick<Logs, 'remove'>;
}

export interface Control extends Pick<Provider, 'plan' | 'deploy' | 'remove' | 'list'> {
  /** Resolves when no operation is under way. */
  settled(): Promise<void>;
}

export function createControl(parts: ControlParts): Control {
  const { functions, gateway, running } = parts;
  const { inTurn, settled } = createTurns();
  return {
    settled,

    async plan(spec, options) {
      const wanted = createWanted(spec, parts);
      return inTurn('plan', wanted.name, options, async () => ({
        steps: planSteps(functions.get(wanted.name), wanted),
      }));
    },

    async deploy(spec, options) {
      const wanted = createWanted(spec, parts);
      return inTurn('deploy', wanted.name, options, async () => {
        const found = functions.get(wanted.name);
        const steps = planSteps(found, wanted);
        if (found?.specHash !== wanted.specHash) {
          await functions.put(wanted, spec.files);
          if (found) running.leave(found);
        }
        for (const step of steps) options.onStep?.(step);
        return toDeployment(wanted, spec.artifactCid);
      });
    },

    remove({ name }, options) {
      return inTurn('remove', name, options, async () => {
        const found = functions.get(name);
        if (!found) return;
        await functions.remove(name);
        running.leave(found);
        await parts.logs.remove(name);
        options.onStep?.({ action: 'remove', resource: 'function', name, why: 'asked for' });
      });
    },

    async *list(region) {
      if (region !== REGION) return;
      for (const { name, specHash, gateway: owner } of functions.all()) {
        if (owner === gateway) yield { name, region, specHash };
      }
    },
  };
}

/** Runs operations one at a time, and turns what the file system throws into ProviderErrors. */
function createTurns() {
  let last: Promise<void> = Promise.resolve();
  const inTurn = <T>(
    operation: string,
    target: string,
    { signal }: ControlOptions,
    work: () => Promise<T>,
  ): Promise<T> => {
    const fail = createFail(operation, target);
    const turn = async () => {
      if (signal.aborted) throw fail('PROVIDER_DEADLINE', 'no', 'not done in time', signal.reason);
      try {
        return await work();
      } catch (error) {
        if (error instanceof ProviderError) throw error;
        const what = error instanceof Error ? error.message.slice(0, 256) : 'the disk failed';
        throw fail('PROVIDER_DEPLOY_FAILED', 'no', what, error);
      }
    };
    const done = last.then(turn);
    last = done.then(
      () => {},
      () => {},
    );
    return done;
  };
  return { inTurn, settled: () => last };
}

function planSteps(
  found: LocalFunction | undefined,
  { name, specHash }: LocalFunction,
): PlanStep[] {
  if (found?.specHash === specHash) {
    return [{ action: 'keep', resource: 'function', name, why: 'it is as wanted' }];
  }
  const files = { action: 'create', resource: 'files', name, why: 'they are not there' } as const;
  const change = found
    ? ({ action: 'update', why: 'the spec has changed' } as const)
    : ({ action: 'create', why: 'it is not there' } as const);
  return [files, { ...change, resource: 'function', name }];
}

function toDeployment(wanted: LocalFunction, artifactCid: string): Deployment {
  const { name, specHash, memoryMiB, timeoutMs } = wanted;
  return {
    provider: PROVIDER,
    name,
    region: REGION,
    specHash,
    artifactCid,
    memoryMiB,
    timeoutMs,
    url: `local:${name}`,
  };
}
