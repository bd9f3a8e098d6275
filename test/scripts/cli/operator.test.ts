// An operator's own commands: the bond in and out again, its fee; and that nobody else's key will
// do.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { bond, leave, unbond } from '../../../scripts/cli/bond.ts';
import { doctor } from '../../../scripts/cli/doctor.ts';
import { fee } from '../../../scripts/cli/fee.ts';
import { withdraw } from '../../../scripts/cli/withdraw.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../../broker/small-house.ts';
import { type CommandLine, createCommandLine, documentOf } from './beside.ts';

const MAIN = resolve(import.meta.dirname, '../../../scripts/defaas.ts');
const DAY_SEC = 86_400;
const TOKEN = 1_000_000n;

describe('defaas bond, unbond, leave, fee', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let cli: CommandLine;
  beforeEach(async () => {
    house = await startSmallHouse();
    cli = createCommandLine(house);
  });
  afterEach(async () => {
    cli?.remove();
    await house?.close();
  });

  const later = async (seconds: number): Promise<void> => {
    await house.chain.rpc('evm_increaseTime', [seconds]);
    await house.chain.rpc('evm_mine');
    await house.view.synced();
  };
  const chainSec = () => house.view.view.head.timestampSec;
  const blockNumber = () => house.chain.rpc('eth_blockNumber');
  const standing = async () => {
    await house.view.synced();
    return house.view.view.gateway(KEYS.gateway.address) ?? assert.fail();
  };
  const walletUnits = async (): Promise<bigint> => {
    const [units] = await house.view.read('token', 'balanceOf', [KEYS.gateway.address]);
    return units;
  };

  it('let an operator leave: unbond, wait, leave, withdraw', async () => {
    const { bond: bonded } = await standing();

    const begun = await documentOf(unbond(cli.flags(), '1000', {}));
    await assert.rejects(leave(cli.flags(), {}), { code: 'STILL_UNBONDING' });
    const { text } = await unbond(cli.flags(), '1000', {});
    await later(14 * DAY_SEC + 1);
    const left = await documentOf(leave(cli.flags(), {}));
    const taken = await documentOf(withdraw({ ...cli.flags('gateway'), yes: true }, undefined, {}));

    assert.equal(begun.unbondingUnits, `${bonded}`);
    assert.ok(Math.abs(begun.unbondEndSec - begun.settleUntilSec - 12 * DAY_SEC) <= 1);
    assert.match(
      text ?? '',
      /free from \S+Z on, run defaas leave then; 0 stay, .* settles until \S+Z/,
    );
    assert.deepEqual([left.leftUnits, left.bondUnits], [`${bonded}`, '0']);
    assert.equal(taken.withdrawnUnits, `${bonded}`);
    assert.equal(await walletUnits(), bonded);
    await assert.rejects(leave(cli.flags(), {}), { code: 'NOTHING_TO_WITHDRAW' });
  });

  it('name another account that settles, together with the bond', async () => {
    const settler = KEYS.user.address;

    const tried = await documentOf(bond(cli.flags(), '1', { settler, dryRun: true }));
    const before = (await standing()).settler;
    const named = await documentOf(bond(cli.flags(), '1', { settler }));

    assert.deepEqual([tried.settler, named.settler], [settler, settler]);
    assert.deepEqual([before, (await standing()).settler], [KEYS.settler.address, settler]);
    await assert.rejects(bond(cli.flags(), '1', { settler: '0x12' }), { code: 'USAGE' });
  });

  it('add to the bond, and cancel an unbonding with the amount 0', async () => {
    const added = await documentOf(bond(cli.flags(), '500', {}));
    const some = await documentOf(unbond(cli.flags(), '400', {}));
    const none = await documentOf(unbond(cli.flags(), '0', {}));

    assert.deepEqual([added.addedUnits, added.bondUnits], [`${500n * TOKEN}`, `${1500n * TOKEN}`]);
    assert.deepEqual([some.unbondingUnits, some.settleUntilSec], [`${400n * TOKEN}`, null]);
    assert.deepEqual([none.unbondingUnits, none.unbondEndSec], ['0', 0]);
    await assert.rejects(unbond(cli.flags(), '1500.000001', {}), { code: 'INSUFFICIENT_BALANCE' });
    assert.equal((await standing()).unbonding, 0n);
  });

  it('announce a fee and say from when it is in force', async () => {
    const announced = await documentOf(fee(cli.flags(), '2.5', {}));
    const waiting = await documentOf(fee(cli.flags(), undefined, {}));
    await later(2 * DAY_SEC + 1);
    const inForce = await documentOf(fee(cli.flags(), undefined, {}));

    assert.deepEqual([announced.feeBps, announced.nextFeeBps], [0, 250]);
    assert.ok(Math.abs(announced.fromSec - chainSec()) <= 60);
    assert.deepEqual(waiting, announced);
    assert.deepEqual([inForce.feeBps, inForce.nextFeeBps, inForce.fromSec], [250, null, null]);
    await assert.rejects(fee(cli.flags(), '100', {}), { code: 'FEE_TOO_HIGH' });
  });

  it('take back what was set aside for payees, after it has thawed', async () => {
    const writer = house.view.connect(KEYS.gateway);
    await writer.mintMock(3n * TOKEN);
    await writer.approveAndDeposit(3n * TOKEN);
    await house.view.synced(await writer.allot(KEYS.publisher.address, 2n * TOKEN));

    await assert.rejects(leave(cli.flags(), {}), { code: 'NOTHING_TO_WITHDRAW' });
    const thawing = await documentOf(leave(cli.flags(), { floats: true }));
    const again = await documentOf(leave(cli.flags(), { floats: true }));
    await later(DAY_SEC + 1);
    const released = await documentOf(leave(cli.flags(), { floats: true }));

    const [one] = thawing.floats.thawing;
    assert.deepEqual([one.payee, one.units], [KEYS.publisher.address, `${2n * TOKEN}`]);
    assert.deepEqual(again.floats.thawing, thawing.floats.thawing);
    assert.equal(released.floats.released[0].units, `${2n * TOKEN}`);
    assert.equal(released.freeUnits, `${3n * TOKEN}`);
  });

  it('send nothing in a dry run, and say what they would do', async () => {
    const before = await standing();
    const block = await blockNumber();

    const bonded = await documentOf(bond(cli.flags(), '7', { dryRun: true }));
    const tried = await documentOf(unbond(cli.flags(), '950', { dryRun: true }));
    const announced = await documentOf(fee(cli.flags(), '3', { dryRun: true }));
    const { text } = await fee(cli.flags(), '3', { dryRun: true });

    assert.equal(bonded.bondUnits, `${before.bond + 7n * TOKEN}`);
    assert.equal(tried.unbondingUnits, `${950n * TOKEN}`);
    assert.ok(Math.abs(tried.settleUntilSec - chainSec() - 2 * DAY_SEC) <= 60);
    assert.ok(Math.abs(tried.unbondEndSec - chainSec() - 14 * DAY_SEC) <= 60);
    assert.equal(announced.nextFeeBps, 300);
    assert.match(text ?? '', /^dry run, nothing was sent: the fee is 0 %, 3 % from /);
    assert.equal(await blockNumber(), block);
    assert.deepEqual(await standing(), before);
  });

  it('have effects that doctor shows: what leaves the bond, a fee to come, a low bond, the key in force', async () => {
    const found = async () => {
      const { checks } = await documentOf(doctor(cli.flags()));
      const byName = (name: string) =>
        checks.find((one: { name: string }) => one.name === name) ?? assert.fail(name);
      const { found: chain } = byName('chain');
      const key = byName('operator key');
      return { terms: byName('terms'), key, floats: byName('floats'), chain };
    };
    await bond(cli.flags(), '500', {});
    const calm = await found();
    await fee(cli.flags(), '4', {});
    await unbond(cli.flags(), '300', {});
    const changing = await found();
    await later(14 * DAY_SEC + 1);
    const ripe = await found();
    await house.view.connect(KEYS.gateway).retireKey(KEYS.operator.address);
    const retiring = await found();
    await later(DAY_SEC + 1);
    const retired = await found();

    assert.deepEqual([calm.terms.ok, calm.terms.warning], [true, undefined]);
    assert.match(calm.key.found, new RegExp(`^${KEYS.operator.address}, in force since `));
    assert.deepEqual([calm.floats.ok, calm.floats.warning], [true, undefined]);
    assert.deepEqual([changing.terms.ok, changing.terms.warning], [true, true]);
    assert.match(
      changing.terms.found,
      /^TERMS_CHANGE: 300 tokens of the bond leave at \S+; the fee is 4 % from \S+ on; the bond of 1200 is less than 1.34 x/,
    );
    assert.match(ripe.terms.found, /300 tokens can leave the bond \(defaas leave\)/);
    assert.match(changing.chain, / bond 1500 tokens, /);
    assert.match(ripe.chain, / bond 1200 tokens, /);
    assert.match(retiring.key.found, /^KEY_RETIRING: /);
    assert.deepEqual(
      [retired.key.ok, retired.key.found.slice(0, 17)],
      [false, 'KEY_NOT_IN_FORCE:'],
    );
  });

  it('refuse another account than the gateway’s, and a missing key', async () => {
    const file = join(cli.home, 'keys', 'gateway.json');
    writeFileSync(file, JSON.stringify(KEYS.user));
    // The gateway is a stranger's then, and this is its URL.
    const flags = { ...cli.flags(), yes: true };
    for (const run of [
      () => bond(flags, '1', {}),
      () => unbond(flags, '1', {}),
      () => leave(flags, {}),
      () => fee(flags, '1', {}),
    ]) {
      await assert.rejects(run(), { code: 'OPERATOR_ONLY' });
    }
    rmSync(file);
    await assert.rejects(leave(cli.flags(), {}), { code: 'KEY_MISSING' });
  });

  it('answer bad input with one line and an exit code, as processes', async () => {
    const run = (words: readonly string[]) =>
      new Promise<{ code: number; stdout: string; stderr: string }>((done) => {
        const env = {
          PATH: process.env.PATH ?? '',
          DEFAAS_HOME: cli.home,
          DEFAAS_GATEWAY: house.url(),
          DEFAAS_CHAIN_RPC_URL: house.chain.url,
        };
        execFile(process.execPath, [MAIN, ...words], { env }, (error, stdout, stderr) =>
          done({ code: error ? Number(error.code) : 0, stdout, stderr }),
        );
      });
    const wrong = ['bond 0', 'bond much', 'unbond -1', 'fee 1.234', 'fee much', 'bond', 'leave 5'];

    for (const line of wrong) {
      const { code, stdout, stderr } = await run([...line.split(' '), '--json']);
      assert.deepEqual([code, stdout], [2, ''], line);
      assert.match(stderr, /^USAGE: [^\n]+\n$/);
    }
    const high = await run(['unbond', '2000']);
    assert.deepEqual([high.code, high.stdout], [1, '']);
    assert.match(high.stderr, /^INSUFFICIENT_BALANCE: [^\n]+\n$/);
    const help = await run(['unbond', '--help']);
    assert.match(help.stdout, /Example: defaas unbond 250/);
    const tried = await run(['bond', '1', '--dry-run', '--json']);
    assert.deepEqual([tried.code, JSON.parse(tried.stdout).dryRun], [0, true]);
  });
});
