// The way of one call, read top to bottom: resolve, authenticate, authorize, hold, choose, attempt,
// price, record; the route sends the reply.
import type { Logger } from 'pino';
import type { Chain } from '../../contracts/chain.ts';
import type { Deployments } from '../deployments/deployments.ts';
import type { KeyGuard } from '../identity/key-guard.ts';
import type { Caller } from '../money/caller.ts';
import type { FreeFailures } from '../money/free-failures.ts';
import { type Hold, type HoldParts, holdMoney } from '../money/hold.ts';
import type { Lanes } from '../money/lanes.ts';
import type { Limits } from '../money/limits.ts';
import type { LowBalance } from '../money/low-balance.ts';
import type { Mandates } from '../money/mandates.ts';
import type { StoppedPublishers } from '../money/stopped-publishers.ts';
import { acceptVoucher, type VoucherParts } from '../money/vouchers.ts';
import type { Beacon } from '../routing/beacon.ts';
import { callLimits } from '../routing/call-limits.ts';
import { choose } from '../routing/choose.ts';
import { narrow } from '../routing/routing.ts';
import type { Target } from '../routing/target.ts';
import type { Answers, KeyedCall } from './answers.ts';
import { attempt, type Hedge } from './attempt.ts';
import { type AuthenticateParts, authenticate } from './authenticate.ts';
import { authorize } from './authorize.ts';
import { openCall, ownNonceOf, requestFor } from './call.ts';
import type { Deadlines } from './deadlines.ts';
import type { Answer, Invocation } from './invocation.ts';
import type { SeenNonces } from './nonce.ts';
import { maxPriceOf, priceCall, type Ran } from './price.ts';
import { type RecordParts, record } from './record.ts';
import { providersDown, refuseExcluded, refuseTooLarge, replyOf } from './reply.ts';
import { resolveTarget } from './resolve.ts';

const NO_BODY = new Uint8Array();

/** What a call needs of the gateway. */
export interface InvokeParts extends AuthenticateParts, HoldParts, RecordParts, VoucherParts {
  readonly answers: Answers;
  readonly beacon: Beacon;
  readonly chain: Chain;
  readonly deadlines: Deadlines;
  readonly deployments: Deployments;
  readonly freeFailures: FreeFailures;
  readonly keyGuard: KeyGuard;
  readonly lanes: Lanes;
  readonly limits: Limits;
  readonly log: Pick<Logger, 'error'>;
  readonly lowBalance: LowBalance;
  readonly mandates: Mandates;
  readonly nowMs: () => number;
  readonly seenNonces: SeenNonces;
  readonly stoppedPublishers: Pick<StoppedPublishers, 'refuse'>;
}

/**
 * Runs one call and resolves when its receipt is durable and signed.
 * @throws DefaasError TOKEN_MISSING, TOKEN_INVALID, TOKEN_SCOPE, DPOP_INVALID, CALL_MISSING,
 *   CALL_INVALID, CALL_STALE, NONCE_MISSING, NONCE_USED, MANDATE_EMPTY, FUNCTION_UNKNOWN,
 *   FUNCTION_DEPRECATED, FUNCTION_NOT_DEPLOYED, NOT_GRANTED, CHAIN_STALE, RATE_LIMITED,
 *   FUNCTION_FAILING, METERING_DRIFT, VOUCHER_INVALID, PAYMENT_REQUIRED, PRICE_ABOVE_MAX,
 *   SPONSOR_EMPTY, BODY_TOO_LARGE, ROUTING_EXCLUDES_ALL, PROVIDERS_DOWN, KEY_STOLEN: nothing ran
 *   then, and nothing was charged
 */
export async function invoke(parts: InvokeParts, invocation: Invocation): Promise<Answer> {
  const target = resolveTarget(parts.chain, invocation);
  const caller = await authenticate(parts, invocation, target);
  const atBlock = await authorize(parts.chain, target, caller);
  const call = { invocation, caller, target, atBlock };
  const key = invocation.idempotencyKey;
  if (key === undefined && caller.signed === undefined) return run(parts, call);
  return parts.answers.once({ ...call, key }, (keyed) => run(parts, { ...call, keyed }));
}

interface AuthorizedCall {
  readonly invocation: Invocation;
  readonly caller: Caller;
  readonly target: Target;
  /** The block as of which the call is allowed. */
  readonly atBlock: number;
  readonly keyed?: KeyedCall;
}

