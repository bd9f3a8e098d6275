// The way of one call, read top to bottom: authenticate, resolve, authorize, hold, choose, attempt, price, record, reply.
import type { InvokeRequest } from '../../adapters/provider.ts';
import type { FunctionVersion } from '../../contracts/chain/types.ts';
import { type Hex, toHex } from '../../contracts/libraries/keccak.ts';
import { type Call, hashCall, NO_AUTHORITY } from '../../contracts/libraries/receipts.ts';
import { priceOf } from '../../contracts/libraries/tariffs.ts';
import { mandatedNonce } from '../client/mandates.ts';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import type { AccessToken } from '../identity/tokens.ts';
import type { Caller } from '../money/caller.ts';
import { type Hold, holdMoney, mandateEmpty, sponsorEmpty } from '../money/hold.ts';
import type { LaneState } from '../money/lanes.ts';
import type { MandateState } from '../money/mandates.ts';
import { acceptVoucher } from '../money/vouchers.ts';
import { type Choices, choose } from '../routing/choose.ts';
import { narrow } from '../routing/routing.ts';
import type { Target } from '../routing/target.ts';
import type { KeyedCall } from './answers.ts';
import { attempt, type Hedge, type Outcome } from './attempt.ts';
import { authorize } from './authorize.ts';
import { commitRequest } from './commitments.ts';
import type { Answer, Invocation, Reply } from './invocation.ts';
import { drawBytes } from './random.ts';
import { record } from './record.ts';
import { replyHeaders } from './reply.ts';
import { resolveTarget } from './resolve.ts';
import { refuseUnsigned, verifySignedCall } from './signed-call.ts';

/** How long after its deadline a prepaid call may still end: the version's timeout, a cold start, and clocks apart. */
const DEADLINE_SLACK_SEC = 60;
/** Most of a function's own error text that is passed on, characters. */
const MAX_FOREIGN_TEXT = 256;
const NO_BODY = new Uint8Array();

/**
 * Runs one call and resolves when its receipt is durable and signed.
 * @throws DefaasError TOKEN_MISSING, TOKEN_INVALID, TOKEN_SCOPE, DPOP_INVALID, CALL_MISSING, CALL_INVALID, CALL_STALE, FUNCTION_UNKNOWN, FUNCTION_DEPRECATED, FUNCTION_NOT_DEPLOYED, NOT_GRANTED,
 *   CHAIN_STALE, RATE_LIMITED, FUNCTION_FAILING, VOUCHER_INVALID, PAYMENT_REQUIRED, PRICE_ABOVE_MAX, SPONSOR_EMPTY, BODY_TOO_LARGE, ROUTING_EXCLUDES_ALL,
 *   PROVIDERS_DOWN; nothing ran and
 *   nothing was charged then
 */
export async function invoke(gateway: Gateway, invocation: Invocation): Promise<Answer> {
  const target = resolveTarget(gateway.chain, invocation);
  // What is known at once is not waited for: each wait is a turn of the queue of promises.
  const calling = callerOf(gateway, invocation, target);
  const caller = calling instanceof Promise ? await calling : calling;
  const authorizing = authorize(gateway.chain, target, caller);
  const atBlock = typeof authorizing === 'number' ? authorizing : await authorizing;
  if (invocation.voucher !== undefined) await acceptVoucher(gateway, caller, invocation.voucher);
  const call = { invocation, caller, target, atBlock };
  const key = invocation.idempotencyKey;
  if (key === undefined && caller.signed === undefined) return run(gateway, call);
  return gateway.answers.once({ ...call, key }, (keyed) => run(gateway, { ...call, keyed }));
}

interface AuthorizedCall {
  readonly invocation: Invocation;
  readonly caller: Caller;
  readonly target: Target;
  readonly atBlock: number;
  readonly keyed?: KeyedCall;
}

