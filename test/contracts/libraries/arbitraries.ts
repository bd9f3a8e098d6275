// Random values of the contracts' types, for properties.
import fc from 'fast-check';
import { type Hex, toHex } from '../../../contracts/libraries/keccak.ts';
import type { Call, Execution, Receipt } from '../../../contracts/libraries/receipts.ts';

export const bytesOf = (length: number): fc.Arbitrary<Hex> =>
  fc.uint8Array({ minLength: length, maxLength: length }).map(toHex);
export const address = bytesOf(20);
export const bytes32 = bytesOf(32);
export const uint = (bits: number): fc.Arbitrary<bigint> =>
  fc.bigInt({ min: 0n, max: (1n << BigInt(bits)) - 1n });
export const number = (bits: number): fc.Arbitrary<number> =>
  fc.maxSafeNat().map((value) => value % 2 ** Math.min(bits, 53));

export const receipt: fc.Arbitrary<Receipt> = fc.record({
  payer: address,
  gateway: address,
  signer: address,
  seq: number(40),
  call: bytes32,
  execution: bytes32,
  provider: address,
  attempt: number(8),
  atBlock: number(64),
  price: uint(128),
  cumulative: uint(128),
});

export const call: fc.Arbitrary<Call> = fc.record({
  payer: address,
  gateway: address,
  signer: address,
  nonce: bytes32,
  functionVersion: bytes32,
  input: bytes32,
  maxPrice: uint(128),
  deadlineSec: number(40),
  beacon: number(64),
  authority: bytes32,
});

export const execution: fc.Arbitrary<Execution> = fc.record({
  deployment: number(64),
  request: bytes32,
  billedMs: number(32),
  initMs: number(32),
  memoryMiB: number(32),
  status: number(16),
  input: bytes32,
  output: bytes32,
  finishedAtSec: number(40),
});
