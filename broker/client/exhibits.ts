// An exhibit is the content of one evidence file: a proof of one kind of fraud, a receipt that a
// payer holds, or a receipt that nobody can open.
import {
  type Evidence,
  FRAUD_KIND,
  type Place,
  type SignedReceipt,
} from '../../contracts/chain/evidence.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import {
  type Call,
  type Execution,
  hashReceipt,
  type Receipt,
} from '../../contracts/libraries/receipts.ts';
import type { BatchReceipt } from './batch-format.ts';

/**
 * A receipt that its payer holds before its batch is settled. What it proves can be decided once
 * the batch is there.
 */
export interface HeldReceipt {
  readonly kind: 'receipt';
  readonly signed: SignedReceipt;
  /** The preimages of the receipt's hashes, where the gateway showed them. */
  readonly call?: Call;
  readonly execution?: Execution;
  /** Over the Call, by the lane's key. */
  readonly callSignature?: Hex;
}

/** A leaf of a settled lane tree that nobody can open: `defaas prove` demands it. */
export interface Withheld {
  readonly kind: 'withheld';
  readonly place: Place;
  /** Index of the leaf in the claim's lane tree. */
  readonly index: number;
}

export type Exhibit = Evidence | HeldReceipt | Withheld;

/** Name of a kind of fraud in files and texts: D2 to D9. A held receipt has none yet. */
export function fraudName(kind: Exhibit['kind']): string {
  if (kind === 'receipt') return 'receipt';
  return kind === 'withheld' ? 'D9' : `D${FRAUD_KIND[kind]}`;
}

/** A receipt as a payer keeps it. The salt stays with the payer. */
export function heldOf({
  receipt,
  group,
  call,
  execution,
  callSignature,
}: Omit<BatchReceipt, 'attempts'>): HeldReceipt {
  const { index, count, path, signature } = group;
  const signed = { receipt, index, count, path, signature };
  return { kind: 'receipt', signed, call, execution, ...(callSignature && { callSignature }) };
}

/** The gateway that an exhibit is about. */
export function accused(exhibit: Exhibit): Address {
  if (exhibit.kind === 'receipt') return exhibit.signed.receipt.gateway;
  return exhibit.kind === 'duplicate' ? exhibit.laterPlace.gateway : exhibit.place.gateway;
}

/**
 * A file name that is unique for an exhibit: its kind and the receipt's hash, or the place of a
 * withheld receipt.
 */
export function evidenceName(exhibit: Exhibit): string {
  const name = (of: Receipt) => `${exhibit.kind}-${hashReceipt(of)}`;
  switch (exhibit.kind) {
    case 'receipt':
    case 'omission':
      return name(exhibit.signed.receipt);
    case 'break':
      return name(exhibit.b.receipt);
    case 'duplicate':
      return name(exhibit.later.receipt);
    case 'withheld': {
      const { gateway, batch, claim } = exhibit.place;
      return `withheld-${gateway}-${batch}-${claim}-${exhibit.index}`;
    }
    default:
      return name(exhibit.leaf.receipt);
  }
}
