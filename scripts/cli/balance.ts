// `defaas balance`: the account's money on the chain, and how much of it the gateway says it has
// served.
import { fetchLane, type LaneDocument } from '../../broker/client/lane.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { openChain } from './chain.ts';
import { type Flags, type Outcome, openGateway, openSession } from './context.ts';
import { formatTable } from './table.ts';

/**
 * Reads everything from the chain except `servedUnits`, which the gateway states and receipts
 * prove.
 */
export async function balance(flags: Flags): Promise<Outcome> {
  const opened = await openGateway(flags, { allowRevoked: true });
  const chain = await openChain(opened);
  try {
    const payer = opened.account.address;
    const session = await openSession(opened, opened.account);
    const lines = [];
    for (const { gateway, allotted, thawing, thawEndSec } of chain.view.lines(payer)) {
      const lanes = chain.view.lanes(payer, gateway);
      let servedUnits = 0n;
      const limits = [];
      // Another gateway's lanes would have to be asked for there: what is settled is what we know
      // of them.
      for (const { signer, settled } of lanes) {
        const isHere = gateway === opened.connection.document.gateway;
        const lane = isHere ? await fetchLane(session, { payer, signer }) : undefined;
        servedUnits += lane?.servedUnits ?? settled;
        if (lane && lane.limit.dailyUnits !== null) limits.push({ signer, ...lane.limit });
      }
      const settledUnits = lanes.reduce((sum, lane) => sum + lane.settled, 0n);
      lines.push({
        gateway,
        allottedUnits: allotted,
        thawingUnits: thawing,
        thawEndSec,
        servedUnits,
        settledUnits,
        limits,
      });
    }
    const [tokenUnits] = await chain.read('token', 'balanceOf', [payer]);
    const claimableUnits = chain.view
      .gateways()
      .map(({ address }) => chain.view.due(address, payer))
      .reduce((sum, { credited, withdrawn }) => sum + credited - withdrawn, 0n);
    const bondUnits = chain.view.gateway(payer)?.bond ?? 0n;
    const freeUnits = chain.view.free(payer);
    const document = { account: payer, freeUnits, tokenUnits, claimableUnits, bondUnits, lines };
    return { document, text: textOf(document) };
  } finally {
    chain.close();
    opened.close();
  }
}

function textOf({
  account,
  freeUnits,
  tokenUnits,
  claimableUnits,
  bondUnits,
  lines,
}: {
  readonly account: string;
  readonly freeUnits: bigint;
  readonly tokenUnits: bigint;
  /** Credited to the account as a payee and not paid out. */
  readonly claimableUnits: bigint;
  /** Of a gateway. */
  readonly bondUnits: bigint;
  readonly lines: readonly {
    readonly gateway: string;
    readonly allottedUnits: bigint;
    readonly thawingUnits: bigint;
    readonly thawEndSec: number;
    readonly servedUnits: bigint;
    readonly settledUnits: bigint;
    /** Limits of the keys that have one per UTC day. */
    readonly limits: readonly (LaneDocument['limit'] & { readonly signer: string })[];
  }[];
}): string {
  const more = [
    ...(claimableUnits > 0n
      ? [`, ${formatTokens(claimableUnits)} earned and not paid out (defaas payouts --send)`]
      : []),
    ...(bondUnits > 0n ? [`, ${formatTokens(bondUnits)} in its bond`] : []),
  ].join('');
  const head = `${account}: ${formatTokens(freeUnits)} tokens free, ${formatTokens(tokenUnits)} in its wallet${more}`;
  if (lines.length === 0) return `${head}; nothing set aside for calls, run defaas deposit`;
  const rows = lines.map((line) => [
    line.gateway,
    formatTokens(line.allottedUnits),
    formatTokens(line.servedUnits),
    formatTokens(line.settledUnits),
    formatTokens(leftUnits(line)),
  ]);
  const thaws = lines
    .filter(({ thawingUnits }) => thawingUnits > 0n)
    .map(({ gateway, allottedUnits, thawingUnits, thawEndSec }) => {
      const until = new Date(thawEndSec * 1000).toISOString();
      // A settlement may have left less than the thawing amount.
      const units = thawingUnits < allottedUnits ? thawingUnits : allottedUnits;
      return `\n${formatTokens(units)} tokens at ${gateway} thaw until ${until}, then run defaas withdraw`;
    });
  const limits = lines
    .flatMap((line) => line.limits)
    .map(
      ({ signer, dailyUnits, spentTodayUnits }) =>
        `\nkey ${signer}: ${formatTokens(spentTodayUnits)} of ${formatTokens(dailyUnits ?? 0n)} tokens a day spent today`,
    );
  const table = formatTable(['gateway', 'tokens set aside', 'served', 'settled', 'left'], rows);
  return `${head}\n${table}${[...thaws, ...limits].join('')}`;
}

/** Available for calls: neither served nor thawing. */
function leftUnits(line: {
  readonly allottedUnits: bigint;
  readonly thawingUnits: bigint;
  readonly servedUnits: bigint;
  readonly settledUnits: bigint;
}): bigint {
  const left = line.allottedUnits - line.thawingUnits - (line.servedUnits - line.settledUnits);
  return left > 0n ? left : 0n;
}