/** Hold to record. Throws only when nothing ran, or when the ledger failed. */
async function run(parts: InvokeParts, authorized: AuthorizedCall): Promise<Answer> {
  const { invocation, caller, target, atBlock, keyed } = authorized;
  const { freeFailures, nowMs, seenNonces } = parts;
  const { functionId, functionVersion, timeoutMs, idempotent } = target.version;
  const maxPriceUnits = maxPriceOf(target.version, invocation);
  freeFailures.refuseFailing(target);
  parts.stoppedPublishers.refuse(target);
  parts.keyGuard.refuseStolen();
  const leave = parts.limits.enter(caller.payer, functionId);
  // A key answers its duplicates itself; without one a nonce is taken once.
  const nonce = keyed === undefined ? ownNonceOf(invocation, caller) : undefined;
  let isNonceTaken = false;
  let hold: Hold | undefined;
  let reservedMs = 0;
  try {
    // Durable, so only for a call that is not refused anyway.
    if (invocation.voucher !== undefined) await acceptVoucher(parts, caller, invocation.voucher);
    hold = holdMoney(parts, caller, target, maxPriceUnits);
    const { lane, daily } = hold;
    reservedMs = await freeFailures.reserve(target);

    const draw = caller.signed?.draw ?? (await parts.beacon.drawFor(functionVersion));
    const opened = openCall({
      ...{ gateway: parts.address, invocation, caller, target, lane, draw, maxPriceUnits },
      nowMs: nowMs(),
    });
    const live = parts.deployments.live(functionVersion);
    const limits = callLimits(live);
    const choices = choose(
      { value: draw.value, call: opened.call, ids: draw.ids },
      live,
      narrow(parts.deployments.routing(functionVersion), invocation.routing),
      nowMs(),
    );
    refuseExcluded(target, choices);
    refuseTooLarge(invocation, limits);

    if (nonce !== undefined) seenNonces.begin(nonce);
    isNonceTaken = nonce !== undefined;
    const claiming = keyed?.begin();
    if (claiming !== undefined) await claiming;
    const forFirst = reservedMs;
    // From here on the attempts settle the reservation.
    reservedMs = 0;
    const outcome = await attempt(choices.inTurn, requestFor(invocation), {
      timeoutMs,
      answerBytes: limits.answerBytes,
      idempotent,
      hedge: hedgeOf(parts, target),
      freeFailures,
      spender: target,
      reservedMs: forFirst,
      // A caller that leaves early does not end its call: it runs, is charged, and answers its key.
      deadlines: parts.deadlines,
      nowMs,
      onFault: (err) =>
        parts.log.error({ err, invocationId: invocation.id }, 'attempt failed unexpectedly'),
    });
    if (outcome.kind === 'none') throw providersDown(target, choices, outcome);

    const reply = replyOf(outcome, target);
    // The body is durable before its receipt.
    const store = keyed && (await keyed.keep(reply.ok ? reply.body : NO_BODY));
    const priced = priceCall(outcome, opened.call, target, nowMs());
    const finished = { target, lane, daily, opened, atBlock, choices, outcome, priced, reply };
    const answer = await record(parts, { ...finished, store });
    const isPaid = priced.price > 0n;
    if (isPaid) isNonceTaken = false;
    countRun(freeFailures, target, { outcome, isPaid, isPriced: maxPriceUnits > 0n });
    return withBalance(parts, caller, hold, answer);
  } finally {
    if (reservedMs > 0) freeFailures.settle(target, reservedMs, 0, false);
    if (nonce !== undefined && isNonceTaken) seenNonces.forget(nonce);
    hold?.release();
    leave();
  }
}

/**
 * Counts a run that answered: paid time raises what may fail free of charge; an answer too late to
 * be paid is free like a failure. A function that costs nothing has neither.
 */
function countRun(
  freeFailures: FreeFailures,
  target: Target,
  run: { readonly outcome: Ran; readonly isPaid: boolean; readonly isPriced: boolean },
): void {
  const { outcome } = run;
  const ms = outcome.kind === 'answered' && outcome.result.ok ? outcome.billedMs : 0;
  if (run.isPaid) freeFailures.charge(target, ms);
  else if (run.isPriced) freeFailures.spend(target, ms);
}

/**
 * Whether a second run may be begun, where the version asks for hedging: not once half of what the
 * function may fail free of charge is spent.
 */
function hedgeOf(
  { deployments, freeFailures }: Pick<InvokeParts, 'deployments' | 'freeFailures'>,
  target: Target,
): Hedge | undefined {
  const { functionVersion, idempotent } = target.version;
  const budget = idempotent ? deployments.hedges(functionVersion) : undefined;
  if (budget === undefined) return undefined;
  budget.call();
  return () => !freeFailures.isHalfSpent(target) && budget.take();
}

/** Adds what the payer's line has left where that is low. A sponsor's balance is not told. */
function withBalance(
  { lowBalance }: Pick<InvokeParts, 'lowBalance'>,
  { payer, sponsored }: Caller,
  { lineUnits, filledUnits }: Hold,
  answer: Answer,
): Answer {
  const leftUnits = lineUnits - answer.receipt.priceUnits;
  const lowBalanceUnits = lowBalance.lookAt(payer, leftUnits, filledUnits);
  return lowBalanceUnits === undefined || sponsored ? answer : { ...answer, lowBalanceUnits };
}
