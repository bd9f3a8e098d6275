// Limits of what one publisher may use of the operator's cloud accounts.
import type { ProviderName } from '../../adapters/provider.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import type { Manifest } from '../../ipfs/manifest.ts';
import { DefaasError } from '../errors.ts';
import type { Target } from '../routing/target.ts';
import type { Claim } from './claims.ts';
import { warmInstances } from './keep-warm.ts';
import type { DeploymentParts } from './parts.ts';
import { targetOf } from './resume.ts';

/**
 * Claims room for a version on these clouds, synchronously with the check. The caller releases the
 * claim when the deployment is recorded or given up. Existing deployments of the version are not
 * counted twice. The operator's own account has no limits.
 * @throws DefaasError PUBLISHER_NOT_ALLOWED
 */
export function claimShare(
  gateway: DeploymentParts,
  { function: fn, version }: Target,
  providers: readonly ProviderName[],
): Claim {
  const { owner } = fn;
  const { functionVersion } = version;
  const claim = { owner, functionVersion, providers, minWarm: 0 };
  if (owner !== gateway.address) refuseBeyondShare(gateway, claim, version.memoryMiB);
  gateway.claims.add(claim);
  return claim;
}

function refuseBeyondShare(gateway: DeploymentParts, claim: Claim, memoryMiB: number): void {
  const { publisherMemoryMaxMiB, publisherDeploymentsMax } = gateway.config;
  const refuse = (what: string) => refusePublisher(gateway, claim.owner, what);
  if (memoryMiB > publisherMemoryMaxMiB) {
    refuse(`may have at most ${publisherMemoryMaxMiB} MiB a version, not ${memoryMiB}`);
  }
  const wanted = otherDeployments(gateway, claim).size + claim.providers.length;
  if (wanted > publisherDeploymentsMax) {
    refuse(`may have at most ${publisherDeploymentsMax} deployments and would have ${wanted}`);
  }
}

/**
 * Like `claimShare`, for the instances to keep warm.
 * @throws DefaasError PUBLISHER_NOT_ALLOWED
 */
export function claimWarm(gateway: DeploymentParts, claim: Claim, { minWarm }: Manifest): void {
  if (minWarm === undefined) return;
  claim.minWarm = minWarm;
  if (claim.owner === gateway.address) return;
  let wanted = warmOn(claim.providers, minWarm);
  for (const instances of otherDeployments(gateway, claim).values()) wanted += instances;
  const most = gateway.config.publisherWarmMax;
  if (wanted <= most) return;
  const what = `may have at most ${most} instances kept warm (minWarm) and would have ${wanted}`;
  refusePublisher(gateway, claim.owner, what);
}

function warmOn(providers: readonly ProviderName[], minWarm: number): number {
  let instances = 0;
  for (const provider of providers) instances += warmInstances({ minWarm }, provider);
  return instances;
}

/** The owner's other deployments and claims here: instances kept warm, by version and cloud. */
function otherDeployments(gateway: DeploymentParts, claim: Claim): ReadonlyMap<string, number> {
  const others = new Map<string, number>();
  const isOwn = (functionVersion: Hex, provider: ProviderName): boolean =>
    functionVersion === claim.functionVersion && claim.providers.includes(provider);
  for (const { functionVersion, provider, state } of gateway.deployments.records()) {
    if (state === 'gone' || isOwn(functionVersion, provider)) continue;
    if (targetOf(gateway.chain.view, functionVersion)?.function.owner !== claim.owner) continue;
    const manifest = gateway.deployments.manifest(functionVersion);
    others.set(`${functionVersion} ${provider}`, warmInstances(manifest, provider));
  }
  for (const { functionVersion, providers, minWarm } of gateway.claims.of(claim.owner)) {
    for (const provider of providers) {
      if (isOwn(functionVersion, provider)) continue;
      others.set(`${functionVersion} ${provider}`, warmInstances({ minWarm }, provider));
    }
  }
  return others;
}

function refusePublisher(
  { address }: Pick<DeploymentParts, 'address'>,
  owner: Address,
  what: string,
): never {
  throw new DefaasError(
    'PUBLISHER_NOT_ALLOWED',
    `${owner} ${what}, on gateway ${address}, ask its operator or use another gateway`,
  );
}
