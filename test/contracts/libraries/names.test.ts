import assert from 'node:assert/strict';
import { AbiCoder, keccak256 } from 'ethers';
import fc from 'fast-check';
import { CID } from 'multiformats/cid';
import * as Digest from 'multiformats/hashes/digest';
import { fromHex, type Hex } from '../../../contracts/libraries/keccak.ts';
import {
  CODECS,
  cidOf,
  digestOf,
  functionIdOf,
  functionVersionOf,
} from '../../../contracts/libraries/names.ts';
import { address, bytes32, number, uint } from './arbitraries.ts';

const abi = AbiCoder.defaultAbiCoder();

describe('the codec of names', () => {
  it('computes function ids and version hashes over the layout of abi.encode', () => {
    fc.assert(
      fc.property(address, fc.string({ maxLength: 100 }), (namespace, name) => {
        const encoded = abi.encode(['address', 'string'], [namespace, name]);
        assert.equal(functionIdOf(namespace, name), BigInt(keccak256(encoded)));
      }),
    );
    fc.assert(
      fc.property(address, uint(256), number(32), (registry, id, version) => {
        const encoded = abi.encode(['address', 'uint256', 'uint32'], [registry, id, version]);
        assert.equal(functionVersionOf(registry, id, version), keccak256(encoded));
      }),
    );
  });

  it('writes CIDs as multiformats does, and reads them back', () => {
    fc.assert(
      fc.property(fc.constantFrom(...Object.values(CODECS)), bytes32, (codec, digest) => {
        const cid = cidOf(codec, digest);
        const expected = CID.createV1(codec, Digest.create(0x12, fromHex(digest)));
        assert.equal(cid, expected.toString());
        assert.deepEqual(digestOf(cid), { codec, digest });
      }),
    );
  });

  it('refuses CIDs of other versions, hashes, codecs and spellings', () => {
    const digest: Hex = `0x${'ab'.repeat(32)}`;
    const sha512Code = CID.createV1(0x55, Digest.create(0x13, fromHex(digest))).toString();
    const json = CID.createV1(0x0129, Digest.create(0x12, fromHex(digest))).toString();
    const good = cidOf(0x55, digest);

    const bad = [sha512Code, json, '', 'b', good.slice(1), `${good}a`, good.slice(0, -1), 'Qmabc'];
    for (const cid of [...bad, good.toUpperCase()]) {
      assert.throws(() => digestOf(cid), TypeError, cid);
    }
    assert.throws(() => cidOf(0x12, digest), TypeError);
    assert.throws(() => cidOf(0x55, '0x1234'), TypeError);
  });
});
