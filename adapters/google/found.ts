// Reads a function as the control plane returns it: its state, and the deployment that it is.

import type { protos } from '@google-cloud/functions';
import { type Deployment, type DeploymentSpec, ProviderError } from '../provider.ts';
import { about, PROVIDER } from './errors.ts';

export type CloudFunction = protos.google.cloud.functions.v2.IFunction;

/** States of `google.cloud.functions.v2.Function`, by number. The wire has numbers or names. */
const STATES = ['STATE_UNSPECIFIED', 'ACTIVE', 'FAILED', 'DEPLOYING', 'DELETING', 'UNKNOWN'];

export function stateOf({ state }: CloudFunction): string {
  return typeof state === 'number' ? (STATES[state] ?? 'UNKNOWN') : (state ?? 'UNKNOWN');
}

/** Whether Google still works on the function. It refuses changes until then. */
export function isSettling(found: CloudFunction): boolean {
  const state = stateOf(found);
  return state === 'DEPLOYING' || state === 'DELETING';
}

/** @throws ProviderError PROVIDER_PROTOCOL  the function has no URL */
export function deploymentOf(spec: DeploymentSpec, hash: string, found: CloudFunction): Deployment {
  const url = found.serviceConfig?.uri;
  if (!url) {
    const message = `${spec.name} is active but has no address`;
    throw new ProviderError('PROVIDER_PROTOCOL', message, about('GetFunction', spec.name));
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
