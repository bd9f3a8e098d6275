// The whole way, once: from an empty folder to a paid, audited call on three clouds, every step a
// command of its own.
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { decode } from 'jpeg-js';
import { takePhoto } from '../fixtures/photo.ts';
import { createHouse, type TestHouse } from './house.ts';

const CLOUDS = ['aws-lambda', 'azure-functions', 'google-cloud-functions'];
const WIDTH = 120;

interface ListedReceipt {
  readonly id: string;
  readonly function: string;
  readonly provider: string;
  readonly priceUnits: string;
  readonly seq: number;
  readonly settled: boolean;
}

describe('a house from an empty folder to an audited call', function () {
  this.timeout(300_000);
  let house: TestHouse;
  /** What each call's own document said. */
  const calls: { id: string; provider: string; priceUnits: string; seq: number }[] = [];

  before(async () => {
    house = createHouse();
    await house.start();
    writeFileSync(join(house.folder, 'photo.jpg'), takePhoto());
  });
  after(() => house.remove());

  it('answers the curl line that npm start prints, without a token', async () => {
    const reply = await fetch(house.up().example);

    assert.equal(reply.status, 200);
    assert.match(reply.headers.get('defaas-receipt') ?? '', /^0x[0-9a-f]{64}$/);
  });

  it('publishes a function with a dependency of its own and deploys it on three clouds', async () => {
    const made = await house.json('init', 'thumbnail', '--template', 'thumbnail');
    installDependency(house.folder);
    const deployed = await house.json('deploy', 'thumbnail', '--to', 'aws,google,azure');
    const registered = await house.json('register', 'thumbnail');
    const listed = await house.json('list');

    assert.equal(made.name, 'thumbnail');
    assert.equal(registered.version, 1);
    assert.match(registered.cid, /^baf/);
    assert.deepEqual([deployed.isNew, registered.isNew, deployed.latest], [true, false, 1]);
    assert.equal(deployed.state, 'live');
    assert.equal(listed.length, 1);
    assert.equal(listed[0].cid, registered.cid);
    assert.deepEqual(
      listed[0].deployments
        .map(({ provider, state }: Record<string, string>) => [provider, state])
        .sort(),
      CLOUDS.map((name) => [name, 'live']),
    );
  });

  it('takes a deposit, and makes a small picture of a photo', async () => {
    const deposited = await house.json('deposit', '5');
    const words = ['--file', 'photo.jpg', '--query', `width=${WIDTH}`, '--out', 'small.jpg'];
    const called = await house.json('invoke', 'thumbnail', ...words);
    const balance = await house.json('balance');

    assert.equal(deposited.line.allottedUnits, '5000000');
    assert.equal(called.status, 200);
    assert.equal(called.headers['content-type'], 'image/jpeg');
    const small = decode(readFileSync(join(house.folder, 'small.jpg')));
    assert.deepEqual([small.width, small.height], [WIDTH, (WIDTH * 3) / 4]);
    assert.equal(
      called.bodyBase64,
      readFileSync(join(house.folder, 'small.jpg')).toString('base64'),
    );
    assert.ok(CLOUDS.includes(called.receipt.provider));
    assert.ok(Number(called.receipt.priceUnits) >= 20);
    assert.equal(balance.lines[0].servedUnits, called.receipt.priceUnits);
    calls.push(called.receipt);
  });

  it('gives the same picture on every cloud, and charges parallel calls once each', async () => {
    const words = ['invoke', 'thumbnail', '--file', 'photo.jpg', '--query', `width=${WIDTH}`];
    const pictures = new Set<string>();
    const providers = new Set<string>();

    // The draw decides where a call runs: some rounds until all three have.
    for (let round = 0; providers.size < CLOUDS.length && round < 12; round += 1) {
      const replies = await Promise.all([house.json(...words), house.json(...words)]);
      for (const { bodyBase64, receipt } of replies) {
        pictures.add(bodyBase64);
        providers.add(receipt.provider);
        calls.push(receipt);
      }
    }

    assert.deepEqual([...providers].sort(), CLOUDS);
    assert.equal(pictures.size, 1);
    assert.deepEqual(
      calls.map(({ seq }) => seq).sort((a, b) => a - b),
      calls.map((_, index) => index + 1),
    );
  });

  it('has all its state again after kill -9 of every process', async () => {
    const receipts: ListedReceipt[] = await house.json('receipts');
    const balance = await house.json('balance');

    await house.kill();
    const down = await house.defaas('balance');
    await house.start();

    assert.match(down.stderr, /^HOUSE_DOWN: /);
    assert.deepEqual(await house.json('receipts'), receipts);
    assert.deepEqual(await house.json('balance'), balance);
    const byId = new Map(receipts.map((receipt) => [receipt.id, receipt]));
    for (const { id, provider, priceUnits, seq } of calls) {
      const listed = byId.get(id);
      assert.deepEqual(
        [listed?.provider, listed?.priceUnits, listed?.seq, listed?.settled],
        [provider, priceUnits, seq, false],
      );
    }
  });

  it('settles in one transaction, and the audit explains every unit', async () => {
    const settled = await house.json('settle');
    const audited = await house.json('audit');
    const told = await house.defaas('audit');
    const receipts: ListedReceipt[] = await house.json('receipts');
    const balance = await house.json('balance');

    // The curl of the beginning, and the gateway's own probes of `hello` if it makes any, are in
    // another lane.
    assert.ok(settled.receipts > calls.length);
    assert.equal(audited.receipts, settled.receipts);
    assert.equal(audited.proven, settled.receipts);
    assert.equal(audited.unexplainedUnits, '0');
    assert.deepEqual(audited.findings, []);
    assert.equal(
      told.stdout,
      `${settled.receipts} receipts, ${settled.receipts} proven, 0 tokens unexplained\n`,
    );
    assert.ok(receipts.every((receipt) => receipt.settled));
    const spent = calls.reduce((sum, { priceUnits }) => sum + BigInt(priceUnits), 0n);
    assert.equal(balance.lines[0].settledUnits, `${spent}`);
    assert.equal(balance.lines[0].allottedUnits, `${5_000_000n - spent}`);
  });

  it('has nothing left to settle, and serves after another restart', async () => {
    const nothing = await house.defaas('settle');
    await house.stop();
    await house.start();
    const called = await house.json('invoke', 'thumbnail', '--file', 'photo.jpg');
    const audited = await house.json('audit');

    assert.match(nothing.stderr, /^NOTHING_TO_SETTLE: [^\n]+\n$/);
    assert.equal(called.status, 200);
    assert.equal(called.receipt.seq, calls.length + 1);
    assert.equal(audited.unexplainedUnits, '0');
  });

  it('loses no call while AWS is down, and its receipts name the cloud that ran', async () => {
    const body = JSON.stringify({ name: 'you' });
    await house.json('init', 'greet');
    await house.json('deploy', 'greet', '--to', 'aws,google,azure');
    await house.json('invoke', 'greet', '--data', body);
    const call = async () => (await house.json('invoke', 'greet', '--data', body)).receipt;
    const three = async () => Promise.all([call(), call(), call()]);

    const first = three();
    await house.faults('aws', [{ kind: 'outage' }]);
    const before = await first;
    const during = [...(await three()), ...(await three()), ...(await three())];
    await house.faults('aws', []);
    const listed: ListedReceipt[] = await house.json('receipts');

    assert.equal(before.length, 3);
    assert.ok(during.every(({ provider }) => provider !== 'aws-lambda'));
    const byId = new Map(listed.map((receipt) => [receipt.id, receipt]));
    for (const receipt of [...before, ...during]) {
      assert.equal(byId.get(receipt.id)?.provider, receipt.provider);
    }
    await house.json('settle');
    const audited = await house.json('audit');
    assert.equal(audited.proven, audited.receipts);
    assert.equal(audited.unexplainedUnits, '0');
  });
});

/**
 * What `npm --prefix thumbnail install` brings; it is a development dependency here, so that a test
 * needs no network.
 */
function installDependency(folder: string): void {
  const target = join(folder, 'thumbnail/node_modules/jpeg-js');
  mkdirSync(target, { recursive: true });
  cpSync(resolve(import.meta.dirname, '../../node_modules/jpeg-js'), target, { recursive: true });
}
