// `defaas withdraw [amount]`: moves free money to the account's wallet at once; money set aside for
// calls thaws first. It uses the chain alone, so a gateway that is gone cannot keep anybody's
// money.

import type { Line } from '../../contracts/chain/types.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { tellTerms } from './before-money.ts';
import { CliError } from './cli-error.ts';
import { confirmNow } from './confirm.ts';
import type { Flags, Outcome } from './context.ts';
import { afterMoved, type MoveFacts, openMove } from './move.ts';
import { type OwnChain, openOwnChain } from './own-chain.ts';
import { parseAddress } from './parse-address.ts';
import { parseTokens, parseUnits } from './units.ts';

const NO_LINE: Line = { allotted: 0n, filled: 0n, thawing: 0n, thawEndSec: 0, settled: 0n };

export interface WithdrawOptions {
  readonly units?: boolean;
  /** Account of the gateway whose line it is taken from; needed if several lines hold money. */
  readonly from?: string;
  /** Stops the running thaw: the money stays set aside for calls. */
  readonly cancel?: boolean;
}

/**
 * Without an amount it withdraws everything. An ended thaw is released and withdrawn, and no other
 * begins in the same run. A running thaw is left as it is, because a second one would restart the
 * wait. The gateway settles what it has served while money thaws.
 * @throws CliError USAGE, NOTHING_TO_WITHDRAW, INSUFFICIENT_BALANCE; ChainError CHAIN_...
 */
export async function withdraw(
  flags: Flags,
  amount: string | undefined,
  options: WithdrawOptions,
): Promise<Outcome> {
  if (options.cancel && amount !== undefined) {
    throw new CliError('USAGE', 'withdraw takes an amount or --cancel, one of them');
  }
  const wantedUnits = amount === undefined ? undefined : parseAmount(amount, options.units);
  const from = options.from === undefined ? undefined : parseAddress(options.from);
  const own = await openOwnChain(flags, { allowRevoked: true });
  try {
    const { chain, account } = own;
    if (options.cancel) return await cancel(own, from);
    if (wantedUnits === undefined) {
      const says = `everything that account ${account.address} has here goes to its wallet; what is set aside for calls thaws first, and serves no new ones`;
      await confirmNow(flags, says, 'Withdraw it all?');
    }
    await tellTerms(flags, own, chain);
    return await chain.exclusively(account.address, () => take(own, wantedUnits, from));
  } finally {
    own.close();
  }
}

/** @throws CliError NOTHING_TO_WITHDRAW nothing thaws */
async function cancel(own: OwnChain, from: Address | undefined): Promise<Outcome> {
  const { chain, account } = own;
  const gateway = from ?? onlyLine(own);
  const { line } = standingOf(own, gateway);
  if (gateway === undefined || line.thawing === 0n) {
    throw new CliError(
      'NOTHING_TO_WITHDRAW',
      `no money of account ${account.address} is thawing, see defaas balance`,
    );
  }
  await chain.synced(await chain.connect(account).cancelThaw(gateway));
  const canceledUnits = least(line.thawing, line.allotted);
  return {
    document: { account: account.address, gateway, canceledUnits },
    text: `${formatTokens(canceledUnits)} tokens thaw no more: they serve calls at ${gateway} again`,
  };
}

/** One transaction takes out what is free, and starts the thaw of what is missing. */
async function take(
  own: OwnChain,
  wantedUnits: bigint | undefined,
  from: Address | undefined,
): Promise<Outcome> {
  const { chain, account, confirmed } = own;
  const { address } = account;
  await chain.synced();
  const nowSec = await chain.nowSec();
  const of = `${chain.chainId} ${chain.contracts.billing} ${address}`;
  const name = `withdraw ${of} ${wantedUnits ?? 'all'} ${from ?? ''}`;
  const move = openMove(confirmed, name, () => plan(own, { wantedUnits, from, nowSec }));
  const { gateway, ...units } = move.facts;
  const releasedUnits = BigInt(units.releasedUnits ?? 0);
  const withdrawnUnits = BigInt(units.withdrawnUnits ?? 0);
  const thawingUnits = BigInt(units.thawingUnits ?? 0);
  const call = (method: string, ...args: unknown[]) => chain.encode('billing', method, args);
  const calls = [
    ...(releasedUnits > 0n ? [call('release', address, gateway)] : []),
    ...(withdrawnUnits > 0n ? [call('withdraw', address, withdrawnUnits)] : []),
    ...(thawingUnits > 0n ? [call('thaw', gateway, thawingUnits)] : []),
  ];
  if (calls.length > 0) {
    const writer = chain.connect(account);
    const block = await move.send('withdraw', writer, async (sending) => {
      const sent = await writer.send('billing', 'multicall', [calls], sending);
      return sent.blockNumber;
    });
    const moved = `${formatTokens(withdrawnUnits)} tokens are in the wallet`;
    await afterMoved(moved, () => chain.synced(block));
    move.end();
  }
  const missingUnits = BigInt(units.missingUnits ?? 0);
  // Safe: `plan` wrote an address, or nothing.
  const line = gateway ? (gateway as Address) : undefined;
  return outcomeOf(own, line, { releasedUnits, withdrawnUnits, missingUnits });
}

