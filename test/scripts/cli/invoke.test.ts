// One call from the command line: which checks its receipt must pass, how much a lying gateway can
// take, and that no paid answer is lost.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hashReceiptGroup } from '../../../contracts/libraries/typed-data.ts';
import { signDigest } from '../../../contracts/signatures.ts';
import type { Outcome } from '../../../scripts/cli/context.ts';
import { deposit } from '../../../scripts/cli/deposit.ts';
import { invoke } from '../../../scripts/cli/invoke.ts';
import type { InvokeOptions } from '../../../scripts/cli/invoke-request.ts';
import { receipts } from '../../../scripts/cli/receipts.ts';
import { type SmallHouse, startSmallHouse } from '../../broker/small-house.ts';
import { testKey } from '../../contracts/hardhat-chain.ts';
import { type CommandLine, createCommandLine, documentOf } from './beside.ts';
import { type Between, type Passing, startBetween } from './between.ts';

const COUNT = `let runs = 0;
export default async (request) => new Response(\`\${(runs += 1)} \${await request.text()}\`);`;
const ZIP = `import { gzipSync } from 'node:zlib';
export default async () =>
  new Response(gzipSync('hello '.repeat(50)), { headers: { 'content-encoding': 'gzip' } });`;
const HELLO = `export default async () => new Response('hello');`;
/** Of every call, however long it takes. */
const tariffOf = (perCall: number) => ({ perCall, perGiBSecond: 0, maxPrice: perCall, roundMs: 1 });

