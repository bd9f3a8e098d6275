// The nonce of an own call: its maker recognises it, nobody else can make one, and it is valid for
// one function and one maximum price.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import {
  isNonceOfKey,
  isOwnNonce,
  ownCallOf,
  ownCallsKey,
  ownNonce,
} from '../../../broker/client/own-calls.ts';
import { fromHex, type Hex, toHex } from '../../../contracts/libraries/keccak.ts';

const word = fc.uint8Array({ minLength: 32, maxLength: 32 }).map(toHex);
const call = fc.record({
  functionId: fc.bigInt({ min: 0n, max: 2n ** 256n - 1n }),
  maxPriceUnits: fc.bigInt({ min: 0n, max: 2n ** 128n - 1n }),
});
const idempotencyKey = fc.option(fc.string(), { nil: undefined });

describe('nonces of own calls', () => {
  it('are recognised only with the key, function and maximum price that they were made with', () => {
    fc.assert(
      fc.property(word, word, call, call, idempotencyKey, (key, other, made, asked, id) => {
        const nonce = ownNonce(key, made, id);

        assert.match(nonce, /^0x[0-9a-f]{64}$/);
        assert.ok(isOwnNonce(key, nonce, made));
        const isSame =
          made.functionId === asked.functionId && made.maxPriceUnits === asked.maxPriceUnits;
        assert.equal(isOwnNonce(key, nonce, asked), isSame);
        assert.equal(isOwnNonce(other, nonce, made), other === key);
      }),
    );
  });

  it('are r and the first 16 bytes of an HMAC over r, function and price', () => {
    const key = ownCallsKey(`0x${'11'.repeat(32)}`);
    const hmac = (of: Hex, message: string | Uint8Array) =>
      createHmac('sha256', fromHex(of)).update(message).digest('hex');
    const r = hmac(key, 'order-1').slice(0, 32);
    const message = `${r}${'7'.padStart(64, '0')}${'64'.padStart(32, '0')}`;
    const tag = hmac(key, Buffer.from(message, 'hex')).slice(0, 32);

    assert.equal(key, `0x${hmac(`0x${'11'.repeat(32)}`, 'DeFaaS own calls 1')}`);
    assert.equal(ownNonce(key, { functionId: 7n, maxPriceUnits: 100n }, 'order-1'), `0x${r}${tag}`);
  });

  it('name the same call under one Idempotency-Key, whatever its maximum price, and are fresh without a key', () => {
    const key: Hex = `0x${'22'.repeat(32)}`;
    const made = { functionId: 7n, maxPriceUnits: 100n };
    const first = ownNonce(key, made, 'order-1');
    const dearer = ownNonce(key, { ...made, maxPriceUnits: 101n }, 'order-1');
    const beforeSec = Math.floor(Date.now() / 1000);
    const fresh = ownNonce(key, made);
    const timeSec = Number.parseInt(fresh.slice(2, 12), 16);

    assert.notEqual(first, dearer);
    assert.equal(ownCallOf(first, 7n), ownCallOf(dearer, 7n));
    assert.notEqual(ownCallOf(first, 7n), ownCallOf(first, 8n));
    assert.ok(isNonceOfKey(key, first, 'order-1') && !isNonceOfKey(key, first, 'order-2'));
    assert.notEqual(fresh, ownNonce(key, made));
    assert.ok(timeSec >= beforeSec && timeSec <= Date.now() / 1000);
  });
});
