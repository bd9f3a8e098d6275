// What every ledger must do: `testLedger(open)` runs it against one implementation.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Ledger } from '../../../broker/ledger/ledger.ts';
import type { Address } from '../../../contracts/libraries/keccak.ts';
import { address, createEntry, PAYER, SIGNER } from './entries.ts';

const DAY = '2026-11-22';

/** `open` opens the ledger that lives in `dir`, again and again. */
export function testLedger(name: string, open: (dir: string) => Promise<Ledger>): void {
  describe(`ledger ${name}`, () => {
    let dir: string;
    let ledger: Ledger;
    beforeEach(async () => {
      dir = mkdtempSync(join(tmpdir(), 'defaas-ledger-'));
      ledger = await open(dir);
    });
    afterEach(async () => {
      await ledger.close();
      rmSync(dir, { recursive: true });
    });
    const reopen = async (): Promise<void> => {
      await ledger.close();
      ledger = await open(dir);
    };

    it('begins empty', async () => {
      const state = await ledger.load(DAY);

      assert.deepEqual(state, {
        lanes: [],
        vouchers: [],
        deployments: [],
        manifests: [],
        lastGroup: 0,
        unsignedGroups: [],
        dailyLimits: [],
        spentToday: [],
        mandates: [],
        mandateSpending: [],
      });
    });

    it('returns after a restart exactly what was committed', async () => {
      const first = createEntry({ seq: 1, price: 21n });
      const second = createEntry({ seq: 2, price: 2n ** 80n });
      const entries = [first, second];
      await ledger.commit({
        group: 1,
        root: first.id,
        entries,
        spending: [],
        answers: [],
        signatures: [],
      });

      await reopen();

      const { lanes, lastGroup, unsignedGroups } = await ledger.load(DAY);
      const cumulative = second.receipt.cumulative;
      assert.deepEqual(lanes, [{ payer: PAYER, signer: SIGNER, seq: 2, cumulative }]);
      assert.equal(lastGroup, 1);
      assert.deepEqual(unsignedGroups, [{ group: 1, root: first.id, count: 2 }]);
      assert.deepEqual(await ledger.entry(second.id), {
        ...second,
        group: 1,
        groupIndex: 1,
      });
    });

    it('reads a lane in order and by pages', async () => {
      const entries = [1, 2, 3, 4].map((seq) => createEntry({ seq }));
      const root = createEntry({ seq: 1 }).id;
      await ledger.commit({ group: 1, root, entries, spending: [], answers: [], signatures: [] });

      const page = await ledger.laneEntries({
        payer: PAYER,
        signer: SIGNER,
        afterSeq: 1,
        limit: 2,
      });

      assert.deepEqual(
        page.map((entry) => entry.receipt.seq),
        [2, 3],
      );
    });

    it('reads a lane across groups in which others have receipts too', async () => {
      const other = address('e7');
      const groups = [
        [createEntry({ seq: 1 }), createEntry({ seq: 1, signer: other }), createEntry({ seq: 2 })],
        [createEntry({ seq: 2, signer: other })],
        [createEntry({ seq: 3, signer: other }), createEntry({ seq: 3 }), createEntry({ seq: 4 })],
      ];
      for (const [index, entries] of groups.entries()) {
        const root = entries[0]?.id ?? '0x';
        const group = index + 1;
        await ledger.commit({ group, root, entries, spending: [], answers: [], signatures: [] });
      }
      const seqs = async (signer: Address, afterSeq: number, limit: number): Promise<number[]> => {
        const page = await ledger.laneEntries({ payer: PAYER, signer, afterSeq, limit });
        assert.ok(page.every(({ receipt }) => receipt.signer === signer));
        return page.map(({ receipt }) => receipt.seq);
      };

      assert.deepEqual(await seqs(SIGNER, 0, 10), [1, 2, 3, 4]);
      assert.deepEqual(await seqs(SIGNER, 1, 2), [2, 3]);
      assert.deepEqual(await seqs(SIGNER, 4, 10), []);
      assert.deepEqual(await seqs(other, 1, 10), [2, 3]);
      assert.deepEqual(await seqs(address('77'), 0, 10), []);
      const { lanes } = await ledger.load(DAY);
      assert.deepEqual(
        lanes.map(({ signer, seq }) => ({ signer, seq })),
        [
          { signer: SIGNER, seq: 4 },
          { signer: other, seq: 3 },
        ],
      );
    });

    it('reads receipts of any length, and pages that begin and end within a group', async () => {
      const long = {
        ...createEntry({ seq: 2 }),
        functionName: `${PAYER}/\u00e9${'x'.repeat(50_000)}@1`,
      };
      const entries = [createEntry({ seq: 1 }), long, createEntry({ seq: 3 })];
      const last = createEntry({ seq: 4 });
      const common = { spending: [], answers: [], signatures: [] };
      await ledger.commit({ ...common, group: 1, root: long.id, entries });
      await ledger.commit({ ...common, group: 2, root: last.id, entries: [last] });
      const page = (afterSeq: number, limit: number) =>
        ledger.laneEntries({ payer: PAYER, signer: SIGNER, afterSeq, limit });

      assert.deepEqual(await ledger.entry(long.id), { ...long, group: 1, groupIndex: 1 });
      assert.deepEqual(await page(1, 1), [{ ...long, group: 1, groupIndex: 1 }]);
      const ids = (await page(2, 2)).map(({ id }) => id);
      assert.deepEqual(ids, [entries[2]?.id, last.id]);
    });

    it('refuses a second receipt with the same number, and keeps nothing of its group', async () => {
      const first = createEntry({ seq: 1, price: 1n });
      const second = createEntry({ seq: 1, price: 2n });
      const commit = (group: number, entry: typeof first): Promise<void> =>
        ledger.commit({
          group,
          root: entry.id,
          entries: [entry],
          spending: [],
          answers: [],
          signatures: [],
        });
      await commit(1, first);

      await assert.rejects(commit(2, second), { code: 'LEDGER_FAILED' });

      assert.equal((await ledger.load(DAY)).lastGroup, 1);
    });

    it('stores the signatures that arrive with a later group', async () => {
      const first = createEntry({ seq: 1 });
      const second = createEntry({ seq: 2 });
      const signature = `0x${'11'.repeat(65)}` as const;
      await ledger.commit({
        group: 1,
        root: first.id,
        entries: [first],
        spending: [],
        answers: [],
        signatures: [],
      });
      const signed = [{ group: 1, key: SIGNER, signature }];
      await ledger.commit({
        group: 2,
        root: second.id,
        entries: [second],
        spending: [],
        answers: [],
        signatures: signed,
      });

      const stored = await ledger.group(1);

      assert.deepEqual(stored, {
        group: { group: 1, root: first.id, count: 1, key: SIGNER, signature },
        ids: [first.id],
      });
    });

    it('finds an Idempotency-Key at once, also after a restart, and forgets a dropped one', async () => {
      const claim = (scope: string) => ({ scope: scope.repeat(64), fingerprint: 'f', atMs: 5 });
      const outcome = {
        ...claim('a'),
        outcome: '{"status":200,"text":"\\u00e9 \u{1F600}"}',
        body: new Uint8Array([0, 10, 255]),
      };
      const first = createEntry({ seq: 1 });
      await ledger.putAnswer(claim('a'));
      await ledger.putAnswer(claim('b'));
      await ledger.putAnswer(claim('c'));
      assert.deepEqual(await ledger.answer('a'.repeat(64)), claim('a'));
      await ledger.commit({
        group: 1,
        root: first.id,
        entries: [first],
        spending: [],
        answers: [outcome],
        signatures: [],
      });
      await ledger.dropAnswer('b'.repeat(64));

      const read = async () => {
        const { body, ...rest } = (await ledger.answer('a'.repeat(64))) ?? {};
        assert.deepEqual(
          { ...rest, body: Buffer.from(body ?? []) },
          {
            ...outcome,
            body: Buffer.from(outcome.body),
          },
        );
        assert.equal(await ledger.answer('b'.repeat(64)), undefined);
        assert.deepEqual(await ledger.answer('c'.repeat(64)), claim('c'));
        assert.equal(await ledger.answer('d'.repeat(64)), undefined);
      };
      await read();
      await reopen();
      await read();
      await ledger.expireAnswers(6);
      assert.equal(await ledger.answer('c'.repeat(64)), undefined);
    });

    it('finds a receipt by its id and with its group as soon as it is committed', async () => {
      const entry = createEntry({ seq: 1 });
      const other = createEntry({ seq: 2 });
      await ledger.commit({
        group: 1,
        root: entry.id,
        entries: [entry],
        spending: [],
        answers: [],
        signatures: [],
      });

      assert.deepEqual(await ledger.entry(entry.id), { ...entry, group: 1, groupIndex: 0 });
      assert.equal(await ledger.entry(other.id), undefined);
      assert.deepEqual((await ledger.group(1))?.ids, [entry.id]);
      assert.equal(await ledger.group(2), undefined);
    });

    it('keeps the higher of two vouchers, in whatever order they arrive', async () => {
      const voucher = (ceiling: bigint) => ({
        payer: PAYER,
        signer: SIGNER,
        ceiling,
        signature: '0x01' as const,
      });
      await ledger.putVoucher(voucher(100n));
      await ledger.putVoucher(voucher(9n));

      assert.equal((await ledger.voucher(PAYER, SIGNER))?.ceiling, 100n);
    });

    it('sums what was spent of a daily limit, and keeps the limits', async () => {
      const scope = `function:1f:${PAYER}` as const;
      const other = `function:2:${PAYER}` as const;
      const spend = (group: number, units: bigint): Promise<void> => {
        const entry = createEntry({ seq: group });
        const spending = [{ scope, day: DAY, units }] as const;
        return ledger.commit({
          group,
          root: entry.id,
          entries: [entry],
          spending,
          answers: [],
          signatures: [],
        });
      };
      await spend(1, 20n);
      await spend(2, 2n ** 70n);
      await ledger.putDailyLimit(scope, 7n);
      await ledger.putDailyLimit(other, 8n);
      await ledger.putDailyLimit(other, undefined);

      const today = await ledger.load(DAY);
      assert.deepEqual(today.spentToday, [{ scope, units: 2n ** 70n + 20n }]);
      assert.deepEqual(today.dailyLimits, [{ scope, units: 7n }]);
      assert.deepEqual((await ledger.load('2026-11-23')).spentToday, []);
    });

    it('keeps mandates with what was charged under them on all days, and when they were closed', async () => {
      const hash = `0x${'ab'.repeat(32)}` as const;
      const other = `0x${'cd'.repeat(32)}` as const;
      const stored = {
        hash,
        mandate: {
          payer: PAYER,
          gateway: address('c3'),
          signer: SIGNER,
          kind: 1,
          subject: other,
          functionId: 2n ** 255n,
          maxPrice: 1n,
          perDay: 2n ** 70n,
          total: 2n ** 80n,
          untilSec: 1_800_000_000,
          serial: 2n ** 63n,
        },
        signature: `0x${'11'.repeat(65)}` as const,
      };
      const scope = `mandate:${hash}` as const;
      const [first, second] = [createEntry({ seq: 1 }), createEntry({ seq: 2 })];
      for (const [index, entry] of [first, second].entries()) {
        await ledger.commit({
          group: index + 1,
          root: entry.id,
          entries: [entry],
          spending: [{ scope, day: `2026-11-2${index + 1}`, units: 2n ** 70n }],
          answers: [],
          signatures: [],
        });
      }
      await ledger.putMandate(stored);
      await ledger.putMandate({ ...stored, hash: other });
      await ledger.putMandate({ ...stored, signature: '0x22' });
      await ledger.revokeMandate(other, 7);
      await ledger.revokeMandate(other, 8);

      await reopen();

      const { mandates, mandateSpending, spentToday } = await ledger.load(DAY);
      assert.deepEqual(mandates, [stored, { ...stored, hash: other, revokedAtMs: 7 }]);
      assert.deepEqual(mandateSpending, [
        { hash, day: '2026-11-21', units: 2n ** 70n },
        { hash, day: '2026-11-22', units: 2n ** 70n },
      ]);
      assert.deepEqual(spentToday, []);
    });

    it('keeps deployments, manifests and batches', async () => {
      const record = {
        functionVersion: `0x${'22'.repeat(32)}` as const,
        provider: 'aws-lambda',
        region: 'us-east-1',
        name: 'df-x',
        state: 'deploying',
      } as const;
      await ledger.putDeployment(record);
      await ledger.putDeployment({ ...record, state: 'live', chainId: 7 });
      await ledger.putManifest(record.functionVersion, '{"name":"x"}');
      const batch = {
        n: 1,
        state: 'prepared',
        cid: 'bafy',
        claims: [],
        receipts: 3,
        totalUnits: '9',
      } as const;
      await ledger.putBatch(batch);
      await reopen();

      const state = await ledger.load(DAY);
      assert.deepEqual(state.deployments, [{ ...record, state: 'live', chainId: 7 }]);
      assert.deepEqual(state.manifests, [
        { functionVersion: record.functionVersion, manifest: '{"name":"x"}' },
      ]);
      assert.deepEqual(await ledger.batches('prepared'), [batch]);
      assert.deepEqual(await ledger.batches('settled'), []);
    });

    it('keeps what batches owe, newest first, and forgets only batches that never reached the chain', async () => {
      const [payee, other] = [address('71'), address('72')];
      const batch = (n: number, state: 'prepared' | 'settled' | 'void') =>
        ({ n, state, cid: 'bafy', claims: [], receipts: 1, totalUnits: '9' }) as const;
      const signed = { key: SIGNER, signature: '0xaa' } as const;
      await ledger.putBatch(batch(1, 'prepared'), [
        { payee, units: 2n ** 70n, cumulative: 2n ** 70n, ...signed },
        { payee: other, units: 1n, cumulative: 1n, ...signed },
      ]);
      await ledger.putBatch({ ...batch(1, 'settled'), tx: '0x11', batch: 4 });
      await ledger.putBatch(batch(2, 'prepared'), [
        { payee, units: 5n, cumulative: 2n ** 70n + 5n, ...signed },
      ]);
      await ledger.putBatch(batch(2, 'void'));
      await ledger.putBatch(batch(3, 'prepared'), [
        { payee, units: 7n, cumulative: 2n ** 70n + 7n, ...signed },
      ]);
      await reopen();

      const all = { payee, before: Number.MAX_SAFE_INTEGER, limit: 10 };
      const owed = await ledger.owed([payee, other, address('73')]);
      const listed = await ledger.payouts({ ...all, isOwed: false });
      const [newest] = await ledger.payouts({ ...all, limit: 1, isOwed: true });
      const page = await ledger.payouts({ ...all, before: 3, limit: 1, isOwed: true });

      assert.deepEqual(
        [...owed],
        [
          [payee, 2n ** 70n + 7n],
          [other, 1n],
        ],
      );
      assert.deepEqual(
        listed.map(({ n, state, units }) => [n, state, units]),
        [
          [3, 'prepared', 7n],
          [2, 'void', 5n],
          [1, 'settled', 2n ** 70n],
        ],
      );
      assert.equal(newest?.cumulative, 2n ** 70n + 7n);
      assert.deepEqual(page, [
        {
          payee,
          n: 1,
          units: 2n ** 70n,
          cumulative: 2n ** 70n,
          ...signed,
          state: 'settled',
          tx: '0x11',
          batch: 4,
        },
      ]);
      await ledger.putBatch(batch(3, 'void'));
      assert.equal((await ledger.owed([payee])).get(payee), 2n ** 70n);
    });

    it('keeps what was signed for top-ups until it is forgotten', async () => {
      const signed = (nonce: number, raw: `0x${string}`) => ({ nonce, tx: '0x11' as const, raw });

      await ledger.putTopUp(5, [signed(5, '0x01')]);
      await ledger.putTopUp(5, [signed(5, '0x01'), signed(5, '0x02')]);
      await ledger.putTopUp(3, [signed(3, '0x03')]);
      await reopen();
      const both = await ledger.topUps();
      await ledger.putTopUp(5, []);

      assert.deepEqual(both, [[signed(3, '0x03')], [signed(5, '0x01'), signed(5, '0x02')]]);
      assert.deepEqual(await ledger.topUps(), [[signed(3, '0x03')]]);
    });

    it('finds the groups that another key has signed, in order and by pages', async () => {
      const key = address('81');
      for (let group = 1; group <= 4; group += 1) {
        const entry = createEntry({ seq: group });
        const more = { spending: [], answers: [], signatures: [] };
        await ledger.commit({ group, root: entry.id, entries: [entry], ...more });
      }
      await ledger.putSignatures([
        { group: 1, key: SIGNER, signature: '0x01' },
        { group: 2, key, signature: '0x02' },
        { group: 3, key: SIGNER, signature: '0x03' },
      ]);

      const others = await ledger.groupsOfOtherKeys({ key, from: 1, limit: 10 });
      const page = await ledger.groupsOfOtherKeys({ key, from: 2, limit: 1 });
      await ledger.putSignatures([{ group: 3, key, signature: '0x33' }]);

      const root = createEntry({ seq: 3 }).id;
      assert.deepEqual(
        others.map(({ group }) => group),
        [1, 3],
      );
      assert.deepEqual(page, [{ group: 3, root, count: 1, key: SIGNER, signature: '0x03' }]);
      assert.deepEqual(await ledger.groupsOfOtherKeys({ key, from: 2, limit: 10 }), []);
      assert.equal((await ledger.group(3))?.group.signature, '0x33');
    });

    it('keeps service accounts under their payer, each with its newest key', async () => {
      const jwk = { kty: 'OKP', crv: 'Ed25519', x: 'first' };
      const client = { payer: PAYER, id: 'ci', signer: SIGNER, jwk, createdAtMs: 7 };
      await ledger.putClient(client);
      await ledger.putClient({ ...client, id: 'backup' });
      await ledger.putClient({ ...client, payer: SIGNER });
      await ledger.putClient({ ...client, jwk: { ...jwk, x: 'second' } });
      await ledger.dropClient(PAYER, 'backup');
      await ledger.dropClient(PAYER, 'never');
      await reopen();

      const second = { ...client, jwk: { ...jwk, x: 'second' } };
      assert.deepEqual(await ledger.client(PAYER, 'ci'), second);
      assert.deepEqual(await ledger.clients(PAYER), [second]);
      assert.equal(await ledger.client(PAYER, 'backup'), undefined);
      assert.equal((await ledger.clients(SIGNER)).length, 1);
    });
  });
}
