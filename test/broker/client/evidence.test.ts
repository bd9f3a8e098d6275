// Evidence files: what is written is read back, and what a stranger wrote is taken only in its
// exact form.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  type EvidenceFile,
  formatEvidence,
  MAX_EVIDENCE_LENGTH,
  parseEvidence,
} from '../../../broker/client/evidence.ts';
import { accused, type Exhibit, evidenceName, fraudName } from '../../../broker/client/exhibits.ts';
import type { Leaf, Place, SignedReceipt } from '../../../contracts/chain/evidence.ts';
import type { Address, Hex } from '../../../contracts/libraries/keccak.ts';
import {
  type Call,
  type Execution,
  hashCall,
  hashExecution,
  type Receipt,
} from '../../../contracts/libraries/receipts.ts';

const GATEWAY: Address = `0x${'a1'.repeat(20)}`;
const bytes = (length: number) =>
  fc
    .uint8Array({ minLength: length, maxLength: length })
    .map((value): Hex => `0x${Buffer.from(value).toString('hex')}`);
const uint = (bits: number) => fc.nat({ max: Math.min(2 ** bits, 2 ** 31) - 1 });
const units = (bits: number) => fc.bigInt({ min: 0n, max: 2n ** BigInt(bits) - 1n });
const path = fc.array(bytes(32), { maxLength: 40 });
const lane = { payer: bytes(20), gateway: fc.constant(GATEWAY), signer: bytes(20) };
const calls: fc.Arbitrary<Call> = fc.record({
  ...lane,
  ...{ nonce: bytes(32), functionVersion: bytes(32), input: bytes(32), maxPrice: units(128) },
  ...{ deadlineSec: uint(40), beacon: uint(53), authority: bytes(32) },
});
const executions: fc.Arbitrary<Execution> = fc.record({
  ...{ deployment: uint(53), request: bytes(32), billedMs: uint(32), initMs: uint(32) },
  ...{ memoryMiB: uint(32), status: uint(16), input: bytes(32), output: bytes(32) },
  finishedAtSec: uint(40),
});
const receipts: fc.Arbitrary<Receipt> = fc.record({
  ...lane,
  ...{ seq: uint(40), call: bytes(32), execution: bytes(32), provider: bytes(20) },
  ...{ attempt: uint(8), atBlock: uint(53), price: units(128), cumulative: units(128) },
});
const leaves: fc.Arbitrary<Leaf> = fc.record({ receipt: receipts, index: uint(32), path });
const signed: fc.Arbitrary<SignedReceipt> = fc
  .record({
    receipt: receipts,
    index: uint(20),
    more: fc.integer({ min: 1, max: 9 }),
    path,
    signature: bytes(65),
  })
  .map(({ more, ...one }) => ({ ...one, count: one.index + more }));
const places: fc.Arbitrary<Place> = fc
  .record({
    ...lane,
    ...{ batch: uint(53), settledAtSec: uint(53), claim: uint(8), outside: bytes(32), path },
    ...{ settledFrom: units(88), settledTo: units(88), seqFrom: uint(30), receipts: bytes(32) },
    count: fc.integer({ min: 1, max: 1000 }),
  })
  .map(({ count, ...one }) => ({ ...one, claims: one.claim + 1, seqTo: one.seqFrom + count }));
const opened = { place: places, leaf: leaves, call: calls, execution: executions };
const kind = <K extends string>(name: K) => fc.constant(name);
const held = fc
  .record({
    kind: kind('receipt'),
    signed,
    call: calls,
    execution: executions,
    callSignature: bytes(65),
  })
  .map((one) => {
    const receipt = {
      ...one.signed.receipt,
      call: hashCall(one.call),
      execution: hashExecution(one.execution),
    };
    return { ...one, signed: { ...one.signed, receipt } };
  });
const exhibits: fc.Arbitrary<Exhibit> = fc.oneof(
  fc.record(
    { kind: kind('omission'), signed, place: places, node: bytes(32), path, opened: receipts },
    { requiredKeys: ['kind', 'signed', 'place', 'node', 'path'] },
  ),
  fc.record({ kind: kind('break'), place: places, a: leaves, b: leaves }),
  fc.record({ kind: kind('edge'), place: places, leaf: leaves }),
  fc.record({ kind: kind('overcharge'), ...opened }),
  fc.record({ kind: kind('over-limit'), ...opened }),
  fc.record({
    kind: kind('misroute'),
    ...opened,
    setNo: uint(32),
    ids: fc.array(uint(53), { maxLength: 32 }),
  }),
  fc.record({
    kind: kind('duplicate'),
    firstPlace: places,
    first: leaves,
    laterPlace: places,
    later: leaves,
  }),
  fc.record({ kind: kind('withheld'), place: places, index: fc.constant(0) }),
  held,
  held.map(({ kind: of, signed: receipt }) => ({ kind: of, signed: receipt })),
);
const files: fc.Arbitrary<EvidenceFile> = fc
  .record({
    chainId: uint(53),
    billing: bytes(20),
    gateway: fc.constant(GATEWAY),
    message: fc.string({ maxLength: 80 }).map((text) => text.replaceAll(/\p{C}/gu, ' ')),
    exhibit: exhibits,
  })
  .map((file) => structuredClone(file));

