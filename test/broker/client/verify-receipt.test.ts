// What a payer checks before it signs for more: an honest receipt passes, and each possible fault
// of one is refused.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { ceilingFor } from '../../../broker/client/cover.ts';
import type { DefaasClientError } from '../../../broker/client/errors.ts';
import { type LaneDocument, signedCeiling } from '../../../broker/client/lane.ts';
import { ownCallsKey, ownNonce } from '../../../broker/client/own-calls.ts';
import type { ReceiptDocument } from '../../../broker/client/receipts.ts';
import { type ReceiptExpectations, verifyReceipt } from '../../../broker/client/verify-receipt.ts';
import { createKey, type Key } from '../../../contracts/keystore.ts';
import { type Address, fromHex, type Hex } from '../../../contracts/libraries/keccak.ts';
import { createTree } from '../../../contracts/libraries/ordered-merkle.ts';
import {
  type Call,
  type Execution,
  hashCall,
  hashExecution,
  hashReceipt,
  NO_AUTHORITY,
  type Receipt,
} from '../../../contracts/libraries/receipts.ts';
import {
  billingDomain,
  hashReceiptGroup,
  hashToSign,
  hashVoucher,
} from '../../../contracts/libraries/typed-data.ts';
import { signDigest } from '../../../contracts/signatures.ts';

const at = (byte: string): Address => `0x${byte.repeat(20)}`;
const word = (byte: string): Hex => `0x${byte.repeat(32)}`;
const domain = billingDomain(31337, at('b1'));
const gateway = at('9a');
const lane = { payer: at('aa'), signer: at('bb') };
const operator = createKey();
const salt = word('5a');
const input = new TextEncoder().encode('in');
const output = new TextEncoder().encode('out');
const IDEMPOTENCY_KEY = 'order-1';
const FUNCTION_ID = 7n;
const OWN = ownCallsKey(word('0e'));

const expected: ReceiptExpectations = {
  domain,
  gateway,
  lane,
  chain: {
    isKeyInForce: async (key, party) => key === operator.address && party === gateway,
    priceTerms: async (version) =>
      version === word('11')
        ? {
            tariff: {
              perCall: 20n,
              perGiBSecond: 40n,
              maxPrice: 100_000n,
              minBilledMs: 0,
              roundMs: 1,
              publisherBps: 0,
            },
            memoryMiB: 128,
            timeoutMs: 1000,
          }
        : undefined,
    functionOf: async (version) => (version === word('11') ? FUNCTION_ID : undefined),
  },
  after: { verifiedSeq: 6, verifiedUnits: 126n, ceilingUnits: 147n },
  ownCallsKey: OWN,
  idempotencyKey: IDEMPOTENCY_KEY,
  request: { method: 'POST', target: '/a?b', body: input },
  output,
};

interface Lie {
  readonly call?: Partial<Call>;
  readonly execution?: Partial<Execution>;
  readonly receipt?: Partial<Receipt>;
  readonly key?: Key;
  readonly elapsedMs?: number;
  /** Changed after it was signed. */
  readonly shown?: (document: ReceiptDocument) => ReceiptDocument;
}

function document(lie: Lie = {}): ReceiptDocument {
  const named = { ...lane, gateway };
  const call: Call = {
    ...named,
    nonce: ownNonce(
      OWN,
      { functionId: FUNCTION_ID, maxPriceUnits: lie.call?.maxPrice ?? 100n },
      IDEMPOTENCY_KEY,
    ),
    functionVersion: word('11'),
    input: committed('POST\n/a?b', input),
    maxPrice: 100n,
    deadlineSec: 1_800_000_000,
    beacon: 5,
    authority: NO_AUTHORITY,
    ...lie.call,
  };
  const execution: Execution = {
    deployment: 1,
    request: word('22'),
    billedMs: 100,
    initMs: 0,
    memoryMiB: 128,
    status: 200,
    input: committed('POST\n/a?b', input),
    output: committed('200', output),
    finishedAtSec: 1_799_999_999,
    ...lie.execution,
  };
  const receipt: Receipt = {
    ...named,
    seq: 7,
    call: hashCall(call),
    execution: hashExecution(execution),
    provider: at('cc'),
    attempt: 0,
    atBlock: 9,
    price: 21n,
    cumulative: 147n,
    ...lie.receipt,
  };
  const id = hashReceipt(receipt);
  const tree = createTree([word('77'), id, word('88')]);
  const digest = hashReceiptGroup(domain, { gateway, root: tree.root, count: 3 });
  const signature = signDigest((lie.key ?? operator).privateKey, digest);
  const honest: ReceiptDocument = {
    id,
    receipt,
    call,
    execution,
    salt,
    group: { root: tree.root, index: 1, count: 3, path: tree.path(1), signature },
    function: 'x/hello@1',
    provider: 'aws-lambda',
    settled: false,
  };
  return lie.shown?.(honest) ?? honest;
}

