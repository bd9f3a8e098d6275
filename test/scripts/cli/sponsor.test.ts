// A publisher who pays for its callers: set aside, limited per day, stopped; and a payer who limits
// its own lane.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { balance } from '../../../scripts/cli/balance.ts';
import { deposit } from '../../../scripts/cli/deposit.ts';
import { invoke } from '../../../scripts/cli/invoke.ts';
import { receipts } from '../../../scripts/cli/receipts.ts';
import { type SponsorOptions, sponsor } from '../../../scripts/cli/sponsor.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../../broker/small-house.ts';
import { type CommandLine, createCommandLine, documentOf } from './beside.ts';
import { type Between, startBetween } from './between.ts';

const MAIN = resolve(import.meta.dirname, '../../../scripts/defaas.ts');
const HELLO = 'export default async () => new Response("hello");';
/** 20 units a call, however long it takes. */
const TERMS = {
  tariff: { perCall: 20, perGiBSecond: 0, maxPrice: 100_000, roundMs: 1 },
};

describe('defaas sponsor', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let between: Between;
  let cli: CommandLine;
  let hello: string;
  let paid: string;
  before(async () => {
    between = await startBetween(() => house.url());
    house = await startSmallHouse({ publicOrigins: [between.url] });
    cli = createCommandLine(house);
    hello = await house.publish('hello', HELLO, { ...TERMS, payer: 'publisher' });
    paid = await house.publish('paid', HELLO, TERMS);
  });
  after(async () => {
    cli.remove();
    await between.close();
    await house.close();
  });

  afterEach(() => {
    between.lie = () => undefined;
  });

  const sponsorAs = (account: 'publisher' | 'user', options: SponsorOptions, name = hello) =>
    documentOf(sponsor(cli.flags(account), name, options));
  const call = async () => {
    const reply = await fetch(`${house.url()}/functions/${hello}`);
    if (reply.ok) return 200;
    const { code, reason } = await reply.json();
    return `${code} ${reason}`;
  };

  it('sets money aside, signs for the given number of days and no more, limits the day, and stops', async () => {
    const nothing = await sponsorAs('publisher', {});
    await assert.rejects(sponsorAs('publisher', { daily: '1' }), { code: 'LANE_UNKNOWN' });
    assert.equal(await call(), 'SPONSOR_EMPTY mandate');

    const begun = await sponsorAs('publisher', { deposit: '0.001', daily: '0.00005' });
    const answers = [await call(), await call(), await call()];
    const shown = await sponsorAs('publisher', {});
    const more = await sponsorAs('publisher', { daily: '0.0001', days: '3' });
    const again = await call();
    const stopped = await sponsorAs('publisher', { stop: true });

    assert.deepEqual([nothing.isSponsored, nothing.lane], [true, null]);
    assert.deepEqual([begun.dailyUnits, begun.lane.leftUnits], ['50', '50']);
    assert.deepEqual(answers, [200, 200, 'SPONSOR_EMPTY allowance']);
    const paidFor = await documentOf(receipts(cli.flags('publisher'), {}));
    assert.deepEqual(
      paidFor.map(({ caller, payer }: Record<string, string>) => [caller, payer]),
      Array(3).fill(['anybody', KEYS.publisher.address]),
    );
    assert.deepEqual([shown.spentTodayUnits, shown.lane.leftUnits], ['40', '10']);
    // What was spent today counts against the new limit too.
    assert.deepEqual([more.lane.signer, more.lane.leftUnits], [begun.lane.signer, '60']);
    assert.equal(again, 200);
    assert.deepEqual([stopped.dailyUnits, stopped.lane], ['0', null]);
    assert.equal(await call(), 'SPONSOR_EMPTY mandate');
  });

  it('signs by the receipts that were checked and what the mandate allows today, whatever the gateway says', async () => {
    const flags = { ...cli.flags('publisher'), gateway: between.url };
    const put: string[] = [];
    between.lie = ({ method, path, sent, body }) => {
      if (!path.startsWith('/lanes/')) return undefined;
      if (method === 'PUT' && path.endsWith('/voucher')) put.push(JSON.parse(sent).ceiling);
      if (path.includes('/mandates/')) return undefined;
      const much = `${10n ** 20n}`;
      return {
        body: JSON.stringify({ ...JSON.parse(`${body}`), capUnits: much, servedUnits: much }),
      };
    };

    await sponsor(flags, hello, { deposit: '0.5', daily: '0.0002', days: '5' });

    // Three calls of 20 units were made and checked before: they are of the same day.
    assert.deepEqual(put, ['200']);
  });

  it('is for the owner alone, and says when a function’s callers pay anyway', async () => {
    const other = await sponsorAs('publisher', { deposit: '1', daily: '1' }, paid);

    assert.equal(other.isSponsored, false);
    await assert.rejects(sponsorAs('user', {}), { code: 'NOT_OWNER' });
    await assert.rejects(sponsorAs('publisher', {}, 'none-such'), { code: 'FUNCTION_UNKNOWN' });
    await assert.rejects(sponsorAs('publisher', { daily: '1', stop: true }), { code: 'USAGE' });
    const wrong: SponsorOptions[] = [
      { daily: 'lots' },
      { daily: '0' },
      { daily: '1', days: '0' },
      { daily: '1', days: '2.5' },
      { deposit: '1' },
    ];
    for (const options of wrong) {
      await assert.rejects(sponsorAs('publisher', options), { code: 'USAGE' });
    }
  });

  it('has a counterpart for callers: a deposit that limits what its lane spends a day', async () => {
    const flags = cli.flags();
    const pay = () => documentOf(invoke(flags, paid, { header: [] }));
    const limitOf = async () => (await documentOf(balance(flags))).lines[0].limits;

    const { lane } = await documentOf(deposit(flags, '1', { to: 'lane', daily: '0.00003' }));
    const first = await pay();
    const second = await pay();
    const limits = await limitOf();
    await deposit(flags, '1', { to: 'lane', daily: 'none' });
    const third = await pay();

    assert.equal(lane.dailyUnits, '30');
    assert.deepEqual([first.status, second.status, second.problem.code], [200, 402, 'DAILY_LIMIT']);
    assert.deepEqual(limits, [{ signer: lane.signer, dailyUnits: '30', spentTodayUnits: '20' }]);
    assert.deepEqual([third.status, await limitOf()], [200, []]);
    await assert.rejects(deposit(flags, '1', { to: 'free', daily: '1' }), { code: 'USAGE' });
    await assert.rejects(deposit(flags, '1', { to: 'lane', daily: 'x' }), { code: 'USAGE' });
  });

  it('warns in one line on stderr when a deposit runs low', async () => {
    const flags = cli.flags('operator');
    await deposit(flags, '24', { to: 'lane', units: true });

    const words = ['invoke', paid, '--account', 'operator', '--gateway', house.url()];
    const env = { ...process.env, DEFAAS_CHAIN_RPC_URL: house.chain.url };
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [MAIN, ...words], {
      env,
    });

    assert.equal(stdout, 'hello');
    assert.match(
      stderr,
      /^low balance: 0\.000004 tokens left, run defaas deposit\n200 · [^\n]+\n$/,
    );
  });
});