/** Steps 4 to 8; throws only when nothing ran, or when the ledger failed. */
async function run(gateway: Gateway, authorized: AuthorizedCall): Promise<Answer> {
  const { invocation, caller, target, atBlock, keyed } = authorized;
  const { version } = target;
  const maxPriceUnits = maxPriceOf(version, invocation);
  const { freeFailures } = gateway;
  freeFailures.refuseFailing(target);
  gateway.keyGuard.refuseStolen();
  const leave = gateway.limits.enter(caller.payer, version.functionId);
  let hold: Hold | undefined;
  let reservedMs = 0;
  const { mandate } = caller;
  // Whoever calls at another's expense makes no nonce of theirs.
  const nonce = mandate === undefined ? invocation.nonce : undefined;
  // Under a key the first answer comes again.
  const unkeyed = keyed === undefined ? nonce : undefined;
  let isBegun = false;
  let isCharged = false;
  try {
    hold = holdMoney(gateway, caller, target, maxPriceUnits);
    const { lane, daily } = hold;
    const reserving = freeFailures.reserve(target);
    reservedMs = reserving instanceof Promise ? await reserving : reserving;
    const { signed } = caller;
    const drawing = signed?.draw ?? gateway.beacon.drawFor(version.functionVersion);
    const draw = drawing instanceof Promise ? await drawing : drawing;
    const salt = signed?.salt ?? drawBytes(32);
    const item = mandate && toHex(drawBytes(32));
    const call =
      signed?.call ??
      callFor({
        gateway,
        target,
        lane,
        input: commitRequest(salt, invocation.method, invocation.target, invocation.body),
        nonce: mandate && item ? mandatedNonce(mandate.hash, item) : nonce,
        authority: mandate?.hash ?? NO_AUTHORITY,
        maxPriceUnits: (nonce && invocation.maxPriceUnits) ?? maxPriceUnits,
        epoch: draw.epoch,
      });
    const callHash = hashCall(call);
    const choices = choose(
      { value: draw.value, call, ids: draw.ids },
      gateway.deployments.routes(version.functionVersion),
      narrow(gateway.deployments.routing(version.functionVersion), invocation.routing),
      gateway.nowMs(),
    );
    refuseExcluded(target, choices);
    refuseTooLarge(invocation, choices);
    if (unkeyed !== undefined) gateway.seenNonces.begin(unkeyed);
    isBegun = true;
    keyed?.began();
    const forFirst = reservedMs;
    // From here on each run settles its own.
    reservedMs = 0;
    const outcome = await attempt(choices.inTurn, requestFor(invocation), {
      timeoutMs: version.timeoutMs,
      idempotent: version.idempotent,
      hedge: hedgeOf(gateway, target),
      freeFailures,
      spender: target,
      reservedMs: forFirst,
      // A caller that leaves early does not end its call: it runs, is charged, and answers its key.
      deadlines: gateway.deadlines,
      nowMs: gateway.nowMs,
      onFault: (err) => gateway.log.error({ err, invocationId: invocation.id }, 'attempt broke'),
    });
    if (outcome.kind === 'none') throw providersDown(target, choices, outcome);
    const reply = replyOf(outcome, target);
    const store = keyed && (await keyed.keep(reply.ok ? reply.body : NO_BODY));
    const answer = await record(gateway, {
      target,
      lane,
      daily,
      call,
      callHash,
      callSignature: signed?.signature,
      salt,
      item,
      atBlock,
      choices,
      outcome,
      reply,
      store,
    });
    // What was paid raises what may fail; an answer too late to be paid is as free as a failure. A function that costs nothing has neither.
    if (answer.receipt.priceUnits > 0n) freeFailures.charge(target, answeredMs(outcome));
    else if (maxPriceUnits > 0n) freeFailures.spend(target, answeredMs(outcome));
    isCharged = answer.receipt.priceUnits > 0n;
    return withBalance(gateway, caller, hold, answer);
  } finally {
    if (reservedMs > 0) freeFailures.settle(target, reservedMs, 0, false);
    if (unkeyed !== undefined && isBegun && !isCharged) gateway.seenNonces.forget(unkeyed);
    hold?.release();
    leave();
  }
}

/** Time of a run that answered, ms. */
function answeredMs(outcome: Exclude<Outcome, { kind: 'none' }>): number {
  return outcome.kind === 'answered' && outcome.result.ok ? outcome.billedMs : 0;
}

/** What a second run of the call may do, where the version asks for it; at most half of what the function may fail free of charge. */
function hedgeOf({ deployments, freeFailures }: Gateway, target: Target): Hedge | undefined {
  const { functionVersion, idempotent } = target.version;
  const budget = idempotent ? deployments.hedges(functionVersion) : undefined;
  if (budget === undefined) return undefined;
  budget.call();
  return () => !freeFailures.isHalfSpent(target) && budget.take();
}

/** The answer, and that its payer's money runs low where it does. */
function withBalance(
  gateway: Gateway,
  { payer, sponsored }: Caller,
  { lineUnits, filledUnits }: Hold,
  answer: Answer,
): Answer {
  const leftUnits = lineUnits - answer.receipt.priceUnits;
  const lowBalanceUnits = gateway.lowBalance.lookAt(payer, leftUnits, filledUnits);
  // Who calls at a sponsor's expense is not told what the sponsor has.
  return lowBalanceUnits === undefined || sponsored ? answer : { ...answer, lowBalanceUnits };
}

