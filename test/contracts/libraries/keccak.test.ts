import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { getHashes } from 'node:crypto';
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

  it('hashes the same without Node’s modules, as in browsers', () => {
    const library = new URL('../../../contracts/libraries/keccak.ts', import.meta.url);
    const lengths = [0, 1, 64, 135, 136, 137, 384, 5000];
    const program = `
      process.getBuiltinModule = undefined;
      const { keccak256Hex } = await import(${JSON.stringify(library)});
      const hashes = ${JSON.stringify(lengths)}.map((length) => keccak256Hex(new Uint8Array(length).fill(7)));
      console.log(JSON.stringify(hashes));`;

    const told = execFileSync(process.execPath, ['--input-type=module', '-e', program]);

    assert.deepEqual(
      JSON.parse(told.toString()),
      lengths.map((length) => ethers.keccak256(new Uint8Array(length).fill(7))),
    );
    assert.ok(getHashes().includes('keccak-256'), 'here the other tests are of Node’s own');
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
