// Step 3 of a call: whether the payer may call the function. A revocation counts from the newest
// block, a grant from the newest final block; the receipt names the final one.
import type { Chain } from '../../contracts/chain.ts';
import { DefaasError } from '../errors.ts';
import type { Caller } from '../money/caller.ts';
import type { Target } from '../routing/target.ts';

/** Identity's scope bit for calls (docs/contracts.md 8.2). */
const SCOPE_INVOKE = 1;

/**
 * Returns the block as of which the call is allowed. Asks the chain only where a policy contract
 * decides.
 * @throws DefaasError NOT_GRANTED  no grant, an expired one, or the policy says no
 * @throws DefaasError CHAIN_STALE  the head is stale: gated functions fail closed, public ones go
 *   on (docs/contracts.md 8.3)
 */
export async function authorize(chain: Chain, target: Target, caller: Caller): Promise<number> {
  const atBlock = chain.final.head.number;
  if (target.version.accessMode !== 0) await refuseForbidden(chain, target, caller);
  return atBlock;
}

async function refuseForbidden(
  chain: Chain,
  { version, label }: Target,
  { payer }: Caller,
): Promise<void> {
  if (chain.isStale()) {
    throw new DefaasError(
      'CHAIN_STALE',
      `the chain's head is stale, ${label} is gated, try again`,
      {
        retryAfterSec: 5,
      },
    );
  }
  const isGiven = chain.final.isAllowed(version.functionVersion, payer, SCOPE_INVOKE) ?? true;
  const allowed =
    chain.view.isAllowed(version.functionVersion, payer, SCOPE_INVOKE) ??
    (await chain.isAllowed(version.functionVersion, payer, SCOPE_INVOKE));
  if (!allowed || !isGiven) {
    throw new DefaasError('NOT_GRANTED', `${payer} may not call ${label}, ask its owner`);
  }
}
