// Removes versions from clouds: withdraw from the candidates, remove, then retire on-chain.
// Idempotent: a repeated run converges.

import type { DeploymentRecord } from '../ledger/ledger.ts';
import { announce, enrolled } from './announce.ts';
import { type DeployOptions, failureOf } from './deploy.ts';
import type { DeployedProvider } from './deploy-step.ts';
import type { DeploymentParts } from './parts.ts';

/** Longest time one cloud may take, ms. */
const REMOVE_MS = 600_000;

/**
 * Skips deployments that are already gone. One that fails stays `removing`, and the next start
 * tries again.
 */
export async function undeploy(
  gateway: DeploymentParts,
  records: readonly DeploymentRecord[],
  { onStep }: DeployOptions,
): Promise<DeployedProvider[]> {
  const removing = records
    .filter(({ state }) => state !== 'gone')
    .map((record): DeploymentRecord => ({ ...record, state: 'removing', steps: [] }));
  for (const record of removing) await gateway.deployments.putRecord(record);
  for (const functionVersion of new Set(removing.map((record) => record.functionVersion))) {
    await announce(gateway, functionVersion, onStep);
  }
  return Promise.all(removing.map((record) => remove(gateway, record, { onStep })));
}

async function remove(
  gateway: DeploymentParts,
  record: DeploymentRecord,
  { onStep }: DeployOptions,
): Promise<DeployedProvider> {
  const { provider, region, name } = record;
  try {
    await gateway.provider(provider).remove(record, {
      signal: AbortSignal.any([gateway.closing, AbortSignal.timeout(REMOVE_MS)]),
      onStep: ({ action, resource, why }) =>
        onStep({ provider, action, resource, state: 'done', message: `${name}: ${why}` }),
    });
    for (const id of enrolled(gateway, record)) {
      await gateway.account.retire(id);
      const message = `deployment ${id} retired on-chain`;
      onStep({ provider, action: 'retire', resource: 'deployment', state: 'done', message });
    }
    const { deployment, chainId, error, ...rest } = record;
    await gateway.deployments.putRecord({ ...rest, state: 'gone' });
    return { provider, region, state: 'gone' };
  } catch (cause) {
    const failure = failureOf(cause, (text) => text);
    const { code, message } = failure;
    gateway.log.warn({ err: cause, provider, region, name }, 'deployment was not removed');
    if (!gateway.closing.aborted) {
      await gateway.deployments.putRecord({ ...record, error: `${code}: ${message}` });
    }
    onStep({ provider, action: 'remove', resource: 'deployment', state: 'failed', message });
    return { provider, region, state: 'failed', error: failure };
  }
}
