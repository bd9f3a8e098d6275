// `defaas deposit <tokens>`: sets money aside at the gateway, and opens a lane with its own key to
// spend it.
import { coverageOf } from '../../broker/client/coverage.ts';
import { type LaneDocument, putLaneLimit } from '../../broker/client/lane.ts';
import type { ChainWriter } from '../../contracts/chain/writer.ts';
import type { Chain } from '../../contracts/chain.ts';
import { createKey, type Key } from '../../contracts/keystore.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { readLaneKey, writeLaneKey } from './account.ts';
import { awaitBlock } from './await-block.ts';
import { tellCoverage, tellTerms } from './before-money.ts';
import { LOCAL_CHAIN_ID, openChain } from './chain.ts';
import { CliError } from './cli-error.ts';
import {
  type Flags,
  note,
  type Opened,
  type Outcome,
  openGateway,
  openSession,
} from './context.ts';
import { lanesHere } from './lanes-here.ts';
import { afterMoved, openMove } from './move.ts';
import type { StoredLane } from './store.ts';
import { parseTokens, parseUnits } from './units.ts';

/** How long a lane stays open, seconds. Another deposit renews this time. */
export const LANE_LIFE_SEC = 30 * 24 * 3600;
/** Mode of the lanes that this command opens (docs/contracts.md 6.2). */
export const PREPAID = 1;

export interface DepositOptions {
  readonly units?: boolean;
  readonly to: string;
  /** The most that the lane's key may spend per UTC day, whole tokens, or `none`. */
  readonly daily?: string;
}

/**
 * Deposits, allots the money to the gateway and opens a lane, or extends the cap and the time of
 * the account's lane there.
 * @throws CliError USAGE, INSUFFICIENT_TOKENS the wallet is short and this is no local chain;
 *   ChainError CHAIN_...
 */
export async function deposit(
  flags: Flags,
  amount: string,
  options: DepositOptions,
): Promise<Outcome> {
  const units = options.units
    ? parseUnits(amount, 'the amount')
    : parseTokens(amount, 'the amount');
  if (units === 0n) throw new CliError('USAGE', 'the amount is 0, deposit more');
  if (options.to !== 'lane' && options.to !== 'free') {
    throw new CliError('USAGE', `--to takes lane or free, got "${options.to}"`);
  }
  const daily = options.daily === undefined ? undefined : parseDaily(options.daily);
  if (daily && options.to === 'free') {
    throw new CliError('USAGE', '--daily is of a lane, leave it out with --to free');
  }
  const opened = await openGateway(flags);
  const chain = await openChain(opened);
  try {
    await tellTerms(flags, opened, chain);
    tellCoverage(flags, opened, chain, options.to === 'free' ? 0n : units);
    return await chain.exclusively(opened.account.address, () => {
      const parts = { flags, opened, chain, units };
      return options.to === 'free' ? depositFree(parts) : fillLane(parts, daily);
    });
  } finally {
    chain.close();
    opened.close();
  }
}

interface Parts {
  readonly flags: Flags;
  readonly opened: Opened;
  readonly chain: Chain;
  readonly units: bigint;
}

/** Names what a deposit moves: the same command finds it again after a failure. */
export function moveName({ connection, account }: Opened, to: string, units: bigint): string {
  const { chainId, contracts } = connection.chain;
  const { gateway } = connection.document;
  return `deposit ${chainId} ${contracts.billing} ${account.address} ${gateway} ${to} ${units}`;
}

async function depositFree({ flags, opened, chain, units }: Parts): Promise<Outcome> {
  const writer = chain.connect(opened.account);
  const move = openMove(opened.confirmed, moveName(opened, 'free', units));
  let mintedUnits = 0n;
  const block = await move.send('deposit', writer, async (sending) => {
    mintedUnits = await mintIfShort(flags, chain, writer, units);
    return writer.approveAndDeposit(units, opened.account.address, sending);
  });
  await afterMoved(`${formatTokens(units)} tokens are deposited`, () => chain.synced(block));
  move.end();
  return outcomeOf(opened, chain, { units, mintedUnits, isResumed: move.isResumed });
}

