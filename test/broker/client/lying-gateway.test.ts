// What a gateway that lies can get a client to sign: a real one, of which a test changes what it says on the way.
import assert from 'node:assert/strict';
import { createChainReader } from '../../../broker/client/chain-reader.ts';
import { connect } from '../../../broker/client/connection.ts';
import { createCaller, STEP_UNITS } from '../../../broker/client/invoke.ts';
import { createLaneMemory, type LaneMemory } from '../../../broker/client/lane-memory.ts';
import { createSession } from '../../../broker/client/session.ts';
import type { Key } from '../../../contracts/keystore.ts';
import { testKey } from '../../contracts/hardhat-chain.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../small-house.ts';

const HELLO = `export default async () => new Response('hello');`;

/** Undefined: what the gateway itself says. */
type Lie = (path: string, headers: Headers) => Response | undefined;

describe('a client of a gateway that lies', function () {
  this.timeout(60_000);
  let house: SmallHouse;
  let hello: string;
  let lie: Lie = () => undefined;
  before(async () => {
    house = await startSmallHouse();
    hello = await house.publish('hello', HELLO);
  });
  afterEach(() => {
    lie = () => undefined;
  });
  after(() => house.close());

  const callerOf = async (memory: LaneMemory, key?: Key) => {
    const lane = key ?? (await house.openLane(KEYS.user));
    const connection = await house.connect({
      fetch: async (input, init) => {
        const request = new Request(input, init);
        const { pathname, search } = new URL(request.url);
        return lie(pathname + search, request.headers) ?? fetch(input, init);
      },
    });
    const session = await createSession({
      connection,
      key: lane.privateKey,
      lane: { payer: KEYS.user.address, signer: lane.address },
    });
    const chain = createChainReader(connection.chain);
    return { caller: createCaller({ session, memory, chain }), lane };
  };
  const noReceipts: Lie = (path) =>
    path.startsWith('/receipts?') ? Response.json({ receipts: [], next: null }) : undefined;
  const asksForMore: Lie = (path, headers) => {
    if (!path.startsWith('/functions/')) return undefined;
    const [ceilingUnits] = String(headers.get('defaas-voucher')).split(':');
    const missing = { reason: 'ceiling', needUnits: '1', priceUnits: '45', ceilingUnits };
    return Response.json({ code: 'PAYMENT_REQUIRED', ...missing }, { status: 402 });
  };

  it('gets no connection with another chain, contract, token or account, and its RPC and first block are not heard', async () => {
    const swindler = testKey(12).address;
    const { contracts } = house.chain;
    const connectTo = (changes: object, said: object = {}) =>
      house.connect({
        fetch: async (input, init) => {
          const reply = await fetch(input, init);
          const { pathname } = new URL(new Request(input, init).url);
          if (pathname !== '/.well-known/defaas') return reply;
          const document = await reply.json();
          const lies = { ...document.contracts, ...changes };
          return Response.json({ ...document, ...said, contracts: lies });
        },
      });
    const mismatch = { code: 'DEPLOYMENT_MISMATCH' };

    for (const name of Object.keys(contracts).filter((one) => one !== 'deployedAtBlock')) {
      await assert.rejects(connectTo({ [name]: swindler }), mismatch, name);
    }
    await assert.rejects(connectTo({}, { chainId: 1 }), mismatch);
    await assert.rejects(connectTo({}, { gateway: swindler }), mismatch);
    // Nobody has said which account it is, and what it names is no gateway, or has registered another URL.
    const { trust } = house;
    await assert.rejects(connect(house.url(), { trust }), mismatch);

    const connection = await connectTo(
      { deployedAtBlock: 1_000_000 },
      { rpcUrl: 'http://127.0.0.1:1' },
    );
    assert.deepEqual(connection.chain, { chainId: 31337, contracts, rpcUrl: house.chain.url });
    assert.equal(connection.domain.verifyingContract, contracts.billing);
  });

  it('signs one step and no more, while no receipt is shown', async () => {
    const memory = createLaneMemory();
    const { caller } = await callerOf(memory);
    lie = (...asked) => noReceipts(...asked) ?? asksForMore(...asked);

    for (let call = 0; call < 2; call += 1) {
      const signal = AbortSignal.timeout(500);
      await assert.rejects(caller.invoke({ function: hello, signal }));
    }

    assert.deepEqual(memory.read(), {
      ceilingUnits: STEP_UNITS,
      verifiedSeq: 0,
      verifiedUnits: 0n,
    });
  });

  it('signs nothing more while a receipt that a reply has named is not shown, and goes on when it is', async () => {
    const memory = createLaneMemory();
    const { caller } = await callerOf(memory);
    await caller.invoke({ function: hello });
    lie = (...asked) => noReceipts(...asked) ?? asksForMore(...asked);

    await assert.rejects(caller.invoke({ function: hello, timeoutMs: 500 }), {
      code: 'PAYMENT_REQUIRED',
    });
    await assert.rejects(caller.acknowledge(), { code: 'RECEIPTS_MISSING' });
    assert.equal(memory.read().ceilingUnits, STEP_UNITS);
    lie = () => undefined;
    await caller.acknowledge();

    assert.deepEqual([memory.read().verifiedSeq, memory.read().stopped], [1, undefined]);
  });

  it('knows by its own signature how far its key has signed, when it has forgotten or another program signed', async () => {
    const { caller, lane } = await callerOf(createLaneMemory());
    const { receipt } = await caller.invoke({ function: hello });
    const [forgetful, behind] = [createLaneMemory(), createLaneMemory()];
    behind.update((record) => ({ ...record, ceilingUnits: 1n }));

    for (const memory of [forgetful, behind]) {
      const { caller: again } = await callerOf(memory, lane);
      await again.acknowledge();

      assert.deepEqual(memory.read(), {
        ceilingUnits: STEP_UNITS,
        verifiedSeq: 1,
        verifiedUnits: receipt.priceUnits,
      });
    }
  });
});
