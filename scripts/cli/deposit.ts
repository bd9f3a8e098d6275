// `defaas deposit <tokens>`: sets money aside at the gateway, and opens a lane with its own key to
// spend it.
import { coverageOf } from '../../broker/client/coverage.ts';
import { type LaneDocument, putLaneLimit } from '../../broker/client/lane.ts';
import type { Lane } from '../../contracts/chain/types.ts';
import type { ChainWriter } from '../../contracts/chain/writer.ts';
import type { Chain } from '../../contracts/chain.ts';
import { createKey } from '../../contracts/keystore.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
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
import type { StoredLane } from './store.ts';
import { formatTokens, parseTokens, parseUnits } from './units.ts';

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
    if (options.to === 'free') {
      await tellTerms(flags, opened, chain);
      tellCoverage(flags, opened, chain, 0n);
      const writer = chain.connect(opened.account);
      const mintedUnits = await mintIfShort(flags, chain, writer, units);
      await chain.synced(await writer.approveAndDeposit(units));
      return outcomeOf(opened, chain, { units, mintedUnits });
    }
    const { mintedUnits, signer } = await fillLane(flags, opened, chain, units);
    // The next call must be able to spend it.
    await awaitBlock(opened.connection, chain.view.head.number);
    const limited = daily && (await limit(opened, signer, daily.units));
    return outcomeOf(opened, chain, { units, mintedUnits, signer, ...(limited && { limited }) });
  } finally {
    chain.close();
    opened.close();
  }
}

/**
 * Adds money to the account's line at the gateway, and lets a prepaid lane spend it: its newest
 * one, or a new one with its own key.
 * @throws CliError INSUFFICIENT_TOKENS; ChainError CHAIN_...
 */
export async function fillLane(
  flags: Flags,
  opened: Opened,
  chain: Chain,
  units: bigint,
): Promise<{ readonly signer: Address; readonly mintedUnits: bigint }> {
  await tellTerms(flags, opened, chain);
  tellCoverage(flags, opened, chain, units);
  const writer = chain.connect(opened.account);
  const mintedUnits = await mintIfShort(flags, chain, writer, units);
  const lane = openLaneOf(opened, chain);
  const signer = lane
    ? await extend(opened, chain, writer, lane, units)
    : await open(opened, chain, writer, units);
  return { signer, mintedUnits };
}

/** `0.5` -> 500 000 units, `none` -> null. @throws CliError USAGE */
function parseDaily(text: string): { readonly units: bigint | null } {
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

interface OpenLane extends Lane {
  readonly signer: Address;
}

/** The account's newest prepaid lane that is still open and whose key is here. */
export function openLaneOf(opened: Opened, chain: Chain): OpenLane | undefined {
  const { gateway } = opened.connection.document;
  for (const { payer, signer } of lanesHere(opened)) {
    const lane = chain.view.lane(payer, gateway, signer);
    if (!lane || lane.mode !== PREPAID || lane.expirySec <= nowSec(chain)) continue;
    refuseStopped(opened, { payer, signer });
    // Fail before money goes to a lane whose key cannot be read: it could only thaw.
    readLaneKey(opened.house.home, signer);
    return { ...lane, signer };
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

/**
 * Opens a lane. Its key is on disk before the chain knows it, and in the store before money can be
 * spent with it.
 */
async function open(
  { account, connection, house, store }: Opened,
  chain: Chain,
  writer: ChainWriter,
  units: bigint,
): Promise<Address> {
  const key = createKey();
  const signer = key.address;
  writeLaneKey(house.home, key);
  store.addLane({ payer: account.address, signer });
  const expirySec = nowSec(chain) + LANE_LIFE_SEC;
  const blockNumber = await writer.depositAllotOpenLane({
    amount: units,
    gateway: connection.document.gateway,
    lane: { signer, cap: units, expirySec, mode: PREPAID },
  });
  await chain.synced(blockNumber);
  return signer;
}

/**
 * Extends the lane so that it may take all that is set aside. A second run after a failure
 * completes the first.
 */
async function extend(
  { account, connection }: Opened,
  chain: Chain,
  writer: ChainWriter,
  { signer, settled, cap }: OpenLane,
  units: bigint,
): Promise<Address> {
  const { gateway } = connection.document;
  await chain.synced(await writer.depositAllotOpenLane({ amount: units, gateway }));
  const allotted = chain.view.line(account.address, gateway)?.allotted ?? 0n;
  const reachable = settled + allotted;
  const expirySec = nowSec(chain) + LANE_LIFE_SEC;
  const blockNumber = await writer.extendLane(gateway, {
    signer,
    cap: reachable > cap ? reachable : cap,
    expirySec,
  });
  await chain.synced(blockNumber);
  return signer;
}

function outcomeOf(
  { account, connection }: Opened,
  chain: Chain,
  done: {
    readonly units: bigint;
    readonly mintedUnits: bigint;
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
  const amount = `${formatTokens(done.units)} tokens are deposited`;
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

/** The chain's time, Unix seconds. A chain that mines on demand may be behind the clock. */
export function nowSec(chain: Chain): number {
  return Math.max(chain.view.head.timestampSec, Math.floor(Date.now() / 1000));
}
