// What one publisher may take of the operator's cloud accounts.
import type { ProviderName } from '../../adapters/provider.ts';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import type { Target } from '../invocation/resolve.ts';
import { targetOf } from './resume.ts';

/** What is there already counts once. The operator's own account has no limits. @throws DefaasError PUBLISHER_NOT_ALLOWED */
export function refuseBeyondShare(
  gateway: Gateway,
  { function: fn, version }: Target,
  providers: readonly ProviderName[],
): void {
  const { owner } = fn;
  if (owner === gateway.address) return;
  const { publisherMemoryMaxMiB, publisherDeploymentsMax } = gateway.config;
  const refuse = (what: string): never => {
    throw new DefaasError(
      'PUBLISHER_NOT_ALLOWED',
      `${owner} ${what}, on gateway ${gateway.address}, ask its operator or use another gateway`,
    );
  };
  if (version.memoryMiB > publisherMemoryMaxMiB) {
    refuse(`may have at most ${publisherMemoryMaxMiB} MiB a version, not ${version.memoryMiB}`);
  }
  const others = gateway.deployments.records().filter(({ functionVersion, provider, state }) => {
    if (state === 'gone') return false;
    if (functionVersion === version.functionVersion && providers.includes(provider)) return false;
    return targetOf(gateway.chain.view, functionVersion)?.function.owner === owner;
  });
  const wanted = others.length + providers.length;
  if (wanted > publisherDeploymentsMax) {
    refuse(`may have at most ${publisherDeploymentsMax} deployments and would have ${wanted}`);
  }
}
