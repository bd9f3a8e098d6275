// A friend with nothing but the URL of a function: curl, jq and a key tool, following links and errors
// to a paid call with a verified receipt. And what else is said of a function, to everybody.
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { KEYS, type SmallHouse, startSmallHouse } from '../broker/small-house.ts';
import { testKey } from '../contracts/hardhat-chain.ts';

const SCRIPT = resolve(import.meta.dirname, 'friend.sh');
const KEY_TOOL = `${process.execPath} ${resolve(import.meta.dirname, 'eth-key.mjs')}`;
const HELLO =
  'export default async (request) => new Response("hello " + new URL(request.url).pathname);';
const DESCRIPTION = '/.well-known/defaas';

/** curl and jq, which every test machine has. */
const hasTools = ['curl', 'jq'].every((tool) => spawnSync(tool, ['--version']).status === 0);
const reason = hasTools ? '' : ' (skipped: JQ_MISSING)';
const itWithTools = hasTools ? it : it.skip;

describe('a function, for somebody who has its URL alone', function () {
  this.timeout(180_000);
  let house: SmallHouse;
  let paid: string;
  before(async () => {
    house = await startSmallHouse();
    paid = await house.publish('paid', HELLO, { payer: 'caller' });
  });
  after(() => house.close());

  const get = async (path: string, init: RequestInit = {}) => {
    const reply = await fetch(`${house.url()}${path}`, init);
    return { status: reply.status, headers: reply.headers, body: await reply.json() };
  };

  itWithTools(`can be paid and called by curl, and its receipt verified${reason}`, async () => {
    const { stdout } = await promisify(execFile)(
      'sh',
      [SCRIPT, `${house.url()}/functions/${paid}`],
      {
        cwd: house.dir,
        env: {
          ...process.env,
          ETH_KEY: testKey(9).privateKey,
          ETH_RPC_URL: house.chain.url,
          KEY_TOOL,
        },
      },
    );

    const { answer, price, seq } = JSON.parse(stdout);
    assert.match(answer, /^hello /);
    assert.ok(BigInt(price) > 0n);
    assert.equal(seq, 1);
  });

  it('says in each 401 and 402 where the price and the way to pay are written', async () => {
    const { status, headers, body } = await get(`/functions/${paid}`);

    assert.equal(status, 401);
    assert.equal(body.describedBy, `/functions/${paid}${DESCRIPTION}`);
    assert.equal(headers.get('link'), `<${body.describedBy}>; rel="describedby"`);
  });

  it('is described with its price, access, limits and versions, without a token and without a call', async () => {
    const { status, body } = await get(`/functions/${paid}${DESCRIPTION}`);

    assert.equal(status, 200);
    assert.equal(body.url, `${house.url()}/functions/${paid}`);
    assert.deepEqual([body.version, body.access, body.payer], [1, 'public', 'caller']);
    assert.deepEqual(
      body.versions.map(({ number }: { number: number }) => number),
      [1],
    );
    assert.deepEqual(body.runsOn, [{ provider: 'aws-lambda', region: 'us-east-1' }]);
    assert.equal(body.limits.timeoutMs, 5000);
    assert.equal((await get(`/functions/${paid}@1${DESCRIPTION}`)).body.version, 1);
    assert.equal((await get(`/functions/${paid}@2${DESCRIPTION}`)).body.code, 'FUNCTION_UNKNOWN');
  });

  it('says that a call is free while the publisher pays for it', async () => {
    const free = await house.publish('free', HELLO, { payer: 'publisher' });
    const before = await get(`/functions/${free}${DESCRIPTION}`);
    await house.sponsor(free);

    const { body } = await get(`/functions/${free}${DESCRIPTION}`);

    assert.equal(before.body.freeForCallers, false);
    assert.equal(body.freeForCallers, true);
    assert.deepEqual(
      body.steps.map(({ step }: { step: string }) => step),
      ['call', 'receipt'],
    );
    assert.equal((await fetch(body.url)).status, 200);
  });

  it('is told with its newest versions, and its owner with the newest functions, however many there are', async () => {
    for (let number = 1; number <= 22; number += 1) {
      await house.register('many', HELLO, { env: { NUMBER: `${number}` } });
    }
    await house.gateway().chain.synced(house.view.view.head.number);
    const { body } = await get(`/functions/${KEYS.publisher.address}/many${DESCRIPTION}`);

    assert.equal(body.latest, 22);
    assert.deepEqual(
      [body.versions.length, body.versions[0].number, body.versions.at(-1).number],
      [20, 3, 22],
    );
  });

  it('stands in the list of its owner', async () => {
    const { body } = await get(`/functions/${KEYS.publisher.address}`);
    const unknown = await get('/functions/nobody-here');

    const [first] = body.functions.filter(({ name }: { name: string }) => name === 'paid');
    assert.deepEqual([first.url, first.latest], [`${house.url()}/functions/${paid}`, 1]);
    assert.equal((await get(new URL(first.description).pathname)).status, 200);
    assert.deepEqual([unknown.status, unknown.body.code], [404, 'FUNCTION_UNKNOWN']);
  });

  it('gets every other path below its own', async () => {
    const own = await house.publish('own', HELLO, { payer: 'publisher' });
    await house.sponsor(own);
    const path = (text: string) => fetch(`${house.url()}/functions/${own}${text}`);

    for (const text of ['/.well-known/other', '/.well-known/defaas/', '/a/.well-known/defaas']) {
      const reply = await path(text);
      assert.equal(reply.status, 200);
      assert.ok((await reply.text()).endsWith(text), text);
    }
  });

  it('is not said to be paid by its caller when it runs nowhere', async () => {
    await house.register('nowhere', HELLO, { payer: 'publisher' });
    await house.gateway().chain.synced(house.view.view.head.number);

    const { status, body } = await get(`/functions/${KEYS.publisher.address}/nowhere`);

    assert.deepEqual([status, body.code], [503, 'FUNCTION_NOT_DEPLOYED']);
  });
});
