// Announces deployments on-chain: enrols each once, and makes the live ones the gateway's
// candidates.
import type { ProviderName } from '../../adapters/provider.ts';
import type { Hex } from '../../contracts/libraries/keccak.ts';
import type { DeployStep } from './deploy-step.ts';
import type { DeploymentParts } from './parts.ts';

type Teller = (step: DeployStep) => void;

interface Enrolment {
  readonly functionVersion: Hex;
  readonly provider: ProviderName;
  readonly region: string;
}

/** The deployment's id on-chain. Enrols it if it is not enrolled yet. */
export async function enrol(
  gateway: DeploymentParts,
  of: Enrolment,
  onStep: Teller,
): Promise<number> {
  const { functionVersion, provider, region } = of;
  const [known] = enrolled(gateway, of);
  if (known !== undefined) return known;
  const id = await gateway.account.enrol(functionVersion, provider, region);
  onStep({
    provider,
    action: 'enrol',
    resource: 'deployment',
    state: 'done',
    message: `enrolled on-chain as deployment ${id}`,
  });
  return id;
}

/**
 * Ids under which this gateway's account has enrolled it. More than one only after a crash during
 * an enrolment.
 */
export function enrolled(
  { chain, account }: Pick<DeploymentParts, 'chain' | 'account'>,
  { functionVersion, provider, region }: Enrolment,
): number[] {
  return chain.view
    .deployments(functionVersion)
    .filter(
      (one) =>
        one.provider === account.address &&
        one.cloud === provider &&
        one.region === region &&
        !one.retired &&
        !one.barred,
    )
    .map(({ id }) => id);
}

/**
 * Makes the live deployments of a version its candidate set, in force at once. The last one cannot
 * be withdrawn, because a set is never empty.
 */
export async function announce(
  gateway: DeploymentParts,
  functionVersion: Hex,
  onStep: Teller,
): Promise<void> {
  const ids = liveIds(gateway, functionVersion);
  if (ids.length === 0 || isAnnounced(gateway, functionVersion)) return;
  const block = await gateway.account.setCandidates(functionVersion, ids);
  await gateway.chain.synced(block);
  const announced = gateway.chain.view.candidates(functionVersion, gateway.address);
  if (announced !== undefined) await gateway.beacon.renew(announced.fromEpoch);
  for (const { provider, chainId } of gateway.deployments.records(functionVersion)) {
    if (chainId === undefined || !ids.includes(chainId)) continue;
    onStep({
      provider,
      action: 'announce',
      resource: 'candidate set',
      state: 'done',
      message: `candidate ${chainId} of ${ids.length}`,
    });
  }
}

/** Whether the candidates on-chain equal the live deployments; true also if there are none. */
export function isAnnounced(
  gateway: Pick<DeploymentParts, 'address' | 'chain' | 'deployments'>,
  functionVersion: Hex,
): boolean {
  const ids = liveIds(gateway, functionVersion);
  const current = gateway.chain.view.candidates(functionVersion, gateway.address);
  return ids.length === 0 || current?.ids.join() === ids.join();
}

/**
 * Leave out barred deployments: they serve no calls, and the chain refuses a set that contains one.
 */
function liveIds(
  gateway: Pick<DeploymentParts, 'chain' | 'deployments'>,
  functionVersion: Hex,
): number[] {
  return [...gateway.deployments.live(functionVersion).keys()]
    .filter((id) => {
      const known = gateway.chain.view.deploymentById(id);
      return !known?.barred && !known?.retired;
    })
    .sort((a, b) => a - b);
}
