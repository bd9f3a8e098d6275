import assert from 'node:assert/strict';
import { TypedDataEncoder, verifyTypedData, Wallet } from 'ethers';
import fc from 'fast-check';
import { type Hex, toHex } from '../../../contracts/libraries/keccak.ts';
import {
  billingDomain,
  type Eip712Domain,
  hashDomain,
  hashReceiptGroup,
  hashSignedCall,
  hashTypedData,
  hashVoucher,
  identityDomain,
  type Messages,
  messageOf,
  TYPES,
} from '../../../contracts/libraries/typed-data.ts';
import { readVectors } from '../../vectors/read-vectors.ts';
import * as any from './arbitraries.ts';

type Message = {
  [T in keyof Messages]: {
    type: T;
    message: Messages[T];
    domain: 'billing' | 'identity';
    digest: Hex;
  };
}[keyof Messages];
interface Vectors {
  domains: Record<'billing' | 'identity', { domain: Eip712Domain; separator: Hex }>;
  messages: Message[];
}

describe('typed-data', () => {
  const vectors = readVectors<Vectors>('typed-data.json');

  it('gives the separators and digests of the vectors, one for every type', () => {
    const { billing, identity } = vectors.domains;
    const { verifyingContract: at } = billing.domain;

    assert.equal(hashDomain(billing.domain), billing.separator);
    assert.equal(hashDomain(identity.domain), identity.separator);
    assert.deepEqual(billingDomain(31337, at), billing.domain);
    assert.deepEqual(identityDomain(31337, identity.domain.verifyingContract), identity.domain);
    for (const { type, message, domain, digest } of vectors.messages) {
      assert.equal(hashTypedData(vectors.domains[domain].domain, type, message), digest, type);
    }
    assert.deepEqual(vectors.messages.map(({ type }) => type).sort(), Object.keys(TYPES).sort());
  });

  it('agrees with a generic encoder, and a wallet signs the same digest', async () => {
    const wallet = new Wallet(toHex(new Uint8Array(32).fill(1)));
    const { domain } = vectors.domains.billing;
    for (const { type, message } of vectors.messages) {
      const types = { [type]: TYPES[type] };
      const shown = messageOf(type, message);

      const signature = await wallet.signTypedData(domain, types, shown);

      assert.equal(
        TypedDataEncoder.hash(domain, types, shown),
        hashTypedData(domain, type, message),
      );
      assert.equal(verifyTypedData(domain, types, shown, signature), wallet.address);
    }
  });

  it('hashes vouchers, groups and calls of any value as a generic encoder does', () => {
    const domains = fc
      .tuple(fc.integer({ min: 1 }), any.address)
      .map(([id, at]) => billingDomain(id, at));
    const vouchers = fc.record({
      payer: any.address,
      gateway: any.address,
      signer: any.address,
      ceiling: any.uint(128),
    });
    const groups = fc.record({ gateway: any.address, root: any.bytes32, count: any.number(32) });
    fc.assert(
      fc.property(domains, vouchers, groups, any.call, (domain, voucher, group, call) => {
        const { Voucher, ReceiptGroup, Call } = TYPES;
        const callShown = messageOf('Call', call);
        assert.equal(
          hashVoucher(domain, voucher),
          TypedDataEncoder.hash(domain, { Voucher }, voucher),
        );
        assert.equal(
          hashReceiptGroup(domain, group),
          TypedDataEncoder.hash(domain, { ReceiptGroup }, group),
        );
        assert.equal(
          hashSignedCall(domain, call),
          TypedDataEncoder.hash(domain, { Call }, callShown),
        );
      }),
    );
  });

  it('refuses a value wider than its type', () => {
    const { domain } = vectors.domains.billing;
    const voucher = vectors.messages.find(({ type }) => type === 'Voucher');
    assert.ok(voucher?.type === 'Voucher');

    assert.throws(
      () => hashVoucher(domain, { ...voucher.message, ceiling: 1n << 128n }),
      RangeError,
    );
  });
});
