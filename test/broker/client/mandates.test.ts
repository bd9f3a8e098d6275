// What a mandate still allows, and which receipts it does not cover: the client's own count, which
// the gateway cannot change.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { ceilingFor } from '../../../broker/client/cover.ts';
import {
  createLaneMemory,
  GRACE_SEC,
  type HeldMandate,
  utcDayOf,
} from '../../../broker/client/lane-memory.ts';
import {
  ANY_FUNCTION,
  allowanceOfAll,
  faultUnder,
  mandatedNonce,
  overdrawnOfAll,
} from '../../../broker/client/mandates.ts';
import type { ReceiptDocument } from '../../../broker/client/receipts.ts';
import type { Hex } from '../../../contracts/libraries/keccak.ts';

const word = (byte: string): Hex => `0x${byte.repeat(32)}`;
const address = (byte: string): Hex => `0x${byte.repeat(20)}`;
const DAY_SEC = 86_400;
/** Noon of an arbitrary day. */
const NOON_SEC = 20_000 * DAY_SEC + DAY_SEC / 2;
const TODAY = new Date(NOON_SEC * 1000).toISOString().slice(0, 10);
const TOMORROW = new Date((NOON_SEC + DAY_SEC) * 1000).toISOString().slice(0, 10);
const YESTERDAY = new Date((NOON_SEC - DAY_SEC) * 1000).toISOString().slice(0, 10);

function held(changes: Partial<HeldMandate> & { readonly functionId?: bigint } = {}): HeldMandate {
  const { functionId = 7n, ...rest } = changes;
  return {
    hash: word('ab'),
    mandate: {
      payer: address('01'),
      gateway: address('02'),
      signer: address('03'),
      kind: 2,
      subject: word('00'),
      functionId,
      maxPrice: 50n,
      perDay: 100n,
      total: 180n,
      untilSec: NOON_SEC + DAY_SEC,
      serial: 1n,
    },
    countsFromMs: 0,
    spent: new Map(),
    ...rest,
  };
}

/** Only the fields that are read. */
function receipt(
  of: { price?: bigint; atSec?: number; item?: Hex; nonce?: Hex } = {},
): ReceiptDocument {
  const { price = 20n, atSec = NOON_SEC, item = word('11') } = of;
  return {
    item,
    call: { nonce: of.nonce ?? mandatedNonce(word('ab'), item) },
    receipt: { price },
    execution: { finishedAtSec: atSec },
  } as unknown as ReceiptDocument;
}

const faultOf = (document: ReceiptDocument, of = held(), functionId = 7n) =>
  faultUnder(of, document, functionId, NOON_SEC * 1000);

