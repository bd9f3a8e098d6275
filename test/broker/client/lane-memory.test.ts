// What a lane's owner keeps about finished calls that are not paid yet, in memory and on disk: one
// suite for both.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { elapsedOf } from '../../../broker/client/cover.ts';
import {
  createLaneMemory,
  GRACE_SEC,
  type LaneMemory,
} from '../../../broker/client/lane-memory.ts';
import type { ReceiptDocument } from '../../../broker/client/receipts.ts';
import type { Mandate } from '../../../contracts/libraries/typed-data.ts';
import { openStore } from '../../../scripts/cli/store.ts';
import { createEntry, PAYER, SIGNER } from '../ledger/entries.ts';

const CALL = 'aa:1';
const MAX_UNITS = 100n;

/** A receipt as a gateway shows it; only the fields that a memory reads matter here. */
function receiptOf(seq: number, price: bigint): ReceiptDocument {
  const entry = createEntry({ seq, price });
  const group = { root: entry.id, index: 0, count: 1, path: [], signature: entry.id };
  return { ...entry, group, function: entry.functionName, provider: entry.cloud, settled: false };
}

for (const kind of ['in memory', 'on disk'] as const) {
  describe(`a lane's memory ${kind}`, () => {
    let memory: LaneMemory;
    let close = (): void => undefined;
    beforeEach(() => {
      if (kind === 'in memory') {
        memory = createLaneMemory();
        return;
      }
      const home = mkdtempSync(join(tmpdir(), 'defaas-lane-memory-'));
      const store = openStore(home, '31337:0x01:0x02');
      store.addLane({ payer: PAYER, signer: SIGNER });
      memory = store.laneMemory({ payer: PAYER, signer: SIGNER });
      close = () => {
        store.close();
        rmSync(home, { recursive: true });
      };
    });
    afterEach(() => close());

    const sent = (id: string, call = CALL) =>
      memory.putCall({ id, call, maxPriceUnits: MAX_UNITS, expiresAtMs: Date.now() + 60_000 });
    const answered = (id: string, seq: number, elapsedMs: number, priceUnits = 0n, call = CALL) => {
      const answer = { seq, id: createEntry({ seq }).id, priceUnits, elapsedMs };
      memory.putCall({ id, call, maxPriceUnits: MAX_UNITS, expiresAtMs: 0, answer });
    };

    it('keeps how long a call took after its first receipt was free', () => {
      sent('1');
      answered('1', 1, 12);
      memory.acknowledge({ document: receiptOf(1, 0n), call: CALL, atMs: 0 });

      assert.equal(elapsedOf(memory, CALL), 12);
      assert.equal(memory.openUnits().maxUnits, 0n);
    });

    it('keeps how long a call took when its answer names the receipt of another call', () => {
      sent('1');
      answered('1', 1, 12);
      sent('2', 'bb:1');
      answered('2', 1, 5_000, 21n, 'bb:1');
      memory.acknowledge({ document: receiptOf(1, 21n), call: 'bb:1', atMs: 0 });

      assert.equal(elapsedOf(memory, CALL), 12);
    });

    it('remembers a refused call until it is sent again', () => {
      sent('1');
      memory.dropCall('1', { isRefused: true });
      const refused = memory.seenOf(CALL);
      sent('2');

      assert.equal(refused?.isRefused, true);
      assert.equal(memory.seenOf(CALL), undefined);
    });

    it('knows no duration of a call while one of its attempts has no answer', () => {
      sent('1');
      answered('1', 1, 12);
      sent('2');

      assert.equal(elapsedOf(memory, CALL), undefined);
    });

    it('counts a mandate’s charge on the day the call ended, and on no day before the last look', () => {
      const daySec = 86_400;
      const signedAtMs = Date.parse('2026-11-20T12:00:00Z');
      const later = signedAtMs + 3 * daySec * 1000;
      const hash = createEntry({ seq: 9 }).id;
      const mandate: Mandate = {
        payer: PAYER,
        gateway: PAYER,
        signer: SIGNER,
        kind: 2,
        subject: hash,
        functionId: 7n,
        maxPrice: 50n,
        perDay: 100n,
        total: 2n ** 100n,
        untilSec: signedAtMs / 1000 + 9 * daySec,
        serial: 1n,
      };
      const charge = (seq: number, finishedAt: string, atMs = later) => {
        const { call, execution, ...rest } = receiptOf(seq, 10n);
        const finishedAtSec = Date.parse(finishedAt) / 1000;
        const document = {
          ...rest,
          call: { ...call, authority: hash },
          execution: { ...execution, finishedAtSec },
        };
        memory.acknowledge({ document, call: `${seq}`, atMs });
      };

      memory.putMandate({ hash, mandate, signedAtMs });
      memory.putMandate({ hash, mandate, signedAtMs: 0 });
      charge(1, '2026-11-19T00:00:00Z');
      charge(2, '2026-11-21T00:00:00Z');
      memory.looked(later);
      memory.looked(signedAtMs);
      charge(3, '2026-11-21T00:00:00Z');
      charge(4, '2026-11-24T00:00:00Z');
      // The clock of the last look was wrong.
      charge(5, '2026-11-22T00:00:00Z', Date.parse('2026-11-22T00:10:00Z'));

      const [held, ...others] = memory.mandates();
      assert.deepEqual(others, []);
      assert.deepEqual(held?.mandate, mandate);
      assert.equal(held.countsFromMs, later - GRACE_SEC * 1000);
      assert.deepEqual([...held.spent].toSorted(), [
        ['2026-11-20', 10n],
        ['2026-11-21', 10n],
        ['2026-11-22', 10n],
        ['2026-11-23', 10n],
        ['2026-11-24', 10n],
      ]);
    });

    it('forgets everything about a call that is paid', () => {
      sent('1');
      answered('1', 1, 12);
      memory.acknowledge({ document: receiptOf(1, 0n), call: CALL, atMs: 0 });
      memory.acknowledge({ document: receiptOf(2, 21n), call: CALL, atMs: 0 });

      assert.equal(memory.seenOf(CALL), undefined);
      assert.equal(memory.paid(CALL)?.seq, 2);
      assert.equal(elapsedOf(memory, CALL), undefined);
    });
  });
}
