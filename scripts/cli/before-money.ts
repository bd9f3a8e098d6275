// What the user is told before money moves: the contracts' deployment parameters, once per file and
// RPC, and the gateway's collateral, each time. On stderr only, and not with `--json`.
import { type Coverage, coverageOf } from '../../broker/client/coverage.ts';
import type { Chain } from '../../contracts/chain.ts';
import type { SetTerms } from '../../contracts/deployed-code.ts';
import { DECIMALS, formatTokens } from '../../contracts/libraries/tokens.ts';
import { CliError } from './cli-error.ts';
import { type Flags, note, type Opened } from './context.ts';

const DAY_SEC = 86_400;

/**
 * Shows the set's terms the first time. Refuses a token with other decimals: every amount here
 * would be wrong.
 * @throws CliError DEPLOYMENT_CODE; ChainError CHAIN_...
 */
export async function tellTerms(
  flags: Pick<Flags, 'json'>,
  { trust, set, confirmed }: Pick<Opened, 'trust' | 'set' | 'confirmed'>,
  chain: Pick<Chain, 'read'>,
): Promise<void> {
  const [decimals] = await chain.read('token', 'decimals', []);
  if (Number(decimals) !== DECIMALS) {
    throw new CliError(
      'DEPLOYMENT_CODE',
      `token ${set.token} has ${decimals} decimals, amounts here have ${DECIMALS}, nothing was signed or sent, use another file of deployments`,
    );
  }
  if (set.status === 'retiring') {
    const next = trust.sets.find(({ replaces }) => replaces === set.id);
    note(flags, `set ${set.id} is retiring${next ? `, ${next.id} takes its place` : ''}`);
  }
  const what = `told ${trust.mark} ${set.id}`;
  if (flags.json || confirmed.get(what) !== undefined) return;
  const terms = await trust.check(set);
  for (const line of termLines(terms)) note(flags, line);
  note(flags, `(set ${set.id} of chain ${trust.chainId}, from ${trust.file}; this is said once)`);
  confirmed.put(what, new Date().toISOString());
}

function termLines(terms: SetTerms): string[] {
  return [
    `token          ${terms.token}`,
    `guardian       ${terms.guardian ?? 'nobody'} (may pause deposits and bonds)`,
    `least bond     ${formatTokens(terms.minBondUnits)} tokens`,
    `money thaws    ${inDays(terms.lineThawSec)}; a bond ${inDays(terms.unbondSec)}`,
    `a receipt may be demanded for ${inDays(terms.demandWindowSec)}, answered within ${inDays(terms.answerWindowSec)}, proven against for ${inDays(terms.proofWindowSec)}; a demand pledges ${formatTokens(terms.pledgeUnits)} tokens`,
  ];
}

function inDays(seconds: number): string {
  return `${Math.round((seconds / DAY_SEC) * 10) / 10} d`;
}

/** Shows the gateway's collateral, counting `units` that are about to be set aside there. */
export function tellCoverage(
  flags: Pick<Flags, 'json'>,
  { connection }: Pick<Opened, 'connection'>,
  { view }: Pick<Chain, 'view'>,
  units: bigint,
): Coverage {
  const coverage = coverageOf(view, connection.document.gateway, units);
  note(flags, coverageLine(coverage, Math.max(view.head.timestampSec, Date.now() / 1000)));
  if ((coverage.usedPercent ?? Number.POSITIVE_INFINITY) > 100) {
    note(flags, `a lie could bring this gateway more than it loses by it: set less aside here`);
  }
  return coverage;
}

function coverageLine(coverage: Coverage, nowSec: number): string {
  const { gateway, bondUnits, atStakeUnits, linesUnits, usedPercent, sinceSec } = coverage;
  const age =
    sinceSec === undefined
      ? 'not registered'
      : `registered ${Math.floor((nowSec - sinceSec) / DAY_SEC)} d ago`;
  const past =
    coverage.slashes === 0
      ? 'never slashed'
      : `slashed ${coverage.slashes} times, ${formatTokens(coverage.slashedUnits)} tokens`;
  const share = usedPercent === undefined ? 'nothing is at stake' : `${usedPercent} %`;
  return `gateway ${gateway}: bond ${formatTokens(bondUnits)} tokens, ${age}, ${past}; all lines at it ${formatTokens(linesUnits)} of ${formatTokens(atStakeUnits)} (7/12 of the bond): ${share}`;
}
