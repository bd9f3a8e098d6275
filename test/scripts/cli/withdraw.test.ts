// Withdrawing money: free money at once, money set aside after a thaw, less what the gateway has
// served.
import assert from 'node:assert/strict';
import { settle } from '../../../broker/client/settlement.ts';
import { balance } from '../../../scripts/cli/balance.ts';
import { deposit } from '../../../scripts/cli/deposit.ts';
import { invoke } from '../../../scripts/cli/invoke.ts';
import { withdraw } from '../../../scripts/cli/withdraw.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../../broker/small-house.ts';
import { type CommandLine, createCommandLine, documentOf } from './beside.ts';

const ECHO = 'export default async (request) => new Response(await request.text());';
const LINE_THAW_SEC = 86_400;
const TOKEN = 1_000_000n;

describe('defaas withdraw', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let cli: CommandLine;
  beforeEach(async () => {
    house = await startSmallHouse();
    cli = createCommandLine(house);
  });
  afterEach(async () => {
    cli.remove();
    await house.close();
  });

  const put = (tokens: string, to: 'lane' | 'free') => deposit(cli.flags(), tokens, { to });
  const take = (amount?: string, options = {}) =>
    documentOf(withdraw({ ...cli.flags(), yes: true }, amount, options));
  const walletUnits = async (): Promise<bigint> => {
    const [units] = await house.view.read('token', 'balanceOf', [KEYS.user.address]);
    return units;
  };
  const later = async (seconds: number): Promise<void> => {
    await house.chain.rpc('evm_increaseTime', [seconds]);
    await house.chain.rpc('evm_mine');
  };

  it('pays free money out at once, and says so when there is none', async () => {
    await assert.rejects(take(), { code: 'NOTHING_TO_WITHDRAW' });
    await put('3', 'free');

    const part = await take('250000', { units: true });
    await assert.rejects(take('2.750001'), { code: 'INSUFFICIENT_BALANCE' });
    await assert.rejects(take('0'), { code: 'USAGE' });
    const rest = await take();

    assert.deepEqual([part.withdrawnUnits, part.freeUnits], ['250000', '2750000']);
    assert.deepEqual([rest.withdrawnUnits, rest.freeUnits], ['2750000', '0']);
    assert.equal(rest.line.thawEndSec, 0);
    assert.equal(await walletUnits(), 3n * TOKEN);
  });

  it('needs no gateway: money set aside at a vanished one is withdrawn by the chain alone', async () => {
    await put('2', 'lane');
    const flags = { ...cli.flags(), gateway: 'http://127.0.0.1:1' };

    const first = await documentOf(withdraw({ ...flags, yes: true }, undefined, {}));
    await later(LINE_THAW_SEC + 1);
    const rest = await documentOf(withdraw({ ...flags, yes: true }, undefined, {}));

    assert.equal(first.line.thawingUnits, '2000000');
    assert.deepEqual([rest.releasedUnits, rest.withdrawnUnits], ['2000000', '2000000']);
    assert.equal(await walletUnits(), 2n * TOKEN);
  });

  it('withdraws from the named line when several gateways have one, and otherwise asks which', async () => {
    await put('2', 'lane');
    await put('1', 'free');
    const other = KEYS.publisher.address;
    const writer = house.view.connect(KEYS.user);
    await house.view.synced(await writer.allot(other, TOKEN));

    await assert.rejects(take(), { code: 'USAGE' });
    const taken = await take(undefined, { from: other });

    assert.equal(taken.line.gateway, other);
    assert.equal(taken.line.thawingUnits, '1000000');
  });

  it('thaws what is missing, leaves a running thaw alone, and finishes once it has ended', async () => {
    await put('2', 'lane');
    await put('1', 'free');

    const first = await take('2.5');
    const again = await take('2.5');
    const { text } = await withdraw({ ...cli.flags(), yes: true }, undefined, {});
    const shown = await balance(cli.flags());
    await later(LINE_THAW_SEC + 1);
    const ended = await take('2.5');
    const rest = await take();

    assert.deepEqual(
      [first.withdrawnUnits, first.line.allottedUnits, first.line.thawingUnits],
      ['1000000', '2000000', '1500000'],
    );
    assert.ok(first.line.thawEndSec >= Date.now() / 1000 + LINE_THAW_SEC - 60);
    assert.deepEqual([again.withdrawnUnits, again.line], ['0', first.line]);
    const until = new Date(first.line.thawEndSec * 1000).toISOString();
    assert.match(text ?? '', new RegExp(`^1\\.5 tokens thaw until ${until}, .*; 0\\.5 more are`));
    assert.match(
      shown.text ?? '',
      new RegExp(`0\\.5\\n1\\.5 tokens at 0x\\w+ thaw until ${until}, `),
    );
    assert.deepEqual(
      [ended.releasedUnits, ended.withdrawnUnits, ended.freeUnits],
      ['1500000', '1500000', '0'],
    );
    assert.deepEqual([ended.line.allottedUnits, ended.line.thawingUnits], ['500000', '0']);
    assert.deepEqual([rest.withdrawnUnits, rest.line.thawingUnits], ['0', '500000']);
    assert.equal(await walletUnits(), (5n * TOKEN) / 2n);
  });

  it('returns what is left after the gateway has settled what it served', async () => {
    const echo = await house.publish('echo', ECHO);
    await put('1', 'lane');
    await house.gateway().chain.synced();
    const call = () => documentOf(invoke(cli.flags(), echo, { data: 'x', header: [] }));
    const called = await call();

    await take();
    await house.gateway().chain.synced();
    const refused = await call();
    await settle(await house.session(KEYS.gateway));
    await later(LINE_THAW_SEC + 1);
    const ended = await take();

    assert.equal(called.status, 200);
    assert.deepEqual([refused.status, refused.problem.code], [402, 'PAYMENT_REQUIRED']);
    const leftUnits = TOKEN - BigInt(called.receipt.priceUnits);
    assert.deepEqual([ended.withdrawnUnits, ended.line.allottedUnits], [`${leftUnits}`, '0']);
    assert.equal(await walletUnits(), leftUnits);
  });

  it('asks before it withdraws everything, and not before a part', async () => {
    await assert.rejects(withdraw(cli.flags(), undefined, {}), { code: 'NOT_CONFIRMED' });
  });

  it('stops a thaw, and the money serves calls again', async () => {
    await put('1', 'lane');
    await take();

    const stopped = await take(undefined, { cancel: true });

    assert.equal(stopped.canceledUnits, '1000000');
    const { lines } = await documentOf(balance(cli.flags()));
    assert.deepEqual([lines[0].allottedUnits, lines[0].thawingUnits], ['1000000', '0']);
    await assert.rejects(take(undefined, { cancel: true }), { code: 'NOTHING_TO_WITHDRAW' });
    await assert.rejects(take('1', { cancel: true }), { code: 'USAGE' });
  });
});
