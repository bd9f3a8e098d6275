import assert from 'node:assert/strict';
import { AbiCoder, keccak256, TypedDataEncoder } from 'ethers';
import fc from 'fast-check';
import type { Hex } from '../../../contracts/libraries/keccak.ts';
import {
  batchWord,
  CALL_TYPE,
  type Call,
  type Claim,
  EXECUTION_TYPE,
  type Execution,
  hashCall,
  hashClaim,
  hashExecution,
  hashReceipt,
  RECEIPT_TYPE,
  type Receipt,
} from '../../../contracts/libraries/receipts.ts';
import { readVectors } from '../../vectors/read-vectors.ts';
import * as any from './arbitraries.ts';

interface Vectors {
  receipts: { receipt: Receipt; hash: Hex }[];
  calls: { call: Call; hash: Hex }[];
  executions: { execution: Execution; hash: Hex }[];
  claims: { claim: Claim; hash: Hex }[];
  batchWords: { root: Hex; outside: Hex; claims: number; timestampSec: number; word: Hex }[];
}

describe('the hashes of receipts', () => {
  const vectors = readVectors<Vectors>('receipts.json');

  it('equal those of the vectors', () => {
    for (const { receipt, hash } of vectors.receipts) assert.equal(hashReceipt(receipt), hash);
    for (const { call, hash } of vectors.calls) assert.equal(hashCall(call), hash);
    for (const { execution, hash } of vectors.executions) {
      assert.equal(hashExecution(execution), hash);
    }
    for (const { claim, hash } of vectors.claims) assert.equal(hashClaim(claim), hash);
    for (const { root, outside, claims, timestampSec, word } of vectors.batchWords) {
      assert.equal(batchWord(root, outside, claims, timestampSec), word);
    }
  });

  it('equal those of a generic EIP-712 encoder for receipt, call and execution', () => {
    fc.assert(
      fc.property(any.receipt, any.call, any.execution, (receipt, call, execution) => {
        assert.equal(hashReceipt(receipt), oracle(RECEIPT_TYPE, { ...receipt }));
        assert.equal(hashCall(call), oracle(CALL_TYPE, { ...call, deadline: call.deadlineSec }));
        assert.equal(
          hashExecution(execution),
          oracle(EXECUTION_TYPE, { ...execution, finishedAt: execution.finishedAtSec }),
        );
      }),
    );
  });

  it('are computed over a claim in the layout of abi.encode', () => {
    const claims = fc.tuple(
      any.address,
      any.address,
      any.uint(88),
      any.uint(88),
      any.number(40),
      any.number(40),
      any.bytes32,
    );
    const types = ['address', 'address', 'uint88', 'uint88', 'uint40', 'uint40', 'bytes32'];
    fc.assert(
      fc.property(claims, (values) => {
        const [payer, signer, settledFrom, settledTo, seqFrom, seqTo, receipts] = values;
        const claim = { payer, signer, settledFrom, settledTo, seqFrom, seqTo, receipts };
        assert.equal(hashClaim(claim), keccak256(AbiCoder.defaultAbiCoder().encode(types, values)));
      }),
    );
  });

  it('refuse a value outside its Solidity type instead of hashing another value', () => {
    const receipt = vectors.receipts[0]?.receipt;
    assert.ok(receipt);

    assert.throws(() => hashReceipt({ ...receipt, seq: 2 ** 40 }), RangeError);
    assert.throws(() => hashReceipt({ ...receipt, seq: 1.5 }), RangeError);
    assert.throws(() => hashReceipt({ ...receipt, attempt: 256 }), RangeError);
    assert.throws(() => hashReceipt({ ...receipt, atBlock: -1 }), RangeError);
    assert.throws(() => hashReceipt({ ...receipt, price: 1n << 128n }), RangeError);
    assert.throws(() => hashReceipt({ ...receipt, price: -1n }), RangeError);
    assert.throws(() => hashReceipt({ ...receipt, payer: receipt.call }), TypeError);
  });
});

function oracle(type: string, message: Record<string, unknown>): string {
  const name = type.slice(0, type.indexOf('('));
  const fields = type.slice(name.length + 1, -1).split(',');
  const types = fields
    .map((field) => field.split(' '))
    .map(([t = '', n = '']) => ({ type: t, name: n }));
  return TypedDataEncoder.hashStruct(name, { [name]: types }, message);
}
