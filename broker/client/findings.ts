// What an audit reports: one finding per fault, with its location and the base units that it leaves
// unexplained.
import type { Address } from '../../contracts/libraries/keccak.ts';
import { DefaasClientError } from './errors.ts';
import { createLargestOfEach, type Largest } from './largest.ts';

/** Most findings listed for an audit, and of each code for a lane and a batch. All are counted. */
export const MAX_FINDINGS = 1000;

export type FindingCode =
  | 'BATCH_BLOCK_MISSING'
  | 'BATCH_BLOCK_ALTERED'
  | 'BATCH_MALFORMED'
  | 'HEADER_MISMATCH'
  | 'CLAIM_MISMATCH'
  | 'LANE_ROOT_MISMATCH'
  | 'RECEIPT_MISSING'
  | 'RECEIPT_MISPLACED'
  | 'RECEIPT_OF_OTHER_LANE'
  | 'CUMULATIVE_BREAK'
  | 'GROUP_PATH_INVALID'
  | 'GROUP_SIGNATURE_INVALID'
  | 'VERSION_UNKNOWN'
  | 'PRICE_ABOVE_TARIFF'
  | 'PRICE_ABOVE_MAX'
  | 'DEADLINE_PASSED'
  | 'INPUT_MISMATCH'
  | 'CALL_OF_OTHER_LANE'
  | 'CALL_CHARGED_TWICE'
  | 'CALL_UNSIGNED'
  | 'DEPLOYMENT_MISMATCH'
  | 'PROVIDER_MISMATCH'
  | 'EPOCH_UNRECORDED'
  | 'EPOCH_STALE'
  | 'OUT_OF_DRAW'
  | 'PLACE_UNACCOUNTED'
  | 'PAYOUT_SHORT'
  | 'PAYOUT_OVER';

/** A fault that an audit found, and where. */
export interface Finding {
  readonly code: FindingCode;
  readonly gateway: Address;
  readonly batch: number;
  readonly lane?: { readonly payer: Address; readonly signer: Address };
  readonly seq?: number;
  /** Index of the claim in the batch. */
  readonly claim?: number;
  /** Index of the receipt in its lane's tree, whatever seq the receipt says. */
  readonly index?: number;
  /** Base units that it leaves unexplained. Several faults of a receipt share its price. */
  readonly units: bigint;
  /** What the fault would leave unexplained by itself, base units, where that is more. */
  readonly ownUnits?: bigint;
  /** Who is paid too little or too much. */
  readonly payee?: Address;
  /** One line for people. */
  readonly message: string;
}

/** A finding without its location. */
export type Fault = Pick<Finding, 'code' | 'units' | 'message'>;

/** Where in a batch a fault is. */
export type Location = Pick<Finding, 'lane' | 'seq' | 'claim' | 'index' | 'payee' | 'ownUnits'>;

export type Report = (fault: Fault, location?: Location) => void;

/**
 * A list of findings that is bounded. It keeps the largest of each code: faults that nobody can
 * prove, and that cost a gateway nothing, leave no less room for those that are to be proven.
 */
export function createFindings(mostOfCode: number): Largest<Finding> {
  return createLargestOfEach<Finding>(mostOfCode, {
    kindOf: ({ code }) => code,
    unitsOf: ({ units, ownUnits = units }) => ownUnits,
  });
}

/** The fault of a block that could not be read. @throws the error itself, when it is another one */
export function blockFault(error: unknown): Pick<Fault, 'code' | 'message'> {
  if (!(error instanceof DefaasClientError)) throw error;
  const { code, message } = error;
  if (
    code === 'BATCH_BLOCK_MISSING' ||
    code === 'BATCH_BLOCK_ALTERED' ||
    code === 'BATCH_MALFORMED'
  ) {
    return { code, message };
  }
  throw error;
}