describe('evidence', () => {
  it('reads back what it wrote, whatever the exhibit is', () => {
    fc.assert(
      fc.property(files, (file) => {
        const text = formatEvidence(file);

        assert.deepEqual(parseEvidence(text), file);
        const { kind: shown } = JSON.parse(text);
        assert.equal(shown, fraudName(file.exhibit.kind));
        assert.match(evidenceName(file.exhibit), /^[a-z-]+-0x[0-9a-f]+(-\d+){0,3}$/);
        assert.equal(accused(file.exhibit), GATEWAY);
      }),
    );
  });

  it('refuses with one code every file with a missing, unknown or malformed member', () => {
    const rubbish = fc.oneof(
      fc.constantFrom(null, true, -1, 1.5, 2 ** 53, '', '0x', '0xzz', '-1', '1e3', [], {}, [[]]),
      fc.string(),
      fc.jsonValue(),
    );
    fc.assert(
      fc.property(files, fc.nat(), fc.boolean(), rubbish, (file, pick, isAdded, value) => {
        const document = JSON.parse(formatEvidence(file));
        const spots = spotsOf(document);
        const { owner, name } = spots[pick % spots.length] ?? assert.fail();
        if (isAdded) owner[`${name} `] = value;
        else if (JSON.stringify(owner[name]) === JSON.stringify(value)) return;
        else owner[name] = value;

        const text = JSON.stringify(document);

        const read = attempt(text);
        // A value of the right form is another exhibit; nothing but the exact form is taken.
        if (read === undefined) return;
        assert.ok(!isAdded || Array.isArray(owner));
        assert.deepEqual(attempt(formatEvidence(read)), read);
      }),
      { numRuns: 2_000 },
    );
  });

  it('refuses a file that is no JSON, too long, of another version, or about another gateway than it says', () => {
    const [file] = fc.sample(files, { numRuns: 1, seed: 1 });
    assert.ok(file);
    const text = formatEvidence(file);
    const changed = (changes: object) => JSON.stringify({ ...JSON.parse(text), ...changes });
    const bad = [
      '',
      '[]',
      'null',
      'not JSON',
      `${'['.repeat(20_000)}`,
      `${text}${' '.repeat(MAX_EVIDENCE_LENGTH)}`,
      changed({ version: 2 }),
      changed({ kind: 'D8' }),
      changed({ proof: 'equivocation' }),
      changed({ gateway: `0x${'b2'.repeat(20)}` }),
      changed({ message: 'x'.repeat(257) }),
      changed({ __proto__: null, salt: '0x00' }),
    ];

    for (const one of bad) {
      assert.throws(() => parseEvidence(one), { code: 'EVIDENCE_INVALID' }, one.slice(0, 40));
    }
  });

  it('shows no control characters from a stranger’s file', () => {
    const [file] = fc.sample(files, { numRuns: 1, seed: 1 });
    assert.ok(file);

    const { message } = parseEvidence(formatEvidence({ ...file, message: 'a\u001b[2Jb\nc\u202e' }));

    assert.equal(message, 'a [2Jb c ');
  });
});

/** Undefined where it was refused with the one code. */
function attempt(text: string): EvidenceFile | undefined {
  try {
    return parseEvidence(text);
  } catch (error) {
    assert.ok(error instanceof Error && 'code' in error);
    assert.equal(error.code, 'EVIDENCE_INVALID');
    assert.doesNotMatch(error.message, /\n/);
    assert.ok(error.message.length < 300);
    return undefined;
  }
}

/** Every member of a JSON document, to any depth. */
function spotsOf(value: unknown): { owner: Record<string, unknown>; name: string }[] {
  if (typeof value !== 'object' || value === null) return [];
  const owner = value as Record<string, unknown>; // JSON's objects and lists have string keys
  return Object.keys(owner).flatMap((name) => [{ owner, name }, ...spotsOf(owner[name])]);
}
