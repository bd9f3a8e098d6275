import assert from 'node:assert/strict';
import { Wallet } from 'ethers';
import { createKey, decryptKey, encryptKey, keyOf } from '../../contracts/keystore.ts';

/** The PBKDF2 example of the Web3 Secret Storage definition (ethereum.org). */
const EXAMPLE = {
  crypto: {
    cipher: 'aes-128-ctr',
    cipherparams: { iv: '6087dab2f9fdbbfaddc31a909735c1e6' },
    ciphertext: '5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46',
    kdf: 'pbkdf2',
    kdfparams: {
      c: 262144,
      dklen: 32,
      prf: 'hmac-sha256',
      salt: 'ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd',
    },
    mac: '517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2',
  },
  id: '3198bc9c-6672-5ab3-d995-4942343ae5b6',
  version: 3,
};

describe('the keystore', () => {
  it('makes keys whose addresses are those that ethers computes', () => {
    const key = createKey();

    assert.equal(key.address, new Wallet(key.privateKey).address.toLowerCase());
    assert.deepEqual(keyOf(key.privateKey), key);
    assert.notEqual(createKey().privateKey, key.privateKey);
  });

  it('reads back what it writes, with the right password only', async () => {
    const key = createKey();

    const json = await encryptKey(key, 'correct horse', { scryptN: 1024 });

    assert.ok(!json.includes(key.privateKey.slice(2)));
    assert.deepEqual(await decryptKey(json, 'correct horse'), key);
    await assert.rejects(decryptKey(json, 'wrong horse'));
  });

  it('reads the example of the specification', async () => {
    const key = await decryptKey(JSON.stringify(EXAMPLE), 'testpassword');

    assert.equal(
      key.privateKey,
      '0x7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d',
    );
  });
});
