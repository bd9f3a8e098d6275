// Step 4 of a call: reserves the maximum price on the payer's line, lane and daily limits. In
// memory, without an await.

import type { Address } from '../../contracts/libraries/keccak.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import type { Config } from '../config.ts';
import { DefaasError } from '../errors.ts';
import type { SpendingScope } from '../ledger/ledger.ts';
import type { Target } from '../routing/target.ts';
import type { Caller } from './caller.ts';
import { type DailyHold, type DailyLimits, functionScope, laneScope } from './daily-limits.ts';
import type { LaneState, Lanes, Shortage } from './lanes.ts';
import type { Mandates } from './mandates.ts';

/** The parts of the gateway that a hold uses. */
export interface HoldParts {
  readonly address: Address;
  readonly config: Pick<Config, 'exposureMaxUnits'>;
  readonly dailyLimits: DailyLimits;
  readonly lanes: Lanes;
  readonly mandates: Pick<Mandates, 'hold'>;
}

/** Money reserved for one call. */
export interface Hold {
  readonly lane: LaneState;
  readonly daily: readonly DailyHold[];
  /**
   * What the payer's line had left for new calls before this one, and the amount that it was last
   * filled to, base units.
   */
  readonly lineUnits: bigint;
  readonly filledUnits: bigint;
  /** Releases the reservation, once, when the call has ended. */
  release(): void;
}

/**
 * Reserves `units` for a call.
 * @throws DefaasError PAYMENT_REQUIRED   too little on the line or the lane; its members say
 *   exactly what is missing
 * @throws DefaasError SPONSOR_EMPTY      too little on the publisher's lane or the function's daily
 *   limit
 * @throws DefaasError DAILY_LIMIT        too little of the session key's daily limit
 * @throws DefaasError EXPOSURE_REACHED   the payer has too much unsettled here; a settlement
 *   resolves it
 */
export function holdMoney(parts: HoldParts, caller: Caller, target: Target, units: bigint): Hold {
  refuseExposure(parts, caller, units);
  const daily: DailyHold[] = [];
  const releaseDaily = (): void => {
    for (const one of daily) one.release();
  };
  for (const scope of scopesOf(caller, target)) {
    const room = parts.dailyLimits.hold(scope, units);
    if (room === undefined) {
      releaseDaily();
      throw caller.sponsored
        ? sponsorEmpty(target, 'dailyLimit')
        : dailyLimit(parts, caller, scope, units);
    }
    daily.push(room);
  }
  const { mandate } = caller;
  const allowed = mandate && parts.mandates.hold(mandate, units);
  if (mandate && allowed === undefined) {
    releaseDaily();
    throw caller.sponsored ? sponsorEmpty(target, 'allowance') : mandateEmpty(target, units);
  }
  if (allowed !== undefined) daily.push(allowed);
  const held = parts.lanes.hold(caller, units);
  if (!held.ok) {
    releaseDaily();
    throw caller.sponsored
      ? sponsorEmpty(target, 'deposit')
      : shortage(parts, caller, units, held.shortage);
  }
  const { lane, lineUnits, filledUnits } = held;
  return {
    lane,
    daily,
    lineUnits,
    filledUnits,
    release: () => {
      parts.lanes.release(lane, units);
      releaseDaily();
    },
  };
}

/** The error for a handed-on token whose mandate is used up or closed. */
export function mandateEmpty({ label }: Target, units: bigint): DefaasError {
  return new DefaasError(
    'MANDATE_EMPTY',
    `the token does not cover a call of ${label} that may cost ${formatTokens(units)} tokens, ask whoever gave it to you for another`,
    { members: { priceUnits: `${units}` } },
  );
}

/** Why a sponsor pays for a call no more, and what its publisher does about it. */
const SPONSOR_REASONS = {
  mandate: 'has signed for no callers here, or for none any more; it runs defaas sponsor',
  maxPrice: 'has signed for less than this call may cost; it runs defaas sponsor again',
  allowance: 'has no more for callers today, or in all; it runs defaas sponsor with more a day',
  dailyLimit:
    'has reached its limit of the day for this function; it raises that with defaas sponsor',
  deposit: 'has too little set aside for callers; it runs defaas sponsor with --deposit',
} as const;

export type SponsorReason = keyof typeof SPONSOR_REASONS;

/** The error for a function whose publisher pays for no more calls. */
export function sponsorEmpty(target: Target, reason: SponsorReason): DefaasError {
  return new DefaasError(
    'SPONSOR_EMPTY',
    `the publisher of ${target.label} ${SPONSOR_REASONS[reason]}; a caller may sign in and pay itself`,
    { members: { reason } },
  );
}

function scopesOf(caller: Caller, target: Target): SpendingScope[] {
  const lane = laneScope(caller.payer, caller.signer);
  return caller.sponsored ? [functionScope(target.function), lane] : [lane];
}

function refuseExposure(parts: HoldParts, { payer }: Caller, units: bigint): void {
  const exposure = parts.lanes.exposureOf(payer);
  if (exposure + units <= parts.config.exposureMaxUnits) return;
  throw new DefaasError(
    'EXPOSURE_REACHED',
    `${payer} has ${formatTokens(exposure)} tokens unsettled at this gateway, which allows ${formatTokens(parts.config.exposureMaxUnits)}, try again after its next settlement`,
    { retryAfterSec: 60 },
  );
}

function dailyLimit(
  parts: HoldParts,
  caller: Caller,
  scope: SpendingScope,
  units: bigint,
): DefaasError {
  const limit = parts.dailyLimits.limitOf(scope) ?? 0n;
  const spent = parts.dailyLimits.spentToday(scope);
  return new DefaasError(
    'DAILY_LIMIT',
    `the key ${caller.signer} may spend ${formatTokens(limit)} tokens a day, ${formatTokens(spent)} are spent or held and the call may cost ${formatTokens(units)}, raise its limit or wait for the next UTC day`,
    { members: { limitUnits: `${limit}`, spentUnits: `${spent}`, priceUnits: `${units}` } },
  );
}

function shortage(parts: HoldParts, caller: Caller, units: bigint, missing: Shortage): DefaasError {
  const { reason, needUnits, ceilingUnits, lineUnits } = missing;
  return new DefaasError(
    'PAYMENT_REQUIRED',
    `${formatTokens(needUnits)} tokens are missing (${reason}) for a call that may cost ${formatTokens(units)}, on the lane of ${caller.signer}, ${remedyOf(reason)}`,
    {
      members: {
        reason,
        needUnits: `${needUnits}`,
        priceUnits: `${units}`,
        ceilingUnits: `${ceilingUnits}`,
        lineUnits: `${lineUnits}`,
        payer: caller.payer,
        gateway: parts.address,
        signer: caller.signer,
      },
    },
  );
}

function remedyOf(reason: Shortage['reason']): string {
  if (reason === 'ceiling') return 'sign a voucher that is higher by that much';
  if (reason === 'cap' || reason === 'expiry') return 'extend the lane or open another';
  return 'run defaas deposit';
}
