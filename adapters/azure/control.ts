// The control plane of Azure Functions: plan, deploy, remove and list. A version is one function
// app. It has an App Service plan of its own, with the same name.

import type { Site } from '@azure/arm-appservice';
import type { Sender } from '../http/send.ts';
import type {
  ControlOptions,
  Deployment,
  DeploymentSpec,
  Provider,
  ProviderLimits,
} from '../provider.ts';
import { checkApp } from './app.ts';
import { guard, PROVIDER, protocolError } from './errors.ts';
import type { Keys } from './keys.ts';
import { type Package, packageOf, readProgrammingModel } from './package.ts';
import { publish, waitForCode } from './publish.ts';
import {
  listSites,
  type RequestsParts,
  readPlan,
  readSite,
  removePlan,
  removeSite,
  tagDeployed,
  waitUntilGone,
  writePlan,
  writeSite,
} from './requests.ts';
import { isDeployed, isOfKind, keep, listSteps, step } from './steps.ts';

export interface ControlParts extends RequestsParts {
  readonly limits: ProviderLimits;
  /** Calls the new code. */
  readonly send: Sender['send'];
  readonly readKey: Keys['read'];
  /** Monotonic clock in milliseconds. */
  readonly nowMs: () => number;
}

export function createControl(
  parts: ControlParts,
): Pick<Provider, 'plan' | 'deploy' | 'remove' | 'list'> {
  let model: Promise<ReadonlyMap<string, Uint8Array>> | undefined;

  async function build(spec: DeploymentSpec): Promise<Package> {
    checkApp(spec, parts.app, parts.limits);
    model ??= readProgrammingModel();
    return packageOf(spec, parts.app.planKind, await model);
  }

  return {
    async plan(spec, { signal }) {
      const { hash } = await build(spec);
      return guard('plan', spec.name, signal, async () => {
        const site = await readSite(parts, spec.name, signal);
        if (isDeployed(site, hash)) return { steps: [keep('app', spec.name)] };
        const farm = await readPlan(parts, spec.name, signal);
        return { steps: listSteps(spec.name, { site, farm }, parts.app.planKind) };
      });
    },

    async deploy(spec, options) {
      const made = await build(spec);
      return guard('deploy', spec.name, options.signal, () => apply(parts, spec, made, options));
    },

    remove: ({ name }, options) =>
      guard('remove', name, options.signal, () => remove(parts, name, options)),

    list: (region, { signal }) => listSites(parts, region, signal),
  };
}

async function apply(
  parts: ControlParts,
  spec: DeploymentSpec,
  { hash, bytes }: Package,
  { signal, onStep }: ControlOptions,
): Promise<Deployment> {
  const { name } = spec;
  const found = await readSite(parts, name, signal);
  if (isDeployed(found, hash)) {
    onStep?.(keep('app', name));
    return deploymentOf(spec, hash, found, await parts.readKey(name, signal));
  }

  const isNew = (await leavePlan(parts, spec, { signal, ...(onStep && { onStep }) })) || !found;
  const action = isNew ? 'create' : 'update';
  const planned = await writePlan(parts, spec, signal);
  onStep?.(planned);
  const site = await writeSite(parts, spec, signal);
  onStep?.(step(action, 'app', name, 'settings and tags'));

  await publish({ ...parts, planKind: parts.app.planKind }, site, bytes(), signal);
  onStep?.(step(action, 'package', name, 'code and shim'));

  const key = await parts.readKey(name, signal);
  await waitForCode(parts, { origin: originOf(site), key, hash, name }, signal);
  onStep?.(step('wait', 'app', name, 'the new code answers'));

  // Last, because the next deploy starts over while the tag is missing.
  await tagDeployed(parts, site, hash, signal);
  return deploymentOf(spec, hash, site, key);
}

/**
 * An app cannot move between the two kinds of plans. Removes it with its plan, so that the deploy
 * creates it on the other kind. @returns whether it did
 */
async function leavePlan(
  parts: ControlParts,
  { name }: DeploymentSpec,
  options: ControlOptions,
): Promise<boolean> {
  const farm = await readPlan(parts, name, options.signal);
  if (!farm || isOfKind(farm, parts.app.planKind)) return false;
  await guard('remove', name, options.signal, () => remove(parts, name, options));
  return true;
}

async function remove(
  parts: ControlParts,
  name: string,
  { signal, onStep }: ControlOptions,
): Promise<void> {
  if (await removeSite(parts, name, signal)) {
    onStep?.(step('remove', 'app', name, 'asked for'));
    await waitUntilGone(parts, name, signal);
  }
  // Azure removes the plan with its last app. A deploy that was cut off can leave a plan alone.
  if (await removePlan(parts, name, signal)) onStep?.(step('remove', 'plan', name, 'asked for'));
}

function deploymentOf(spec: DeploymentSpec, hash: string, site: Site, key: string): Deployment {
  const { name, region, artifactCid, memoryMiB, timeoutMs } = spec;
  const url = originOf(site);
  return {
    ...{ provider: PROVIDER, name, region, specHash: hash, artifactCid },
    ...{ memoryMiB, timeoutMs, url, key },
  };
}

/** Takes the host from the cloud's answer: the name alone does not give it. */
function originOf(site: Site): string {
  if (site.defaultHostName) return `https://${site.defaultHostName}`;
  throw protocolError('deploy', site.name ?? '', 'the app has no host name');
}
