// Receipt, Call, Execution and Claim, and the hashes that contracts recompute. Twin of Receipts.sol
// (docs/contracts.md 5.2 to 5.4).
import { type Address, type Hex, keccak256Hex } from './keccak.ts';
import { Words } from './words.ts';

/** The price of one call and its place in the lane. The hash of a receipt is its public id. */
export interface Receipt {
  readonly payer: Address;
  readonly gateway: Address;
  readonly signer: Address;
  /** Place in the lane: 1, 2, 3 ... without a gap (uint40). */
  readonly seq: number;
  /** `hashCall` of the call. */
  readonly call: Hex;
  /** `hashExecution` of the execution. */
  readonly execution: Hex;
  /** The account of the provider that ran it. */
  readonly provider: Address;
  /** Place of the used deployment in the drawn order (uint8). */
  readonly attempt: number;
  /** The block as of which the call was authorised. */
  readonly atBlock: number;
  /** Base units of the billing token (uint128). */
  readonly price: bigint;
  /** Sum of the lane's prices up to and with this one, base units. */
  readonly cumulative: bigint;
}

/**
 * The request. Signed by the lane's key in `signed` lanes, written by the gateway in `prepaid`
 * ones.
 */
export interface Call {
  readonly payer: Address;
  readonly gateway: Address;
  readonly signer: Address;
  /** Unique in the lane (bytes32). */
  readonly nonce: Hex;
  readonly functionVersion: Hex;
  /** sha256(salt32 || sha256(method LF target) || sha256(body)): the whole request. */
  readonly input: Hex;
  /** The most that may be charged, base units (uint128). */
  readonly maxPrice: bigint;
  /** Unix seconds (uint40). */
  readonly deadlineSec: number;
  /** The epoch of the Beacon whose value draws the candidates. */
  readonly beacon: number;
  /** Hash of the payer's Mandate that allows the call; `NO_AUTHORITY` for the payer's own calls. */
  readonly authority: Hex;
}

/** The execution. `status` is the HTTP status of the function's answer, 0 if it failed. */
export interface Execution {
  /** The deployment's id in FunctionRegistry. */
  readonly deployment: number;
  /** keccak256 of the provider's request id in UTF-8. */
  readonly request: Hex;
  readonly billedMs: number;
  /** The cold start's part of the time, as the cloud or the shim reports it, ms; not priced. */
  readonly initMs: number;
  readonly memoryMiB: number;
  readonly status: number;
  /** The same as the Call's. */
  readonly input: Hex;
  /** sha256(salt32 || sha256(status in decimal) || sha256(body)): the whole answer. */
  readonly output: Hex;
  /** Unix seconds (uint40). */
  readonly finishedAtSec: number;
}

/**
 * One lane's row in a batch: the amount taken between two settlements, and the root of its
 * receipts.
 */
export interface Claim {
  readonly payer: Address;
  readonly signer: Address;
  readonly settledFrom: bigint;
  readonly settledTo: bigint;
  readonly seqFrom: number;
  readonly seqTo: number;
  /** Root of the lane tree of the receipts with seqFrom < seq <= seqTo. */
  readonly receipts: Hex;
}

/** Root for a batch that settles no receipts outside lanes, as every batch today. */
export const NO_RECEIPTS: Hex = `0x${'0'.repeat(64)}`;
/** `Call.authority` of the payer's own calls. */
export const NO_AUTHORITY: Hex = `0x${'0'.repeat(64)}`;

/** The EIP-712 type strings, as the contracts have them. */
export const RECEIPT_TYPE =
  'Receipt(address payer,address gateway,address signer,uint40 seq,bytes32 call,bytes32 execution,address provider,uint8 attempt,uint64 atBlock,uint128 price,uint128 cumulative)';
export const CALL_TYPE =
  'Call(address payer,address gateway,address signer,bytes32 nonce,bytes32 functionVersion,bytes32 input,uint128 maxPrice,uint40 deadline,uint64 beacon,bytes32 authority)';
export const EXECUTION_TYPE =
  'Execution(uint64 deployment,bytes32 request,uint32 billedMs,uint32 initMs,uint32 memoryMiB,uint16 status,bytes32 input,bytes32 output,uint40 finishedAt)';

