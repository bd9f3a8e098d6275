// `defaas sponsor <function>`: what the publisher pays of its callers per day, by a mandate and a
// lane of its own that pay no more than that.

import { NO_SUBJECT, revokeMandate, SPONSOR_KIND } from '../../broker/client/mandates.ts';
import {
  fetchSponsorship,
  putSponsorship,
  type Sponsorship,
} from '../../broker/client/sponsorship.ts';
import type { RegisteredFunction } from '../../contracts/chain/types.ts';
import type { Chain } from '../../contracts/chain.ts';
import { readLaneKey } from './account.ts';
import { openChain } from './chain.ts';
import { CliError } from './cli-error.ts';
import {
  type Flags,
  note,
  type Opened,
  type Outcome,
  openGateway,
  openSession,
} from './context.ts';
import {
  acknowledgeLane,
  openOwnLane,
  ownLaneFor,
  refuseZero,
  signOwnMandate,
} from './own-lane.ts';
import { findOwnedFunction } from './owned-function.ts';
import { formatTokens, parseTokens } from './units.ts';

const DEFAULT_DAYS = '2';
const MAX_DAYS = 365;
const DAY_SEC = 86_400;

export interface SponsorOptions {
  /** Whole tokens that all callers together may cost per UTC day. */
  readonly daily?: string;
  /** For how many days, 2 by default; a gateway that lies could take all of them at once. */
  readonly days?: string;
  readonly stop?: boolean;
  /** Whole tokens to set aside for it. */
  readonly deposit?: string;
}

/**
 * Shows, or with options sets. The manifest says that the publisher pays (`payer`); this says how much.
 * @throws CliError USAGE, FUNCTION_UNKNOWN, NOT_OWNER, LANE_UNKNOWN there is nothing to pay from,
 * INSUFFICIENT_TOKENS
 */
export async function sponsor(
  flags: Flags,
  target: string,
  options: SponsorOptions,
): Promise<Outcome> {
  const change = parseChange(options);
  const opened = await openGateway(flags);
  const chain = await openChain(opened);
  try {
    const { fn } = findOwnedFunction(opened, chain, target);
    const of = { owner: fn.namespace, name: fn.name };
    if (change) {
      await revokeAll(opened, chain, fn);
      if (change.dailyUnits > 0n) await mandate(flags, opened, chain, fn, change);
    }
    const session = await openSession(opened, opened.account);
    const document = change
      ? await putSponsorship(session, of, change.dailyUnits)
      : await fetchSponsorship(session, of);
    if (!document.isSponsored) {
      note(
        flags,
        `its callers pay: set "payer": "publisher" and "access": "public" in defaas.json, then register and deploy`,
      );
    }
    return { document, text: textOf(document, change) };
  } finally {
    chain.close();
    opened.close();
  }
}

interface Change {
  /** 0: nothing more is paid. */
  readonly dailyUnits: bigint;
  readonly days: number;
  readonly depositUnits: bigint;
}

/** @returns undefined to change nothing */
function parseChange({ daily, days, stop = false, deposit }: SponsorOptions): Change | undefined {
  if (daily !== undefined && stop) {
    throw new CliError('USAGE', 'there is --daily and --stop, give one of them');
  }
  if (stop) return { dailyUnits: 0n, days: 0, depositUnits: 0n };
  if (daily === undefined) {
    if (deposit === undefined && days === undefined) return undefined;
    throw new CliError(
      'USAGE',
      '--deposit and --days come with --daily, which says what is paid a day',
    );
  }
  const dailyUnits = parseTokens(daily, '--daily');
  refuseZero(dailyUnits, '--daily');
  const count = Number(days ?? DEFAULT_DAYS);
  if (!Number.isInteger(count) || count < 1 || count > MAX_DAYS) {
    throw new CliError('USAGE', `--days must be a whole number from 1 to ${MAX_DAYS}`);
  }
  const depositUnits = deposit === undefined ? 0n : parseTokens(deposit, '--deposit');
  return { dailyUnits, days: count, depositUnits };
}

function purposeOf({ id }: RegisteredFunction): string {
  return `sponsor:${id}`;
}

/** What was signed for the function before: from now on nothing is signed for it. */
async function revokeAll(opened: Opened, chain: Chain, fn: RegisteredFunction): Promise<void> {
  const { store, house } = opened;
  const lane = ownLaneFor(opened, chain, purposeOf(fn));
  if (!lane) return;
  const memory = store.laneMemory(lane);
  const session = await openSession(opened, readLaneKey(house.home, lane.signer), lane);
  for (const { hash, mandate, revokedAtMs } of memory.mandates()) {
    if (revokedAtMs !== undefined || mandate.untilSec * 1000 < Date.now()) continue;
    memory.revokeMandate(hash, Date.now());
    await revokeMandate(session, lane, hash);
  }
  await acknowledgeLane(opened, lane);
}

async function mandate(
  flags: Flags,
  opened: Opened,
  chain: Chain,
  fn: RegisteredFunction,
  { dailyUnits, days, depositUnits }: Change,
): Promise<void> {
  const total = dailyUnits * BigInt(days);
  const lane = await openOwnLane(flags, opened, chain, {
    purpose: purposeOf(fn),
    capUnits: total,
    depositUnits,
    remedy: 'add --deposit <tokens>',
  });
  await signOwnMandate(opened, chain, lane, {
    kind: SPONSOR_KIND,
    subject: NO_SUBJECT,
    functionId: fn.id,
    maxPrice: dailyUnits,
    perDay: dailyUnits,
    total,
    untilSec: Math.floor(Date.now() / 1000) + days * DAY_SEC,
    serial: BigInt(Date.now()),
  });
}

function textOf(
  { function: name, dailyUnits, spentTodayUnits, lane }: Sponsorship,
  change: Change | undefined,
): string {
  if (dailyUnits === 0n || lane === null) return `${name}: nothing is paid, add --daily <tokens>`;
  const until = new Date(lane.untilSec * 1000).toISOString();
  const limit = `at most ${formatTokens(dailyUnits)} tokens a day are paid until ${until}`;
  const spent = `${formatTokens(spentTodayUnits)} are spent or held today, ${formatTokens(lane.leftUnits)} are left`;
  if (!change) return `${name}: ${limit}; ${spent}`;
  const total = formatTokens(change.dailyUnits * BigInt(change.days));
  return `${name}: ${limit}; ${spent}; a gateway that lies could take ${total} in all, and no more`;
}
