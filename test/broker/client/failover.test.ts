// The client library over two real gateways on one chain, one of which is cut off, refuses or lies.
import assert from 'node:assert/strict';
import { createChainReader } from '../../../broker/client/chain-reader.ts';
import type { Connection } from '../../../broker/client/connection.ts';
import {
  createFailoverCaller,
  type Failover,
  type FailoverCaller,
  type GatewayOptions,
} from '../../../broker/client/failover.ts';
import { findLanes } from '../../../broker/client/find-lanes.ts';
import { STEP_UNITS } from '../../../broker/client/invoke.ts';
import { createLaneMemory, type LaneMemory } from '../../../broker/client/lane-memory.ts';
import { createSession } from '../../../broker/client/session.ts';
import type { Key } from '../../../contracts/keystore.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../small-house.ts';

const SLOW_ECHO = `export default async (request) => {
  await new Promise((resolve) => setTimeout(resolve, 30));
  return new Response(await request.text());
};`;
/** A URL where nobody listens. */
const NOBODY = { url: () => 'http://127.0.0.1:1', account: KEYS.gateway.address };

const bytes = (text: string) => new Uint8Array(Buffer.from(text, 'utf8'));

describe('failover between gateways', function () {
  this.timeout(120_000);
  let first: SmallHouse;
  let second: SmallHouse;
  let echo: string;
  let once: string;
  let reader: ReturnType<typeof createChainReader>;
  before(async () => {
    first = await startSmallHouse();
    second = await startSmallHouse({}, first);
    echo = await first.publish('echo', SLOW_ECHO, { idempotent: true });
    once = await first.publish('once', SLOW_ECHO);
    for (const name of [echo, once]) await second.adopt(name, first);
    const { connection } = await first.session(KEYS.user);
    reader = createChainReader(connection.chain);
  });
  after(async () => {
    reader?.close();
    await second?.close();
    await first?.close();
  });
  afterEach(async () => {
    first.aws.faults.clear();
  });

  interface Paid extends GatewayOptions {
    readonly memory: LaneMemory;
    readonly signer: Key;
  }

  const lane = async (house: SmallHouse, mode: 'prepaid' | 'signed' = 'prepaid'): Promise<Paid> => {
    const signer = await house.openLane(KEYS.user, undefined, mode);
    const memory = createLaneMemory();
    return { ...at(house, signer, memory, mode), memory, signer };
  };
  const at = (
    { url, account }: Pick<SmallHouse, 'url' | 'account'>,
    signer: Key,
    memory = createLaneMemory(),
    mode: 'prepaid' | 'signed' = 'prepaid',
  ): GatewayOptions => ({
    url: url(),
    gateway: account,
    lane: async (connection: Connection) => ({
      session: await createSession({
        connection,
        key: signer.privateKey,
        lane: { payer: KEYS.user.address, signer: signer.address },
      }),
      chain: reader,
      memory,
      mode,
    }),
  });
  const callerOf = (gateways: readonly GatewayOptions[], told: Failover[] = []): FailoverCaller =>
    createFailoverCaller({
      gateways,
      trust: first.trust,
      chain: reader,
      onFailover: (one) => told.push(one),
    });
  /** Sum of all prices that a lane was charged, and the number of those calls. */
  const charged = (house: SmallHouse, { signer }: Paid) => {
    const { cumulative, seq } = house.gateway().lanes.lane(KEYS.user.address, signer.address);
    return { units: cumulative, seq };
  };

  for (const mode of ['prepaid', 'signed'] as const) {
    it(`loses no idempotent call when a gateway goes in the middle of traffic, for one further price at most (${mode} lanes)`, async () => {
      const a = await lane(first, mode);
      const b = await lane(second, mode);
      const told: Failover[] = [];
      const caller = callerOf([a, b], told);
      const warm = await caller.invoke({ function: echo, body: bytes('warm') });
      const calls = Array.from({ length: 40 }, (_, i) =>
        caller.invoke({ function: echo, body: bytes(`${i}`) }),
      );
      await Promise.any(calls);

      first.cutOff();
      const replies = await Promise.all(calls);
      const later = await caller.invoke({ function: echo, body: bytes('later') });

      assert.deepEqual(
        await Promise.all(replies.map(({ response }) => response.text())),
        replies.map((_, i) => `${i}`),
      );
      const moved = replies.filter(({ failovers }) => failovers.length > 0);
      assert.ok(moved.length > 0, 'all calls ended before the cut');
      assert.equal(told.length, moved.length);
      for (const { gateway, failovers } of moved) {
        assert.equal(gateway, second.url());
        assert.deepEqual(
          failovers.map((one) => [one.gateway, one.code]),
          [[first.url(), 'GATEWAY_UNREACHABLE']],
        );
      }
      assert.equal(warm.gateway, first.url());
      // A silent gateway is not asked again, so this call may cost no more than its price.
      assert.deepEqual([later.gateway, later.failovers], [second.url(), []]);
      assert.ok(charged(second, b).seq === moved.length + 1);
      await first.comeBack();
      await caller.acknowledge();
      assert.ok(charged(first, a).seq <= replies.length + 1);
      for (const [house, paid] of [
        [first, a],
        [second, b],
      ] as const) {
        const { ceilingUnits, verifiedUnits, verifiedSeq } = paid.memory.read();
        const { units, seq } = charged(house, paid);
        assert.deepEqual([verifiedUnits, verifiedSeq], [units, seq]);
        assert.ok(ceilingUnits <= (mode === 'signed' ? 41n * 45n : STEP_UNITS));
      }
    });
  }

  it('asks no other gateway when the version is not idempotent, and says under which key to ask again', async () => {
    const a = await lane(first);
    const b = await lane(second);
    const told: Failover[] = [];
    const caller = callerOf([a, b], told);
    const request = { function: once, body: bytes('x'), idempotencyKey: 'only-once' };
    await caller.invoke({ function: once });
    const call = caller.invoke(request);
    first.cutOff();

    await assert.rejects(call, (error: Error & { code?: string }) => {
      assert.equal(error.code, 'GATEWAY_UNREACHABLE');
      assert.match(error.message, /not idempotent.*Idempotency-Key only-once$/);
      return true;
    });

    assert.deepEqual([told, charged(second, b).seq], [[], 0]);
    await first.comeBack();
    const again = await callerOf([a]).invoke(request);
    assert.equal(await again.response.text(), 'x');
    assert.ok(charged(first, a).seq <= 2);
  });

  it('asks no other gateway when the alias has moved to a version that is not idempotent since it was looked up', async () => {
    const moving = await first.publish('moving', SLOW_ECHO, { idempotent: true });
    await second.adopt(moving, first);
    const a = await lane(first);
    const b = await lane(second);
    const told: Failover[] = [];
    const caller = callerOf([a, b], told);
    await caller.invoke({ function: moving });
    await first.publish('moving', SLOW_ECHO, { idempotent: false });
    await second.adopt(moving, first);
    const call = caller.invoke({ function: moving, idempotencyKey: 'moved' });
    first.cutOff();

    await assert.rejects(call, (error: Error & { code?: string }) => {
      assert.equal(error.code, 'GATEWAY_UNREACHABLE');
      assert.match(error.message, /Idempotency-Key moved$/);
      return true;
    });

    await first.comeBack();
    assert.deepEqual([told, charged(second, b).seq], [[], 0]);
  });

  it('asks no other gateway while the chain cannot say whether the version is idempotent', async () => {
    const a = await lane(first);
    const b = await lane(second);
    let isUp = true;
    const chain: typeof reader = {
      ...reader,
      functionVersion: async (name) => {
        if (!isUp) throw Object.assign(new Error('no RPC answers'), { code: 'CHAIN_UNREACHABLE' });
        return reader.functionVersion(name);
      },
    };
    const caller = createFailoverCaller({ gateways: [a, b], trust: first.trust, chain });
    await caller.invoke({ function: echo });
    isUp = false;
    const call = caller.invoke({ function: echo, idempotencyKey: 'unsure' });
    first.cutOff();

    await assert.rejects(call, { code: 'GATEWAY_UNREACHABLE' });

    await first.comeBack();
    assert.equal(charged(second, b).seq, 0);
  });

  it('asks the next gateway when one says that nothing ran, and honours its Retry-After', async () => {
    const a = await lane(first);
    const b = await lane(second);
    const told: Failover[] = [];
    const caller = callerOf([a, b], told);
    first.aws.faults.set([{ kind: 'outage', scope: 'invoke' }]);

    const moved = await caller.invoke({ function: echo, body: bytes('1') });
    first.aws.faults.clear();
    const next = await caller.invoke({ function: echo, body: bytes('2') });

    assert.deepEqual([moved.gateway, next.gateway], [second.url(), second.url()]);
    assert.deepEqual(
      told.map(({ code, mayBeCharged }) => [code, mayBeCharged]),
      [['PROVIDERS_DOWN', false]],
    );
    assert.deepEqual([charged(first, a).seq, charged(second, b).seq], [0, 2]);
    await assert.rejects(callerOf([a, b]).invoke({ function: `${once}x` }), {
      code: 'FUNCTION_UNKNOWN',
    });
  });

  it('does not repeat at another gateway a call that is refused because of the call itself', async () => {
    const a = await lane(first);
    const b = await lane(second);
    const told: Failover[] = [];

    await assert.rejects(callerOf([a, b], told).invoke({ function: echo, maxPriceUnits: 1n }), {
      code: 'PRICE_ABOVE_MAX',
    });

    assert.deepEqual([told, charged(second, b).seq], [[], 0]);
  });

  it('passes over gateways that are unreachable, have no open lane, or are on another chain, for any version', async () => {
    const b = await lane(second);
    const stranger = await first.openLane(KEYS.publisher);
    const told: Failover[] = [];
    const caller = callerOf([at(NOBODY, b.signer), at(first, stranger), b], told);
    const elsewhere = createFailoverCaller({
      gateways: [b],
      trust: first.trust,
      chain: { ...reader, chainId: 1 },
    });

    const reply = await caller.invoke({ function: once, body: bytes('x') });

    assert.equal(reply.gateway, second.url());
    assert.deepEqual(
      reply.failovers.map(({ gateway, code, mayBeCharged }) => [gateway, code, mayBeCharged]),
      [
        [NOBODY.url(), 'GATEWAY_UNREACHABLE', false],
        [first.url(), 'LANE_UNKNOWN', false],
      ],
    );
    assert.deepEqual(told, reply.failovers);
    await assert.rejects(elsewhere.invoke({ function: echo }), (error: Error) => {
      assert.match(error.message, /DEPLOYMENT_MISMATCH/);
      return true;
    });
  });

  it('stops after two gateways that may have run the call', async () => {
    const a = await lane(first);
    const b = await lane(second);
    const unasked = await lane(first);
    const caller = callerOf([a, b, unasked].map(dropping));
    let sent = 0;
    function dropping(paid: GatewayOptions): GatewayOptions {
      return {
        ...paid,
        lane: async (connection) => {
          const options = await paid.lane(connection);
          const { session } = options;
          // The request arrives and the answer is lost.
          const send: typeof session.send = async (path, init) => {
            const reply = await session.send(path, init);
            if (!path.startsWith('/functions/')) return reply;
            sent += 1;
            await reply.body?.cancel();
            return new Response('bad gateway', { status: 502 });
          };
          return { ...options, session: { ...session, send } };
        },
      };
    }

    await assert.rejects(caller.invoke({ function: echo, body: bytes('x') }), {
      code: 'GATEWAYS_DOWN',
    });

    assert.equal(sent, 2);
    assert.deepEqual(
      [charged(first, a).seq, charged(second, b).seq, charged(first, unasked).seq],
      [1, 1, 0],
    );
  });

  it('has the form of fetch', async () => {
    const caller = callerOf([at(NOBODY, KEYS.user), await lane(second)]);

    const response = await caller.fetch(`${echo}/path?q=1`, { method: 'POST', body: 'hello' });

    assert.equal(await response.text(), 'hello');
    assert.match(response.headers.get('defaas-receipt') ?? '', /^0x/);
  });

  it('finds a payer’s open lanes and their gateways on the chain', async () => {
    const payer = KEYS.settler;
    const signer = await first.openLane(payer, 5n);
    const other = await second.openLane(payer, 7n, 'signed');
    await first.view.synced();
    const { view } = first.view;

    const found = findLanes(view, payer.address);

    assert.deepEqual(
      found.map((one) => [one.gateway, one.signer, one.mode, one.lineUnits, one.url]),
      [
        [second.gateway().address, other.address, 'signed', 7n, 'http://127.0.0.1'],
        [first.gateway().address, signer.address, 'prepaid', 5n, 'http://127.0.0.1'],
      ],
    );
    assert.deepEqual(findLanes(view, payer.address, Date.now() / 1000 + 31 * 86_400), []);
    assert.deepEqual(findLanes(view, KEYS.operator.address), []);
  });
});
