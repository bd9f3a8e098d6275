// A payee's money is listed, sent, and collected from the float when a batch left it out; a gateway
// that does not pay is barred.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import type { Gateway } from '../../../broker/gateway.ts';
import { settle } from '../../../broker/settlement/settle.ts';
import { audit } from '../../../scripts/cli/audit.ts';
import { doctor } from '../../../scripts/cli/doctor.ts';
import { collect, type PayoutsOptions, payouts } from '../../../scripts/cli/payouts.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../../broker/small-house.ts';
import { type CommandLine, createCommandLine, documentOf } from './beside.ts';
import { type Between, startBetween } from './between.ts';

const MAIN = resolve(import.meta.dirname, '../../../scripts/defaas.ts');
const HANDLER = `export default async () => new Response('ok');`;
/** The publisher gets 300 of each 1,000, the gateway as the provider the rest. */
const SHARE = 300n;
const TARIFF = { perCall: 1_000, perGiBSecond: 0, maxPrice: 1_000, publisherBps: 3_000 };
const FLOAT = 10_000n;

describe('defaas payouts and collect', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let between: Between;
  let cli: CommandLine;
  let call: (times: number) => Promise<void>;
  beforeEach(async () => {
    house = await startSmallHouse();
    between = await startBetween(() => house.url());
    cli = createCommandLine(house);
    const name = await house.publish('ok', HANDLER, { tariff: TARIFF });
    const lane = await house.openLane(KEYS.user);
    const caller = await house.caller(KEYS.user, lane);
    call = async (times) => {
      for (let i = 0; i < times; i++) await caller.invoke({ function: name });
      await caller.acknowledge();
    };
  });
  afterEach(async () => {
    cli?.remove();
    await between?.close();
    await house?.close();
  });

  const [gateway, payee] = [KEYS.gateway.address, KEYS.publisher.address];
  const flags = (url = house.url()) => ({ ...cli.flags('publisher'), gateway: url });
  const list = (options: PayoutsOptions = {}) => documentOf(payouts(flags(), options));
  const take = (options: { send?: boolean; dryRun?: boolean } = {}, url = house.url()) =>
    documentOf(collect(flags(url), options));
  const walletUnits = async (): Promise<bigint> => {
    const [units] = await house.view.read('token', 'balanceOf', [payee]);
    return units;
  };
  const setFloatAside = async (units = FLOAT): Promise<void> => {
    const writer = house.view.connect(KEYS.gateway);
    await writer.mintMock(units);
    await writer.approveAndDeposit(units);
    await house.gateway().chain.synced(await writer.allot(payee, units));
  };
  /** Takes from its batches what is the publisher's. */
  const thief = (): Gateway => {
    const honest = house.gateway();
    const { settler } = honest;
    return {
      ...honest,
      settler: {
        ...settler,
        settle: (of, claims, rows, cid) => {
          const own = rows.map((row) => (row.payee === payee ? { ...row, payee: gateway } : row));
          return settler.settle(of, claims, own, cid);
        },
      },
    };
  };

  it('list what a settlement credits, send it to the wallet once, and say when nothing is due', async () => {
    const empty = await list();
    await assert.rejects(list({ send: true }), { code: 'NOTHING_DUE' });
    await call(3);
    await settle(house.gateway());

    const owed = await list();
    const { text } = await payouts(flags(), {});
    const tried = await list({ send: true, dryRun: true });
    const before = await walletUnits();
    const sent = await list({ send: true });
    await assert.rejects(list({ send: true }), { code: 'NOTHING_DUE' });
    await assert.rejects(take(), { code: 'NOTHING_TO_COLLECT' });
    const after = await list();

    assert.deepEqual(empty.gateways, []);
    const [row] = owed.gateways;
    assert.deepEqual(
      [row.gateway, row.creditedUnits, row.paidOutUnits, row.claimableUnits, row.shortfallUnits],
      [gateway, `${3n * SHARE}`, '0', `${3n * SHARE}`, '0'],
    );
    assert.deepEqual(row.voucher, { cumulativeUnits: `${3n * SHARE}`, isAccepted: true });
    assert.match(text ?? '', /run defaas payouts --send$/);
    assert.deepEqual([tried.sent[0].tx, tried.dryRun, before], [null, true, 0n]);
    assert.deepEqual([sent.sent[0].units, sent.dryRun], [`${3n * SHARE}`, false]);
    assert.match(sent.sent[0].tx, /^0x[0-9a-f]{64}$/);
    assert.equal(await walletUnits(), 3n * SHARE);
    assert.deepEqual(
      [after.gateways[0].claimableUnits, after.gateways[0].paidOutUnits],
      ['0', `${3n * SHARE}`],
    );
  });

  it('collect once what a batch left out, and show who left it out', async () => {
    await setFloatAside();
    await call(2);
    await settle(thief());

    const [short] = (await list({ audit: true })).gateways;
    const audited = await audit(cli.flags());
    const tried = await take({ dryRun: true });
    const unchanged = (await list()).gateways[0];
    const taken = await take({ send: true });
    await assert.rejects(take(), { code: 'NOTHING_TO_COLLECT' });
    const [after] = (await list()).gateways;

    assert.deepEqual(
      [short.creditedUnits, short.shortfallUnits, short.collectableUnits, short.floatUnits],
      ['0', `${2n * SHARE}`, `${2n * SHARE}`, `${FLOAT}`],
    );
    assert.deepEqual([tried.collected[0].units, tried.collected[0].tx], [`${2n * SHARE}`, null]);
    assert.deepEqual(unchanged, { ...short, auditedShortUnits: null });
    assert.equal(short.auditedShortUnits, `${2n * SHARE}`);
    assert.equal(audited.failure?.code, 'AUDIT_FINDINGS');
    assert.match(
      audited.text ?? '',
      new RegExp(`${payee} was left without 0.0006 tokens by ${gateway} in batch 0: `),
    );
    assert.equal(taken.collected[0].units, `${2n * SHARE}`);
    assert.equal(await walletUnits(), 2n * SHARE);
    assert.deepEqual(
      [after.advancedUnits, after.shortfallUnits, after.floatUnits],
      [`${2n * SHARE}`, '0', `${FLOAT - 2n * SHARE}`],
    );
  });

  it('use the highest voucher that the float covers, and say when it covers none', async () => {
    await call(1);
    await settle(thief());
    await call(2);
    await settle(thief());

    await assert.rejects(take(), /the float of 0x\w+ has 0 tokens/);
    await setFloatAside(2n * SHARE);
    const taken = await take();

    assert.equal(taken.collected[0].units, `${SHARE}`);
  });

  it('collect with stored vouchers when the gateway shows none any more', async () => {
    await setFloatAside();
    await call(2);
    await settle(thief());
    await list();
    house.cutOff();
    const writer = house.view.connect(KEYS.gateway);
    await writer.updateParty({
      roles: 3,
      uri: house.url(),
      jwksThumbprint: `0x${'00'.repeat(32)}`,
    });

    const [away] = (await list()).gateways;
    const taken = await take({ send: true });

    assert.deepEqual([away.answered, away.collectableUnits], [false, `${2n * SHARE}`]);
    assert.equal(taken.collected[0].units, `${2n * SHARE}`);
    assert.equal(await walletUnits(), 2n * SHARE);
  });

  it('reject a voucher that another key signed, or that was changed on the way', async () => {
    await setFloatAside();
    await call(2);
    await settle(thief());
    between.lie = ({ path, body }) => {
      if (!path.startsWith('/payouts/')) return undefined;
      const said = JSON.parse(`${body}`);
      said.voucher.cumulativeUnits = `${FLOAT}`;
      return { body: JSON.stringify({ ...said, batches: [] }) };
    };

    const [row] = (await documentOf(payouts(flags(between.url), {}))).gateways;
    await assert.rejects(take({}, between.url), /signed by no key that is in force/);
    between.lie = () => undefined;
    const taken = await take({}, between.url);

    assert.deepEqual([row.voucher.isAccepted, row.collectableUnits], [false, '0']);
    assert.equal(taken.collected[0].units, `${2n * SHARE}`);
  });

  it('have figures that doctor shows: what waits for the account, what batches left out, floats that are short', async () => {
    const found = async (name: string, account: 'publisher' | 'gateway' = 'publisher') => {
      const { checks } = await documentOf(doctor(cli.flags(account)));
      return checks.find((one: { name: string }) => one.name === name).found;
    };
    const nothing = await found('payouts');
    await call(50);
    await settle(house.gateway());
    const waiting = await found('payouts');
    const floats = await found('floats');
    await call(1);
    await settle(thief());

    assert.equal(nothing, 'nothing waits for the account');
    assert.match(
      waiting,
      /^PAYOUT_WAITING: 0\.015 tokens wait for account 0x\w+, on the chain, run /,
    );
    assert.match(
      floats,
      /^FLOATS_SHORT: 0 tokens are set aside .* 0\.015 are missing for 1 payees/,
    );
    assert.match(await found('payouts'), /^PAYOUT_SHORT: .* without 0\.0003 tokens /);
  });

  it('bar a gateway’s deployments of the account’s functions, and refuse when there are none', async () => {
    const tried = await list({ bar: gateway, dryRun: true });
    const isBarred = async () => {
      await house.view.synced();
      return house.view.view.deploymentById(tried.barred[0].id)?.barred;
    };
    const before = await isBarred();
    const barred = await list({ bar: gateway });

    assert.deepEqual([tried.barred.length, before, await isBarred()], [1, false, true]);
    assert.deepEqual(barred.barred, tried.barred);
    await assert.rejects(list({ bar: gateway }), { code: 'NOTHING_TO_BAR' });
    await assert.rejects(list({ bar: payee }), { code: 'GATEWAY_UNKNOWN' });
    await assert.rejects(list({ bar: 'it' }), { code: 'USAGE' });
    await assert.rejects(list({ bar: gateway, send: true }), { code: 'USAGE' });
  });

  it('print as a process what they print here', async () => {
    await call(1);
    await settle(house.gateway());
    const env = {
      PATH: process.env.PATH ?? '',
      DEFAAS_HOME: cli.home,
      DEFAAS_GATEWAY: house.url(),
      DEFAAS_CHAIN_RPC_URL: house.chain.url,
    };
    const run = (...words: string[]) =>
      new Promise<{ code: number; stdout: string; stderr: string }>((done) => {
        execFile(process.execPath, [MAIN, ...words], { env }, (error, stdout, stderr) =>
          done({ code: error ? Number(error.code) : 0, stdout, stderr }),
        );
      });

    const sent = await run('payouts', '--send', '--account', 'publisher', '--json');
    const again = await run('payouts', '--send', '--account', 'publisher');
    const wrong = await run('payouts', '--send', '--bar', gateway);
    const help = await run('collect', '--help');

    assert.deepEqual([sent.code, JSON.parse(sent.stdout).sent[0].units], [0, `${SHARE}`]);
    assert.deepEqual([again.code, again.stdout], [1, '']);
    assert.match(again.stderr, /^NOTHING_DUE: [^\n]+\n$/);
    assert.equal(wrong.code, 2);
    assert.match(help.stdout, /Example: defaas collect --send --account publisher/);
  });
});
