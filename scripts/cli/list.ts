// `defaas list`: shows the account's functions on the chain, where their newest versions run, and
// what a call costs there.
import {
  type CallCost,
  type DeployedVersion,
  fetchDeployments,
} from '../../broker/client/deployments.ts';
import type {
  ChainView,
  FunctionVersion,
  RegisteredFunction,
} from '../../contracts/chain/types.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { openChain } from './chain.ts';
import { type Flags, type Outcome, openGateway, openSession } from './context.ts';
import { formatCost, formatWarm } from './deployment-lines.ts';
import { formatTable } from './table.ts';

/** A version at a cloud: `live` if the gateway in use draws it for calls, else its state. */
export interface ListedDeployment {
  readonly provider: string;
  readonly region: string;
  readonly state: string;
  readonly id?: number;
  readonly account?: Address;
  readonly error?: string;
  readonly cost?: CallCost;
}

/** Lists what the account owns, even if another account registered it. */
export async function list(flags: Flags): Promise<Outcome> {
  const opened = await openGateway(flags, { allowRevoked: true });
  const chain = await openChain(opened);
  try {
    const { account, connection } = opened;
    const session = await openSession(opened, account);
    const recorded = await fetchDeployments(session);
    const rows = chain.view
      .functions()
      .filter((fn) => fn.owner === account.address)
      .map((fn) => describe(chain.view, fn, { gateway: connection.document.gateway, recorded }));
    return { document: rows, text: textOf(rows) };
  } finally {
    chain.close();
    opened.close();
  }
}

/** The deployments that the gateway draws for calls. */
export function liveDeployments(
  view: ChainView,
  { functionVersion }: FunctionVersion,
  gateway: Address,
): ListedDeployment[] {
  return chainDeployments(view, functionVersion, gateway).filter(({ state }) => state === 'live');
}

interface Known {
  readonly gateway: Address;
  readonly recorded: readonly DeployedVersion[];
}

function describe(view: ChainView, fn: RegisteredFunction, known: Known) {
  const version = view.versionOf(fn);
  return {
    name: fn.name,
    owner: fn.namespace,
    version: version?.number ?? 0,
    cid: version?.artifactCid ?? '',
    perCallUnits: version?.tariff.perCall ?? 0n,
    deployments: version ? deploymentsOf(view, fn, version, known) : [],
  };
}

/**
 * Combines the chain's deployments with the gateway's state. Deployments that never reached the
 * chain are known from the gateway alone.
 */
function deploymentsOf(
  view: ChainView,
  fn: RegisteredFunction,
  { functionVersion, number }: FunctionVersion,
  { gateway, recorded }: Known,
): ListedDeployment[] {
  const ours = recorded.filter(
    (one) => one.function === `${fn.namespace}/${fn.name}` && one.version === number,
  );
  const onChain = chainDeployments(view, functionVersion, gateway).map((one) => {
    const { cost, error } = ours.find(({ id }) => id === one.id) ?? {};
    return { ...one, ...(cost && { cost }), ...(error !== undefined && { error }) };
  });
  const others = ours
    .filter(({ id }) => !onChain.some((one) => one.id === id))
    .map(({ provider, region, state, error, cost }) => {
      const more = { ...(error !== undefined && { error }), ...(cost && { cost }) };
      return { provider, region, state, ...more };
    });
  return [...onChain, ...others];
}

function chainDeployments(view: ChainView, functionVersion: `0x${string}`, gateway: Address) {
  const drawn = view.candidates(functionVersion, gateway)?.ids ?? [];
  return view
    .deployments(functionVersion)
    .map(({ id, cloud, region, provider, retired, barred }) => {
      const state = barred
        ? 'barred'
        : retired
          ? 'retired'
          : drawn.includes(id)
            ? 'live'
            : 'enrolled';
      return { provider: cloud, region, state, id, account: provider };
    });
}

function textOf(rows: readonly ReturnType<typeof describe>[]): string {
  if (rows.length === 0)
    return 'no functions yet, run defaas init <folder> and defaas deploy <folder>';
  return formatTable(
    ['function', 'version', 'tokens a call', 'runs on (cost a call, tokens)', 'artifact'],
    rows.map(({ name, version, perCallUnits, deployments, cid }) => [
      name,
      version,
      `${formatTokens(perCallUnits)} +`,
      deployments
        .filter(({ state }) => state === 'live')
        .map(({ provider, region, cost }) => `${provider} ${region} (${formatCosts(cost)})`)
        .join(', ') || '-',
      cid,
    ]),
  );
}

function formatCosts(cost: CallCost | undefined): string {
  if (cost === undefined) return '-';
  return [formatCost(cost), ...(cost.warm ? [formatWarm(cost.warm)] : [])].join('; ');
}
