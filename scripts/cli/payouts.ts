// `defaas payouts` and `collect`: show what gateways owe the account, and pay it out. Credited sums
// are on the chain; a gateway's signed voucher pays what its batches left out, from its float.
import type { Sent } from '../../contracts/chain/account.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { barGateway } from './bar.ts';
import { CliError } from './cli-error.ts';
import type { Flags, Outcome } from './context.ts';
import { afterMoved } from './move.ts';
import { type ActOptions, act, told } from './operator.ts';
import { type Owed, owedBy } from './owed.ts';
import { type OwnChain, openOwnChain } from './own-chain.ts';
import { parseAddress } from './parse-address.ts';
import { formatTable } from './table.ts';

export interface PayoutsOptions extends ActOptions {
  readonly send?: boolean;
  /** Also adds up the receipts of the batches. */
  readonly audit?: boolean;
  /** Account of a gateway. */
  readonly bar?: string;
}

/** How to go on when what is collected could not be sent. */
const PAY_NEXT = 'run defaas payouts --send';

/** What was done about one gateway, or would be done. */
interface Done {
  readonly gateway: Address;
  readonly units: bigint;
  readonly tx: string | null;
}

/**
 * Without an option it only reads. With `--gateway` it covers that gateway alone, else all on the
 * chain that owe the account.
 * @throws CliError USAGE, NOTHING_DUE, GATEWAY_UNKNOWN, NOTHING_TO_BAR; ChainError CHAIN_...
 */
export async function payouts(flags: Flags, options: PayoutsOptions): Promise<Outcome> {
  if (options.send && options.bar !== undefined) {
    throw new CliError('USAGE', 'payouts takes --send or --bar, one of them');
  }
  const barred = options.bar === undefined ? undefined : parseAddress(options.bar);
  const own = await openOwnChain(flags, { allowRevoked: true });
  const actor = { ...own, dryRun: options.dryRun ?? false };
  try {
    if (barred !== undefined) return await barGateway(actor, barred);
    const owed = await owedBy(flags, own, options);
    if (!options.send) return listed(own, owed);
    const sent = await sendAll(actor, owed);
    if (sent.length === 0) {
      throw new CliError(
        'NOTHING_DUE',
        `no gateway has credited account ${own.account.address} anything that is not paid out, see defaas payouts`,
      );
    }
    return outcomeOf(actor, { sent }, sent.map(sentLine));
  } finally {
    own.close();
  }
}

/**
 * Sends the highest signed voucher that the float covers to the chain. Any account may send it: it
 * pays the payee and nobody else.
 * @throws CliError NOTHING_TO_COLLECT; ChainError CHAIN_...
 */
export async function collect(
  flags: Flags,
  options: Pick<PayoutsOptions, 'send' | 'dryRun'>,
): Promise<Outcome> {
  const own = await openOwnChain(flags, { allowRevoked: true });
  const actor = { ...own, dryRun: options.dryRun ?? false };
  const { address } = own.account;
  try {
    const collected: Done[] = [];
    const owed = await owedBy(flags, own);
    for (const { gateway, creditedUnits, best } of owed) {
      if (best === undefined) continue;
      const { cumulativeUnits, signature } = best;
      const args = [gateway, address, cumulativeUnits, signature];
      const credit = () => act(actor, 'billing', 'collect', args);
      const moved = collected.map(collectedLine).join(', ');
      const sent = await (moved ? afterMoved(moved, credit) : credit());
      collected.push({ gateway, units: cumulativeUnits - creditedUnits, tx: txOf(sent) });
    }
    if (collected.length === 0) throw nothingToCollect(own, owed);
    const sendRest = async () => sendAll(actor, await owedBy(flags, own));
    const sent =
      options.send && !actor.dryRun
        ? await afterMoved(collected.map(collectedLine).join(', '), sendRest, PAY_NEXT)
        : [];
    const lines = collected.map(collectedLine);
    const next = options.send ? [] : ['defaas payouts --send sends them to the wallet'];
    return outcomeOf(actor, { collected, sent }, [...lines, ...sent.map(sentLine), ...next]);
  } finally {
    own.close();
  }
}

