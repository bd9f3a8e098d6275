// `defaas withdraw [amount]`: free money to the account's wallet at once; what is set aside for calls thaws first.
import type { Chain, Line } from '../../contracts/chain.ts';
import { tellTerms } from './before-money.ts';
import { openChain } from './chain.ts';
import { CliError } from './cli-error.ts';
import { type Flags, type Opened, type Outcome, openGateway } from './context.ts';
import { formatTokens, parseTokens, parseUnits } from './units.ts';

const NO_LINE: Line = { allotted: 0n, filled: 0n, thawing: 0n, thawEndSec: 0 };

/**
 * Without an amount everything is meant. A thaw that has ended is released and withdrawn, and no other begins in the same run; one
 * that runs is left as it is, for a second would begin the wait anew. The gateway settles what it has served while money thaws.
 * @throws CliError USAGE, NOTHING_TO_WITHDRAW, INSUFFICIENT_BALANCE; ChainError CHAIN_...
 */
export async function withdraw(
  flags: Flags,
  amount: string | undefined,
  options: { readonly units?: boolean },
): Promise<Outcome> {
  const wantedUnits = amount === undefined ? undefined : parseAmount(amount, options.units);
  const opened = await openGateway(flags, { allowRevoked: true });
  const chain = await openChain(opened);
  try {
    await tellTerms(flags, opened, chain);
    const before = standingOf(opened, chain);
    const haveUnits = before.freeUnits + before.line.allotted;
    if (haveUnits === 0n) {
      throw new CliError(
        'NOTHING_TO_WITHDRAW',
        `account ${opened.account.address} has neither free money nor any set aside here, see defaas balance`,
      );
    }
    // While money thaws the amount may be that of the first run, part of which is in the wallet already.
    const isFirst = before.line.thawing === 0n;
    if (isFirst && wantedUnits !== undefined && wantedUnits > haveUnits) {
      throw new CliError(
        'INSUFFICIENT_BALANCE',
        `${formatTokens(wantedUnits)} tokens are asked for, account ${opened.account.address} has ${formatTokens(haveUnits)} free and set aside here, withdraw less`,
      );
    }
    const isEnded = !isFirst && before.line.thawEndSec <= nowSec(chain);
    const writer = chain.connect(opened.account);
    const { address } = opened.account;
    const { gateway } = opened.connection.document;
    if (isEnded) await chain.synced(await writer.release(address, gateway));
    const { freeUnits } = standingOf(opened, chain);
    const withdrawnUnits = least(freeUnits, wantedUnits ?? freeUnits);
    if (withdrawnUnits > 0n) await chain.synced(await writer.withdraw(address, withdrawnUnits));
    const missingUnits = (wantedUnits ?? haveUnits) - withdrawnUnits;
    if (missingUnits > 0n && isFirst) {
      await chain.synced(await writer.thaw(gateway, missingUnits));
    }
    const releasedUnits = isEnded ? freeUnits - before.freeUnits : 0n;
    return outcomeOf(opened, chain, { releasedUnits, withdrawnUnits, missingUnits });
  } finally {
    chain.close();
    opened.close();
  }
}

function parseAmount(text: string, isUnits = false): bigint {
  const units = isUnits ? parseUnits(text, 'the amount') : parseTokens(text, 'the amount');
  if (units > 0n) return units;
  throw new CliError('USAGE', 'the amount is 0, withdraw more or leave it out to withdraw all');
}

function standingOf({ account, connection }: Opened, { view }: Chain) {
  const line = view.line(account.address, connection.document.gateway) ?? NO_LINE;
  return { freeUnits: view.free(account.address), line };
}

function outcomeOf(
  opened: Opened,
  chain: Chain,
  done: {
    readonly releasedUnits: bigint;
    readonly withdrawnUnits: bigint;
    readonly missingUnits: bigint;
  },
): Outcome {
  const { freeUnits, line } = standingOf(opened, chain);
  const { gateway } = opened.connection.document;
  const { missingUnits, ...moved } = done;
  const document = {
    account: opened.account.address,
    ...moved,
    freeUnits,
    line: {
      gateway,
      allottedUnits: line.allotted,
      thawingUnits: line.thawing,
      thawEndSec: line.thawEndSec,
    },
  };
  const parts: string[] = [];
  if (done.withdrawnUnits > 0n) {
    parts.push(`${formatTokens(done.withdrawnUnits)} tokens are in the wallet now`);
  }
  const thawingUnits = least(line.thawing, line.allotted);
  if (thawingUnits > 0n) {
    const until = new Date(line.thawEndSec * 1000).toISOString();
    const less = thawingUnits === line.allotted ? ', less what is served of them' : '';
    parts.push(
      `${formatTokens(thawingUnits)} tokens thaw until ${until}${less}, run defaas withdraw again then`,
    );
  }
  const laterUnits = least(missingUnits, line.allotted) - thawingUnits;
  if (laterUnits > 0n) {
    const when = thawingUnits > 0n ? 'after that' : 'when it is run again';
    parts.push(`${formatTokens(laterUnits)} more are set aside for calls, and can thaw ${when}`);
  }
  return { document, text: parts.join('; ') };
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

/** Chain time; a chain that mines on demand may be behind the clock. */
function nowSec(chain: Chain): number {
  return Math.max(chain.view.head.timestampSec, Math.floor(Date.now() / 1000));
}