describe('defaas invoke', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let between: Between;
  let cli: CommandLine;
  let count: string;
  let hello: string;
  let zip: string;
  let dear: string;
  before(async () => {
    between = await startBetween(() => house.url());
    house = await startSmallHouse({ publicOrigins: [between.url] });
    count = await house.publish('count', COUNT, { tariff: tariffOf(20) });
    hello = await house.publish('hello', HELLO, { tariff: tariffOf(20) });
    zip = await house.publish('zip', ZIP, { tariff: tariffOf(20) });
    dear = await house.publish('dear', HELLO, { tariff: tariffOf(300_000) });
  });
  after(async () => {
    await between.close();
    await house.close();
  });
  beforeEach(async () => {
    cli = createCommandLine(house);
    await open();
  });
  afterEach(() => {
    between.ask = () => undefined;
    between.lie = () => undefined;
    cli.remove();
  });

  const open = async () => {
    await deposit(cli.flags(), '60', { to: 'lane' });
    await house.gateway().chain.synced();
  };
  const flags = (rpc = house.chain.url) => ({ ...cli.flags(), gateway: between.url, rpc });
  const call = (name: string, options: Partial<InvokeOptions> = {}) =>
    invoke(flags(), name, { header: [], ...options });
  const ended = (name: string, options: Partial<InvokeOptions> = {}) =>
    documentOf(call(name, options));
  const textOf = ({ bytes }: Outcome) => Buffer.from(bytes ?? []).toString();
  const paid = async (): Promise<number> => (await documentOf(receipts(cli.flags(), {}))).length;
  const isCall = ({ path }: Pick<Passing, 'path'>) => path.startsWith('/functions/');
  const isReceipt = ({ path }: Passing) => path.startsWith('/receipts/');

  it('uses the Idempotency-Key of a header, so that a repeated call is charged once by its lane', async () => {
    const header = ['Idempotency-Key: order-1'];
    const before = await paid();

    const first = await ended(count, { header, data: 'a' });
    const second = await ended(count, { header, data: 'a', max: '0.00001' });
    loseLaneKeys();
    await open();
    const third = await ended(count, { header, data: 'a' });

    assert.equal(first.status, 200);
    assert.deepEqual([second.body, second.receipt], [first.body, first.receipt]);
    // Another lane's key is another caller: it must not get the first one's answer.
    assert.notEqual(third.receipt.id, first.receipt.id);
    assert.equal(await paid(), before + 2);
  });

  it('names the Idempotency-Key when no answer comes or the answer breaks off, and the repeated call is charged once', async () => {
    for (const body of [undefined, 'half']) {
      const before = await paid();
      between.lie = (passing) =>
        isCall(passing) ? { cut: true, ...(body !== undefined && { body }) } : undefined;
      let line = '';

      await assert.rejects(call(count, { data: 'b' }), (error: Error & { code?: string }) => {
        assert.equal(error.code, 'GATEWAY_UNREACHABLE');
        line = error.message;
        return true;
      });

      between.lie = () => undefined;
      const [, header = ''] = /--header '(Idempotency-Key: [^']+)'/.exec(line) ?? [];
      const again = await ended(count, { header: [header], data: 'b' });
      assert.equal(again.headers['idempotent-replayed'], 'true', line);
      assert.equal(await paid(), before + 1);
    }
  });

  it('names no Idempotency-Key when nothing was sent', async () => {
    between.lie = ({ path }) => (path.startsWith('/oauth/') ? { cut: true } : undefined);

    await assert.rejects(call(count), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'GATEWAY_UNREACHABLE');
      assert.doesNotMatch(error.message, /Idempotency-Key/);
      return true;
    });
  });

  it('refuses a receipt of another call, of another function, of another version, or above --max', async () => {
    await house.publish('hello', HELLO, { tariff: tariffOf(20) });
    await ended(hello);
    let other = '';
    between.lie = (passing) => {
      if (isCall(passing)) other = String(passing.headers['defaas-receipt']);
      return undefined;
    };
    await ended(hello);
    const lies: [what: string, name: string, options: Partial<InvokeOptions>, lie: () => void][] = [
      [
        'another call',
        hello,
        {},
        () => {
          between.lie = (passing) =>
            isCall(passing) ? { headers: { 'defaas-receipt': other } } : undefined;
        },
      ],
      ['another function', hello, {}, () => askFor(`/functions/${count}`)],
      ['another version', `${hello}@1`, {}, () => askFor(`/functions/${hello}@2`)],
      ['above --max', hello, { max: '0.00001' }, () => askFor(`/functions/${hello}`)],
    ];
    const askFor = (path: string) => {
      between.ask = (asking) => {
        const headers = { ...asking.headers, 'defaas-max-price': '1000' };
        return isCall(asking) ? { path, headers } : undefined;
      };
    };

    for (const [what, name, options, lie] of lies) {
      await ended(hello);
      lie();
      await assert.rejects(call(name, options), { code: 'RECEIPT_INVALID' }, what);
      between.ask = () => undefined;
      between.lie = () => undefined;
      const isProven = ['another function', 'above --max'].includes(what);
      if (isProven) await assert.rejects(call(hello), { code: 'LANE_STOPPED' }, what);
      else assert.equal((await ended(`${hello}@1`)).status, 200, what);
      const kept = existsSync(join(cli.home, 'evidence'));
      assert.equal(kept, isProven, what);
      cli.remove();
      cli = createCommandLine(house);
      await open();
    }
  });

  it('prints price and provider from the checked receipt', async () => {
    between.lie = (passing) =>
      isCall(passing)
        ? { headers: { 'defaas-price': '1', 'defaas-provider': 'local' } }
        : undefined;

    const { receipt } = await ended(hello);

    assert.deepEqual([receipt.priceUnits, receipt.provider], ['20', 'aws-lambda']);
  });

  it('asks for no compression, and accepts a compressed answer all the same', async () => {
    const asked: unknown[] = [];
    between.ask = (asking) => {
      if (isCall(asking)) asked.push(asking.headers['accept-encoding']);
      return undefined;
    };

    const plain = await ended(zip);
    await ended(hello, { header: ['accept-encoding: br'] });

    assert.equal(plain.body, 'hello '.repeat(50));
    assert.deepEqual(asked, ['identity', 'br']);
  });

  it('sends a file with the content type of its extension, and as bytes when the extension is unknown', async () => {
    const asked: unknown[] = [];
    between.ask = (asking) => {
      if (isCall(asking)) asked.push(asking.headers['content-type']);
      return undefined;
    };

    for (const name of ['photo.JPG', 'rows.csv', 'png']) {
      const file = join(cli.home, name);
      writeFileSync(file, name);
      await ended(hello, { file });
    }

    assert.deepEqual(asked, ['image/jpeg', 'text/csv; charset=utf-8', 'application/octet-stream']);
  });

  it('lists a receipt as good only when the gateway’s key on the chain has signed it', async () => {
    await ended(hello);
    const honest = await receipts(flags(), {});
    between.lie = ({ path, body }) => {
      if (!path.startsWith('/receipts?')) return undefined;
      const page = JSON.parse(`${body}`);
      for (const { receipt, group } of page.receipts) {
        const digest = hashReceiptGroup(house.view.domain, { ...group, gateway: receipt.gateway });
        group.signature = signDigest(testKey(11).privateKey, digest);
      }
      return { body: JSON.stringify(page) };
    };

    const { failure } = await receipts(flags(), {});

    assert.equal(honest.failure, undefined);
    assert.equal(failure?.code, 'RECEIPT_INVALID');
    assert.match(failure?.message ?? '', /is not signed by a key of the gateway/);
  });

  it('calls nothing when --out cannot be written', async () => {
    const before = await paid();
    mkdirSync(join(cli.home, 'folder'));
    const places = ['none-such/file', 'folder', 'keys/user.json/file'];

    for (const place of places) {
      const out = join(cli.home, place);
      await assert.rejects(call(count, { out }), { code: 'FILE_UNREADABLE' }, place);
    }

    assert.equal(await paid(), before);
    const out = join(cli.home, 'folder/file');
    assert.equal(textOf(await call(hello, { out })), '');
    assert.equal(readFileSync(out, 'utf8'), 'hello');
  });

  it('prints an answer when the --out file turns out not to be writable', async () => {
    mkdirSync(join(cli.home, 'folder'));
    between.lie = (passing) => {
      if (isCall(passing)) rmSync(join(cli.home, 'folder'), { recursive: true });
      return undefined;
    };

    const outcome = await call(hello, { out: join(cli.home, 'folder/file') });

    assert.deepEqual([textOf(outcome), outcome.failure?.code], ['hello', 'FILE_UNREADABLE']);
  });

  it('calls nothing while the chain cannot resolve the function', async () => {
    const before = await paid();

    const call = invoke(flags('http://127.0.0.1:9'), hello, { header: [] });

    await assert.rejects(call, { code: 'CHAIN_UNREACHABLE' });
    assert.equal(await paid(), before);
  });

  it('prints an answer whose receipt cannot be fetched, and says so', async () => {
    await ended(hello);

    between.lie = (passing) => (isReceipt(passing) ? { cut: true } : undefined);
    const unfetched = await call(hello);
    const out = join(cli.home, 'file');
    const kept = await call(hello, { out });

    assert.deepEqual(
      [textOf(unfetched), unfetched.failure?.code],
      ['hello', 'GATEWAY_UNREACHABLE'],
    );
    assert.deepEqual(
      [readFileSync(out, 'utf8'), kept.failure?.code],
      ['hello', 'GATEWAY_UNREACHABLE'],
    );
  });

  it('signs no more than a step or the version’s worst price, whatever --max allows', async () => {
    const signed: number[] = [];
    between.ask = (asking) => {
      if (isCall(asking)) signed.push(Number.parseInt(`${asking.headers['defaas-voucher']}`, 10));
      return undefined;
    };

    for (const max of ['0', '0.00001']) {
      const { problem } = await ended(hello, { max });
      assert.equal(problem.code, 'PRICE_ABOVE_MAX');
    }
    await ended(hello, { max: '0.00005' });
    await ended(hello, { max: '50' });
    await ended(hello, { max: '50' });
    // For what is refused anyway nothing is signed.
    assert.deepEqual(signed, [Number.NaN, Number.NaN, 100_000, 100_000, 100_000]);
    await assert.rejects(call(dear), { code: 'PRICE_ABOVE_MAX' });
    await ended(dear, { max: '50' });

    assert.equal(signed.at(-1), 300_060);
  });

  const loseLaneKeys = () => {
    const keys = join(cli.home, 'keys');
    for (const file of readdirSync(keys)) {
      if (file.startsWith('lane-')) rmSync(join(keys, file));
    }
  };
});
