// `defaas earnings`: what the account has earned by settled calls, grouped as asked, from the
// batches on IPFS; and what of it the wallet has.
import { fetchBlock } from '../../broker/client/artifacts.ts';
import { type Earning, readEarnings } from '../../broker/client/earnings.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { openChain } from './chain.ts';
import { CliError } from './cli-error.ts';
import { type Flags, note, type Outcome, openGateway } from './context.ts';
import { formatTable } from './table.ts';

/** What rows may be grouped by, and the text of a row for it. */
const GROUPS: Readonly<Record<string, (row: Earning) => string>> = {
  function: (row) => row.function.slice(row.function.indexOf('/') + 1),
  version: (row) => `${row.function.slice(row.function.indexOf('/') + 1)}@${row.version}`,
  role: (row) => row.role,
  day: (row) => row.day,
  month: (row) => row.day.slice(0, 7),
  payer: (row) => row.payer,
  gateway: (row) => row.gateway,
};

export interface EarningsOptions {
  /** Comma-separated names of GROUPS. */
  readonly by: string;
  /** First day, UTC, such as 2026-12-01. */
  readonly since?: string;
}

/** @throws CliError USAGE; DefaasClientError BATCH_... */
export async function earnings(flags: Flags, options: EarningsOptions): Promise<Outcome> {
  const groups = parseGroups(options.by);
  const sinceSec = parseDay(options.since);
  const opened = await openGateway(flags, { allowRevoked: true });
  const chain = await openChain(opened);
  try {
    const account = opened.account.address;
    const rows = await readEarnings({
      ...{ view: chain.view, account },
      getBlock: (cid) => fetchBlock(opened.connection, cid),
      ...(sinceSec !== undefined && { sinceSec }),
      onBatch: (done, of) => {
        if (process.stderr.isTTY && done % 50 === 0) note(flags, `${done} of ${of} batches`);
      },
    });
    const due = chain.view
      .gateways()
      .map(({ address }) => chain.view.due(address, account))
      .reduce(
        (sum, { credited, withdrawn }) => ({
          creditedUnits: sum.creditedUnits + credited,
          paidOutUnits: sum.paidOutUnits + withdrawn,
        }),
        { creditedUnits: 0n, paidOutUnits: 0n },
      );
    const grouped = groupRows(rows, groups);
    const totalUnits = rows.reduce((sum, { earnedUnits }) => sum + earnedUnits, 0n);
    return {
      document: { account, by: groups, rows: grouped, totalUnits, ...due },
      text: textOf(groups, grouped, { account, totalUnits, ...due }),
    };
  } finally {
    chain.close();
    opened.close();
  }
}

interface Grouped {
  readonly names: readonly string[];
  readonly calls: number;
  readonly pricesUnits: bigint;
  readonly earnedUnits: bigint;
}

function groupRows(rows: readonly Earning[], groups: readonly string[]): readonly Grouped[] {
  const found = new Map<string, Grouped>();
  for (const row of rows) {
    const names = groups.map((group) => GROUPS[group]?.(row) ?? '');
    const key = names.join('\n');
    const { calls = 0, pricesUnits = 0n, earnedUnits = 0n } = found.get(key) ?? {};
    found.set(key, {
      names,
      calls: calls + row.calls,
      pricesUnits: pricesUnits + row.pricesUnits,
      earnedUnits: earnedUnits + row.earnedUnits,
    });
  }
  return [...found.values()].sort((a, b) => (a.names.join() < b.names.join() ? -1 : 1));
}

function textOf(
  groups: readonly string[],
  rows: readonly Grouped[],
  sums: {
    readonly account: string;
    readonly totalUnits: bigint;
    readonly creditedUnits: bigint;
    readonly paidOutUnits: bigint;
  },
): string {
  if (rows.length === 0) {
    return `no settled call has earned account ${sums.account} anything; a version earns its publisher publisherBps of each price (defaas.json, tariff)`;
  }
  const table = formatTable(
    [...groups, 'calls', 'tokens paid', 'tokens earned'],
    rows.map(({ names, calls, pricesUnits, earnedUnits }) => [
      ...names,
      calls,
      formatTokens(pricesUnits),
      formatTokens(earnedUnits),
    ]),
  );
  const open = sums.creditedUnits - sums.paidOutUnits;
  const next = open > 0n ? `; ${formatTokens(open)} tokens wait: run defaas payouts --send` : '';
  return `${table}\n${formatTokens(sums.totalUnits)} tokens earned, ${formatTokens(sums.paidOutUnits)} are in the wallet${next}`;
}

function parseGroups(text: string): readonly string[] {
  const groups = [...new Set(text.split(',').map((word) => word.trim()))];
  const unknown = groups.find((group) => !Object.hasOwn(GROUPS, group));
  if (unknown === undefined) return groups;
  throw new CliError(
    'USAGE',
    `--by takes ${Object.keys(GROUPS).join(', ')}, with commas, got "${text}"`,
  );
}

/** @returns Unix seconds */
function parseDay(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const ms = /^\d{4}-\d{2}-\d{2}$/.test(text) ? Date.parse(`${text}T00:00:00Z`) : Number.NaN;
  if (Number.isFinite(ms) && new Date(ms).toISOString().startsWith(text)) return ms / 1000;
  throw new CliError('USAGE', `--since takes a day such as 2026-12-01, got "${text}"`);
}
