// A settlement that is interrupted: it is found on the chain or sent again, never lost and never
// executed twice.
import assert from 'node:assert/strict';
import { setTimeout } from 'node:timers/promises';
import type { Gateway } from '../../../broker/gateway.ts';
import { settle } from '../../../broker/settlement/settle.ts';
import { topUp } from '../../../broker/settlement/top-up.ts';
import type { Key } from '../../../contracts/keystore.ts';
import type { Hex } from '../../../contracts/libraries/keccak.ts';
import { type RpcProxy, startRpcProxy } from '../../contracts/rpc-proxy.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../small-house.ts';
import { serve } from './served.ts';

const PRICE = 1_000n;
/** What a line is topped up by. */
const MORE = 7_000n;

describe('a settlement that is cut off', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let proxy: RpcProxy;
  let gateway: Gateway;
  let functionVersion: Hex;
  before(async () => {
    house = await startSmallHouse();
    const name = await house.publish('ok', `export default async () => new Response('ok');`, {
      tariff: { perCall: Number(PRICE), perGiBSecond: 0, maxPrice: Number(PRICE) },
    });
    const { view } = house.gateway().chain;
    const fn = view.functionOf(KEYS.publisher.address, name.split('/')[1] ?? '');
    functionVersion = (fn && view.versionOf(fn))?.functionVersion ?? assert.fail();
    proxy = await startRpcProxy(() => house.chain.url);
  });
  beforeEach(() => begin());
  after(async () => {
    await proxy?.close();
    await house?.close();
  });

  /** The gateway begins anew, as after a crash, on what it has kept; behind the proxy. */
  const begin = async (): Promise<void> => {
    proxy.answer(() => undefined);
    await house.restart({ chainRpcUrls: [proxy.url] });
    gateway = house.gateway();
  };
  const served = async (): Promise<Key> => {
    const lane = await house.openLane(KEYS.user);
    await serve(gateway, KEYS.user.address, lane, [{ functionVersion, priceUnits: PRICE }]);
    return lane;
  };
  const batches = () => gateway.chain.view.batches(gateway.address);
  const seqOf = ({ address }: Key) =>
    gateway.chain.view.lane(KEYS.user.address, gateway.address, address)?.seq;

  it('is sent again after a crash before any node had it', async () => {
    const lane = await served();
    const before = batches().length;
    proxy.answer(({ method }) =>
      method === 'eth_sendRawTransaction' ? { status: 500 } : undefined,
    );
    await assert.rejects(settle(gateway), { code: 'CHAIN_UNREACHABLE' });
    const [kept] = (await gateway.ledger.batches('prepared')).map(({ signed }) => signed?.[0]?.tx);

    await begin();
    await assert.rejects(settle(gateway), { code: 'NOTHING_TO_SETTLE' });

    assert.equal(seqOf(lane), 1);
    assert.deepEqual(
      batches()
        .slice(before)
        .map(({ tx }) => tx),
      [kept],
    );
    const [record] = (await gateway.ledger.batches('settled')).slice(-1);
    assert.equal(record?.tx, kept);
  });

  it('is found on the chain after a crash before the node had answered', async () => {
    const lane = await served();
    const before = batches().length;
    proxy.answer(async ({ method, params }) => {
      if (method !== 'eth_sendRawTransaction') return undefined;
      await proxy.ask(method, params);
      return { status: 500 };
    });
    await assert.rejects(settle(gateway), { code: 'CHAIN_UNREACHABLE' });

    await begin();
    await assert.rejects(settle(gateway), { code: 'NOTHING_TO_SETTLE' });

    assert.equal(seqOf(lane), 1);
    assert.equal(batches().length, before + 1);
    assert.deepEqual(await gateway.ledger.batches('prepared'), []);
  });

  it('is void when another transaction took its nonce, and its receipts come with the next batch', async () => {
    const lane = await served();
    const before = batches().length;
    proxy.answer(({ method }) =>
      method === 'eth_sendRawTransaction' ? { status: 500 } : undefined,
    );
    await assert.rejects(settle(gateway), { code: 'CHAIN_UNREACHABLE' });
    await house.view.connect(KEYS.settler).mintMock(1n);

    await begin();
    const settled = await settle(gateway);

    assert.deepEqual([settled.lanes, settled.totalUnits], [1, PRICE]);
    assert.equal(seqOf(lane), 1);
    assert.equal(batches().length, before + 1);
    assert.equal((await gateway.ledger.batches('void')).length, 1);
  });

  it('is sent again, and not made anew, when a reorganisation reverts it', async () => {
    const lane = await served();
    const before = batches().length;
    const snapshot = await house.chain.rpc('evm_snapshot');
    const settled = await settle(gateway);
    assert.equal(seqOf(lane), 1);
    await house.chain.rpc('evm_revert', [snapshot]);
    await house.chain.rpc('evm_mine', []);
    await gateway.chain.synced();
    assert.equal(seqOf(lane), 0);

    await assert.rejects(settle(gateway), { code: 'NOTHING_TO_SETTLE' });

    assert.equal(seqOf(lane), 1);
    assert.deepEqual(
      batches()
        .slice(before)
        .map(({ tx }) => tx),
      [settled.tx],
    );
  });

  /** Transactions that the node is given from now on. */
  const listen = (): unknown[] => {
    const given: unknown[] = [];
    proxy.answer(({ method, params }) => {
      if (method === 'eth_sendRawTransaction') given.push(params[0]);
      return undefined;
    });
    return given;
  };

  it('is still pending after a normal end of the process, and is then completed', async () => {
    const lane = await served();
    const given = listen();
    await house.chain.rpc('evm_setAutomine', [false]);
    const lost = assert.rejects(settle(gateway), { code: 'CHAIN_UNREACHABLE' });
    await until(() => given.length > 0);

    await begin();
    await lost;
    const [kept] = await gateway.ledger.batches('prepared');
    await house.chain.rpc('evm_setAutomine', [true]);
    await house.chain.rpc('evm_mine', []);
    await assert.rejects(settle(gateway), { code: 'NOTHING_TO_SETTLE' });

    assert.deepEqual(
      kept?.signed?.map(({ raw }) => raw),
      given,
    );
    assert.equal(seqOf(lane), 1);
  });

  it('does not wait for ever behind a top-up that an earlier process has left pending', async () => {
    await house.openLane(KEYS.user);
    const { address } = KEYS.user;
    const line = () => gateway.chain.view.line(address, gateway.address)?.allotted ?? 0n;
    const limit = line() + MORE;
    const writer = house.view.connect(KEYS.user);
    await writer.mintMock(MORE);
    await writer.approveAndDeposit(MORE);
    await gateway.chain.synced(await writer.setLimit(gateway.address, limit));
    const given = listen();
    await house.chain.rpc('evm_setAutomine', [false]);
    const lost = topUp(gateway, [address]).then(
      () => assert.fail('it is not included'),
      (error) => error.code,
    );
    await until(() => given.length > 0);

    // The process ends while the node has it and includes it not.
    await begin();
    assert.equal(await lost, 'CHAIN_UNREACHABLE');
    const again = listen();
    const settled = settle(gateway).then(
      () => assert.fail('there is nothing to settle'),
      (error) => error.code,
    );
    await until(() => again.length > 0);
    await house.chain.rpc('evm_setAutomine', [true]);
    await house.chain.rpc('evm_mine', []);

    assert.equal(await settled, 'NOTHING_TO_SETTLE');
    assert.equal(again[0], given[0]);
    assert.equal(line(), limit);
    assert.deepEqual(await gateway.ledger.topUps(), []);
  });
});

async function until(isSo: () => boolean): Promise<void> {
  const deadlineMs = Date.now() + 30_000;
  while (!isSo()) {
    assert.ok(Date.now() < deadlineMs, 'it did not come to pass');
    await setTimeout(10);
  }
}
