// Step 4 of a call: room for the worst price on the payer's line, lane and daily limits; in memory, without an await.
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import type { SpendingScope } from '../ledger/ledger.ts';
import type { Target } from '../routing/target.ts';
import type { Caller } from './caller.ts';
import { type DailyHold, functionScope, laneScope } from './daily-limits.ts';
import type { LaneState, Shortage } from './lanes.ts';

/** Room taken for one call. */
export interface Hold {
  readonly lane: LaneState;
  readonly daily: readonly DailyHold[];
  /** What the payer's line had for new calls before this one, and what it was last filled to. */
  readonly lineUnits: bigint;
  readonly filledUnits: bigint;
  /** Gives back what the call did not cost; once, when it has ended. */
  release(): void;
}

/**
 * Takes room for a call that may cost `units`.
 * @throws DefaasError PAYMENT_REQUIRED   the line or the lane leaves none; its members say exactly what is missing
 * @throws DefaasError SPONSOR_EMPTY      the publisher's lane or the function's day leaves none
 * @throws DefaasError DAILY_LIMIT        the session key's day leaves none
 * @throws DefaasError EXPOSURE_REACHED   the payer has too much unsettled here; a settlement mends it
 */
export function holdMoney(gateway: Gateway, caller: Caller, target: Target, units: bigint): Hold {
  refuseExposure(gateway, caller, units);
  const daily: DailyHold[] = [];
  const releaseDaily = (): void => {
    for (const one of daily) one.release();
  };
  for (const scope of scopesOf(caller, target)) {
    const room = gateway.dailyLimits.hold(scope, units);
    if (room === undefined) {
      releaseDaily();
      throw caller.sponsored ? sponsorEmpty(target) : dailyLimit(gateway, caller, scope, units);
    }
    daily.push(room);
  }
  const { mandate } = caller;
  const allowed = mandate && gateway.mandates.hold(mandate, units);
  if (mandate && allowed === undefined) {
    releaseDaily();
    throw caller.sponsored ? sponsorEmpty(target) : mandateEmpty(target, units);
  }
  if (allowed !== undefined) daily.push(allowed);
  const held = gateway.lanes.hold(caller, units);
  if (!held.ok) {
    releaseDaily();
    throw caller.sponsored ? sponsorEmpty(target) : shortage(gateway, caller, units, held.shortage);
  }
  const { lane, lineUnits, filledUnits } = held;
  return {
    lane,
    daily,
    lineUnits,
    filledUnits,
    release: () => {
      gateway.lanes.release(lane, units);
      releaseDaily();
    },
  };
}

/** The problem of a token that was handed on and is used up, or closed. */
export function mandateEmpty({ label }: Target, units: bigint): DefaasError {
  return new DefaasError(
    'MANDATE_EMPTY',
    `the token leaves nothing for a call of ${label} that may cost ${units} units, ask whoever gave it to you for another`,
    { members: { priceUnits: `${units}` } },
  );
}

/** The problem of a function whose publisher pays no more. */
export function sponsorEmpty(target: Target): DefaasError {
  return new DefaasError(
    'SPONSOR_EMPTY',
    `the publisher of ${target.label} pays no more calls here now, sign in and pay yourself, or try again later`,
  );
}

function scopesOf(caller: Caller, target: Target): SpendingScope[] {
  const lane = laneScope(caller.payer, caller.signer);
  return caller.sponsored ? [functionScope(target.function), lane] : [lane];
}

function refuseExposure(gateway: Gateway, { payer }: Caller, units: bigint): void {
  const exposure = gateway.lanes.exposureOf(payer);
  if (exposure + units <= gateway.config.exposureMaxUnits) return;
  throw new DefaasError(
    'EXPOSURE_REACHED',
    `${payer} has ${exposure} units unsettled at this gateway, which allows ${gateway.config.exposureMaxUnits}, try again after its next settlement`,
    { retryAfterSec: 60 },
  );
}

function dailyLimit(
  gateway: Gateway,
  caller: Caller,
  scope: SpendingScope,
  units: bigint,
): DefaasError {
  const limit = gateway.dailyLimits.limitOf(scope) ?? 0n;
  const spent = gateway.dailyLimits.spentToday(scope);
  return new DefaasError(
    'DAILY_LIMIT',
    `the key ${caller.signer} may spend ${limit} units a day, ${spent} are spent or held and the call may cost ${units}, raise its limit or wait for the next UTC day`,
    { members: { limitUnits: `${limit}`, spentUnits: `${spent}`, priceUnits: `${units}` } },
  );
}

function shortage(gateway: Gateway, caller: Caller, units: bigint, missing: Shortage): DefaasError {
  const { reason, needUnits, ceilingUnits, lineUnits } = missing;
  return new DefaasError(
    'PAYMENT_REQUIRED',
    `${needUnits} units are missing (${reason}) for a call that may cost ${units}, on the lane of ${caller.signer}, ${remedyOf(reason)}`,
    {
      members: {
        reason,
        needUnits: `${needUnits}`,
        priceUnits: `${units}`,
        ceilingUnits: `${ceilingUnits}`,
        lineUnits: `${lineUnits}`,
        payer: caller.payer,
        gateway: gateway.address,
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