/** What the caller will see, but for the receipt. */
function replyOf(outcome: Exclude<Outcome, { kind: 'none' }>, { label }: Target): Reply {
  if (outcome.kind === 'unknown') {
    const message = `${label} may have run, its answer was lost, nothing was charged; retry if that is safe`;
    return { ok: false, code: 'INVOCATION_UNKNOWN', message };
  }
  const { result } = outcome;
  if (result.ok) {
    const headers = replyHeaders(result.headers);
    return { ok: true, status: result.status, headers, body: result.body };
  }
  const { kind, type, message } = result.error;
  return {
    ok: false,
    code: kind === 'timeout' ? 'FUNCTION_TIMEOUT' : 'FUNCTION_FAILED',
    message: `${label} failed: ${type}: ${message.slice(0, MAX_FOREIGN_TEXT)}, nothing was charged`,
  };
}

function providersDown(
  { label }: Target,
  { behind }: Choices,
  { failed, retryAfterMs = 1000 }: Extract<Outcome, { kind: 'none' }>,
): DefaasError {
  const why = failed.map((one) => `${one.provider}: ${one.code}`).join(', ') || 'none is reachable';
  const others = behind.includes('POLICY') ? '; its routing allows no other' : '';
  return new DefaasError(
    'PROVIDERS_DOWN',
    `no cloud could take ${label} (${why}${others}), try again shortly`,
    {
      retryAfterSec: Math.ceil(retryAfterMs / 1000),
    },
  );
}

/** The lane of a signed Call or of a token, or for a call without a token the publisher's, where the manifest says that the publisher pays. */
function callerOf(
  gateway: Gateway,
  invocation: Invocation,
  target: Target,
): Caller | Promise<Caller> {
  const { signedCall, credential } = invocation;
  if (signedCall !== undefined) {
    return verifySignedCall(gateway, invocation, signedCall, target).then((signed) => ({
      payer: signed.call.payer,
      signer: signed.call.signer,
      sponsored: false,
      signed,
    }));
  }
  if (credential === undefined) return sponsorOf(gateway, target);
  const token = gateway.authenticate(credential);
  return token instanceof Promise
    ? token.then((late) => bearerOf(gateway, late, { invocation, target }))
    : bearerOf(gateway, token, { invocation, target });
}

/** @throws DefaasError TOKEN_SCOPE, TOKEN_INVALID, CALL_MISSING, NONCE_MISSING, MANDATE_EMPTY */
function bearerOf(
  gateway: Gateway,
  token: AccessToken,
  { invocation, target }: Pick<AuthorizedCall, 'invocation' | 'target'>,
): Caller {
  refuseBeyond(token, target);
  const { lane, subjects } = token;
  if (lane !== undefined) {
    refuseUnsigned(gateway, lane);
    const { mandates } = gateway;
    const isHandedOn = mandates.isHandedOn(lane.payer, lane.signer, subjects);
    if (isHandedOn) {
      const units = worstPriceOf(target.version);
      const { functionId } = target.version;
      const mandate = mandates.ofToken(lane, { subjects, functionId, units });
      if (mandate === undefined || mandate.mandate.maxPrice < units) {
        throw mandateEmpty(target, units);
      }
      return { ...lane, sponsored: false, mandate };
    }
    if (invocation.nonce === undefined) throw nonceMissing(target);
    return { ...lane, sponsored: false };
  }
  throw new DefaasError(
    'TOKEN_INVALID',
    'the token names no lane to spend from, sign in with the lane among the resources',
  );
}

/** @throws DefaasError SPONSOR_EMPTY, TOKEN_MISSING */
function sponsorOf(gateway: Gateway, target: Target): Caller {
  const manifest = gateway.deployments.manifest(target.version.functionVersion);
  if (manifest?.payer === 'publisher' && target.version.accessMode === 0) {
    const mandate = sponsorshipOf(gateway, target);
    if (mandate === undefined) throw sponsorEmpty(target);
    const { payer, signer } = mandate.mandate;
    return { payer, signer, sponsored: true, mandate };
  }
  throw new DefaasError(
    'TOKEN_MISSING',
    `${target.label} is paid by its caller, sign in at /oauth/token and send the token as Authorization: Bearer`,
  );
}