/**
 * What to do, as amounts in base units.
 * @throws CliError NOTHING_TO_WITHDRAW, INSUFFICIENT_BALANCE
 */
function plan(
  own: OwnChain,
  of: {
    readonly wantedUnits: bigint | undefined;
    readonly from: Address | undefined;
    readonly nowSec: number;
  },
): MoveFacts {
  const { wantedUnits, nowSec } = of;
  const { address } = own.account;
  const gateway = of.from ?? onlyLine(own);
  const { freeUnits, line } = standingOf(own, gateway);
  const haveUnits = freeUnits + line.allotted;
  if (haveUnits === 0n) {
    throw new CliError(
      'NOTHING_TO_WITHDRAW',
      `account ${address} has neither free money nor any set aside, see defaas balance`,
    );
  }
  // While money thaws, the amount may be that of the first run, part of which is already in the
  // wallet.
  const isFirst = line.thawing === 0n;
  if (isFirst && wantedUnits !== undefined && wantedUnits > haveUnits) {
    throw new CliError(
      'INSUFFICIENT_BALANCE',
      `${formatTokens(wantedUnits)} tokens are asked for, account ${address} has ${formatTokens(haveUnits)} free and set aside, withdraw less`,
    );
  }
  const isEnded = !isFirst && line.thawEndSec <= nowSec;
  const releasedUnits = isEnded ? least(line.thawing, line.allotted) : 0n;
  const openUnits = freeUnits + releasedUnits;
  const withdrawnUnits = least(openUnits, wantedUnits ?? openUnits);
  const missingUnits = (wantedUnits ?? haveUnits) - withdrawnUnits;
  const thawingUnits = isFirst && gateway ? missingUnits : 0n;
  const units = { releasedUnits, withdrawnUnits, missingUnits, thawingUnits };
  return {
    gateway: gateway ?? '',
    ...Object.fromEntries(Object.entries(units).map(([name, one]) => [name, `${one}`])),
  };
}

/** The gateway of the only line with money; undefined if there is none. @throws CliError USAGE */
function onlyLine({ chain, account }: OwnChain): Address | undefined {
  const lines = chain.view.lines(account.address).filter(({ allotted }) => allotted > 0n);
  if (lines.length < 2) return lines[0]?.gateway;
  const names = lines.map(
    ({ gateway, allotted }) => `${gateway} (${formatTokens(allotted)} tokens)`,
  );
  throw new CliError(
    'USAGE',
    `money is set aside at ${lines.length} gateways: ${names.join(', ')}; name one with --from`,
  );
}

function parseAmount(text: string, isUnits = false): bigint {
  const units = isUnits ? parseUnits(text, 'the amount') : parseTokens(text, 'the amount');
  if (units > 0n) return units;
  throw new CliError('USAGE', 'the amount is 0, withdraw more or leave it out to withdraw all');
}

function standingOf({ account, chain: { view } }: OwnChain, gateway: Address | undefined) {
  const line = (gateway && view.line(account.address, gateway)) ?? NO_LINE;
  return { freeUnits: view.free(account.address), line };
}

function outcomeOf(
  own: OwnChain,
  gateway: Address | undefined,
  done: {
    readonly releasedUnits: bigint;
    readonly withdrawnUnits: bigint;
    readonly missingUnits: bigint;
  },
): Outcome {
  const { freeUnits, line } = standingOf(own, gateway);
  const { missingUnits, ...moved } = done;
  const document = {
    account: own.account.address,
    ...moved,
    freeUnits,
    line: {
      gateway: gateway ?? null,
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
