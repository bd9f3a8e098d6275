// What the chain is told of deployments: each is enrolled once, and those that are live are the gateway's candidates.
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

/** The deployment's id on-chain: the one enrolled before, else a new one. */
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

/** Ids under which this gateway's account has it on-chain now; more than one only after a crash in the middle of an enrolment. */
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

/** Makes the live deployments of a version its candidate set, in force at once. The last one cannot be withdrawn: a set is never empty. */
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

/** Whether the candidates on-chain are those that are live; also when none is. */
export function isAnnounced(
  gateway: Pick<DeploymentParts, 'address' | 'chain' | 'deployments'>,
  functionVersion: Hex,
): boolean {
  const ids = liveIds(gateway, functionVersion);
  const current = gateway.chain.view.candidates(functionVersion, gateway.address);
  return ids.length === 0 || current?.ids.join() === ids.join();
}

/** A barred one serves no more, and would make the chain refuse the set. */
function liveIds(
  gateway: Pick<DeploymentParts, 'chain' | 'deployments'>,
  functionVersion: Hex,
): number[] {
  return [...gateway.deployments.routes(functionVersion).keys()]
    .filter((id) => {
      const known = gateway.chain.view.deploymentById(id);
      return !known?.barred && !known?.retired;
    })
    .sort((a, b) => a - b);
}
