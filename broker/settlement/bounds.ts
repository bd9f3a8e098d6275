// Bounds of one settlement: lanes, payees, bytes of the signed transaction, gas. A batch is
// composed with these figures; the node's estimate decides, and a refused batch is halved.
import type { TransactionSize } from '../../contracts/chain/account.ts';
import type { Gateway } from '../gateway.ts';

/** Maximum number of claims per batch in Billing. */
const MAX_LANES = 256;
/**
 * Maximum number of receipts per batch: its root block on IPFS must hold the links to all of their
 * pages.
 */
const MAX_RECEIPTS = 4_000_000;
/**
 * Leave part of the chain's gas cap unused, because state may change between the estimate and the
 * block.
 */
const GAS_PARTS = { used: 3n, of: 4n } as const;

/**
 * Size of the transaction's envelope, the call's fixed arguments and the offsets of its lists,
 * bytes.
 */
const FIXED_BYTES = 512;
/** Size of an ABI-encoded claim: an offset, ten words, and its signature padded to whole words. */
const LANE_WORDS = 11;
const PAYEE_WORDS = 2;
const WORD_BYTES = 32;

/**
 * Upper bounds of what `bench gas` measures, assuming that no payee was ever paid by this gateway.
 */
const FIXED_GAS = 80_000;
const LANE_GAS = 27_000;
const PAYEE_GAS = 24_000;

/** Gas of one more lane in a batch, as `bench gas` measures it. */
export const MARGINAL_LANE_GAS = 24_670n;

export interface BatchBounds {
  readonly lanes: number;
  readonly payees: number;
  readonly receipts: number;
  /** Size of the signed transaction. */
  readonly bytes: number;
  readonly gas: number;
}

/** Size of a batch under composition. */
export interface BatchSize {
  readonly lanes: number;
  readonly payees: number;
  /** Total length of all voucher signatures, each padded to whole words, bytes. */
  readonly signatureBytes: number;
}

export async function readBounds({
  settler,
  chain,
  config,
}: Pick<Gateway, 'chain' | 'config' | 'settler'>): Promise<BatchBounds> {
  const cap = await settler.transactionGasMax();
  return {
    lanes: MAX_LANES,
    payees: Number.MAX_SAFE_INTEGER,
    receipts: MAX_RECEIPTS,
    bytes: config.settlementMaxBytes ?? chain.traits.maxTransactionBytes,
    gas: Number((cap * GAS_PARTS.used) / GAS_PARTS.of),
  };
}

/** Whether a batch is within its bounds, estimated with the figures above. */
export function fits({ lanes, payees, signatureBytes }: BatchSize, bounds: BatchBounds): boolean {
  const words = lanes * LANE_WORDS + payees * PAYEE_WORDS;
  return (
    lanes <= bounds.lanes &&
    payees <= bounds.payees &&
    FIXED_BYTES + words * WORD_BYTES + signatureBytes <= bounds.bytes &&
    FIXED_GAS + lanes * LANE_GAS + payees * PAYEE_GAS <= bounds.gas
  );
}

/**
 * Whether the transaction is within its bounds, by the node's gas estimate and its encoded size.
 */
export function isWithin({ gas, bytes }: TransactionSize, bounds: BatchBounds): boolean {
  return bytes <= bounds.bytes && gas <= BigInt(bounds.gas);
}

/** Size of a signature in the transaction, bytes. */
export function signatureBytesOf(signature: string): number {
  const bytes = (signature.length - 2) / 2;
  return Math.ceil(bytes / WORD_BYTES) * WORD_BYTES;
}
