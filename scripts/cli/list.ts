// `defaas list`: the account's functions on the chain, and where their newest versions run.
import type { ChainView, FunctionVersion, RegisteredFunction } from '../../contracts/chain.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { openChain } from './chain.ts';
import { type Flags, type Outcome, openGateway } from './context.ts';
import { formatTable } from './table.ts';
import { formatTokens } from './units.ts';

/** What the account owns, also when another registered it. A deployment is live when the gateway in use draws it for calls. */
export async function list(flags: Flags): Promise<Outcome> {
  const opened = await openGateway(flags);
  const chain = await openChain(opened);
  try {
    const { account, connection } = opened;
    const rows = chain.view
      .functions()
      .filter((fn) => fn.owner === account.address)
      .map((fn) => describe(chain.view, fn, connection.document.gateway));
    return { document: rows, text: textOf(rows) };
  } finally {
    chain.close();
    opened.close();
  }
}

function describe(view: ChainView, fn: RegisteredFunction, gateway: Address) {
  const version = view.versionOf(fn);
  return {
    name: fn.name,
    owner: fn.namespace,
    version: version?.number ?? 0,
    cid: version?.artifactCid ?? '',
    perCallUnits: version?.tariff.perCall ?? 0n,
    deployments: version ? deploymentsOf(view, version, gateway) : [],
  };
}

function deploymentsOf(view: ChainView, { functionVersion }: FunctionVersion, gateway: Address) {
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
    return 'no functions yet, run defaas init <folder> and defaas register <folder>';
  return formatTable(
    ['function', 'version', 'tokens a call', 'runs on', 'artifact'],
    rows.map(({ name, version, perCallUnits, deployments, cid }) => [
      name,
      version,
      `${formatTokens(perCallUnits)} +`,
      deployments
        .filter(({ state }) => state === 'live')
        .map(({ provider, region }) => `${provider} ${region}`)
        .join(', ') || '-',
      cid,
    ]),
  );
}
