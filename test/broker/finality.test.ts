// Which block counts: a change that raises a position counts once it is final, and one that lowers
// it counts at once.
import assert from 'node:assert/strict';
import { fetchBlock } from '../../broker/client/artifacts.ts';
import { audit } from '../../broker/client/audit.ts';
import type { Gateway } from '../../broker/gateway.ts';
import { settle } from '../../broker/settlement/settle.ts';
import type { Key } from '../../contracts/keystore.ts';
import type { Hex } from '../../contracts/libraries/keccak.ts';
import { testKey } from '../contracts/hardhat-chain.ts';
import { type RpcProxy, startRpcProxy } from '../contracts/rpc-proxy.ts';
import { KEYS, type SmallHouse, startSmallHouse } from './small-house.ts';

const PRICE = 20n;
const TARIFF = { perCall: Number(PRICE), perGiBSecond: 0, maxPrice: Number(PRICE) };

describe('a chain whose blocks are not final at once', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let proxy: RpcProxy;
  let gateway: Gateway;
  let name: string;
  /** The block that the node calls final. */
  let finalBlock = 0;

  before(async () => {
    house = await startSmallHouse();
    const handler = `export default async () => new Response('ok');`;
    name = await house.publish('ok', handler, { tariff: TARIFF });
    proxy = await startRpcProxy(() => house.chain.url);
    proxy.answer(async ({ method, params }) => {
      if (method !== 'eth_getBlockByNumber' || params[0] !== 'finalized') return undefined;
      return { result: await proxy.ask(method, [`0x${finalBlock.toString(16)}`, false]) };
    });
    await finalise();
    await house.restart({ chainKind: 'ethereum', chainRpcUrls: [proxy.url] });
    gateway = house.gateway();
  });
  after(async () => {
    await proxy?.close();
    await house?.close();
  });

  const head = async (): Promise<number> => Number(await house.chain.rpc('eth_blockNumber'));
  /** All blocks so far become final. */
  const finalise = async (): Promise<void> => {
    finalBlock = await head();
    if (gateway === undefined) return;
    while (gateway.chain.final.head.number < finalBlock) await gateway.chain.synced();
  };
  const call = async (payer: Key, signer: Key) => {
    const caller = await house.caller(payer, signer);
    return caller.invoke({ function: name });
  };
  const newestReceipt = async (payer: Key, signer: Key) => {
    const [stored] = await gateway.ledger.laneEntries({
      payer: payer.address,
      signer: signer.address,
      afterSeq: gateway.lanes.lane(payer.address, signer.address).seq - 1,
      limit: 1,
    });
    return stored ?? assert.fail('no receipt');
  };

  it('serves against a deposit once it is final, and never against one that a reorganisation reverts', async () => {
    const payer = testKey(10);
    const snapshot = await house.chain.rpc('evm_snapshot');
    const lane = await house.openLane(payer);
    assert.ok(gateway.chain.view.lane(payer.address, gateway.address, lane.address));
    await assert.rejects(call(payer, lane), { code: 'PAYMENT_REQUIRED' });
    await house.chain.rpc('evm_revert', [snapshot]);
    await house.chain.rpc('evm_mine', []);
    await gateway.chain.synced();
    assert.equal(gateway.lanes.lane(payer.address, lane.address).seq, 0);

    const again = await house.openLane(payer);
    await assert.rejects(call(payer, again), { code: 'PAYMENT_REQUIRED' });
    await finalise();
    await call(payer, again);
    assert.equal(gateway.lanes.lane(payer.address, again.address).seq, 1);
  });

  it('counts a top-up when it is final, and a thaw at once', async () => {
    const payer = testKey(11);
    const lane = await house.openLane(payer, 10n * PRICE);
    await finalise();
    const left = (): bigint => gateway.lanes.lineLeft(payer.address);
    assert.equal(left(), 10n * PRICE);
    const writer = house.view.connect(payer);
    await writer.mintMock(PRICE);
    const added = { amount: PRICE, gateway: gateway.address };
    await gateway.chain.synced(await writer.depositAllotOpenLane(added));
    assert.equal(left(), 10n * PRICE);
    await finalise();
    assert.equal(left(), 11n * PRICE);

    await gateway.chain.synced(await writer.thaw(gateway.address, 11n * PRICE));
    assert.equal(left(), 0n);
    await assert.rejects(call(payer, lane), { code: 'PAYMENT_REQUIRED' });
  });

  it('stops serving a lane at the block that closes it', async () => {
    const payer = testKey(12);
    const lane = await house.openLane(payer);
    await finalise();
    await call(payer, lane);
    const block = await house.view.connect(payer).closeLane(gateway.address, lane.address);
    await gateway.chain.synced(block);

    await assert.rejects(call(payer, lane), { code: 'PAYMENT_REQUIRED' });
  });

  it('draws by final epochs only, so that every receipt stays honest when a reorganisation replaces an epoch and a settlement', async () => {
    const lane = await house.openLane(KEYS.user);
    await finalise();
    const snapshot = await house.chain.rpc('evm_snapshot');
    const known = gateway.chain.final.latestEpoch?.epoch ?? assert.fail();
    await gateway.beacon.renew(known + 1);
    const fresh = gateway.chain.view.latestEpoch?.epoch ?? assert.fail();
    assert.ok(fresh > known);
    await call(KEYS.user, lane);
    const { receipt, call: called } = await newestReceipt(KEYS.user, lane);
    assert.equal(called.beacon, known);
    assert.ok(receipt.atBlock <= finalBlock);
    const settled = await settle(gateway);
    assert.ok(settled.lanes > 0);

    await house.chain.rpc('evm_revert', [snapshot]);
    await house.chain.rpc('hardhat_mine', ['0x5']);
    await gateway.chain.synced();
    assert.equal(gateway.chain.view.epochOf(fresh), undefined);
    // The same transaction again: all its receipts are as final as they were.
    await assert.rejects(settle(gateway), { code: 'NOTHING_TO_SETTLE' });

    await house.view.synced();
    const { connection } = await house.session(KEYS.user);
    const getBlock = (cid: string) => fetchBlock(connection, cid);
    const { view, domain } = house.view;
    const { findings, receipts, proven } = await audit({ view, domain, getBlock });
    assert.deepEqual(findings, []);
    assert.ok(receipts > 0 && proven === receipts);
  });

  it('keeps drawing by the newest final epoch, however old, while finality stalls, and new money waits', async () => {
    const lane = await house.openLane(KEYS.user);
    await finalise();
    const known = gateway.chain.final.latestEpoch?.epoch;
    const late = testKey(13);
    const lateLane = await house.openLane(late);
    await house.chain.rpc('evm_increaseTime', [7_200]);
    await house.chain.rpc('evm_mine', []);
    await gateway.chain.synced();
    const functionVersion = (await newestFunction()).functionVersion;
    const beacon = gateway.beacon.drawFor(functionVersion);

    assert.equal((await beacon).epoch, known);
    await call(KEYS.user, lane);
    assert.equal((await newestReceipt(KEYS.user, lane)).call.beacon, known);
    await assert.rejects(call(late, lateLane), { code: 'PAYMENT_REQUIRED' });
    const ready = await (await fetch(`${house.url()}/readyz`)).json();
    assert.ok(ready.finalityLagSec >= 7_200);
  });

  const newestFunction = async (): Promise<{ functionVersion: Hex }> => {
    const { final } = gateway.chain;
    const fn = final.functionOf(KEYS.publisher.address, name.split('/')[1] ?? '');
    return (fn && final.versionOf(fn)) ?? assert.fail();
  };
});
