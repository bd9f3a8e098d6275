// What one settlement may take: lanes, payees, bytes of the signed transaction, gas. A batch is gathered by these figures, the node
// has the last word on it, and a batch that it refuses is halved.
import type { TransactionSize } from '../../contracts/chain/account.ts';
import type { Gateway } from '../gateway.ts';

/** Most claims that Billing takes in one batch. */
const MAX_LANES = 256;
/** Receipts of one batch: its root block on IPFS must hold the links to all of their pages. */
const MAX_RECEIPTS = 4_000_000;
/** A part of the chain's transaction cap stays free, for state that changes between the estimate and the block. */
const GAS_PARTS = { used: 3n, of: 4n } as const;

/** The envelope of the transaction, the call's fixed arguments and the offsets of its lists, bytes. */
const FIXED_BYTES = 512;
/** A claim as the ABI encodes it: an offset, ten words, and its signature in whole words. */
const LANE_WORDS = 11;
const PAYEE_WORDS = 2;
const WORD_BYTES = 32;

/** Upper figures of what `bench gas` measures: each payee is taken for one that this gateway has never paid. */
const FIXED_GAS = 80_000;
const LANE_GAS = 27_000;
const PAYEE_GAS = 24_000;

/** Gas of one more lane in a batch, as `bench gas` measures it. */
export const MARGINAL_LANE_GAS = 24_670n;

export interface BatchBounds {
  readonly lanes: number;
  readonly payees: number;
  readonly receipts: number;
  /** Of the signed transaction. */
  readonly bytes: number;
  readonly gas: number;
}

/** A batch so far. */
export interface BatchSize {
  readonly lanes: number;
  readonly payees: number;
  /** Length of all vouchers' signatures, each in whole words, bytes. */
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

/** Whether a batch is within its bounds, by the figures above. */
export function fits({ lanes, payees, signatureBytes }: BatchSize, bounds: BatchBounds): boolean {
  const words = lanes * LANE_WORDS + payees * PAYEE_WORDS;
  return (
    lanes <= bounds.lanes &&
    payees <= bounds.payees &&
    FIXED_BYTES + words * WORD_BYTES + signatureBytes <= bounds.bytes &&
    FIXED_GAS + lanes * LANE_GAS + payees * PAYEE_GAS <= bounds.gas
  );
}

/** Whether the transaction is within its bounds, as the node has estimated it and as it is encoded. */
export function isWithin({ gas, bytes }: TransactionSize, bounds: BatchBounds): boolean {
  return bytes <= bounds.bytes && gas <= BigInt(bounds.gas);
}

/** Bytes that a signature takes in the transaction. */
export function signatureBytesOf(signature: string): number {
  const bytes = (signature.length - 2) / 2;
  return Math.ceil(bytes / WORD_BYTES) * WORD_BYTES;
}