/** A second, which costs 5 units. */
const LONG: Lie = { execution: { billedMs: 1000 }, receipt: { price: 25n, cumulative: 151n } };

function madeFor(changes: {
  readonly key?: Hex;
  readonly functionId?: bigint;
  readonly maxPriceUnits?: bigint;
  readonly id?: string;
}): Hex {
  const { key = OWN, functionId = FUNCTION_ID, maxPriceUnits = 100n } = changes;
  return ownNonce(key, { functionId, maxPriceUnits }, changes.id ?? IDEMPOTENCY_KEY);
}

/** sha256(salt || sha256(head) || sha256(body)), by Node's streaming hash. */
function committed(head: string, body: Uint8Array): Hex {
  const digest = (bytes: string | Uint8Array) => createHash('sha256').update(bytes).digest();
  const hash = createHash('sha256').update(fromHex(salt)).update(digest(head)).update(digest(body));
  return `0x${hash.digest('hex')}`;
}

describe('verifyReceipt', () => {
  it('passes an honest receipt', async () => {
    await verifyReceipt(document(), expected);
  });

  it('passes a failed call without an output and at price 0', async () => {
    const failed = document({
      execution: { status: 0, output: word('00') },
      receipt: { price: 0n, cumulative: 126n },
    });

    await verifyReceipt(failed, expected);
  });

  const lies: [what: string, lie: Lie][] = [
    ['another id', { shown: (seen) => ({ ...seen, id: word('01') }) }],
    ['a Call it is not over', { receipt: { call: word('01') } }],
    ['an Execution it is not over', { receipt: { execution: word('01') } }],
    ['another payer', { receipt: { payer: at('01') } }],
    ['another gateway', { receipt: { gateway: at('01') } }],
    ['a Call of another lane', { call: { signer: at('01') } }],
    ['a seq that leaves a gap', { receipt: { seq: 8 } }],
    ['a seq that was used', { receipt: { seq: 6 } }],
    ['a sum that does not add up', { receipt: { cumulative: 148n } }],
    ['a price above what was agreed', { call: { maxPrice: 20n } }],
    ['a price above the tariff', { receipt: { price: 22n, cumulative: 148n } }],
    ['a price for a failed call', { execution: { status: 0 } }],
    ['a version that was never published', { call: { functionVersion: word('12') } }],
    ['a signature by a stranger', { key: createKey() }],
    ['a nonce that the gateway chose', { call: { nonce: word('01') } }],
    ['a nonce of another key', { call: { nonce: madeFor({ key: word('02') }) } }],
    ['a nonce for another function', { call: { nonce: madeFor({ functionId: 8n }) } }],
    ['a nonce for another maximum price', { call: { nonce: madeFor({ maxPriceUnits: 99n }) } }],
    ['an own nonce of another Idempotency-Key', { call: { nonce: madeFor({ id: 'order-2' }) } }],
    ['a mandate that was never signed', { call: { authority: word('0a') } }],
    ['more time than its answer took', { ...LONG, elapsedMs: 700 }],
    ['another input', { execution: { input: word('01') } }],
    ['another output', { execution: { output: word('01') } }],
    ['bodies without their salt', { shown: ({ salt: _salt, ...seen }) => seen }],
    [
      'a place outside its group',
      { shown: (seen) => ({ ...seen, group: { ...seen.group, index: 0 } }) },
    ],
    [
      'no signature at all',
      {
        shown: (seen) => ({ ...seen, group: { ...seen.group, signature: `0x${'00'.repeat(65)}` } }),
      },
    ],
  ];

  /**
   * Faults that the gateway has signed itself: they prove a lie, whereas any other may have
   * happened in transit.
   */
  const contradictions = [
    'a sum that does not add up',
    'a price above what was agreed',
    'a price above the tariff',
    'a price for a failed call',
    'a nonce that the gateway chose',
    'a nonce of another key',
    'a nonce for another function',
    'a nonce for another maximum price',
    'a mandate that was never signed',
    'more time than its answer took',
  ];
  for (const [what, lie] of lies) {
    it(`refuses ${what}`, async () => {
      const asked = { ...expected, ...(lie.elapsedMs && { elapsedMsOf: () => lie.elapsedMs }) };

      await assert.rejects(verifyReceipt(document(lie), asked), (error: DefaasClientError) => {
        assert.equal(error.code, 'RECEIPT_INVALID');
        assert.equal(error.evidence !== undefined, contradictions.includes(what), error.message);
        return true;
      });
    });
  }

  it('passes a receipt that bills no more than its answer took', async () => {
    const after = { verifiedSeq: 6, verifiedUnits: 126n, ceilingUnits: 151n };

    await verifyReceipt(document(LONG), { ...expected, after, elapsedMsOf: () => 999 });
  });

  const wishes: [what: string, wish: Partial<ReceiptExpectations>][] = [
    [
      'a receipt above all that was signed',
      { after: { verifiedSeq: 6, verifiedUnits: 126n, ceilingUnits: 146n } },
    ],
    ['another receipt than was asked for', { id: word('01') }],
    ['another version than was called', { functionVersion: word('12') }],
    ['a price above what the caller allowed', { maxPriceUnits: 20n }],
    ['a Call without a signature, in a lane of signed Calls', { isSigned: true }],
  ];
  for (const [what, wish] of wishes) {
    it(`refuses ${what}`, async () => {
      const asked = { ...expected, ...wish };

      await assert.rejects(verifyReceipt(document(), asked), { code: 'RECEIPT_INVALID' });
    });
  }

  it('passes the Call that the lane’s key has signed, and none that another has', async () => {
    const key = createKey();
    const own = { payer: lane.payer, signer: key.address };
    const asked = { ...expected, lane: own, isSigned: true };
    const signed = (by: Key) => {
      const lie = { call: own, receipt: own };
      const digest = hashToSign(domain, document(lie).receipt.call);
      const callSignature = signDigest(by.privateKey, digest);
      return document({ ...lie, shown: (seen) => ({ ...seen, callSignature }) });
    };

    await verifyReceipt(signed(key), asked);
    await assert.rejects(verifyReceipt(signed(operator), asked), { code: 'RECEIPT_INVALID' });
  });
});