/**
 * Of the owner's mandates for the function one whose lane can pay a call, the one with the most
 * left first.
 */
function sponsorshipOf(
  { mandates, lanes }: Gateway,
  { function: fn, version }: Target,
): MandateState | undefined {
  const units = worstPriceOf(version);
  return mandates
    .sponsoring(fn.owner, fn.id)
    .filter((one) => one.mandate.maxPrice >= units && mandates.leftUnits(one) >= units)
    .map((one) => ({ one, left: lanes.payableUnits(one.mandate.payer, one.mandate.signer) }))
    .filter(({ left }) => left >= units)
    .toSorted((a, b) => Number(b.left - a.left))[0]?.one;
}

function nonceMissing({ label }: Target): DefaasError {
  return new DefaasError(
    'NONCE_MISSING',
    `the call of ${label} has no Defaas-Nonce of its payer, who would not know its receipt, call by the client library or defaas invoke, or with a token of defaas token`,
  );
}

/** A token may be narrowed to some functions (RFC 9396). @throws DefaasError TOKEN_SCOPE */
function refuseBeyond({ details }: AccessToken, { function: fn, label }: Target): void {
  const name = `${fn.namespace}/${fn.name}`;
  if (details === undefined || details.some((one) => one.function === name)) return;
  throw new DefaasError('TOKEN_SCOPE', `the token is not for ${label}, sign in for it`, {
    members: { error: 'insufficient_scope' },
  });
}

/** The worst price the version can come to: what is held while the call runs. */
function maxPriceOf(version: FunctionVersion, invocation: Invocation): bigint {
  const maxPriceUnits = worstPriceOf(version);
  if (invocation.maxPriceUnits !== undefined && maxPriceUnits > invocation.maxPriceUnits) {
    throw new DefaasError(
      'PRICE_ABOVE_MAX',
      `the call may cost ${maxPriceUnits} units, the caller allows ${invocation.maxPriceUnits}, raise Defaas-Max-Price`,
      { members: { priceUnits: `${maxPriceUnits}`, maxPriceUnits: `${invocation.maxPriceUnits}` } },
    );
  }
  return maxPriceUnits;
}

function worstPriceOf(version: FunctionVersion): bigint {
  const { timeoutMs, memoryMiB } = version;
  return priceOf({ status: 200, billedMs: timeoutMs, memoryMiB }, version);
}

function callFor(of: {
  readonly gateway: Gateway;
  readonly target: Target;
  readonly lane: LaneState;
  readonly input: Hex;
  readonly nonce: Hex | undefined;
  readonly authority: Hex;
  readonly maxPriceUnits: bigint;
  readonly epoch: number;
}): Call {
  const { target, lane } = of;
  const nowSec = Math.floor(of.gateway.nowMs() / 1000);
  return {
    payer: lane.payer,
    gateway: of.gateway.address,
    signer: lane.signer,
    nonce: of.nonce ?? toHex(drawBytes(32)),
    functionVersion: target.version.functionVersion,
    input: of.input,
    // An own nonce holds for the maximum price that it was made for, and for no other.
    maxPrice: of.maxPriceUnits,
    deadlineSec: nowSec + Math.ceil(target.version.timeoutMs / 1000) + DEADLINE_SLACK_SEC,
    beacon: of.epoch,
    authority: of.authority,
  };
}

/** @throws DefaasError ROUTING_EXCLUDES_ALL  the version is live, though nowhere where this call may run */
function refuseExcluded({ label }: Target, { inTurn, behind }: Choices): void {
  if (inTurn.length > 0 || !behind.includes('POLICY')) return;
  throw new DefaasError(
    'ROUTING_EXCLUDES_ALL',
    `the routing leaves none of the clouds of ${label}, nothing was charged, widen Defaas-Routing or deploy it there`,
  );
}

/** The smallest request limit among the clouds that could take the call. */
function refuseTooLarge(invocation: Invocation, { inTurn }: Choices): void {
  const limits = inTurn.map(({ route }) => route.provider.limits.maxRequestBytes);
  const limit = Math.min(...limits);
  if (invocation.body.length <= limit) return;
  throw new DefaasError(
    'BODY_TOO_LARGE',
    `the body has ${invocation.body.length} bytes, the clouds of this version take ${limit}, send less`,
  );
}

function requestFor(invocation: Invocation): InvokeRequest {
  return {
    callId: invocation.id,
    method: invocation.method,
    path: invocation.path,
    query: invocation.query,
    headers: invocation.headers,
    body: invocation.body,
  };
}
