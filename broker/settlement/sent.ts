// Interprets the error of a transaction that was sent.
import { ChainError } from '../../contracts/chain/chain-error.ts';

/**
 * Whether the transaction can no longer succeed: it reverted, was refused, or another transaction
 * used its nonce.
 */
export function isOver(error: unknown): boolean {
  if (!(error instanceof ChainError)) return false;
  return !['CHAIN_PENDING', 'CHAIN_UNREACHABLE', 'CHAIN_STALE', 'CHAIN_MISMATCH'].includes(
    error.code,
  );
}
