// What an operator must act on: a stolen key stops the gateway before it costs more, and each
// slash, gap and low bond is reported.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { formatEvidence } from '../../../broker/client/evidence.ts';
import { type HeldReceipt, heldOf } from '../../../broker/client/exhibits.ts';
import { fetchReceipts } from '../../../broker/client/receipts.ts';
import { fetchAlarms, settle } from '../../../broker/client/settlement.ts';
import { type Evidence, leafAt, placeAt } from '../../../contracts/chain/evidence.ts';
import type { Key } from '../../../contracts/keystore.ts';
import { hashReceipt, type Receipt } from '../../../contracts/libraries/receipts.ts';
import { hashReceiptGroup } from '../../../contracts/libraries/typed-data.ts';
import { signDigest } from '../../../contracts/signatures.ts';
import { doctor } from '../../../scripts/cli/doctor.ts';
import { testKey } from '../../contracts/hardhat-chain.ts';
import { createCommandLine, documentOf } from '../../scripts/cli/beside.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../small-house.ts';

const HANDLER = `export default async () => new Response('ok');`;
const TARIFF = { perCall: 20, perGiBSecond: 0, maxPrice: 20 };

describe('a gateway that watches its own standing', function () {
  this.timeout(240_000);
  let house: SmallHouse;
  let name: string;
  let lane: Key;
  beforeEach(async () => {
    house = await startSmallHouse();
    name = await house.publish('ok', HANDLER, { tariff: TARIFF });
    lane = await house.openLane(KEYS.user);
  });
  afterEach(() => house?.close());

  const call = async () => (await house.caller(KEYS.user, lane)).invoke({ function: name });
  const kept = async (): Promise<HeldReceipt[]> => {
    const session = await house.session(KEYS.user);
    const held: HeldReceipt[] = [];
    const of = { payer: KEYS.user.address, signer: lane.address };
    for await (const document of fetchReceipts(session, of)) held.push(heldOf(document));
    return held;
  };
  /** A receipt that only whoever has the operator key can sign. */
  const forge = (receipt: Receipt, key = KEYS.operator): HeldReceipt => {
    const root = hashReceipt(receipt);
    const group = { gateway: receipt.gateway, root, count: 1 };
    const signature = signDigest(key.privateKey, hashReceiptGroup(house.view.domain, group));
    return { kind: 'receipt', signed: { receipt, index: 0, count: 1, path: [], signature } };
  };
  const report = async (exhibit: HeldReceipt) => {
    const { chainId, contracts } = house.view;
    const about = { chainId, billing: contracts.billing, gateway: KEYS.gateway.address };
    const body = formatEvidence({ ...about, message: 'seen', exhibit });
    const reply = await fetch(`${house.url()}/evidence`, { method: 'POST', body });
    return reply.json();
  };
  const alarms = async () => {
    const found = await fetchAlarms(await house.session(KEYS.gateway));
    return found.map(({ kind }) => kind).filter((kind) => kind !== 'BOND_LOW');
  };

  it('stops taking calls once it sees a receipt under its key that it has not made, also after a restart', async () => {
    await call();
    const [own] = await kept();
    assert.ok(own);
    const other = { ...own.signed.receipt, price: 7n };

    assert.deepEqual(await report(own), { signedHere: true, known: true });
    assert.deepEqual(await report(forge(other, KEYS.user)), { signedHere: false, known: false });
    const rubbish = await fetch(`${house.url()}/evidence`, { method: 'POST', body: '{}' });
    assert.deepEqual([rubbish.status, (await rubbish.json()).code], [400, 'EVIDENCE_INVALID']);
    await call();
    assert.deepEqual(await alarms(), []);

    assert.deepEqual(await report(forge(other)), { signedHere: true, known: false });
    await assert.rejects(call(), { code: 'KEY_STOLEN' });
    assert.deepEqual(await alarms(), ['KEY_STOLEN']);
    await house.restart();
    await assert.rejects(call(), { code: 'KEY_STOLEN' });
    assert.equal((await settle(await house.session(KEYS.gateway))).receipts, 2);
  });

  it('detects a stolen key from the proof that costs it bond, and doctor reports it', async () => {
    await call();
    await settle(await house.session(KEYS.gateway));
    await house.view.synced();
    const [batch] = house.view.view.batches(KEYS.gateway.address);
    const [own] = await kept();
    assert.ok(batch && own);
    const place = placeAt(batch, 0);
    const { path } = leafAt([own.signed.receipt], 0);
    const { signed } = forge({ ...own.signed.receipt, price: 7n });
    const evidence: Evidence = {
      kind: 'omission',
      ...{ signed, place, node: hashReceipt(own.signed.receipt), path },
    };

    const thief = house.view.connect(testKey(12));
    const { blockNumber } = await thief.prove(evidence);
    await house.gateway().chain.synced(blockNumber);
    while (!(await alarms()).includes('KEY_STOLEN')) {
      await new Promise((done) => setImmediate(done));
    }

    assert.deepEqual((await alarms()).sort(), ['BOND_SLASHED', 'KEY_STOLEN']);
    await assert.rejects(call(), { code: 'KEY_STOLEN' });
    const cli = createCommandLine(house);
    try {
      const { checks } = await documentOf(doctor(cli.flags()));
      const found = new Map<string, { ok: boolean; found: string }>(
        checks.map((one: { name: string }) => [one.name, one]),
      );
      assert.equal(found.get('alarms')?.ok, false);
      assert.match(found.get('alarms')?.found ?? '', /^GATEWAY_ALARM: .*KEY_STOLEN: /);
      assert.match(found.get('disputes')?.found ?? '', /^1 frauds proven of the gateway/);
    } finally {
      cli.remove();
    }
  });

  it('reports batches that it has not settled, and a bond that one more slash would make too low', async () => {
    await call();
    await settle(await house.session(KEYS.gateway));
    assert.deepEqual(await alarms(), []);

    await house.restart({}, () => {
      const database = new DatabaseSync(join(house.dir, 'gateway', 'ledger.sqlite'));
      database.exec('DELETE FROM batches');
      database.close();
    });
    while (!(await alarms()).includes('BATCH_UNKNOWN')) {
      await new Promise((done) => setImmediate(done));
    }
    const low = () =>
      house
        .gateway()
        .alarms.list()
        .some(({ kind }) => kind === 'BOND_LOW');
    assert.equal(low(), true);
    const writer = house.view.connect(KEYS.user);
    await writer.mintMock(1_000_000_000n);
    const block = await writer.bond(KEYS.gateway.address, 1_000_000_000n);
    await house.gateway().chain.synced(block);
    while (low()) await new Promise((done) => setImmediate(done));
  });
});
