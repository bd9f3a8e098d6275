// Who pays for callers that pay nothing: the publisher, only by its own consent, from a lane with
// money left.
import assert from 'node:assert/strict';
import { Contract, JsonRpcProvider, Wallet } from 'ethers';
import { artifacts } from '../../../contracts/artifacts.gen.ts';
import { testKey } from '../../contracts/hardhat-chain.ts';
import { describeBothWays } from '../both-ways.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../small-house.ts';

const HANDLER = `export default async (request) => new Response(request.headers.get('x-api-key') ?? 'nobody');`;
const UNITS = 1_000_000n;

describeBothWays('sponsored calls', function (fastPath) {
  this.timeout(60_000);
  let house: SmallHouse;
  let provider: JsonRpcProvider;
  before(async () => {
    house = await startSmallHouse({ fastPath });
    provider = new JsonRpcProvider(house.chain.url, 31337, { staticNetwork: true });
  });
  after(async () => {
    provider?.destroy();
    await house?.close();
  });

  const publish = async (name: string): Promise<string> =>
    `${house.url()}/functions/${await house.publish(name, HANDLER, { payer: 'publisher' })}`;
  it('cost an account that was only sent the function nothing until it agrees itself', async () => {
    const url = await publish('trap');
    const [victim, account] = [testKey(12), testKey(12).address];
    await house.openLane(victim);
    const wallet = new Wallet(KEYS.publisher.privateKey, provider);
    const registry = new Contract(
      house.chain.contracts.registry,
      artifacts.FunctionRegistry.abi,
      wallet,
    );
    const fn = house.view.view.functionOf(KEYS.publisher.address, 'trap') ?? assert.fail();

    const sent = await registry.getFunction('transferFrom')(wallet.address, account, fn.id);
    await house.gateway().chain.synced((await sent.wait()).blockNumber);
    const before = await fetch(url);
    await house.sponsor(`${fn.namespace}/trap`, victim);
    const after = await fetch(url);

    assert.deepEqual([before.status, (await before.json()).code], [402, 'SPONSOR_EMPTY']);
    assert.equal(after.status, 200);
  });

  it('are paid from a lane that is open and has money left, not from the first one ever opened', async () => {
    const url = await publish('free');
    const writer = house.view.connect(KEYS.publisher);
    const old = testKey(60);
    await writer.mintMock(UNITS);
    const block = await writer.depositAllotOpenLane({
      amount: UNITS,
      gateway: KEYS.gateway.address,
      // Too short to be settled in time.
      lane: {
        signer: old.address,
        cap: UNITS,
        expirySec: Math.floor(Date.now() / 1000) + 1000,
        mode: 1,
      },
    });
    await house.gateway().chain.synced(block);
    const free = `${KEYS.publisher.address}/free`;
    await house.sponsor(free, KEYS.publisher, UNITS, old);
    await house.sponsor(free);

    assert.equal((await fetch(url)).status, 200);
  });

  it('take an event for the same one in either mode, and no stranger’s event of that id', async () => {
    const name = 'events';
    const handler = 'export default async (request) => new Response(String(Math.random()));';
    await house.publish(name, handler, { payer: 'publisher' });
    await house.sponsor(`${KEYS.publisher.address}/${name}`);
    const url = `${house.url()}/functions/${KEYS.publisher.address}/${name}`;
    const event = { specversion: '1.0', id: 'order-1', source: '/orders', type: 't' };
    const binary = Object.fromEntries(
      Object.entries(event).map(([attribute, value]) => [`ce-${attribute}`, value]),
    );
    const send = async (headers: Record<string, string>, body: string) =>
      (await fetch(url, { method: 'POST', headers, body })).text();
    const type = { 'content-type': 'application/json' };

    const stranger = await send({ ...binary, ...type }, '{"amount":0}');
    const first = await send({ ...binary, ...type, 'user-agent': 'a' }, '{"amount":5}');
    const again = await send({ ...binary, ...type, 'user-agent': 'b' }, '{ "amount": 5 }');
    const structured = await send(
      { 'content-type': 'application/cloudevents+json' },
      JSON.stringify({ ...event, data: { amount: 5 } }),
    );

    assert.notEqual(first, stranger);
    assert.deepEqual([again, structured], [first, first]);
  });

  it('under one Idempotency-Key repeat their answer only to a caller who sends the same headers', async () => {
    const url = await publish('account');
    await house.sponsor(`${KEYS.publisher.address}/account`);
    const ask = (apiKey?: string) =>
      fetch(url, {
        headers: { 'idempotency-key': 'order-1', ...(apiKey && { 'x-api-key': apiKey }) },
      });

    const alice = await ask('alice');
    const bob = await ask();
    const again = await ask('alice');

    assert.deepEqual(
      [await alice.text(), await bob.text(), await again.text()],
      ['alice', 'nobody', 'alice'],
    );
    assert.equal(bob.headers.get('idempotent-replayed'), null);
    assert.equal(again.headers.get('idempotent-replayed'), 'true');
  });
});