const MAX_UINT8 = 0xff;
const MAX_UINT16 = 0xffff;
const MAX_UINT32 = 0xffff_ffff;
const MAX_UINT40 = 0xff_ffff_ffff;
/** Ids, heights and epochs are uint64 on-chain; here numbers, which are exact up to 2^53 - 1. */
const MAX_ID = Number.MAX_SAFE_INTEGER;

// One buffer per type, its type hash written once: hashing is synchronous, so no two calls overlap.
const receiptWords = structWords(12, RECEIPT_TYPE);
const callWords = structWords(11, CALL_TYPE);
const executionWords = structWords(10, EXECUTION_TYPE);
const claimWords = new Words(7);
const batchWords = new Words(4);

/**
 * hashStruct(Receipt) over 384 bytes: the receipt's id, and its leaf in the group tree and in the
 * lane tree.
 * @throws TypeError  an address or hash of another form   @throws RangeError  a number outside its
 *   Solidity type
 */
export function hashReceipt(receipt: Receipt): Hex {
  receiptWords.address(1, receipt.payer);
  receiptWords.address(2, receipt.gateway);
  receiptWords.address(3, receipt.signer);
  receiptWords.uint(4, receipt.seq, MAX_UINT40);
  receiptWords.bytes32(5, receipt.call);
  receiptWords.bytes32(6, receipt.execution);
  receiptWords.address(7, receipt.provider);
  receiptWords.uint(8, receipt.attempt, MAX_UINT8);
  receiptWords.uint(9, receipt.atBlock, MAX_ID);
  receiptWords.uint128(10, receipt.price);
  receiptWords.uint128(11, receipt.cumulative);
  return keccak256Hex(receiptWords.bytes);
}

/** hashStruct(Call) over 352 bytes. @throws as `hashReceipt` */
export function hashCall(call: Call): Hex {
  callWords.address(1, call.payer);
  callWords.address(2, call.gateway);
  callWords.address(3, call.signer);
  callWords.bytes32(4, call.nonce);
  callWords.bytes32(5, call.functionVersion);
  callWords.bytes32(6, call.input);
  callWords.uint128(7, call.maxPrice);
  callWords.uint(8, call.deadlineSec, MAX_UINT40);
  callWords.uint(9, call.beacon, MAX_ID);
  callWords.bytes32(10, call.authority);
  return keccak256Hex(callWords.bytes);
}

/** hashStruct(Execution) over 320 bytes. @throws as `hashReceipt` */
export function hashExecution(execution: Execution): Hex {
  executionWords.uint(1, execution.deployment, MAX_ID);
  executionWords.bytes32(2, execution.request);
  executionWords.uint(3, execution.billedMs, MAX_UINT32);
  executionWords.uint(4, execution.initMs, MAX_UINT32);
  executionWords.uint(5, execution.memoryMiB, MAX_UINT32);
  executionWords.uint(6, execution.status, MAX_UINT16);
  executionWords.bytes32(7, execution.input);
  executionWords.bytes32(8, execution.output);
  executionWords.uint(9, execution.finishedAtSec, MAX_UINT40);
  return keccak256Hex(executionWords.bytes);
}

/** The claim's leaf in the batch tree, over 224 bytes. @throws as `hashReceipt` */
export function hashClaim(claim: Claim): Hex {
  claimWords.address(0, claim.payer);
  claimWords.address(1, claim.signer);
  claimWords.uint128(2, claim.settledFrom);
  claimWords.uint128(3, claim.settledTo);
  claimWords.uint(4, claim.seqFrom, MAX_UINT40);
  claimWords.uint(5, claim.seqTo, MAX_UINT40);
  claimWords.bytes32(6, claim.receipts);
  return keccak256Hex(claimWords.bytes);
}

/**
 * The word that Billing stores for a batch. It binds the batch tree's root, the root of receipts
 * settled outside lanes (`NO_RECEIPTS` while there are none), the number of claims and the block's
 * time (Unix seconds).
 * @throws as `hashReceipt`
 */
export function batchWord(root: Hex, outside: Hex, claims: number, timestampSec: number): Hex {
  batchWords.bytes32(0, root);
  batchWords.bytes32(1, outside);
  batchWords.uint(2, claims, MAX_ID);
  batchWords.uint(3, timestampSec, MAX_ID);
  return keccak256Hex(batchWords.bytes);
}

function structWords(count: number, type: string): Words {
  const words = new Words(count);
  words.bytes32(0, keccak256Hex(new TextEncoder().encode(type)));
  return words;
}
