// `defaas expire <demand>|all`: collects a demand that was not answered in time. This slashes the
// gateway, pays the payer, and returns the pledge.
import { placeAt, placeStruct } from '../../contracts/chain/evidence.ts';
import type { Demand } from '../../contracts/chain/types.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { CliError } from './cli-error.ts';
import type { Flags, Outcome } from './context.ts';
import { openWatcher, type Watcher } from './watcher.ts';

export interface ExpireOptions {
  readonly dryRun?: boolean;
}

export interface ExpiredDemand {
  readonly id: string;
  readonly gateway: string;
  readonly tx?: string;
  readonly slashedUnits?: bigint;
  readonly toPayerUnits?: bigint;
}

/**
 * `all` means those of the active account. Anybody may expire anybody's demand.
 * @throws CliError USAGE, NOT_DEMANDED; ChainError DEMAND_OPEN, NOT_DEMANDED, CHAIN_...
 */
export async function expire(flags: Flags, id: string, options: ExpireOptions): Promise<Outcome> {
  if (id !== 'all' && !/^0x[0-9a-f]{64}$/i.test(id)) {
    throw new CliError('USAGE', `"${id.slice(0, 80)}" is no demand, name its id or all`);
  }
  const watcher = await openWatcher(flags);
  try {
    const open = openDemands(watcher, id.toLowerCase());
    const done: ExpiredDemand[] = [];
    for (const one of open) done.push(await expireOne(watcher, one, options));
    return { document: { demands: done }, text: textOf(done) };
  } finally {
    watcher.close();
  }
}

function openDemands({ chain, account }: Watcher, id: string): readonly Demand[] {
  const open = chain.view.demands().filter(({ state }) => state === 'open');
  if (id === 'all') return overdue(chain.view.head.timestampSec, open, account.address);
  const named = open.filter((demand) => demand.id === id);
  if (named.length > 0) return named;
  throw new CliError(
    'NOT_DEMANDED',
    `no demand ${id} is open: it was never made, is answered or has expired, see defaas watch`,
  );
}

/** An account's demands that were not answered in time. */
export function overdue(
  nowSec: number,
  demands: readonly Demand[],
  demander: string,
): readonly Demand[] {
  return demands.filter(
    (demand) =>
      demand.state === 'open' && demand.demander === demander && demand.deadlineSec < nowSec,
  );
}

/** @throws ChainError as `expire` */
export async function expireOne(
  { chain, account }: Pick<Watcher, 'chain' | 'account'>,
  { id, gateway, batch, claim, index }: Demand,
  { dryRun = false }: ExpireOptions,
): Promise<ExpiredDemand> {
  const settled = chain.view.batches(gateway).find((one) => one.batch === batch);
  if (settled === undefined) {
    throw new CliError(
      'BATCH_UNKNOWN',
      `no batch ${batch} of gateway ${gateway}, try again shortly`,
    );
  }
  const place = placeAt(settled, claim);
  const writer = chain.connect(account);
  if (dryRun) {
    await writer.check('disputes', 'expire', [placeStruct(place), index]);
    return { id, gateway };
  }
  const { tx, slashed, paid } = await writer.expire(place, index);
  return { id, gateway, tx, slashedUnits: slashed, toPayerUnits: paid };
}

function textOf(done: readonly ExpiredDemand[]): string {
  if (done.length === 0) return 'no demand of this account is unanswered past its deadline';
  return done
    .map(({ id, gateway, tx, slashedUnits = 0n, toPayerUnits = 0n }) =>
      tx === undefined
        ? `would expire demand ${id} against gateway ${gateway}`
        : `demand ${id} expired: ${formatTokens(slashedUnits)} of the bond of gateway ${gateway} are taken, ${formatTokens(toPayerUnits)} paid to the payer, transaction ${tx}`,
    )
    .join('\n');
}
