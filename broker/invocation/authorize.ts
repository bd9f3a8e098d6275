// Step 3 of a call: may they? What was taken away counts as of the newest block, what was given as of the newest final one; the receipt
// names that one.
import type { Chain } from '../../contracts/chain.ts';
import { DefaasError } from '../errors.ts';
import type { Caller } from '../money/caller.ts';
import type { Target } from '../routing/target.ts';

/** Identity's scope bit for calls (docs/contracts.md 8.2). */
const SCOPE_INVOKE = 1;

/**
 * The block as of which the call is allowed; at once, but where only the chain can say.
 * @throws DefaasError NOT_GRANTED  no grant, an expired one, or the policy says no
 * @throws DefaasError CHAIN_STALE  the head is stale: gated functions fail closed, public ones go
 *   on (docs/contracts.md 8.3)
 */
export function authorize(chain: Chain, target: Target, caller: Caller): number | Promise<number> {
  const atBlock = chain.final.head.number;
  if (target.version.accessMode === 0) return atBlock;
  return refuseForbidden(chain, target, caller).then(() => atBlock);
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
