// Step 1 of a call: who pays for it. The signer of a Call, the lane of a token, or for a call
// without a token the publisher, where the manifest says so.
import type { Deployments } from '../deployments/deployments.ts';
import { DefaasError } from '../errors.ts';
import type { Authenticate } from '../identity/access-tokens.ts';
import type { AccessToken } from '../identity/tokens.ts';
import type { Caller } from '../money/caller.ts';
import { mandateEmpty, type SponsorReason, sponsorEmpty } from '../money/hold.ts';
import type { Lanes } from '../money/lanes.ts';
import type { MandateState, Mandates } from '../money/mandates.ts';
import type { Target } from '../routing/target.ts';
import type { Invocation } from './invocation.ts';
import { worstPriceOf } from './price.ts';
import { SIGNED, type SignedCallParts, verifySignedCall } from './signed-call.ts';

export interface AuthenticateParts extends SignedCallParts {
  readonly authenticate: Authenticate;
  readonly deployments: Pick<Deployments, 'manifest'>;
  readonly lanes: Pick<Lanes, 'payableUnits'>;
  readonly mandates: Pick<Mandates, 'isHandedOn' | 'leftUnits' | 'ofToken' | 'sponsorOf'>;
}

/**
 * @throws DefaasError TOKEN_MISSING, TOKEN_INVALID, TOKEN_SCOPE, DPOP_INVALID, NONCE_MISSING,
 *   FUNCTION_NOT_DEPLOYED, CALL_MISSING, CALL_INVALID, CALL_STALE, PRICE_ABOVE_MAX,
 *   MANDATE_EMPTY, SPONSOR_EMPTY
 */
export async function authenticate(
  parts: AuthenticateParts,
  invocation: Invocation,
  target: Target,
): Promise<Caller> {
  const { signedCall, credential } = invocation;
  if (signedCall !== undefined) {
    const signed = await verifySignedCall(parts, invocation, signedCall, target);
    const { payer, signer } = signed.call;
    return { payer, signer, sponsored: false, signed };
  }
  if (credential === undefined) return sponsorOf(parts, target);
  const token = await parts.authenticate(credential);
  return bearerOf(parts, token, invocation, target);
}

function bearerOf(
  parts: AuthenticateParts,
  token: AccessToken,
  invocation: Invocation,
  target: Target,
): Caller {
  refuseBeyond(token, target);
  const { lane, subjects, client } = token;
  if (lane === undefined) {
    throw new DefaasError(
      'TOKEN_INVALID',
      'the token names no lane to spend from, sign in with the lane among the resources',
    );
  }
  refuseUnsigned(parts, lane);
  const { mandates } = parts;
  // A service account is never the lane's owner, though no mandate names it any more: its key lives
  // on when a mandate is over and forgotten.
  if (client !== undefined || mandates.isHandedOn(lane.payer, lane.signer, subjects)) {
    const units = worstPriceOf(target.version);
    const { functionId } = target.version;
    const mandate = mandates.ofToken(lane, { subjects, functionId, units });
    if (mandate === undefined || mandate.mandate.maxPrice < units) {
      throw mandateEmpty(target, units);
    }
    return { ...lane, sponsored: false, mandate, holder: subjects[0] };
  }
  if (invocation.nonce === undefined) throw nonceMissing(target);
  return { ...lane, sponsored: false };
}

function sponsorOf(parts: AuthenticateParts, target: Target): Caller {
  const manifest = parts.deployments.manifest(target.version.functionVersion);
  if (manifest?.payer === 'publisher' && target.version.accessMode === 0) {
    const mandate = sponsorshipOf(parts, target);
    if (mandate === undefined) throw sponsorEmpty(target, shortageOf(parts, target));
    const { payer, signer } = mandate.mandate;
    return { payer, signer, sponsored: true, mandate };
  }
  // Only the manifest says who pays, and it is known where the version was deployed.
  if (manifest === undefined) {
    throw new DefaasError(
      'FUNCTION_NOT_DEPLOYED',
      `${target.label} runs nowhere at this gateway, its publisher runs defaas deploy`,
    );
  }
  throw new DefaasError(
    'TOKEN_MISSING',
    `${target.label} is paid by its caller, sign in at /oauth/token and send the token as Authorization: Bearer`,
  );
}

/** One of the owner's mandates for the function that can pay a call. */
export function sponsorshipOf(
  { mandates, lanes }: AuthenticateParts,
  { function: fn, version }: Target,
): MandateState | undefined {
  const units = worstPriceOf(version);
  return mandates.sponsorOf(
    fn.owner,
    fn.id,
    (one) =>
      one.mandate.maxPrice >= units &&
      mandates.leftUnits(one) >= units &&
      lanes.payableUnits(one.mandate.payer, one.mandate.signer) >= units,
  );
}

/** Why no mandate of the owner can pay. */
function shortageOf(
  { mandates }: Pick<AuthenticateParts, 'mandates'>,
  { function: fn, version }: Target,
): SponsorReason {
  const units = worstPriceOf(version);
  const has = (test: (one: MandateState) => boolean): boolean =>
    mandates.sponsorOf(fn.owner, fn.id, test) !== undefined;
  if (!has(() => true)) return 'mandate';
  if (!has(({ mandate }) => mandate.maxPrice >= units)) return 'maxPrice';
  return has((one) => mandates.leftUnits(one) >= units) ? 'deposit' : 'allowance';
}

function nonceMissing({ label }: Target): DefaasError {
  return new DefaasError(
    'NONCE_MISSING',
    `the call of ${label} has no Defaas-Nonce of its payer, who could not recognise its receipt, call by the client library or defaas invoke, or with a token of defaas token`,
  );
}

/** A token may be narrowed to some functions (RFC 9396). */
function refuseBeyond({ details }: AccessToken, { function: fn, label }: Target): void {
  const name = `${fn.namespace}/${fn.name}`;
  if (details === undefined || details.some((one) => one.function === name)) return;
  throw new DefaasError('TOKEN_SCOPE', `the token is not for ${label}, sign in for it`, {
    members: { error: 'insufficient_scope' },
  });
}

/** In a signed lane a token is not enough. @throws DefaasError CALL_MISSING */
function refuseUnsigned(
  parts: SignedCallParts,
  { payer, signer }: Pick<Caller, 'payer' | 'signer'>,
): void {
  if (parts.chain.view.lane(payer, parts.address, signer)?.mode !== SIGNED) return;
  throw new DefaasError(
    'CALL_MISSING',
    `the lane of ${signer} takes signed calls only, send the Call in Defaas-Call or use a prepaid lane`,
  );
}
