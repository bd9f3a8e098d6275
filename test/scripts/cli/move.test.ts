// Commands that move money, when something fails after it has moved, when clocks differ, and when
// several run at once: no money moves twice, and none is lost.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Transaction } from 'ethers';
import { bond } from '../../../scripts/cli/bond.ts';
import type { Flags, Outcome } from '../../../scripts/cli/context.ts';
import { deposit } from '../../../scripts/cli/deposit.ts';
import { sponsor } from '../../../scripts/cli/sponsor.ts';
import { openStore } from '../../../scripts/cli/store.ts';
import { withdraw } from '../../../scripts/cli/withdraw.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../../broker/small-house.ts';
import { type RpcProxy, startRpcProxy } from '../../contracts/rpc-proxy.ts';
import { type CommandLine, createCommandLine, documentOf } from './beside.ts';
import { type Between, startBetween } from './between.ts';

const MAIN = resolve(import.meta.dirname, '../../../scripts/defaas.ts');
const ECHO = 'export default async (request) => new Response(await request.text());';
const TOKEN = 1_000_000n;
const DAY_SEC = 86_400;
const LANE_LIFE_SEC = 30 * DAY_SEC;

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

describe('commands that move money', function () {
  this.timeout(180_000);
  let house: SmallHouse;
  let cli: CommandLine;
  let between: Between;
  let rpc: RpcProxy;
  beforeEach(async () => {
    between = await startBetween(() => house.url());
    house = await startSmallHouse({ publicOrigins: [between.url] });
    cli = createCommandLine(house);
    rpc = await startRpcProxy(() => house.chain.url);
  });
  afterEach(async () => {
    await rpc?.close();
    await between.close();
    cli.remove();
    await house.close();
  });

  /** A command as a process of its own. */
  function defaas(words: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
    const where = { PATH: process.env.PATH, INIT_CWD: cli.home, DEFAAS_HOME: cli.home };
    const options = { env: { ...where, ...env }, cwd: cli.home };
    const common = ['--json', '--yes', '--gateway', house.url(), '--rpc', house.chain.url];
    return new Promise((done) => {
      execFile(process.execPath, [MAIN, ...common, ...words], options, (error, stdout, stderr) => {
        done({ code: error ? Number(error.code) : 0, stdout, stderr });
      });
    });
  }

  const lineUnits = async (payer = KEYS.user) => {
    await house.view.synced();
    return house.view.view.line(payer.address, house.account)?.allotted ?? 0n;
  };
  const chainSec = async () => house.view.nowSec();

  describe('with clocks that differ', () => {
    /** The environment of a process whose clock is wrong. */
    const wrongClock = (offsetMs: number) => {
      const file = join(cli.home, 'clock.mjs');
      writeFileSync(file, `const now = Date.now; Date.now = () => now() + ${offsetMs};`);
      return { NODE_OPTIONS: `--import=${pathToFileURL(file)}` };
    };

    it('counts a lane’s time from the chain’s, so that deposits from any machine follow each other', async () => {
      const ahead = await defaas(['deposit', '2'], wrongClock(40 * DAY_SEC * 1000));
      const right = await defaas(['deposit', '1']);
      const behind = await defaas(['deposit', '1'], wrongClock(-40 * DAY_SEC * 1000));

      for (const { code, stderr } of [ahead, right, behind]) assert.equal(code, 0, stderr);
      const { lane } = JSON.parse(behind.stdout);
      assert.equal(lane.capUnits, `${4n * TOKEN}`);
      assert.ok(lane.expirySec <= (await chainSec()) + LANE_LIFE_SEC);
      assert.ok(lane.expirySec > (await chainSec()) + LANE_LIFE_SEC - DAY_SEC);
      assert.equal(await lineUnits(), 4n * TOKEN);
    });

    it('keeps the later end of a lane that an earlier program has opened for longer', async () => {
      const first = await documentOf(deposit(cli.flags(), '2', { to: 'lane' }));
      const { signer, capUnits } = first.lane;
      const expirySec = (await chainSec()) + 60 * DAY_SEC;
      const terms = { signer, cap: BigInt(capUnits), expirySec };
      await house.view.connect(KEYS.user).extendLane(house.account, terms);

      const again = await documentOf(deposit(cli.flags(), '1', { to: 'lane' }));

      assert.deepEqual([again.lane.expirySec, again.lane.capUnits], [expirySec, `${3n * TOKEN}`]);
      assert.equal(await lineUnits(), 3n * TOKEN);
    });
  });

  it('takes the mandate that was signed last for the newest, though the clock was set back', async () => {
    await house.publish('hello', ECHO, { payer: 'publisher' });
    const clock = join(cli.home, 'ahead.mjs');
    writeFileSync(clock, 'const now = Date.now; Date.now = () => now() + 30_000;');
    const words = ['--account', 'publisher', 'sponsor', 'hello', '--daily', '1', '--deposit', '4'];
    const ahead = await defaas(words, { NODE_OPTIONS: `--import=${pathToFileURL(clock)}` });
    assert.equal(ahead.code, 0, ahead.stderr);

    await sponsor(cli.flags('publisher'), 'hello', { daily: '2' });

    const { billing } = house.chain.contracts;
    const store = openStore(cli.home, `31337:${billing}:${house.account}`);
    const [lane] = store.mandatedLanes(KEYS.publisher.address);
    assert.ok(lane);
    const mandates = store.laneMemory(lane).mandates();
    store.close();
    const newest = mandates.toSorted((a, b) => Number(b.mandate.serial - a.mandate.serial))[0];
    assert.equal(mandates.length, 2);
    assert.equal(newest?.mandate.perDay, 2n * TOKEN);
  });

  describe('when something fails after the money has moved', () => {
    it('says what moved when the gateway fails, and goes on with the rest the next time', async () => {
      const flags = { ...cli.flags(), gateway: between.url };
      const put = () => deposit(flags, '2', { to: 'lane', daily: '1' });
      between.lie = ({ method }) => (method === 'PUT' ? { cut: true } : undefined);

      await assert.rejects(put(), (error: Error & { code: string }) => {
        assert.equal(error.code, 'GATEWAY_UNREACHABLE');
        return /2 tokens are deposited and set aside.* moves nothing twice/.test(error.message);
      });
      between.lie = () => undefined;
      const resumed = await documentOf(put());
      const afterwards = await lineUnits();
      const next = await documentOf(put());

      assert.deepEqual([resumed.isResumed, resumed.lane.dailyUnits], [true, `${TOKEN}`]);
      assert.equal(afterwards, 2n * TOKEN);
      assert.equal(next.isResumed, false);
      assert.equal(await lineUnits(), 4n * TOKEN);
    });

    /** The node takes the next transaction to Billing, and no answer of it comes from then on. */
    const loseNext = () => {
      let isLost = false;
      const lost = Promise.withResolvers<void>();
      const { billing } = house.chain.contracts;
      rpc.answer(async ({ method, params }) => {
        if (isLost) return { status: 503 };
        const isSent = method === 'eth_sendRawTransaction';
        if (!isSent || Transaction.from(String(params[0])).to?.toLowerCase() !== billing) return;
        isLost = true;
        await rpc.ask(method, params);
        lost.resolve();
        return { status: 503 };
      });
      return lost.promise;
    };
    const heal = () => rpc.answer(() => undefined);
    const walletUnits = async (account = KEYS.user) => {
      const [units] = await house.view.read('token', 'balanceOf', [account.address]);
      return BigInt(units);
    };
    const bondUnits = async () => {
      await house.view.synced();
      return house.view.view.gateway(house.account)?.bond ?? 0n;
    };

    interface Command {
      readonly run: (flags: Flags) => Promise<Outcome>;
      readonly role: keyof typeof KEYS;
      /** What it moves; it grows by `moved`. */
      readonly units: () => Promise<bigint>;
      readonly moved: bigint;
      readonly before?: () => Promise<unknown>;
    }
    const freeUnits = async () => {
      await house.view.synced();
      return house.view.view.free(KEYS.user.address);
    };
    const commands: Record<string, Command> = {
      'deposit to a lane': {
        run: (flags) => deposit(flags, '2', { to: 'lane' }),
        role: 'user',
        units: () => lineUnits(),
        moved: 2n * TOKEN,
      },
      'deposit to free money': {
        run: (flags) => deposit(flags, '2', { to: 'free' }),
        role: 'user',
        units: freeUnits,
        moved: 2n * TOKEN,
      },
      'withdraw of a part': {
        before: () => deposit(cli.flags(), '3', { to: 'free' }),
        run: (flags) => withdraw(flags, '1', {}),
        role: 'user',
        units: () => walletUnits(),
        moved: TOKEN,
      },
      'bond with a settler': {
        run: (flags) => bond(flags, '5', { settler: KEYS.settler.address }),
        role: 'gateway',
        units: bondUnits,
        moved: 5n * TOKEN,
      },
      'sponsor with a deposit': {
        before: () => house.publish('hello', ECHO, { payer: 'publisher' }),
        run: (flags) => sponsor(flags, 'hello', { daily: '1', deposit: '4' }),
        role: 'publisher',
        units: () => lineUnits(KEYS.publisher),
        moved: 4n * TOKEN,
      },
    };
    for (const [name, { run, role, units, moved, before }] of Object.entries(commands)) {
      it(`waits for the transaction that was sent and sends no other: ${name}`, async () => {
        await before?.();
        const flags = { ...cli.flags(role), rpc: rpc.url };
        const had = await units();
        const lost = loseNext();

        await assert.rejects(run(flags), (error: Error & { code: string }) => {
          assert.equal(error.code, 'CHAIN_UNREACHABLE');
          return /may be included all the same, run the same command again/.test(error.message);
        });
        await lost;
        heal();
        await run(flags);
        const once = await units();
        await run(flags);

        assert.equal(once - had, moved);
        assert.equal((await units()) - had, 2n * moved);
      });
    }
  });

  describe('of one account at once', () => {
    it('wait for each other: deposits and grants of several processes all succeed', async () => {
      await house.register('hello', ECHO);
      const subjects = [6, 7, 8, 9].map((digit) => `0x${String(digit).repeat(40)}`);
      const as = ['--account', 'publisher'];
      const all = await Promise.all([
        defaas([...as, 'deposit', '2']),
        defaas([...as, 'deposit', '3']),
        ...subjects.map((subject) => defaas([...as, 'grant', 'hello', subject])),
      ]);

      for (const { code, stderr } of all) assert.equal(code, 0, stderr);
      assert.equal(await lineUnits(KEYS.publisher), 5n * TOKEN);
      const fn = house.view.view.functionOf(KEYS.publisher.address, 'hello');
      for (const subject of subjects) {
        assert.ok(house.view.view.grant(fn?.id ?? 0n, subject as `0x${string}`)); // it is hex
      }
    });

    it('publish their folders one after the other, and the same folder once', async () => {
      const folders = ['one', 'two', 'one'].map((name) => {
        mkdirSync(join(cli.home, name), { recursive: true });
        writeFileSync(join(cli.home, name, 'defaas.json'), JSON.stringify({ name, entry: 'a.js' }));
        writeFileSync(join(cli.home, name, 'a.js'), ECHO);
        return name;
      });

      const all = await Promise.all(folders.map((name) => defaas(['register', name])));

      for (const { code, stderr } of all) assert.equal(code, 0, stderr);
      await house.view.synced();
      const versions = (name: string) =>
        house.view.view.functionOf(KEYS.user.address, name)?.versions.length;
      assert.deepEqual([versions('one'), versions('two')], [1, 1]);
      assert.deepEqual(
        all.map(({ stdout }) => JSON.parse(stdout).isNew).filter((isNew) => isNew).length,
        2,
      );
    });

    it('read the nonce and the allowance again when another home has the same key', async () => {
      const other = createCommandLine(house);
      const elsewhere = { DEFAAS_HOME: other.home };
      await house.view.connect(KEYS.user).mintMock(20n * TOKEN);

      const all = await Promise.all([
        defaas(['deposit', '2', '--to', 'free']),
        defaas(['deposit', '3', '--to', 'free'], elsewhere),
        defaas(['deposit', '4'], elsewhere),
        defaas(['deposit', '5']),
      ]);
      other.remove();

      for (const { code, stderr } of all) assert.equal(code, 0, stderr);
      assert.equal(await lineUnits(), 9n * TOKEN);
      assert.equal(house.view.view.free(KEYS.user.address), 5n * TOKEN);
    });

    it('do not wait for one that was killed', async () => {
      const turns = pathToFileURL(resolve(MAIN, '../cli/account-turn.ts'));
      const script = `import { accountTurns } from '${turns}';
        const take = accountTurns(${JSON.stringify(cli.home)});
        await take('${KEYS.user.address}', () => {
          process.stdout.write('taken');
          return new Promise((done) => setInterval(done, 2 ** 30));
        });`;
      const holder = spawn(process.execPath, ['--input-type=module', '--eval', script]);
      await once(holder.stdout, 'data');
      const sent = () => rpc.asked.filter((method) => method === 'eth_sendRawTransaction').length;
      const waiting = deposit({ ...cli.flags(), rpc: rpc.url }, '2', { to: 'lane' });
      // It waits when it asks for nothing but the newest block, again and again.
      const isWaiting = () => rpc.asked.length > 10 && new Set(rpc.asked.slice(-6)).size === 1;
      while (!isWaiting()) await new Promise((done) => setTimeout(done, 20));
      const sentWhileHeld = sent();

      holder.kill('SIGKILL');
      await waiting;

      assert.equal(sentWhileHeld, 0);
      assert.equal(await lineUnits(), 2n * TOKEN);
    });
  });
});
