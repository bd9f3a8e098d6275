// What one publisher may take of the operator's cloud accounts.
import type { ProviderName } from '../../adapters/provider.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import type { Target } from '../invocation/resolve.ts';
import type { DeploymentRecord } from '../ledger/ledger.ts';
import { warmInstances } from './keep-warm.ts';
import type { Prepared } from './prepare.ts';
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
  const refuse = (what: string) => refusePublisher(gateway, owner, what);
  if (version.memoryMiB > publisherMemoryMaxMiB) {
    refuse(`may have at most ${publisherMemoryMaxMiB} MiB a version, not ${version.memoryMiB}`);
  }
  const others = otherDeployments(gateway, { function: fn, version }, providers);
  const wanted = others.length + providers.length;
  if (wanted > publisherDeploymentsMax) {
    refuse(`may have at most ${publisherDeploymentsMax} deployments and would have ${wanted}`);
  }
}

/** The same of the instances that the operator is to keep warm. @throws DefaasError PUBLISHER_NOT_ALLOWED */
export function refuseBeyondWarm(
  gateway: Gateway,
  { target, manifest, clouds }: Pick<Prepared, 'target' | 'manifest' | 'clouds'>,
): void {
  const { owner } = target.function;
  if (owner === gateway.address || manifest.minWarm === undefined) return;
  const providers = clouds.map(({ provider }) => provider.name);
  let wanted = 0;
  for (const provider of providers) wanted += warmInstances(manifest, provider);
  for (const { functionVersion, provider } of otherDeployments(gateway, target, providers)) {
    wanted += warmInstances(gateway.deployments.manifest(functionVersion), provider);
  }
  const most = gateway.config.publisherWarmMax;
  if (wanted <= most) return;
  const what = `may have at most ${most} instances kept warm (minWarm) and would have ${wanted}`;
  refusePublisher(gateway, owner, what);
}

/** What the function's owner has here beside what is now to be deployed. */
function otherDeployments(
  gateway: Gateway,
  { function: { owner }, version }: Pick<Target, 'function' | 'version'>,
  providers: readonly ProviderName[],
): readonly DeploymentRecord[] {
  return gateway.deployments.records().filter(({ functionVersion, provider, state }) => {
    if (state === 'gone') return false;
    if (functionVersion === version.functionVersion && providers.includes(provider)) return false;
    return targetOf(gateway.chain.view, functionVersion)?.function.owner === owner;
  });
}

function refusePublisher({ address }: Gateway, owner: Address, what: string): never {
  throw new DefaasError(
    'PUBLISHER_NOT_ALLOWED',
    `${owner} ${what}, on gateway ${address}, ask its operator or use another gateway`,
  );
}
