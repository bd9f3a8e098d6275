// What has become of a transaction that was sent, as far as an error tells.
import { ChainError } from '../../contracts/chain/chain-error.ts';

/** Whether what was sent can never be included with success: it is included and reverted, refused, or another has its nonce. */
export function isOver(error: unknown): boolean {
  if (!(error instanceof ChainError)) return false;
  return !['CHAIN_PENDING', 'CHAIN_UNREACHABLE', 'CHAIN_STALE', 'CHAIN_MISMATCH'].includes(
    error.code,
  );
}
