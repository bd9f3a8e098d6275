// Step 7 of a call: what it costs, and before it runs what it can cost at most.

import type { FunctionVersion } from '../../contracts/chain/types.ts';
import type { Call, Execution } from '../../contracts/libraries/receipts.ts';
import { priceOf } from '../../contracts/libraries/tariffs.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { DefaasError } from '../errors.ts';
import type { Target } from '../routing/target.ts';
import type { Outcome } from './attempt.ts';
import type { Invocation } from './invocation.ts';
import { initMsOf } from './metering.ts';

/** An attempt that ran, or may have run. */
export type Ran = Exclude<Outcome, { kind: 'none' }>;

/** A finished call's usage, as the receipt records it, and its price in base units. */
export type Priced = Pick<
  Execution,
  'billedMs' | 'initMs' | 'memoryMiB' | 'status' | 'finishedAtSec'
> & { readonly price: bigint };

/**
 * Usage times tariff, rounded as Tariffs.sol rounds. 0 where the outcome is unknown or the function
 * failed, and where the call ended after its deadline (Disputes.proveOverLimit).
 */
export function priceCall(
  outcome: Ran,
  call: Pick<Call, 'deadlineSec'>,
  { version }: Target,
  nowMs: number,
): Priced {
  const used = usageOf(outcome, version);
  const finishedAtSec = Math.floor(nowMs / 1000);
  const price = finishedAtSec > call.deadlineSec ? 0n : priceOf(used, version);
  return { ...used, finishedAtSec, price };
}

function usageOf(outcome: Ran, version: FunctionVersion): Omit<Priced, 'price' | 'finishedAtSec'> {
  if (outcome.kind === 'unknown') {
    return { billedMs: 0, initMs: 0, memoryMiB: version.memoryMiB, status: 0 };
  }
  const { result } = outcome;
  return {
    billedMs: outcome.billedMs,
    initMs: initMsOf(result),
    memoryMiB: Math.ceil(result.usage.memoryMiB),
    status: result.ok ? result.status : 0,
  };
}

/**
 * The highest price that the version can reach: what is held while the call runs.
 * @throws DefaasError PRICE_ABOVE_MAX  it is above what the caller allows
 */
export function maxPriceOf(
  version: FunctionVersion,
  { maxPriceUnits: allowed }: Pick<Invocation, 'maxPriceUnits'>,
): bigint {
  const units = worstPriceOf(version);
  if (allowed === undefined || units <= allowed) return units;
  throw new DefaasError(
    'PRICE_ABOVE_MAX',
    `the call may cost ${formatTokens(units)} tokens, the caller allows ${formatTokens(allowed)}, raise Defaas-Max-Price to ${units} base units`,
    { members: { priceUnits: `${units}`, maxPriceUnits: `${allowed}` } },
  );
}

/** Price of a run that takes the whole timeout. */
export function worstPriceOf(version: FunctionVersion): bigint {
  const { timeoutMs, memoryMiB } = version;
  return priceOf({ status: 200, billedMs: timeoutMs, memoryMiB }, version);
}