async function sendAll(
  actor: OwnChain & { readonly dryRun: boolean },
  owed: readonly Owed[],
): Promise<readonly Done[]> {
  const done: Done[] = [];
  for (const { gateway, claimableUnits } of owed) {
    if (claimableUnits === 0n) continue;
    const pay = () => act(actor, 'billing', 'payOut', [gateway, actor.account.address]);
    const moved = done.map(sentLine).join(', ');
    const sent = await (moved ? afterMoved(moved, pay) : pay());
    done.push({ gateway, units: claimableUnits, tx: txOf(sent) });
  }
  return done;
}

function txOf(sent: Sent | undefined): string | null {
  return sent?.tx ?? null;
}

function collectedLine({ gateway, units }: Done): string {
  return `${formatTokens(units)} tokens are credited from the float of ${gateway}`;
}

function sentLine({ gateway, units }: Done): string {
  return `${formatTokens(units)} tokens of ${gateway} are in the wallet`;
}

function outcomeOf(
  { account, dryRun }: OwnChain & { readonly dryRun: boolean },
  done: object,
  lines: readonly string[],
): Outcome {
  return {
    document: { account: account.address, ...done, dryRun },
    text: told({ dryRun }, lines.join('; ')),
  };
}

/** Explains why nothing can be collected, for the gateway that is nearest to paying. */
function nothingToCollect({ account }: OwnChain, owed: readonly Owed[]): CliError {
  const short = owed.find(({ voucher, creditedUnits, floatUnits }) => {
    const open = (voucher?.cumulativeUnits ?? 0n) - creditedUnits;
    return voucher?.isAccepted && open > floatUnits;
  });
  const refused = owed.find(({ voucher }) => voucher?.isAccepted === false);
  const why = short
    ? `the float of ${short.gateway} has ${formatTokens(short.floatUnits)} tokens, less than any voucher needs`
    : refused
      ? `the voucher of ${refused.gateway} is signed by no key that is in force`
      : 'no gateway has signed for more than is credited';
  return new CliError(
    'NOTHING_TO_COLLECT',
    `${why}, for account ${account.address}, see defaas payouts`,
  );
}

function listed({ account }: OwnChain, owed: readonly Owed[]): Outcome {
  const rows = owed.map(({ best, ...row }) => ({
    ...row,
    collectableUnits: best === undefined ? 0n : best.cumulativeUnits - row.creditedUnits,
  }));
  const document = { account: account.address, gateways: rows };
  if (rows.length === 0) {
    return { document, text: `no gateway owes account ${account.address} anything` };
  }
  const table = formatTable(
    ['gateway', 'credited', 'paid out', 'claimable', 'advanced', 'voucher', 'float', 'short'],
    rows.map((row) => [
      row.gateway,
      formatTokens(row.creditedUnits),
      formatTokens(row.paidOutUnits),
      formatTokens(row.claimableUnits),
      formatTokens(row.advancedUnits),
      row.voucher === null ? '-' : formatTokens(row.voucher.cumulativeUnits),
      formatTokens(row.floatUnits),
      formatTokens(row.shortfallUnits),
    ]),
  );
  const hints = [
    ...(rows.some(({ claimableUnits }) => claimableUnits > 0n)
      ? ['what is claimable: run defaas payouts --send']
      : []),
    ...(rows.some(({ collectableUnits }) => collectableUnits > 0n)
      ? ['a voucher is above what is credited: run defaas collect']
      : []),
    ...(rows.some(({ shortfallUnits }) => shortfallUnits > 0n)
      ? ['batches have left the account out: defaas payouts --bar ends what that gateway runs']
      : []),
    ...rows.flatMap(({ gateway, auditedShortUnits: units }) => {
      if (units === null) return [];
      return `by the receipts, the batches of ${gateway} left the account without ${formatTokens(units)} tokens`;
    }),
    ...rows
      .filter(({ answered }) => !answered)
      .map(
        ({ gateway }) => `${gateway} did not answer: what is shown is of the chain and of before`,
      ),
  ];
  return { document, text: [table, 'all amounts are in tokens', ...hints].join('\n') };
}