/**
 * Adds money to the account's line at the gateway, and lets a prepaid lane spend it, in one
 * transaction: the newest lane, or a new one with its own key.
 */
async function fillLane(
  { flags, opened, chain, units }: Parts,
  daily: Daily | undefined,
): Promise<Outcome> {
  await chain.synced();
  const { account, connection, house, store, confirmed } = opened;
  const { gateway } = connection.document;
  const writer = chain.connect(account);
  const nowSec = await chain.nowSec();
  let key: Key | undefined;
  const move = openMove(confirmed, moveName(opened, 'lane', units), () => {
    const lane = openLaneOf(opened, chain, nowSec);
    key = lane ? undefined : createKey();
    return { signer: lane?.signer ?? key?.address ?? '' };
  });
  // Safe: it was written from an address.
  const signer = move.facts.signer as Address;
  let mintedUnits = 0n;
  const block = await move.send('deposit', writer, async (sending) => {
    // The key is on disk before the chain knows it, and in the store before money can be spent with
    // it.
    if (key) {
      writeLaneKey(house.home, key);
      store.addLane({ payer: account.address, signer });
    }
    mintedUnits = await mintIfShort(flags, chain, writer, units);
    const lane = roomFor(chain, { payer: account.address, gateway, signer }, { units, nowSec });
    return writer.depositAllotOpenLane({ amount: units, gateway, ...lane }, sending);
  });
  const moved = `${formatTokens(units)} tokens are deposited and set aside for calls`;
  return afterMoved(moved, async () => {
    await chain.synced(block);
    // The next call must be able to spend it.
    await awaitBlock(connection, chain.view.head.number);
    const limited = daily && (await limit(opened, signer, daily.units));
    move.end();
    const done = { units, mintedUnits, signer, isResumed: move.isResumed };
    return outcomeOf(opened, chain, { ...done, ...(limited && { limited }) });
  });
}

/** The terms of a new lane, or those that let an open one take all that is set aside then. */
export function roomFor(
  { view }: Pick<Chain, 'view'>,
  { payer, gateway, signer }: StoredLane & { readonly gateway: Address },
  { units, nowSec }: { readonly units: bigint; readonly nowSec: number },
) {
  const expirySec = nowSec + LANE_LIFE_SEC;
  const lane = view.lane(payer, gateway, signer);
  if (!lane) return { lane: { signer, cap: units, expirySec, mode: PREPAID } } as const;
  const reachable = lane.settled + (view.line(payer, gateway)?.allotted ?? 0n) + units;
  // Neither may shrink, whatever clock an earlier deposit had.
  const cap = reachable > lane.cap ? reachable : lane.cap;
  return { extend: { signer, cap, expirySec: Math.max(expirySec, lane.expirySec) } } as const;
}

interface Daily {
  /** null: no limit. */
  readonly units: bigint | null;
}

/** `0.5` -> 500 000 units, `none` -> null. @throws CliError USAGE */
function parseDaily(text: string): Daily {
  return { units: text === 'none' ? null : parseTokens(text, '--daily') };
}

/** Sets the daily limit. The payer signs in for it, not the limited key. */
async function limit(
  opened: Opened,
  signer: Address,
  dailyUnits: bigint | null,
): Promise<LaneDocument> {
  const session = await openSession(opened, opened.account);
  return putLaneLimit(session, { payer: opened.account.address, signer }, dailyUnits);
}

/**
 * Mints missing tokens on a local chain, where they cost nothing.
 * @throws CliError INSUFFICIENT_TOKENS
 */
