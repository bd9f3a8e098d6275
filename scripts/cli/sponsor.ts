// `defaas sponsor <function>`: what the publisher pays for its callers per day. A mandate and a
// separate lane pay no more than that.

import { NO_SUBJECT, SPONSOR_KIND } from '../../broker/client/mandates.ts';
import {
  fetchSponsorship,
  putSponsorship,
  type Sponsorship,
} from '../../broker/client/sponsorship.ts';
import type { RegisteredFunction } from '../../contracts/chain/types.ts';
import type { Chain } from '../../contracts/chain.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
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
import { afterMoved } from './move.ts';
import { openOwnLane, ownLaneFor, refuseZero, revokeAllOf, signOwnMandate } from './own-lane.ts';
import { findOwnedFunction } from './owned-function.ts';
import { parseDays } from './renew.ts';
import { parseTokens } from './units.ts';

const DEFAULT_DAYS = '2';
const DAY_SEC = 86_400;

export interface SponsorOptions {
  /** The most that all callers together may cost per UTC day, whole tokens. */
  readonly daily?: string;
  /** Number of days, 2 by default. Today's voucher is signed now, later ones by `watch`. */
  readonly days?: string;
  /** Renews: before this mandate ends, `watch` signs the next one for the same number of days. */
  readonly renew?: boolean;
  readonly stop?: boolean;
  /** Whole tokens to set aside for it. */
  readonly deposit?: string;
}

/**
 * Shows the sponsorship, or sets it if options are given. The manifest says that the publisher pays
 * (`payer`); this says how much.
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
    const session = await openSession(opened, opened.account);
    const document = change
      ? await chain.exclusively(opened.account.address, async () => {
          await chain.synced();
          await revokeAll(opened, chain, fn);
          const put = () => putSponsorship(session, of, change.dailyUnits);
          if (change.dailyUnits === 0n) return put();
          return mandate(flags, opened, chain, { fn, change, put });
        })
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
  /** 0 pays nothing more. */
  readonly dailyUnits: bigint;
  readonly days: number;
  readonly isRenewed: boolean;
  readonly depositUnits: bigint;
}

/** @returns undefined to change nothing */
function parseChange(options: SponsorOptions): Change | undefined {
  const { daily, days, renew: isRenewed = false, stop = false, deposit } = options;
  if (daily !== undefined && stop) {
    throw new CliError('USAGE', 'there is --daily and --stop, give one of them');
  }
  if (stop && (deposit !== undefined || days !== undefined || isRenewed)) {
    throw new CliError('USAGE', '--stop ends it, leave --deposit, --days and --renew out');
  }
  if (stop) return { dailyUnits: 0n, days: 0, isRenewed: false, depositUnits: 0n };
  if (daily === undefined) {
    if (deposit === undefined && days === undefined && !isRenewed) return undefined;
    throw new CliError(
      'USAGE',
      '--deposit, --days and --renew come with --daily, which says what is paid a day',
    );
  }
  const dailyUnits = parseTokens(daily, '--daily');
  refuseZero(dailyUnits, '--daily');
  const count = parseDays(days ?? DEFAULT_DAYS);
  const depositUnits = deposit === undefined ? 0n : parseTokens(deposit, '--deposit');
  return { dailyUnits, days: count, isRenewed, depositUnits };
}

function purposeOf({ id }: RegisteredFunction): string {
  return `sponsor:${id}`;
}

/** Revokes what was signed for the function before: from now on nothing is signed for it. */
async function revokeAll(opened: Opened, chain: Chain, fn: RegisteredFunction): Promise<void> {
  const lane = ownLaneFor(opened, chain, purposeOf(fn), await chain.nowSec());
  if (!lane) return;
  opened.store.putRenewalDays(lane, undefined);
  await revokeAllOf(opened, lane);
}

/** Opens the lane, signs for it, and tells the gateway the sponsorship (`put`). */
async function mandate(
  flags: Flags,
  opened: Opened,
  chain: Chain,
  of: {
    readonly fn: RegisteredFunction;
    readonly change: Change;
    readonly put: () => Promise<Sponsorship>;
  },
): Promise<Sponsorship> {
  const { fn, change, put } = of;
  const { dailyUnits, days, isRenewed, depositUnits } = change;
  const total = dailyUnits * BigInt(days);
  const { lane, move } = await openOwnLane(flags, opened, chain, {
    purpose: purposeOf(fn),
    capUnits: total,
    depositUnits,
    remedy: 'add --deposit <tokens>',
  });
  const sign = async (): Promise<Sponsorship> => {
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
    if (isRenewed) opened.store.putRenewalDays(lane, days);
    return put();
  };
  if (move === undefined) return sign();
  const moved = `${formatTokens(depositUnits)} tokens are deposited and set aside for calls`;
  const sponsorship = await afterMoved(moved, sign);
  move.end();
  return sponsorship;
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
  return `${name}: ${limit}; ${spent}; ${total} in all; each further day needs defaas watch, which signs for it`;
}