describe('ceilingFor', () => {
  const units = fc.bigInt({ min: 0n, max: 10n ** 12n });
  const cases = fc.record({
    ceilingUnits: units,
    verifiedUnits: units,
    maxUnits: units,
    allowanceUnits: units,
    overdrawnUnits: fc.bigInt({ min: 0n, max: 10n ** 6n }),
    stepUnits: fc.bigInt({ min: 0n, max: 10n ** 6n }),
  });

  it('never falls, and exceeds the checked sum by at most a step or the calls in flight, plus the mandates', () => {
    fc.assert(
      fc.property(cases, ({ ceilingUnits, verifiedUnits, ...open }) => {
        const next = ceilingFor({ ceilingUnits, verifiedUnits }, open);

        const { maxUnits, allowanceUnits } = open;
        const step = open.stepUnits - open.overdrawnUnits;
        const most = verifiedUnits + (maxUnits > step ? maxUnits : step) + allowanceUnits;
        assert.equal(next, most > ceilingUnits ? most : ceilingUnits);
      }),
    );
  });
});

describe('signedCeiling', () => {
  const key = createKey();
  const voucherBy = (by: Key, ceiling: bigint) => {
    const digest = hashVoucher(domain, {
      payer: lane.payer,
      gateway,
      signer: key.address,
      ceiling,
    });
    return { ceilingUnits: ceiling, signature: signDigest(by.privateKey, digest) };
  };
  // Only the fields that are read.
  const laneWith = (voucher?: LaneDocument['voucher']) =>
    ({
      payer: lane.payer,
      gateway,
      signer: key.address,
      ...(voucher && { voucher }),
    }) as LaneDocument;

  it('is what the lane’s own key has signed, and never what the gateway only claims', () => {
    const raised = { ...voucherBy(key, 5n), ceilingUnits: 500n };

    assert.equal(signedCeiling(domain, laneWith(voucherBy(key, 5n))), 5n);
    assert.equal(signedCeiling(domain, laneWith(raised)), 0n);
    assert.equal(signedCeiling(domain, laneWith(voucherBy(operator, 5n))), 0n);
    assert.equal(signedCeiling(domain, laneWith()), 0n);
  });
});
