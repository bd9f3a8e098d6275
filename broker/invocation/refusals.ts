// Calls that no cloud of their version can take.
import { DefaasError } from '../errors.ts';
import type { Choices } from '../routing/choose.ts';
import type { Target } from '../routing/target.ts';
import type { Outcome } from './attempt.ts';
import type { Invocation } from './invocation.ts';

/** @throws DefaasError ROUTING_EXCLUDES_ALL  the version is live, though nowhere where this call may run */
export function refuseExcluded({ label }: Target, { inTurn, behind }: Choices): void {
  if (inTurn.length > 0 || !behind.includes('POLICY')) return;
  throw new DefaasError(
    'ROUTING_EXCLUDES_ALL',
    `the routing leaves none of the clouds of ${label}, nothing was charged, widen Defaas-Routing or deploy it there`,
  );
}

/** The smallest request limit among the clouds that could take the call. */
export function refuseTooLarge(invocation: Invocation, { inTurn }: Choices): void {
  const limits = inTurn.map(({ route }) => route.provider.limits.maxRequestBytes);
  const limit = Math.min(...limits);
  if (invocation.body.length <= limit) return;
  throw new DefaasError(
    'BODY_TOO_LARGE',
    `the body has ${invocation.body.length} bytes, the clouds of this version take ${limit}, send less`,
  );
}

/** Every attempt failed before anything ran. */
export function providersDown(
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
