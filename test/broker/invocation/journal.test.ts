import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as endOfTurn } from 'node:timers/promises';
import { createJournal } from '../../../broker/invocation/journal.ts';
import type { JournalEntry, Ledger } from '../../../broker/ledger/ledger.ts';
import { openSqliteLedger } from '../../../broker/ledger/sqlite.ts';
import { rootOf } from '../../../contracts/libraries/ordered-merkle.ts';
import { createEntry, SIGNER } from '../ledger/entries.ts';

const failOn = (error: unknown): void => assert.fail(String(error));
const sealed = (entry: JournalEntry) => () => ({ entry });
const signer = { key: SIGNER, sign: () => '0x01' as const };

describe('the journal of receipts', () => {
  let dir: string;
  let ledger: Ledger;
  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-journal-'));
    ledger = await openSqliteLedger(join(dir, 'ledger.sqlite'));
  });
  afterEach(async () => {
    await ledger.close();
    rmSync(dir, { recursive: true });
  });

  it('groups the receipts of some turns of the event loop, and those that arrive during a write, in order', async () => {
    const appended: Promise<unknown>[] = [];
    const [first, second, ...gathered] = [1, 2, 3, 4].map((seq) => createEntry({ seq }));
    const append = (entry: JournalEntry) => appended.push(journal.append(sealed(entry)));
    const writing = {
      putSignatures: ledger.putSignatures,
      commit: (group: Parameters<Ledger['commit']>[0]): Promise<void> => {
        if (group.group === 5) gathered.forEach(append);
        return ledger.commit(group);
      },
    };
    const journal = createJournal({ ledger: writing, signer, lastGroup: 4, onBroken: failOn });

    if (first) append(first);
    await endOfTurn();
    if (second) append(second);
    await Promise.all(appended);
    await Promise.all(appended);

    const later = gathered.map((entry) => entry.id);
    assert.deepEqual((await ledger.group(5))?.ids, [first?.id, second?.id]);
    assert.deepEqual((await ledger.group(6))?.ids, later);
    assert.equal((await ledger.group(6))?.group.root, rootOf(later));
    assert.deepEqual(await Promise.all(appended), [first?.id, second?.id, ...later]);
  });

  it('stores the signature of a durable group', async () => {
    const signing = { key: SIGNER, sign: () => '0x02' as const };
    const journal = createJournal({ ledger, signer: signing, lastGroup: 0, onBroken: failOn });

    await journal.append(sealed(createEntry({ seq: 1 })));
    await journal.flush();

    assert.equal((await ledger.group(1))?.group.signature, '0x02');
  });

  it('flushes the receipts that were there before, however many arrive after', async () => {
    const disk = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const given: number[] = [];
    const journal = createJournal({
      ledger: {
        putSignatures: async (signatures) => void given.push(...signatures.map((one) => one.group)),
        commit: async ({ group, signatures }) => {
          await disk[group - 1]?.promise;
          given.push(...signatures.map((one) => one.group));
        },
      },
      signer,
      lastGroup: 0,
      onBroken: failOn,
    });
    const first = journal.append(sealed(createEntry({ seq: 1 })));
    for (let turn = 0; turn < 10; turn += 1) await endOfTurn();
    const flushed = journal.flush();
    const second = journal.append(sealed(createEntry({ seq: 2 })));
    disk[0]?.resolve();

    await flushed;

    // The second is not on disk yet, and the first has its signature there.
    assert.deepEqual(given, [1]);
    disk[1]?.resolve();
    await Promise.all([first, second]);
    await journal.flush();
    assert.deepEqual(given, [1, 2]);
  });

  it('gives nobody the signature of a group that is not durable', async () => {
    const disk = Promise.withResolvers<void>();
    const given: unknown[] = [];
    const journal = createJournal({
      ledger: {
        putSignatures: async (signatures) => void given.push(...signatures),
        commit: (group) => {
          given.push(...group.signatures);
          return disk.promise;
        },
      },
      signer,
      lastGroup: 0,
      onBroken: () => {},
    });

    const taken = journal.append(sealed(createEntry({ seq: 1 })));
    const ended = taken.then(
      () => given.push('receipt'),
      () => 'refused',
    );
    for (let turn = 0; turn < 10; turn += 1) await endOfTurn();
    const before = [...given];
    disk.reject(new Error('the disk is full'));

    assert.equal(await ended, 'refused');
    await journal.flush();
    assert.deepEqual([before, given], [[], []]);
  });

  it('answers no call after a failed write, and reports the failure', async () => {
    const broken: unknown[] = [];
    const journal = createJournal({
      ledger,
      signer,
      lastGroup: 0,
      onBroken: (error) => broken.push(error),
    });
    await journal.append(sealed(createEntry({ seq: 1 })));

    const taken = journal.append(sealed(createEntry({ seq: 1, price: 9n })));
    const behind = journal.append(sealed(createEntry({ seq: 2 })));

    await assert.rejects(taken, { code: 'LEDGER_FAILED' });
    await assert.rejects(behind, { code: 'LEDGER_FAILED' });
    await assert.rejects(journal.append(sealed(createEntry({ seq: 3 }))), {
      code: 'LEDGER_FAILED',
    });
    assert.equal(broken.length, 1);
    assert.equal((await ledger.load('2026-11-22')).lastGroup, 1);
  });
});