describe('mandates', () => {
  it('allow what is left of the day and of the total, and nothing once they are over or revoked', () => {
    const at = (of: HeldMandate, sec = NOON_SEC) => allowanceOfAll([of], sec * 1000);

    assert.equal(at(held()), 100n);
    assert.equal(at(held(), NOON_SEC + DAY_SEC - DAY_SEC / 4), 100n);
    assert.equal(at(held({ spent: new Map([[YESTERDAY, 30n]]) })), 100n);
    assert.equal(at(held({ spent: new Map([[YESTERDAY, 100n]]) })), 80n);
    assert.equal(at(held({ spent: new Map([[TODAY, 90n]]) })), 10n);
    assert.equal(at(held({ spent: new Map([[TODAY, 100n]]) })), 0n);
    // By a gateway whose clock is ahead, and that must not have two days in one.
    assert.equal(at(held({ spent: new Map([[TOMORROW, 70n]]) })), 30n);
    assert.equal(at(held(), NOON_SEC + DAY_SEC), 0n);
    assert.equal(at(held({ revokedAtMs: NOON_SEC * 1000 })), 0n);
  });

  it('cover a receipt within them, also of a call that began before they were closed', () => {
    assert.equal(faultOf(receipt()), undefined);
    assert.equal(faultOf(receipt(), held({ functionId: ANY_FUNCTION }), 9n), undefined);
    const justClosed = held({ revokedAtMs: (NOON_SEC - 60) * 1000 });
    assert.equal(faultOf(receipt(), justClosed), undefined);
    assert.equal(faultOf(receipt({ price: 0n }), held({ revokedAtMs: 0 })), undefined);
  });

  it('share their day with the mandate that they replace, and with no other', () => {
    const before = held({ revokedAtMs: NOON_SEC * 1000 - 1, spent: new Map([[TODAY, 70n]]) });
    const over = held({ spent: new Map([[TODAY, 200n]]), revokedAtMs: 1 });
    const other = held({ functionId: 8n });
    const at = (...all: HeldMandate[]) => allowanceOfAll(all, NOON_SEC * 1000);

    assert.equal(at(before, held()), 30n);
    assert.equal(at(over, held()), 0n);
    // Two programs have signed one mandate each.
    assert.equal(at(held(), held()), 100n);
    assert.equal(at(before, held(), held()), 30n);
    assert.equal(at(before, held(), other), 130n);
    assert.equal(at(before, other), 100n);
  });

  it('give no day twice when one mandate replaces another again and again', () => {
    const memory = createLaneMemory();
    const at = NOON_SEC * 1000;
    const step = 10n;
    const [first, next] = [word('ab'), word('cd')];
    const { mandate } = held();
    let record = { ceilingUnits: 0n, verifiedUnits: 0n };
    const raise = () => {
      const mandates = memory.mandates();
      const allowanceUnits = allowanceOfAll(mandates, at);
      const overdrawnUnits = overdrawnOfAll(mandates, at);
      const open = { maxUnits: 0n, allowanceUnits, overdrawnUnits, stepUnits: step };
      record = { ...record, ceilingUnits: ceilingFor(record, open) };
    };
    let seq = 0;
    /** All that the ceiling and the mandate leave room for, again and again. */
    const take = (hash: Hex) => {
      for (let look = 0; look < 100; look += 1) {
        const one = memory.mandates().find((any) => any.hash === hash) ?? assert.fail();
        const item: Hex = `0x${seq.toString(16).padStart(64, '0')}`;
        const document = receipt({ price: 1n, item, nonce: mandatedNonce(hash, item) });
        const isOver = record.verifiedUnits >= record.ceilingUnits;
        if (!isOver && faultUnder(one, document, 7n, at) === undefined) {
          seq += 1;
          const cumulative = record.verifiedUnits + 1n;
          const call = { ...document.call, authority: hash };
          const shown = { ...document, call, receipt: { seq, price: 1n, cumulative } };
          memory.acknowledge({ document: shown as never, call: item, atMs: at });
          record = { ...record, verifiedUnits: cumulative };
        }
        raise();
      }
    };

    memory.putMandate({ hash: first, mandate, signedAtMs: at });
    raise();
    take(first);
    memory.revokeMandate(first, at);
    memory.putMandate({ hash: next, mandate: { ...mandate, serial: 2n }, signedAtMs: at });
    take(next);

    assert.equal(record.verifiedUnits, 100n + step);
    assert.equal(record.ceilingUnits, 100n + step);
  });

  it('keep working after a look by a clock that was far ahead', () => {
    const memory = createLaneMemory();
    const { hash, mandate } = held();
    const { perDay } = mandate;
    memory.putMandate({ hash, mandate, signedAtMs: (NOON_SEC - 60) * 1000 });

    memory.looked((NOON_SEC + 400 * DAY_SEC) * 1000);

    const [one = assert.fail()] = memory.mandates();
    const farAhead = utcDayOf(NOON_SEC + 400 * DAY_SEC);
    assert.equal(faultOf(receipt(), one), undefined);
    assert.equal(
      allowanceOfAll([{ ...one, spent: new Map([[farAhead, 70n]]) }], NOON_SEC * 1000),
      perDay,
    );
  });

  it('count a charge that is back-dated before the last look on the day of that look', () => {
    const lookedAt = held({ countsFromMs: (NOON_SEC - 60) * 1000 });
    const full = { ...lookedAt, spent: new Map([[TODAY, 90n]]) };
    const longClosed = { ...lookedAt, revokedAtMs: (NOON_SEC - 3600) * 1000 };
    const old = receipt({ atSec: NOON_SEC - 5 * DAY_SEC });

    assert.equal(faultOf(old, lookedAt), undefined);
    assert.equal(typeof faultOf(old, full), 'string');
    assert.equal(typeof faultOf(receipt({ atSec: NOON_SEC - 3700 }), longClosed), 'string');
  });

  it('never allow a ceiling beyond perDay for each day since they were signed, whatever is back-dated', () => {
    const [perDay, total] = [100n, 1_000n];
    const signedAtSec = NOON_SEC;
    const look = fc.record({
      afterSec: fc.integer({ min: 1, max: DAY_SEC }),
      /** What the gateway shows: the price, and the claimed end of the call. */
      shown: fc.array(
        fc.record({
          price: fc.bigInt({ min: 1n, max: 100n }),
          atSec: fc.integer({ min: NOON_SEC - 9 * DAY_SEC, max: NOON_SEC + 20 * DAY_SEC }),
          isNow: fc.boolean(),
        }),
        { maxLength: 8 },
      ),
    });
    fc.assert(
      fc.property(fc.array(look, { minLength: 1, maxLength: 20 }), (looks) => {
        const memory = createLaneMemory();
        const { hash, mandate } = held();
        const untilSec = NOON_SEC + 30 * DAY_SEC;
        const terms = { ...mandate, perDay, total, maxPrice: perDay, untilSec };
        memory.putMandate({ hash, mandate: terms, signedAtMs: signedAtSec * 1000 });
        let nowSec = signedAtSec;
        let ceiling = allowanceOfAll(memory.mandates(), nowSec * 1000);
        let taken = 0n;
        let seq = 0;
        let ofDay = { day: Math.floor(nowSec / DAY_SEC), before: 0n };
        let isDaily = true;
        for (const { afterSec, shown } of looks) {
          nowSec += afterSec;
          const day = Math.floor(nowSec / DAY_SEC);
          isDaily &&= day <= ofDay.day + 1;
          // Clocks may differ by the grace: until then what the day before has left may be charged.
          if (day !== ofDay.day) isDaily &&= nowSec % DAY_SEC > GRACE_SEC;
          if (day !== ofDay.day) ofDay = { day, before: ceiling };
          for (const { price, atSec, isNow } of shown) {
            const [one = assert.fail()] = memory.mandates();
            const item: Hex = `0x${seq.toString(16).padStart(64, '0')}`;
            const document = receipt({ price, item, atSec: isNow ? nowSec : atSec });
            const isOver = taken + price > ceiling;
            if (isOver || faultUnder(one, document, 7n, nowSec * 1000) !== undefined) continue;
            seq += 1;
            taken += price;
            const ofLane = { seq, price, cumulative: taken };
            const call = { ...document.call, authority: hash };
            memory.acknowledge({
              document: { ...document, call, receipt: ofLane } as never,
              call: item,
              atMs: nowSec * 1000,
            });
          }
          memory.looked(nowSec * 1000);
          const allowed = allowanceOfAll(memory.mandates(), nowSec * 1000);
          if (taken + allowed > ceiling) ceiling = taken + allowed;
          const days = BigInt(day - Math.floor(signedAtSec / DAY_SEC) + 1);
          assert.ok(ceiling <= perDay * days && ceiling <= total, `${ceiling} after ${days} days`);
          if (isDaily)
            assert.ok(ceiling - ofDay.before <= perDay, `${ceiling - ofDay.before} in one`);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  for (const [what, document, of, functionId] of [
    ['a nonce that its item does not give', receipt({ nonce: word('99') }), held(), 7n],
    ['another function', receipt(), held(), 8n],
    ['a price above it', receipt({ price: 51n }), held(), 7n],
    ['a closed mandate', receipt(), held({ revokedAtMs: (NOON_SEC - 3600) * 1000 }), 7n],
    ['a day after its end', receipt({ atSec: NOON_SEC + 2 * DAY_SEC }), held(), 7n],
    ['a day that has not come', receipt({ atSec: NOON_SEC + DAY_SEC / 2 }), held(), 7n],
    ['a day that is used up', receipt(), held({ spent: new Map([[TODAY, 81n]]) }), 7n],
    ['all of it used up', receipt(), held({ spent: new Map([[YESTERDAY, 161n]]) }), 7n],
  ] as const) {
    it(`do not cover a receipt of ${what}`, () => {
      assert.equal(typeof faultOf(document, of, functionId), 'string');
    });
  }
});
