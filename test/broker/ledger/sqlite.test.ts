// The embedded ledger against the conformance suite, and what a crash leaves of its journal.
import assert from 'node:assert/strict';
import {
  appendFileSync,
  cpSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { crc32 } from 'node:zlib';
import type { JournalEntry, Ledger } from '../../../broker/ledger/ledger.ts';
import { openSqliteLedger } from '../../../broker/ledger/sqlite.ts';
import { testLedger } from './conformance.ts';
import { createEntry, PAYER } from './entries.ts';

/** Of SQLite by default. */
const PAGE_BYTES = 4_096;

const open = (dir: string) => openSqliteLedger(join(dir, 'ledger.sqlite'));

testLedger('sqlite', open);

describe('the SQLite ledger after a crash', () => {
  const opened: Ledger[] = [];
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-ledger-'));
  });
  afterEach(async () => {
    for (const ledger of opened.splice(0)) await ledger.close();
    rmSync(dir, { recursive: true });
  });
  const openIn = async (name: string): Promise<Ledger> => {
    const ledger = await open(join(dir, name));
    opened.push(ledger);
    return ledger;
  };
  const commit = (ledger: Ledger, group: number, entry: JournalEntry): Promise<void> =>
    ledger.commit({
      group,
      root: entry.id,
      entries: [entry],
      spending: [],
      answers: [],
      signatures: [],
    });

  it('has every committed receipt, also those that the index did not have yet', async () => {
    const ledger = await openIn('first');
    const entries = [1, 2, 3].map((seq) => createEntry({ seq }));
    for (const [index, entry] of entries.entries()) await commit(ledger, index + 1, entry);

    // The state after kill -9: a copy of the files while the process that writes them still runs.
    cpSync(join(dir, 'first'), join(dir, 'second'), { recursive: true });
    const after = await openIn('second');

    assert.equal((await after.load('')).lastGroup, 3);
    for (const entry of entries) assert.equal((await after.entry(entry.id))?.id, entry.id);
  });

  for (const format of [0, 1, 3]) {
    it(`is refused in one line that says what to do when its format is ${format}`, async () => {
      await (await openIn('first')).close();
      opened.length = 0;
      const db = new DatabaseSync(join(dir, 'first', 'ledger.sqlite'));
      db.exec(`PRAGMA user_version = ${format}`);
      db.close();

      await assert.rejects(openIn('first'), ({ code, message }) => {
        assert.equal(code, 'LEDGER_FAILED');
        assert.match(message, /ledger\.sqlite has format \d, .* run the version that wrote it/);
        assert.doesNotMatch(message, /\n|look at the disk/);
        return true;
      });
    });
  }

  it('is opened by one process at a time, because a second one would cut off what the first is writing', async () => {
    const ledger = await openIn('first');
    await commit(ledger, 1, createEntry({ seq: 1 }));

    await assert.rejects(openIn('first'), { code: 'LEDGER_FAILED' });

    await commit(ledger, 2, createEntry({ seq: 2 }));
    assert.equal((await ledger.load('')).lanes[0]?.seq, 2);
  }).timeout(20_000);

  it('has each of many vouchers that arrived at once, written in few transactions', async () => {
    const ledger = await openIn('first');
    const writeAhead = join(dir, 'first', 'ledger.sqlite-wal');
    const before = statSync(writeAhead).size;
    const vouchers = Array.from({ length: 1_000 }, (_, i) => ({
      payer: PAYER,
      signer: `0x${i.toString(16).padStart(40, '0')}` as const,
      ceiling: BigInt(i),
      signature: `0x${'5e'.repeat(65)}` as const,
    }));

    await Promise.all(vouchers.map(ledger.putVoucher));
    // Each transaction writes a page at least, and is synced.
    const written = statSync(writeAhead).size - before;
    cpSync(join(dir, 'first'), join(dir, 'second'), { recursive: true });
    const after = await openIn('second');

    assert.ok(written < 1_000 * PAGE_BYTES, `${written} bytes`);
    const found = await Promise.all(
      vouchers.map(({ payer, signer }) => after.voucher(payer, signer)),
    );
    assert.deepEqual(found, vouchers);
  });

  it('ends the process when its index cannot be written, so that no answered Idempotency-Key is forgotten', async () => {
    const ledger = await openIn('first');
    await ledger.putAnswer({ scope: 'ab'.repeat(32), fingerprint: 'f', atMs: 1, outcome: '{}' });
    // The record is no longer a valid record.
    const journal = join(dir, 'first', 'journal.log');
    const bytes = readFileSync(journal);
    bytes.write('no', 8);
    bytes.writeUInt32BE(crc32(bytes.subarray(8, 8 + bytes.readUInt32BE(0))), 4);
    writeFileSync(journal, bytes);

    await assert.rejects(ledger.expireAnswers(0), { code: 'LEDGER_FAILED' });

    await assert.rejects(ledger.answer('ab'.repeat(32)), { code: 'LEDGER_FAILED' });
    opened.length = 0;
    await ledger.close().catch(() => {});
  });

  it('cuts off a record that was written incompletely, and continues after the last complete one', async () => {
    const ledger = await openIn('first');
    const [whole, torn, next] = [
      createEntry({ seq: 1 }),
      createEntry({ seq: 2 }),
      createEntry({ seq: 3 }),
    ];
    await commit(ledger, 1, whole);
    cpSync(join(dir, 'first'), join(dir, 'second'), { recursive: true });
    const wholeBytes = usedBytes(join(dir, 'second', 'journal.log'));
    await commit(ledger, 2, torn);
    cpSync(join(dir, 'first', 'journal.log'), join(dir, 'second', 'journal.log'));
    truncateSync(join(dir, 'second', 'journal.log'), wholeBytes + 100);
    appendFileSync(join(dir, 'second', 'journal.log'), 'of another file');

    const after = await openIn('second');
    assert.equal(await after.entry(torn.id), undefined);
    await commit(after, 2, next);

    assert.equal((await after.load('')).lastGroup, 2);
    assert.deepEqual((await after.group(2))?.ids, [next.id]);
  });
});

/** Bytes before the zeros that are written ahead. */
function usedBytes(file: string): number {
  const bytes = readFileSync(file);
  return bytes.findLastIndex((byte) => byte !== 0) + 1;
}
