// Payees and operators in a house of real processes: a publisher is paid, a key changes under calls
// and restarts, and the operator takes its bond home.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { createHouse, type TestHouse } from './house.ts';

const DAY_SEC = 86_400;
/** A float is filled when the gateway has seen its batch, ms. */
const FILLED_MS = 20_000;

describe('a house with payees and an operator', function () {
  this.timeout(300_000);
  let house: TestHouse;
  let greet: string;

  before(async () => {
    house = createHouse({ DEFAAS_FLOAT_LEAST_UNITS: '1' });
    await house.start();
    await house.json('init', 'greet');
    const manifest = join(house.folder, 'greet', 'defaas.json');
    const terms = JSON.parse(readFileSync(manifest, 'utf8'));
    const tariff = { perCall: 1_000, perGiBSecond: 0, maxPrice: 1_000, publisherBps: 3_000 };
    writeFileSync(manifest, JSON.stringify({ ...terms, tariff }));
    const { owner } = await as('publisher', 'register', 'greet');
    await as('publisher', 'deploy', 'greet', '--to', 'aws');
    greet = `${owner}/greet`;
    await house.json('deposit', '5');
  });
  after(() => house?.remove());

  const as = (account: string, ...words: string[]) => house.json(...words, '--account', account);
  const call = async (times: number): Promise<void> => {
    for (let i = 0; i < times; i++) {
      assert.equal((await house.json('invoke', greet)).status, 200);
    }
  };
  const owed = async (account: string) => {
    const { gateways } = await as(account, 'payouts');
    assert.equal(gateways.length, 1);
    return gateways[0];
  };
  const rpc = async (method: string, ...params: unknown[]) => {
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
    const headers = { 'content-type': 'application/json' };
    const reply = await fetch(house.up().chain.rpcUrl, { method: 'POST', headers, body });
    return (await reply.json()).result;
  };

  it('pays the publisher and the provider what a settlement credits, and sets a float aside', async () => {
    await call(3);
    await house.json('settle');

    const before = await owed('publisher');
    const wallet = (await as('publisher', 'balance')).tokenUnits;
    const sent = await as('publisher', 'payouts', '--send');
    const provider = await as('gateway', 'payouts', '--send');
    const again = await house.defaas('payouts', '--send', '--account', 'publisher');
    const after = (await as('publisher', 'balance')).tokenUnits;

    assert.ok(BigInt(before.claimableUnits) > 0n);
    assert.deepEqual(
      [before.creditedUnits, before.voucher],
      [before.claimableUnits, { cumulativeUnits: before.creditedUnits, isAccepted: true }],
    );
    const earned = await as('publisher', 'earnings', '--by', 'month,function');
    const ofGateway = await as('gateway', 'earnings', '--by', 'role');

    assert.equal(sent.sent[0].units, before.claimableUnits);
    assert.equal(earned.totalUnits, before.creditedUnits);
    assert.deepEqual(
      earned.rows.map((row: Record<string, unknown>) => [row.names, row.calls, row.pricesUnits]),
      [[[new Date().toISOString().slice(0, 7), 'greet'], 3, '3000']],
    );
    assert.deepEqual(
      [earned.creditedUnits, earned.paidOutUnits],
      [before.creditedUnits, before.creditedUnits],
    );
    assert.deepEqual(
      ofGateway.rows.map((row: Record<string, unknown>) => row.names),
      [['gateway'], ['provider']],
    );
    assert.equal(BigInt(after) - BigInt(wallet), BigInt(before.claimableUnits));
    assert.ok(BigInt(provider.sent[0].units) > BigInt(before.claimableUnits));
    assert.deepEqual([again.code, again.stdout], [1, '']);
    assert.match(again.stderr, /^NOTHING_DUE: [^\n]+\n$/);
    const deadlineMs = Date.now() + FILLED_MS;
    while ((await owed('publisher')).floatUnits === '0' && Date.now() < deadlineMs) {
      await setTimeout(100);
    }
    assert.equal((await owed('publisher')).floatUnits, before.creditedUnits);
  });

  it('signs with another key at once, and also after kill -9', async () => {
    await call(1);
    const rotated = await house.json('rotate-key');
    await call(1);
    await house.kill();
    await house.start();
    await call(1);
    const settled = await house.json('settle');
    const audited = await house.json('audit');
    const { checks } = await house.json('doctor');

    assert.deepEqual([rotated.switched, typeof rotated.retiredUntilSec], [true, 'number']);
    assert.ok(rotated.signedAgain >= 1);
    assert.ok(settled.receipts >= 3);
    assert.deepEqual([audited.proven, audited.findings], [audited.receipts, []]);
    const key = checks.find(({ name }: { name: string }) => name === 'operator key');
    assert.match(key.found, new RegExp(`^${rotated.key}, in force since `));
    assert.equal((await owed('publisher')).voucher.isAccepted, true);
  });

  it('lets the operator withdraw its bond and its floats', async () => {
    const begun = await house.json('unbond', '10000');
    const early = await house.defaas('leave');
    const thawing = await house.json('leave', '--floats');
    await rpc('evm_increaseTime', 14 * DAY_SEC + 60);
    await rpc('evm_mine');
    const left = await house.json('leave', '--floats');
    const taken = await as('gateway', 'withdraw', '--yes');

    assert.ok(begun.settleUntilSec < begun.unbondEndSec);
    assert.match(early.stderr, /^STILL_UNBONDING: [^\n]+\n$/);
    assert.equal(left.leftUnits, '10000000000');
    assert.equal(thawing.leftUnits, '0');
    assert.deepEqual([thawing.floats.thawing.length, left.floats.released.length], [1, 1]);
    // What was set aside for floats and never allotted was free all the time.
    assert.equal(BigInt(taken.withdrawnUnits), 10_000_000_000n + 20_000_000n);
    assert.equal(left.freeUnits, taken.withdrawnUnits);
  });
});
