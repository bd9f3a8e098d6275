// `defaas payouts --bar <gateway>`: a publisher whom a gateway does not pay bars its deployments
// there.
import type { ChainView } from '../../contracts/chain/types.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { CliError } from './cli-error.ts';
import type { Outcome } from './context.ts';
import { type Actor, act, told } from './operator.ts';

/** Most deployments in one transaction. */
const MAX_BARRED = 100;

interface Barred {
  readonly id: number;
  /** `owner/name@number`. */
  readonly function: string;
  readonly cloud: string;
  readonly region: string;
}

/**
 * Bars every deployment of the account's functions that the gateway draws, or that it provides. It
 * cannot be undone; another gateway that draws the same deployment loses it too.
 * @throws CliError GATEWAY_UNKNOWN, NOTHING_TO_BAR; ChainError CHAIN_...
 */
export async function barGateway(actor: Actor, gateway: Address): Promise<Outcome> {
  const { chain, account, dryRun } = actor;
  if (chain.view.gateway(gateway) === undefined) {
    throw new CliError(
      'GATEWAY_UNKNOWN',
      `${gateway} is no gateway on the chain, check its address, see defaas payouts`,
    );
  }
  const barred = deploymentsAt(chain.view, account.address, gateway);
  if (barred.length === 0) {
    throw new CliError(
      'NOTHING_TO_BAR',
      `gateway ${gateway} runs nothing of account ${account.address}, see defaas list`,
    );
  }
  for (let i = 0; i < barred.length; i += MAX_BARRED) {
    const calls = barred
      .slice(i, i + MAX_BARRED)
      .map(({ id }) => chain.encode('registry', 'bar', [id]));
    await act(actor, 'registry', 'multicall', [calls]);
  }
  const lines = barred.map((one) => `${one.function} on ${one.cloud} ${one.region}`);
  return {
    document: { account: account.address, gateway, barred, dryRun },
    text: told(actor, `barred at ${gateway}: ${lines.join(', ')}`),
  };
}

function deploymentsAt(view: ChainView, owner: Address, gateway: Address): readonly Barred[] {
  return view
    .functions()
    .filter((fn) => fn.owner === owner)
    .flatMap((fn) =>
      fn.versions.flatMap((functionVersion, index) => {
        const drawn = view.candidates(functionVersion, gateway)?.ids ?? [];
        return view
          .deployments(functionVersion)
          .filter(({ id, provider }) => drawn.includes(id) || provider === gateway)
          .filter(({ barred, retired }) => !barred && !retired)
          .map(({ id, cloud, region }) => ({
            id,
            function: `${fn.namespace}/${fn.name}@${index + 1}`,
            cloud,
            region,
          }));
      }),
    );
}
