// The chain decides on every call: a grant ends with the block that revokes it, and gated functions
// are refused while the chain head is stale.
import assert from 'node:assert/strict';
import { createServer, request as forward, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Key } from '../../contracts/keystore.ts';
import { describeBothWays } from './both-ways.ts';
import { KEYS, ownHeaders, type SmallHouse, startSmallHouse } from './small-house.ts';

const ECHO = 'export default async (request) => new Response(await request.text());';
const INVOKE = { expirySec: 4_000_000_000, scopes: 1 };

/** A chain RPC that can be cut off and comes back on the same port. */
class Rpc {
  readonly #target: URL;
  #server: Server | undefined;
  #port = 0;

  constructor(target: string) {
    this.#target = new URL(target);
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async open(): Promise<void> {
    const server = createServer((asked, reply) => {
      const { method, headers } = asked;
      const passed = forward(this.#target, { method, headers }, (answer) => {
        reply.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(reply);
      });
      passed.on('error', () => reply.destroy());
      asked.pipe(passed);
    });
    await new Promise<void>((done) => server.listen(this.#port, '127.0.0.1', done));
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  async cut(): Promise<void> {
    const server = this.#server;
    server?.closeAllConnections();
    await new Promise((done) => (server ? server.close(done) : done(undefined)));
  }
}

async function until(what: () => boolean | Promise<boolean>, withinMs = 20_000): Promise<void> {
  const endMs = Date.now() + withinMs;
  while (!(await what())) {
    if (Date.now() > endMs) assert.fail('it did not come to pass');
    await new Promise((done) => setTimeout(done, 20));
  }
}

describeBothWays('access', function (fastPath) {
  this.timeout(120_000);
  let house: SmallHouse;
  let gated: string;
  let open: string;
  let functionId: bigint;
  let lane: Key;
  let caller: Awaited<ReturnType<SmallHouse['caller']>>;
  before(async () => {
    house = await startSmallHouse({ fastPath });
    gated = await house.publish('gated', ECHO, { access: 'granted' });
    open = await house.publish('open', ECHO);
    functionId = house.view.view.functionOf(KEYS.publisher.address, 'gated')?.id ?? 0n;
    lane = await house.openLane(KEYS.user);
    caller = await house.caller(KEYS.user, lane);
    // The ceiling is signed here, so that later calls need nothing but the token.
    await caller.invoke({ function: open });
  });
  after(() => house.close());

  const publisher = () => house.view.connect(KEYS.publisher);
  const grant = async () => {
    const block = await publisher().grant(functionId, KEYS.user.address, INVOKE);
    await house.gateway().chain.synced(block);
  };
  const statusOf = async (fn: string) => {
    const session = await house.session(lane, { payer: KEYS.user, signer: lane });
    const reply = await session.send(`/functions/${fn}`, { headers: ownHeaders(lane, fn) });
    return [reply.status, reply.ok ? undefined : (await reply.json()).code];
  };

  it('is refused without a grant, given with one, and always given to the owner', async () => {
    assert.deepEqual(await statusOf(gated), [403, 'NOT_GRANTED']);

    await grant();

    assert.deepEqual(await statusOf(gated), [200, undefined]);
    const ownLane = await house.openLane(KEYS.publisher);
    const owner = await house.caller(KEYS.publisher, ownLane);
    assert.equal((await owner.invoke({ function: gated })).response.status, 200);
  });

  for (const [how, revoke] of [
    ['one grant', () => publisher().revokeGrant(functionId, KEYS.user.address)],
    ['all grants', () => publisher().revokeAll(functionId)],
  ] as const) {
    it(`ends with the block that revokes ${how}: no call is admitted at it or later`, async () => {
      await grant();
      const atBlocks: number[] = [];
      const refused: string[] = [];
      let isOver = false;
      const worker = async () => {
        const session = await house.session(lane, { payer: KEYS.user, signer: lane });
        while (!isOver) {
          const headers = ownHeaders(lane, gated);
          const reply = await session.send(`/functions/${gated}`, { headers });
          if (!reply.ok) refused.push((await reply.json()).code);
          else {
            await reply.text();
            const id = reply.headers.get('defaas-receipt');
            atBlocks.push(
              (await (await session.request(`/receipts/${id}`)).json()).receipt.atBlock,
            );
          }
        }
      };
      const workers = [1, 2, 3].map(worker);
      await until(() => atBlocks.length >= 5);

      const block = await revoke();
      await house.gateway().chain.synced(block);

      assert.deepEqual(await statusOf(gated), [403, 'NOT_GRANTED']);
      await until(() => refused.length >= 3);
      isOver = true;
      await Promise.all(workers);
      assert.ok(
        atBlocks.every((at) => at < block),
        `${Math.max(...atBlocks)} < ${block}`,
      );
      assert.deepEqual(new Set(refused), new Set(['NOT_GRANTED']));
    });
  }

  it('refuses calls of gated functions while the chain head is stale, serves public ones, and recovers', async () => {
    await grant();
    const rpc = new Rpc(house.chain.url);
    await rpc.open();
    await house.restart({ chainRpcUrls: [rpc.url], chainStaleMs: 1_000 });
    const { chain } = house.gateway();
    // On a busy machine the head may be stale for a moment though the node is there.
    const isServed = async () => (await statusOf(gated))[0] === 200;
    await until(isServed);

    await rpc.cut();
    await until(() => chain.isStale());

    const session = await house.session(lane, { payer: KEYS.user, signer: lane });
    const headers = ownHeaders(lane, gated);
    const closed = await session.send(`/functions/${gated}`, { headers });
    assert.ok(Number(closed.headers.get('retry-after')) > 0);
    assert.deepEqual([closed.status, (await closed.json()).code], [503, 'CHAIN_STALE']);
    assert.deepEqual(await statusOf(open), [200, undefined]);
    await rpc.open();
    await until(isServed);
    await house.restart();
    await rpc.cut();
  });
});
