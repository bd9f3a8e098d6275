// `defaas versions <function>`: every version on the chain, who may call it, what a call costs,
// where it runs, and which one `latest` names.
import type { FunctionVersion } from '../../contracts/chain/types.ts';
import { ACCESS_MODES } from '../../contracts/libraries/names.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { openChain } from './chain.ts';
import { type Flags, type Outcome, openGateway } from './context.ts';
import { liveDeployments } from './list.ts';
import { findFunction } from './owned-function.ts';
import { formatTable } from './table.ts';

/** @throws CliError USAGE, FUNCTION_UNKNOWN */
export async function versions(flags: Flags, target: string): Promise<Outcome> {
  const opened = await openGateway(flags, { allowRevoked: true });
  const chain = await openChain(opened);
  try {
    const { fn } = findFunction(opened, chain, target);
    const { gateway } = opened.connection.document;
    const rows = fn.versions
      .flatMap((functionVersion) => chain.view.versionByHash(functionVersion) ?? [])
      .map((version) => ({
        version: version.number,
        isLatest: version.number === fn.latest,
        access: ACCESS_MODES[version.accessMode],
        deprecated: version.deprecated,
        tariff: version.tariff,
        functionVersion: version.functionVersion,
        cid: version.artifactCid,
        blockNumber: version.blockNumber,
        clouds: cloudsOf(liveDeployments(chain.view, version, gateway)),
      }))
      .reverse();
    return {
      document: rows,
      text: formatTable(
        ['version', '', 'access', 'tokens a call', 'runs on'],
        rows.map(({ version, isLatest, access, deprecated, tariff, clouds }) => [
          version,
          deprecated ? 'deprecated' : isLatest ? 'latest' : '',
          access,
          formatPrice(tariff),
          deprecated ? '-' : clouds.join(', ') || '-',
        ]),
      ),
    };
  } finally {
    chain.close();
    opened.close();
  }
}

function cloudsOf(deployments: readonly { provider: string }[]): string[] {
  return [...new Set(deployments.map(({ provider }) => provider))];
}

/** A plus stands for the price by time. */
function formatPrice({ perCall, perGiBSecond }: FunctionVersion['tariff']): string {
  return `${formatTokens(perCall)}${perGiBSecond > 0n ? ' +' : ''}`;
}
