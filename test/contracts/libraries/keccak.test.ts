import assert from 'node:assert/strict';
import * as ethers from 'ethers';
import fc from 'fast-check';
import { fromHex, keccak256, keccak256Hex, toHex } from '../../../contracts/libraries/keccak.ts';

describe('keccak', () => {
  it('hashes as ethers does, whatever the length', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
        assert.equal(keccak256Hex(bytes), ethers.keccak256(bytes));
        assert.equal(toHex(keccak256(bytes)), ethers.keccak256(bytes));
      }),
    );
    const large = new Uint8Array(100_000).fill(7);
    assert.equal(keccak256Hex(large), ethers.keccak256(large));
  });

  it('reads back the hex it writes, in either case', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        const hex = toHex(bytes);
        assert.equal(hex, ethers.hexlify(bytes));
        assert.deepEqual(fromHex(hex), bytes);
        assert.deepEqual(fromHex(`0x${hex.slice(2).toUpperCase()}`), bytes);
      }),
    );
  });

  it('refuses what is not hex', () => {
    for (const text of [
      '0x0',
      '0xzz',
      '0x0g',
      '1234',
      '0x\u01000',
      '0x0\u2603',
    ] as `0x${string}`[]) {
      assert.throws(() => fromHex(text), TypeError, text);
    }
  });
});
