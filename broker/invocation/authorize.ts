// Step 3 of a call: may they? The chain decides, as of the newest block; the receipt names that block.
import type { Chain } from '../../contracts/chain.ts';
import { DefaasError } from '../errors.ts';
import type { Caller } from './invocation.ts';
import type { Target } from './resolve.ts';

/** Identity's scope bit for calls (contracts.md 8.2). */
const SCOPE_INVOKE = 1;

/**
 * The block as of which the call is allowed.
 * @throws DefaasError NOT_GRANTED  no grant, an expired one, or the policy says no
 * @throws DefaasError CHAIN_STALE  the head is stale: gated functions fail closed, public ones go on (contracts.md 8.3)
 */
export async function authorize(chain: Chain, target: Target, caller: Caller): Promise<number> {
  const { version, label } = target;
  const atBlock = chain.view.head.number;
  if (version.accessMode === 0) return atBlock;
  if (chain.isStale()) {
    throw new DefaasError(
      'CHAIN_STALE',
      `the chain's head is stale, ${label} is gated, try again`,
      {
        retryAfterSec: 5,
      },
    );
  }
  const allowed =
    chain.view.isAllowed(version.functionVersion, caller.payer, SCOPE_INVOKE) ??
    (await chain.isAllowed(version.functionVersion, caller.payer, SCOPE_INVOKE));
  if (!allowed) {
    throw new DefaasError('NOT_GRANTED', `${caller.payer} may not call ${label}, ask its owner`);
  }
  return atBlock;
}
