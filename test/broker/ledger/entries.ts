// Journal entries for tests, hashed as the gateway hashes them.
import type { JournalEntry } from '../../../broker/ledger/ledger.ts';
import type { Address, Hex } from '../../../contracts/libraries/keccak.ts';
import {
  hashCall,
  hashExecution,
  hashReceipt,
  NO_AUTHORITY,
} from '../../../contracts/libraries/receipts.ts';

const word = (byte: string): Hex => `0x${byte.repeat(32)}`;
export const address = (byte: string): Address => `0x${byte.repeat(20)}`;

export const PAYER = address('a1');
export const SIGNER = address('b2');
export const GATEWAY = address('c3');

/**
 * A receipt of the test lane; `price` is its cumulative too, as if it were the first with a price.
 */
export function createEntry(of: {
  readonly seq: number;
  readonly price?: bigint;
  readonly signer?: Address;
}): JournalEntry {
  const { price = 21n, signer = SIGNER } = of;
  const call = {
    payer: PAYER,
    gateway: GATEWAY,
    signer,
    nonce: word(of.seq.toString(16).padStart(4, '0').slice(-2)),
    functionVersion: word('d4'),
    input: word('e5'),
    maxPrice: 100_000n,
    deadlineSec: 1_800_000_000,
    beacon: 7,
    authority: NO_AUTHORITY,
  };
  const execution = {
    deployment: 3,
    request: word('f6'),
    billedMs: 2,
    initMs: 1,
    memoryMiB: 128,
    status: 200,
    input: word('e5'),
    output: word('07'),
    finishedAtSec: 1_799_999_999,
  };
  const receipt = {
    payer: PAYER,
    gateway: GATEWAY,
    signer,
    seq: of.seq,
    call: hashCall(call),
    execution: hashExecution(execution),
    provider: address('18'),
    attempt: 0,
    atBlock: 12,
    price,
    cumulative: price,
  };
  return {
    id: hashReceipt(receipt),
    receipt,
    call,
    execution,
    salt: word('29'),
    cloud: 'aws-lambda',
    functionName: `${PAYER}/hello@1`,
    attempts: [],
  };
}
