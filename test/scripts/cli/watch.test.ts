// A payer watches a gateway that settles lies: provable frauds are proven, hidden receipts are
// demanded, and the payer is repaid.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { BatchReceipt } from '../../../broker/client/batch-format.ts';
import { formatEvidence, parseEvidence } from '../../../broker/client/evidence.ts';
import { heldOf } from '../../../broker/client/exhibits.ts';
import { settle } from '../../../broker/client/settlement.ts';
import { placeAt } from '../../../contracts/chain/evidence.ts';
import type { Fraud } from '../../../contracts/chain/types.ts';
import type { Address } from '../../../contracts/libraries/keccak.ts';
import { pathOf } from '../../../contracts/libraries/ordered-merkle.ts';
import { hashReceipt } from '../../../contracts/libraries/receipts.ts';
import { audit } from '../../../scripts/cli/audit.ts';
import type { Flags } from '../../../scripts/cli/context.ts';
import { demand } from '../../../scripts/cli/demand.ts';
import { deposit } from '../../../scripts/cli/deposit.ts';
import { expire } from '../../../scripts/cli/expire.ts';
import { invoke } from '../../../scripts/cli/invoke.ts';
import { prove } from '../../../scripts/cli/prove.ts';
import { openStore } from '../../../scripts/cli/store.ts';
import { type WatchOptions, watch } from '../../../scripts/cli/watch.ts';
import {
  COUNT,
  type LyingGateway,
  type Plan,
  PRICE,
  startLyingGateway,
  word,
} from '../../broker/settlement/lying-gateway.ts';
import { KEYS, startSmallHouse } from '../../broker/small-house.ts';
import { testKey } from '../../contracts/hardhat-chain.ts';
import { createCommandLine, documentOf } from './beside.ts';

const MAIN = resolve(import.meta.dirname, '../../../scripts/defaas.ts');
const UNIT = 1_000_000n;
const WINDOW_SEC = 2 * 86_400;
const NOW = { once: true, patience: '0' } as const;