export async function mintIfShort(
  flags: Flags,
  chain: Chain,
  writer: ChainWriter,
  units: bigint,
): Promise<bigint> {
  const missing = await missingUnits(chain, writer.address, units);
  if (missing === 0n) return 0n;
  await writer.mintMock(missing);
  note(flags, `minted ${formatTokens(missing)} mock tokens: this is a local chain`);
  return missing;
}

/**
 * How much a local chain would have to mint for the account to hold this amount.
 * @throws CliError INSUFFICIENT_TOKENS it is no local chain
 */
export async function missingUnits(chain: Chain, account: Address, units: bigint): Promise<bigint> {
  const [held] = await chain.read('token', 'balanceOf', [account]);
  const missing = units - BigInt(held);
  if (missing <= 0n) return 0n;
  if (chain.chainId === LOCAL_CHAIN_ID) return missing;
  throw new CliError(
    'INSUFFICIENT_TOKENS',
    `${formatTokens(missing)} tokens are missing, on ${account}, send it tokens ${chain.contracts.token} or deposit less`,
  );
}

/** The account's newest prepaid lane that is still open and whose key is here. */
function openLaneOf(opened: Opened, chain: Chain, nowSec: number): StoredLane | undefined {
  const { gateway } = opened.connection.document;
  for (const { payer, signer } of lanesHere(opened)) {
    const lane = chain.view.lane(payer, gateway, signer);
    if (!lane || lane.mode !== PREPAID || lane.expirySec <= nowSec) continue;
    refuseStopped(opened, { payer, signer });
    // Fail before money goes to a lane whose key cannot be read: it could only thaw.
    readLaneKey(opened.house.home, signer);
    return { payer, signer };
  }
  return undefined;
}

/** Refuses to add money at a gateway that was caught lying. @throws CliError LANE_STOPPED */
function refuseStopped({ store, connection }: Opened, lane: StoredLane): void {
  const { stopped } = store.laneMemory(lane).read();
  if (stopped === undefined) return;
  throw new CliError(
    'LANE_STOPPED',
    `gateway ${connection.document.gateway} was found lying: ${stopped}, withdraw and use another gateway`,
  );
}

function outcomeOf(
  { account, connection }: Opened,
  chain: Chain,
  done: {
    readonly units: bigint;
    readonly mintedUnits: bigint;
    /** An earlier run has moved the money, and this one has ended it. */
    readonly isResumed: boolean;
    readonly signer?: Address;
    readonly limited?: LaneDocument;
  },
): Outcome {
  const { gateway } = connection.document;
  const { view } = chain;
  const lane = done.signer && view.lane(account.address, gateway, done.signer);
  const allottedUnits = view.line(account.address, gateway)?.allotted ?? 0n;
  const document = {
    account: account.address,
    depositedUnits: done.units,
    isResumed: done.isResumed,
    mintedUnits: done.mintedUnits,
    freeUnits: view.free(account.address),
    line: { gateway, allottedUnits },
    coverage: coverageOf(view, gateway),
    lane: lane
      ? {
          signer: done.signer,
          capUnits: lane.cap,
          expirySec: lane.expirySec,
          ...(done.limited && { dailyUnits: done.limited.limit.dailyUnits }),
        }
      : null,
  };
  const which = done.isResumed
    ? ' by an earlier run that failed afterwards (run it again to deposit as much once more)'
    : '';
  const amount = `${formatTokens(done.units)} tokens are deposited${which}`;
  if (!lane) return { document, text: `${amount}, free: ${formatTokens(document.freeUnits)}` };
  const until = new Date(lane.expirySec * 1000).toISOString().slice(0, 10);
  return {
    document,
    text: `${amount}; set aside for calls: ${formatTokens(allottedUnits)}, until ${until}${dailyText(done.limited)}`,
  };
}

function dailyText(limited: LaneDocument | undefined): string {
  if (limited === undefined) return '';
  const { dailyUnits } = limited.limit;
  return dailyUnits === null
    ? ', without a limit per day'
    : `, at most ${formatTokens(dailyUnits)} a day`;
}