describe('the watch of a gateway that lies', function () {
  this.timeout(240_000);
  let liar: LyingGateway;
  let home: string;
  let payer: Address;
  const before = process.env.DEFAAS_HOME;

  beforeEach(async () => {
    liar = await startLyingGateway();
    home = mkdtempSync(join(tmpdir(), 'defaas-watch-'));
    mkdirSync(join(home, 'keys'));
    payer = testKey(4).address;
    writeFileSync(join(home, 'keys', 'user.json'), JSON.stringify(testKey(4)), { mode: 0o600 });
    writeFileSync(join(home, 'keys', 'other.json'), JSON.stringify(testKey(7)), { mode: 0o600 });
    const { chainId, sets } = liar.hardhat.trust;
    writeFileSync(join(home, 'deployment.json'), JSON.stringify({ chainId, sets }));
    process.env.DEFAAS_HOME = home;
    const writer = liar.chain.connect(testKey(4));
    await writer.mintMock(10n * UNIT);
    await writer.approveAndDeposit(10n * UNIT, payer);
  });
  afterEach(async () => {
    if (before === undefined) delete process.env.DEFAAS_HOME;
    else process.env.DEFAAS_HOME = before;
    rmSync(home, { recursive: true, force: true });
    await liar?.close();
  });

  const flags = (account = 'user'): Flags => ({ json: true, account, rpc: liar.hardhat.url });
  const look = (options: WatchOptions = {}) => documentOf(watch(flags(), { ...NOW, ...options }));
  const frauds = async (): Promise<readonly Fraud[]> => {
    await liar.chain.synced();
    return liar.chain.view.frauds(liar.gateway.address);
  };
  const free = async (): Promise<bigint> => {
    await liar.chain.synced();
    return liar.chain.view.free(payer);
  };
  const later = async (seconds: number): Promise<void> => {
    await liar.hardhat.rpc('evm_increaseTime', [seconds]);
    await liar.hardhat.rpc('evm_mine', []);
    await liar.chain.synced();
  };
  /** What the payer's command line has seen and kept. */
  const keep = (items: readonly BatchReceipt[]): void => {
    const { chain, gateway } = liar;
    const store = openStore(home, `${chain.chainId}:${chain.contracts.billing}:${gateway.address}`);
    for (const item of items) {
      const id = hashReceipt(item.receipt);
      store.putReceipt({
        ...item,
        id,
        function: 'p/hello@1',
        provider: 'aws-lambda',
        settled: false,
      });
    }
    store.close();
  };
  /** The command line as a process of its own, without any gateway. */
  const defaas = (
    ...words: string[]
  ): Promise<{ code: number; stdout: string; stderr: string }> => {
    const env = { PATH: process.env.PATH ?? '', DEFAAS_HOME: home };
    const all = [MAIN, '--rpc', liar.hardhat.url, '--json', ...words];
    return new Promise((done) => {
      execFile(process.execPath, all, { env, cwd: tmpdir() }, (error, stdout, stderr) => {
        done({ code: error ? Number(error.code) : 0, stdout, stderr });
      });
    });
  };
  const foreign = (at: number): Plan => ({
    commit: (items) => items.map((item, index) => (index === at ? (items[0] ?? item) : item)),
  });
  const dearer = (index: number, more: bigint): Plan => {
    const price = PRICE + more;
    const cumulative = liar.prepaid.settled + BigInt(index) * PRICE + price;
    return { lies: { [index]: { receipt: { price, cumulative } } } };
  };
  /** Each lie, by the kind that it must be proven as. */
  const lies: readonly (readonly [title: string, kind: number, plan: () => Plan])[] = [
    ['adds up wrongly at the end', 3, () => ({ excess: 7n })],
    [
      'adds up wrongly in the middle',
      3,
      () => {
        const cumulative = liar.prepaid.settled + 3n * PRICE + 9n;
        return { lies: { 2: { receipt: { cumulative } } } };
      },
    ],
    ['repeats a receipt in place of another', 3, () => foreign(2)],
    ['charges more than the tariff', 4, () => dearer(3, 5n)],
    ['charges more than the call allows', 5, () => ({ lies: { 0: { call: { maxPrice: 10n } } } })],
    [
      'charges one call twice',
      5,
      () => ({ lies: { 1: { call: { nonce: word('77') } }, 4: { call: { nonce: word('77') } } } }),
    ],
    ['steers a call', 6, () => ({ lies: { 0: { place: 3, receipt: { attempt: 0 } } } })],
  ];

  it('proves each lie of the pages once by one look, and repays the payer what each took too much', async () => {
    const settled: { readonly batch: number }[] = [];
    for (const [, , plan] of lies) settled.push(await liar.settle(plan()));
    const freeBefore = await free();

    const { code, stdout, stderr } = await defaas('watch', '--once', '--patience', '0');
    const again = await look();

    assert.equal(code, 1);
    assert.match(stderr, /^WATCH_FINDINGS: [^\n]+\n$/);
    const { actions } = JSON.parse(stdout);
    assert.ok(actions.every((action: { sent: boolean }) => action.sent));
    const proven = await frauds();
    for (const [index, [title, kind]] of lies.entries()) {
      const batch: number | undefined = settled[index]?.batch;
      assert.ok(
        proven.some((fraud) => fraud.batch === batch && fraud.kind === kind && fraud.slashed > 0n),
        title,
      );
    }
    assert.deepEqual(again.actions, []);
    const paid = proven.reduce((sum, fraud) => sum + fraud.paid, 0n);
    const rewards = proven.reduce((sum, fraud) => sum + fraud.slashed / 12n, 0n);
    assert.equal(await free(), freeBefore + paid + rewards);
    assert.ok(paid >= 7n + 9n + 5n + 2n * PRICE);
  });

  it('proves from stored receipts that another receipt was settled than was shown', async () => {
    const { items } = await liar.settle({});
    keep(items);
    const replaced = await liar.settle({
      commit: (made) => {
        keep(made);
        return made.map((item, index) => {
          if (index !== 4) return item;
          const price = item.receipt.price + 4n;
          const receipt = { ...item.receipt, price, cumulative: item.receipt.cumulative + 4n };
          return { ...item, receipt };
        });
      },
      excess: 4n,
    });

    await look();

    const omission = (await frauds()).find(({ kind }) => kind === 2);
    assert.equal(omission?.batch, replaced.batch);
    assert.equal(omission.damage, 4n);
    assert.equal(omission.reporter, payer);
  });

  it('proves that one call got two different receipts, once the batch is on the chain', async () => {
    const seq = liar.prepaid.seq + 2;
    const { items } = await liar.settle({});
    keep(items);
    const told = items.find(({ receipt }) => receipt.seq === seq) ?? assert.fail();
    const [other = assert.fail()] = liar.group(
      [{ ...told, receipt: { ...told.receipt, price: 9n } }],
      [],
    );
    const { chainId, contracts } = liar.chain;
    const { address: gateway } = liar.gateway;
    const about = { chainId, billing: contracts.billing, gateway, message: 'two stories' };
    mkdirSync(join(home, 'evidence'));
    const file = join(home, 'evidence', 'receipt.json');
    writeFileSync(file, formatEvidence({ ...about, exhibit: heldOf(other) }));

    const dry = await documentOf(prove(flags('other'), file, { dryRun: true }));
    await look();

    const [omission, ...others] = await frauds();
    assert.deepEqual(others, []);
    assert.deepEqual([omission?.kind, omission?.damage], [2, PRICE - 9n]);
    assert.deepEqual([dry.kind, dry.slashedUnits], ['D2', `${omission?.slashed}`]);
  });

  it('looks repeatedly until it is told to end, and then reports what it did', async () => {
    const price = PRICE + 5n;
    await liar.settle({
      lies: { 0: { receipt: { price, cumulative: liar.prepaid.settled + price } } },
    });
    const env = { PATH: process.env.PATH ?? '', DEFAAS_HOME: home };
    const words = ['--rpc', liar.hardhat.url, '--json', 'watch', '--every', '1', '--patience', '0'];
    const child = spawn(process.execPath, [MAIN, ...words], { env, cwd: tmpdir() });
    let stdout = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      stdout += text;
    });

    while ((await frauds()).length === 0) await new Promise((done) => setImmediate(done));
    await liar.settle({});
    child.kill('SIGTERM');
    const [code] = await once(child, 'close');

    assert.equal(code, 1);
    const { actions } = JSON.parse(stdout);
    assert.deepEqual(
      actions.map(({ kind, sent }: { kind: string; sent: boolean }) => [kind, sent]),
      [['D4', true]],
    );
  });

  it('writes evidence that anybody can prove from the file alone, without a gateway, after a dry run that sends nothing', async () => {
    for (const [, , plan] of lies) await liar.settle(plan());
    const { actions } = await look({ dryRun: true });
    assert.ok(actions.every(({ sent }: { sent: boolean }) => !sent));
    assert.deepEqual(await frauds(), []);
    const files = readdirSync(join(home, 'evidence')).map((name) => join(home, 'evidence', name));
    assert.ok(files.length >= lies.length);
    const [first = '', ...others] = files;

    const dry = await documentOf(prove(flags('other'), first, { dryRun: true }));
    const sent = await defaas('--account', 'other', 'prove', first);
    for (const file of others) await prove(flags('other'), file, {});
    const again = await defaas('prove', first);

    const done = JSON.parse(sent.stdout);
    assert.deepEqual([sent.code, sent.stderr, done.sent], [0, '', true]);
    assert.deepEqual([dry.slashedUnits, dry.toPayerUnits], [done.slashedUnits, done.toPayerUnits]);
    assert.equal(again.code, 1);
    assert.match(again.stderr, /^ALREADY_PROVEN: [^\n]+\n$/);
    const kinds = new Set((await frauds()).map(({ kind }) => kind));
    assert.deepEqual([...kinds].sort(), [3, 4, 5, 6]);
    for (const { reporter } of await frauds()) assert.equal(reporter, testKey(7).address);
  });

  it('demands a withheld batch once, collects after the window, and the payer has back all that it took', async () => {
    const { total, batch } = await liar.settle({});
    liar.blocks.clear();
    const freeBefore = await free();

    const told = await look();
    const dry = await look({ auto: true, dryRun: true });
    const first = await look({ auto: true });
    const second = await look({ auto: true });
    const early = await documentOf(expire(flags(), 'all', {}));
    await later(WINDOW_SEC + 1);
    const third = await look({ auto: true });

    assert.equal(told.actions.length, 1);
    assert.match(told.actions[0].message, /1 tokens are pledged and lost if it is answered/);
    assert.deepEqual([told.actions[0].sent, dry.actions[0].sent], [false, false]);
    assert.deepEqual([first.actions[0].action, first.actions[0].sent], ['demand', true]);
    assert.deepEqual([second.actions, early.demands], [[], []]);
    assert.deepEqual(
      third.actions.map(({ action, sent }: { action: string; sent: boolean }) => [action, sent]),
      [['expire', true]],
    );
    const [silence] = await frauds();
    assert.deepEqual(
      [silence?.kind, silence?.batch, silence?.damage, silence?.paid],
      [9, batch, total, total],
    );
    assert.equal(await free(), freeBefore + total + (silence?.slashed ?? 0n) / 12n);
  });

  it('demands nothing that its own receipts explain, and proves what an answer shows', async () => {
    const { items } = await liar.settle({});
    keep(items);
    const { batch, items: dear } = await liar.settle(dearer(0, 6n));
    liar.blocks.clear();

    const first = await look({ auto: true });
    await liar.chain.synced();
    const [asked] = liar.chain.view.demands(liar.gateway.address);
    assert.ok(asked);
    const settled = liar.chain.view.batches(liar.gateway.address)[batch] ?? assert.fail();
    const place = placeAt(settled, 0);
    const index = 0;
    const { receipt, call, execution } = dear[0] ?? assert.fail();
    // The one that was charged too much is demanded too, and answered.
    if (asked.index !== index) await demandOf(batch, index);
    const path = pathOf(
      dear.map((item) => hashReceipt(item.receipt)),
      index,
    );
    await liar.settler.answer({ place, leaf: { receipt, index, path }, call, execution });
    await look({ auto: true });

    assert.equal(first.actions.length, 1);
    assert.equal(asked.batch, batch);
    const [overcharge] = await frauds();
    assert.deepEqual([overcharge?.kind, overcharge?.damage, overcharge?.paid], [4, 6n, 6n]);
  });

  const demandOf = (batch: number, index: number, options = {}) =>
    documentOf(demand(flags(), [liar.gateway.address, `${batch}`, '0', `${index}`], options));

  it('demands by a stored receipt or by its place, and reports why it cannot', async () => {
    const { batch, items } = await liar.settle({});
    keep(items);
    const id = hashReceipt(items[2]?.receipt ?? assert.fail());
    const dry = await documentOf(demand(flags(), [id], { dryRun: true }));
    const done = await documentOf(demand(flags(), [id], {}));

    assert.deepEqual([dry.sent, done.sent, done.batch, done.index], [false, true, batch, 2]);
    assert.equal(done.pledgeUnits, `${UNIT}`);
    await assert.rejects(demandOf(batch, 2), { code: 'DEMAND_KNOWN' });
    await assert.rejects(demandOf(batch, COUNT), { code: 'BATCH_UNKNOWN' });
    await assert.rejects(demandOf(99, 0), { code: 'BATCH_UNKNOWN' });
    await assert.rejects(demand(flags(), [word('11')], {}), { code: 'RECEIPT_UNKNOWN' });
    await assert.rejects(demand(flags(), ['rubbish'], {}), { code: 'USAGE' });
    await assert.rejects(demand(flags('other'), [liar.gateway.address, '0', '0', '1'], {}), {
      code: 'INSUFFICIENT_FREE',
    });
    await assert.rejects(expire(flags(), done.id, {}), { code: 'DEMAND_OPEN' });
    await assert.rejects(expire(flags(), word('22'), {}), { code: 'NOT_DEMANDED' });
    await assert.rejects(expire(flags(), 'rubbish', {}), { code: 'USAGE' });
    await later(8 * 86_400);
    await assert.rejects(demandOf(batch, 3), { code: 'WINDOW_CLOSED' });
    const [expired] = (await documentOf(expire(flags('other'), done.id, {}))).demands;
    assert.ok(BigInt(expired.slashedUnits) > 0n);
  });

  it('refuses malformed evidence in one line with a code, and sends nothing', async () => {
    const { batch, items } = await liar.settle({});
    const settled = liar.chain.view.batches(liar.gateway.address)[batch] ?? assert.fail();
    const place = placeAt(settled, 0);
    const leaves = items.map(({ receipt }) => hashReceipt(receipt));
    const { receipt, call, execution } = items[0] ?? assert.fail();
    const leaf = { receipt, index: 0, path: pathOf(leaves, 0) };
    const { chainId, contracts } = liar.chain;
    const { address: gateway } = liar.gateway;
    const file = { chainId, billing: contracts.billing, gateway, message: 'a lie' };
    const honest = formatEvidence({
      ...file,
      exhibit: { kind: 'overcharge', place, leaf, call, execution },
    });
    const future = { ...receipt, seq: 99 };
    const [unsettled = assert.fail()] = liar.group(
      [{ receipt: future, call, execution, attempts: [] }],
      [],
    );
    const early = formatEvidence({ ...file, exhibit: heldOf(unsettled) });
    const elsewhere = formatEvidence({ ...parseEvidence(honest), billing: gateway });
    const bad: [name: string, text: string, code: string][] = [
      ['empty', '', 'EVIDENCE_INVALID'],
      ['binary', '\u0000\u0001', 'EVIDENCE_INVALID'],
      ['long', ' '.repeat(1_000_000), 'EVIDENCE_INVALID'],
      ['deep', '['.repeat(50_000), 'EVIDENCE_INVALID'],
      ['other-billing', elsewhere, 'EVIDENCE_INVALID'],
      ['honest', honest, 'NO_FRAUD'],
      ['changed', honest.replace('"price": "21"', '"price": "99"'), 'PROOF_INVALID'],
      ['early', early, 'EVIDENCE_EARLY'],
    ];
    const number = await liar.chain.provider.getBlockNumber();

    for (const [name, text, code] of bad) {
      const path = join(home, `${name}.json`);
      writeFileSync(path, text);
      await assert.rejects(prove(flags(), path, {}), { code }, name);
    }
    const ended = await defaas('prove', join(home, 'changed.json'));
    const missing = await defaas('prove', join(home, 'none.json'));

    assert.equal(ended.code, 1);
    assert.match(ended.stderr, /^PROOF_INVALID: [^\n]+\n$/);
    assert.match(missing.stderr, /^FILE_UNREADABLE: [^\n]+\n$/);
    assert.equal(await liar.chain.provider.getBlockNumber(), number);
    assert.deepEqual(await frauds(), []);
    assert.doesNotMatch(readFileSync(join(home, 'honest.json'), 'utf8'), /salt|privateKey/);
  });
});

describe('the watch of an honest gateway', function () {
  this.timeout(120_000);

  it('finds nothing, with all receipts stored and by every check', async () => {
    const house = await startSmallHouse();
    const cli = createCommandLine(house);
    try {
      const name = await house.publish('ok', `export default async () => new Response('ok');`);
      await deposit(cli.flags(), '1', { to: 'lane' });
      await house.gateway().chain.synced();
      for (let i = 0; i < 3; i += 1) await invoke(cli.flags(), name, { data: 'x', header: [] });
      await settle(await house.session(KEYS.gateway));

      const { document, text, failure } = await watch(cli.flags(), {
        ...NOW,
        auto: true,
        all: true,
      });
      const checked = await audit(cli.flags(), { evidence: join(cli.home, 'found') });

      assert.deepEqual([document, text, failure], [{ actions: [] }, 'nothing is wrong', undefined]);
      assert.equal(checked.failure, undefined);
      const settled = house.view.view.batches(KEYS.gateway.address);
      const [claim] = settled[0]?.claims ?? [];
      assert.equal(claim?.seq, 3);
    } finally {
      cli.remove();
      await house.close();
    }
  });
});
