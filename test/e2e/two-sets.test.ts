// A gateway process serves payers of older contracts and of those that take their place: money
// moves from the one Billing to the other under calls at one URL, and no pointer from the one to
// the other is believed.
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { JsonRpcProvider, Wallet } from 'ethers';
import { connect, setOf } from '../../broker/client/connection.ts';
import { createTrustRoot, type TrustRoot } from '../../broker/client/trust-root.ts';
import { placeAt } from '../../contracts/chain/evidence.ts';
import type { ContractAddresses } from '../../contracts/chain/types.ts';
import { type Chain, createChain } from '../../contracts/chain.ts';
import { deployContracts } from '../../contracts/deploy.ts';
import { deploymentsOf } from '../../contracts/deployments.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { audit } from '../../scripts/cli/audit.ts';
import { bond, leave, unbond } from '../../scripts/cli/bond.ts';
import type { Flags } from '../../scripts/cli/context.ts';
import { deploy } from '../../scripts/cli/deploy.ts';
import { deposit } from '../../scripts/cli/deposit.ts';
import { doctor } from '../../scripts/cli/doctor.ts';
import { fee } from '../../scripts/cli/fee.ts';
import { invoke } from '../../scripts/cli/invoke.ts';
import { migrate } from '../../scripts/cli/migrate.ts';
import { register } from '../../scripts/cli/register.ts';
import { rotateKey } from '../../scripts/cli/rotate-key.ts';
import { settle } from '../../scripts/cli/settle.ts';
import { token } from '../../scripts/cli/token.ts';
import { environmentOf, KEYS, registerGateway } from '../broker/small-house.ts';
import { type HardhatChain, startHardhatChain, testKey } from '../contracts/hardhat-chain.ts';
import { type CommandLine, createCommandLine, documentOf } from '../scripts/cli/beside.ts';
import { type Between, startBetween } from '../scripts/cli/between.ts';

const MAIN = resolve(import.meta.dirname, '../../broker/main.ts');
/** A process that starts but should not is ended after this time, ms. */
const START_MS = 60_000;
const TOKEN = 1_000_000n;
const BOND = 1_000n * TOKEN;
const PRICE = 1_000n;
const TARIFF = { perCall: 1_000, perGiBSecond: 0, maxPrice: 1_000 };
const LINE_THAW_SEC = 86_400;
const WELL_KNOWN = '/.well-known/defaas';
const ECHO = 'export default async (request) => new Response(await request.text());';
const { gateway, publisher, settler, user } = KEYS;

interface Running {
  readonly child: ChildProcess;
  readonly url: string;
}

describe('a gateway that serves two sets', function () {
  this.timeout(240_000);
  let chain: HardhatChain;
  let dir: string;
  let env: Record<string, string>;
  let running: Running;
  let cli: CommandLine;
  let next: ContractAddresses;
  let trust: TrustRoot;
  let views: { readonly old: Chain; readonly next: Chain };

  /**
   * The process begins with the older contracts alone; then the newer ones are deployed beside it,
   * bonded for, and served too.
   */
  before(async () => {
    chain = await startHardhatChain();
    const old = await chain.open();
    await registerGateway(old);
    dir = mkdtempSync(join(tmpdir(), 'defaas-two-sets-'));
    env = {
      PATH: process.env.PATH ?? '',
      ...environmentOf(dir, chain),
      DEFAAS_LOCAL_ENABLED: '1',
      DEFAAS_LOCAL_TRUSTED_PUBLISHERS: publisher.address,
      DEFAAS_PROBE_EVERY_SEC: '0',
    };
    running = await startProcess(env);
    cli = createCommandLine({ chain, trust: chain.trust, url: () => running.url });
    await publish('first');
    await documentOf(deposit(flags(), '2', { to: 'lane' }));
    await documentOf(deposit(flags(), '1', { to: 'free' }));

    const provider = new JsonRpcProvider(chain.url, 31337, { cacheTimeout: -1 });
    const deployer = new Wallet(testKey(9).privateKey, provider);
    next = await deployContracts(deployer, { keep: chain.contracts });
    provider.destroy();
    const contracts = join(dir, 'next.json');
    writeFileSync(contracts, JSON.stringify(next));
    const [retiring] = chain.trust.sets;
    const [replacing] = deploymentsOf(31337, next).sets;
    assert.ok(retiring && replacing);
    const sets = [
      { ...retiring, status: 'retiring' as const },
      { ...replacing, id: 'next', replaces: 'local' },
    ];
    writeFileSync(join(cli.home, 'deployment.json'), JSON.stringify({ chainId: 31337, sets }));
    trust = createTrustRoot({ deployments: { chainId: 31337, sets }, rpcUrl: chain.url });
    await documentOf(bond(at('next'), '1000', { settler: settler.address }));
    views = { old, next: await createChain({ rpcUrls: [chain.url], contracts: next, pollMs: 20 }) };
    await views.next.start();
    env = { ...env, DEFAAS_SECOND_CONTRACTS_FILE: contracts, DEFAAS_SECOND_PORT: '0' };
    await restart();
  });
  after(async () => {
    await stop(running);
    views?.next.close();
    cli?.remove();
    await chain?.close();
    rmSync(dir, { recursive: true, force: true });
  });

  const restart = async (changed = env, meanwhile = () => {}): Promise<void> => {
    await stop(running);
    meanwhile();
    running = await startProcess(changed);
  };
  const flags = (account: keyof typeof KEYS = 'user') => cli.flags(account);
  const at = (set: string, account?: keyof typeof KEYS): Flags => ({ ...flags(account), set });
  const publish = async (name: string): Promise<void> => {
    const folder = join(dir, name);
    mkdirSync(folder);
    writeFileSync(join(folder, 'handler.ts'), ECHO);
    const manifest = { name, entry: 'handler.ts', memoryMiB: 128, timeoutMs: 5000, tariff: TARIFF };
    writeFileSync(join(folder, 'defaas.json'), JSON.stringify(manifest));
    await register(flags('publisher'), folder);
    const { failure } = await deploy(flags('publisher'), name, { to: 'local' });
    assert.equal(failure, undefined);
  };
  const call = async (name = 'first', by = flags()) => {
    const { document, failure } = await invoke(by, `${publisher.address}/${name}`, {
      data: 'hello',
      header: [],
    });
    assert.equal(failure, undefined);
    // Safe: what `invoke` has just made.
    return document as { status: number; receipt: { price: bigint } };
  };
  /** The publisher pays for a call at each set, which are then settled. */
  const serveBoth = async (): Promise<void> => {
    for (const set of ['local', 'next']) {
      await documentOf(deposit(at(set, 'publisher'), '1', { to: 'lane' }));
      await call('first', at(set, 'publisher'));
    }
    await Promise.all([settle(at('local')), settle(at('next'))]);
  };
  const demandNewest = async (set: 'old' | 'next'): Promise<void> => {
    const { view, synced } = views[set];
    const stranger = views[set].connect(testKey(12));
    await stranger.mintMock(10n * TOKEN);
    await stranger.approveAndDeposit(10n * TOKEN, stranger.address);
    await synced();
    const batch = view.batches(gateway.address).at(-1);
    assert.ok(batch);
    const { blockNumber } = await stranger.demand(placeAt(batch, 0), 0);
    await synced(blockNumber);
  };
  /** All demands in the set are answered soon, and nothing is lost by them. */
  const answered = async (set: 'old' | 'next'): Promise<void> => {
    const { view } = views[set];
    await until(() => view.demands(gateway.address).every(({ state }) => state === 'answered'));
    assert.equal(view.gateway(gateway.address)?.bond, BOND);
  };
  const held = async (owner: Address): Promise<bigint> => {
    const [units] = await views.old.read('token', 'balanceOf', [owner]);
    return units;
  };
  const position = async (set: 'old' | 'next') => {
    await views[set].synced();
    const { view } = views[set];
    const line = view.line(user.address, gateway.address)?.allotted ?? 0n;
    const lanes = view.lanes(user.address, gateway.address);
    const settled = lanes.reduce((sum, lane) => sum + lane.settled, 0n);
    return { free: view.free(user.address), line, settled };
  };
  const sentBy = async (): Promise<unknown[]> =>
    Promise.all(
      Object.values(KEYS).map(({ address }) =>
        chain.rpc('eth_getTransactionCount', [address, 'latest']),
      ),
    );

  it('names the other set in the document of each, and doctor names both', async () => {
    const first = await connect(running.url, { trust, gateway: gateway.address });
    const [pointer] = first.document.otherSets ?? [];
    assert.ok(pointer);
    const second = await connect(pointer.url, { trust, gateway: gateway.address });
    const { checks } = await documentOf(doctor(flags()));

    assert.deepEqual([first.set.id, second.set.id], ['local', 'next']);
    assert.equal(pointer.billing, next.billing);
    assert.deepEqual(second.document.otherSets, [
      { billing: chain.contracts.billing, url: running.url },
    ]);
    const { found } = checks.find(({ name }: { name: string }) => name === 'sets');
    assert.equal(
      found,
      `local (retiring) at ${running.url}, in use; next (current) at ${pointer.url}`,
    );
  });

  it('moves a payer’s money while it calls at one URL, and loses none of it', async () => {
    const before = { old: await held(chain.contracts.billing), next: await held(next.billing) };

    const served = [await call()];
    const begun = await documentOf(migrate(flags(), { to: 'next' }));
    // The old line thaws, so that its money pays nothing; what is deposited now goes to the new
    // set.
    await documentOf(deposit(flags(), '1', { to: 'lane' }));
    served.push(await call(), await call());
    await restart();
    served.push(await call());
    await Promise.all([settle(at('local')), settle(at('next'))]);
    await chain.rpc('evm_increaseTime', [LINE_THAW_SEC + 1]);
    await chain.rpc('evm_mine');
    const moved = await documentOf(migrate(flags(), { to: 'next' }));
    served.push(await call());
    await settle(at('next'));

    assert.deepEqual(
      served.map(({ status }) => status),
      [200, 200, 200, 200, 200],
    );
    assert.equal(begun.gateways[0].thawingUnits, `${2n * TOKEN}`);
    assert.equal(moved.gateways[0].movedUnits, `${2n * TOKEN - PRICE}`);
    assert.deepEqual(await position('old'), { free: 0n, line: 0n, settled: PRICE });
    assert.deepEqual(await position('next'), {
      free: TOKEN,
      line: 3n * TOKEN - 5n * PRICE,
      settled: 4n * PRICE,
    });
    assert.equal(await held(user.address), 0n);
    // The amount that left one Billing has reached the other, with the token deposited meanwhile.
    assert.equal(await held(chain.contracts.billing), before.old - 3n * TOKEN + PRICE);
    assert.equal(await held(next.billing), before.next + 4n * TOKEN - PRICE);
    for (const set of ['local', 'next']) {
      const { findings, receipts, proven } = await documentOf(audit(at(set)));
      assert.deepEqual([findings, proven], [[], receipts]);
    }
  });

  it('serves in both sets what was deployed in either', async () => {
    await publish('second');
    const by = (set: string) => at(set, 'publisher');
    for (const set of ['local', 'next']) await documentOf(deposit(by(set), '1', { to: 'lane' }));

    const { status: old } = await call('second', by('local'));
    const { status: current } = await call('second', by('next'));

    assert.deepEqual([old, current], [200, 200]);
  });

  it('accepts no token of one set in the other', async () => {
    const origins = [chain.contracts, next].map(async ({ billing }) => {
      const options = { trust, gateway: gateway.address, chooseSet: setOf(billing) };
      return (await connect(running.url, options)).origin;
    });
    const { accessToken } = await documentOf(token(at('local'), { control: true }));
    const headers = { authorization: `Bearer ${accessToken}` };

    const replies = (await Promise.all(origins)).map((origin) =>
      fetch(new URL('/alarms', origin), { headers }),
    );

    const statuses = (await Promise.all(replies)).map(({ status }) => status);
    assert.deepEqual(statuses, [403, 401], 'known and no operator; not known');
  });

  it('answers in each set the demands of that set', async () => {
    await serveBoth();

    for (const set of ['old', 'next'] as const) await demandNewest(set);

    for (const set of ['old', 'next'] as const) await answered(set);
  });

  it('serves the one set while the ledger of the other is lost, and answers demands in both', async () => {
    await serveBoth();
    await restart(env, () => lose(join(dir, 'sets', next.billing)));

    const { document } = await connect(running.url, { trust, gateway: gateway.address });
    const { status } = await call('first', at('local', 'publisher'));
    for (const set of ['old', 'next'] as const) await demandNewest(set);
    for (const set of ['old', 'next'] as const) await answered(set);
    await restart(env, () => restore(join(dir, 'sets', next.billing)));
    const { status: back } = await call('first', at('next', 'publisher'));

    assert.equal(document.otherSets, undefined);
    assert.deepEqual([status, back], [200, 200]);
  });

  it('serves neither while the ledger of the first is lost, and answers demands in both', async () => {
    await serveBoth();
    await stop(running);
    lose(join(dir, 'gateway'));
    const child = spawn(process.execPath, [MAIN], { env, stdio: 'ignore' });
    try {
      for (const set of ['old', 'next'] as const) await demandNewest(set);
      for (const set of ['old', 'next'] as const) await answered(set);
    } finally {
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      const [code] = await ended;
      restore(join(dir, 'gateway'));
      running = await startProcess(env);
      assert.equal(code, 1);
    }
  });

  it('signs with a new operator key in both sets at once', async () => {
    await serveBoth();
    const by = (set: string) => call('first', at(set, 'publisher'));
    for (const set of ['local', 'next']) await by(set);

    const rotated = await documentOf(rotateKey(flags(), { keyFile: join(dir, 'operator.json') }));
    const statuses = [(await by('local')).status, (await by('next')).status];

    assert.deepEqual([rotated.switched, rotated.signedAgain], [true, 2]);
    assert.deepEqual(statuses, [200, 200]);
  });

  it('executes the operator’s commands in the set that they name', async () => {
    const [old, current] = [views.old.view, views.next.view];
    const free = () => [old.free(gateway.address), current.free(gateway.address)] as const;
    const [freeOld, freeNext] = free();

    const announced = await documentOf(fee(at('next'), '2.5', {}));
    await documentOf(deposit(at('next', 'gateway'), '20', { to: 'free' }));
    const begun = await documentOf(unbond(at('local'), '1000', {}));
    await assert.rejects(leave(at('local'), {}), { code: 'STILL_UNBONDING' });
    await documentOf(unbond(at('local'), '0', {}));
    await views.old.synced();
    await views.next.synced();

    assert.equal(announced.nextFeeBps, 250);
    assert.equal(begun.unbondingUnits, `${BOND}`);
    assert.deepEqual(free(), [freeOld, freeNext + 20n * TOKEN]);
    assert.equal(old.gateway(gateway.address)?.nextFeeBps, 0);
  });

  it('does not start with a second set that equals the first one or has a Registry of its own', async () => {
    const wrong = { same: chain.contracts, other: { ...next, registry: testKey(9).address } };
    for (const [name, contracts] of Object.entries(wrong)) {
      const home = join(dir, name);
      const file = join(dir, `${name}.json`);
      writeFileSync(file, JSON.stringify(contracts));
      const changed = { ...env, DEFAAS_HOME: home, DEFAAS_SECOND_CONTRACTS_FILE: file };
      const options = { env: changed, timeout: START_MS };
      const starting = promisify(execFile)(process.execPath, [MAIN], options);

      await assert.rejects(starting, {
        code: 1,
        stderr: /^CONFIG_INVALID: DEFAAS_SECOND_CONTRACTS_FILE /m,
      });
    }
  });

  it('continues with the new set first, and with the new set alone, from the same folder', async () => {
    await serveBoth();
    const by = (set: string) => call('first', at(set, 'publisher'));
    const swapped = {
      ...env,
      DEFAAS_CHAIN_CONTRACTS_FILE: env.DEFAAS_SECOND_CONTRACTS_FILE ?? '',
      DEFAAS_SECOND_CONTRACTS_FILE: env.DEFAAS_CHAIN_CONTRACTS_FILE ?? '',
    };
    const { DEFAAS_SECOND_CONTRACTS_FILE: _, ...alone } = swapped;

    await restart(swapped);
    const both = [await by('local'), await by('next')];
    await restart(alone);
    const last = await by('next');
    const { document } = await connect(running.url, { trust, gateway: gateway.address });
    await restart();

    assert.deepEqual(
      [...both, last].map(({ status }) => status),
      [200, 200, 200],
    );
    assert.equal(document.contracts.billing, next.billing);
    assert.equal(document.otherSets, undefined);
  });

  describe('whose pointer to the other set may lie', () => {
    let first: Between;
    let second: Between;
    let asked: string[];
    let stranger: Flags;
    beforeEach(async () => {
      const { document } = await connect(running.url, { trust, gateway: gateway.address });
      const [pointer] = document.otherSets ?? [];
      assert.ok(pointer);
      first = await startBetween(() => running.url);
      second = await startBetween(() => pointer.url);
      asked = [];
      for (const between of [first, second]) {
        between.ask = ({ path }) => {
          asked.push(path);
          return undefined;
        };
      }
      stranger = { ...at('next'), gateway: first.url };
    });
    afterEach(async () => {
      await first.close();
      await second.close();
    });

    const changed = (between: Between, changes: Record<string, unknown>) => {
      between.lie = ({ path, body }) => {
        if (path !== WELL_KNOWN) return undefined;
        const said = JSON.parse(`${body}`);
        const contracts = { ...said.contracts, ...Object(changes.contracts) };
        return { body: JSON.stringify({ ...said, ...changes, contracts }) };
      };
    };
    const pointsTo = (url: string) =>
      changed(first, { otherSets: [{ billing: next.billing, url }] });
    const refused = async (code = 'DEPLOYMENT_MISMATCH'): Promise<void> => {
      const before = await sentBy();
      asked = [];
      for (const command of [
        () => deposit(stranger, '1', { to: 'free' }),
        () => invoke(stranger, `${publisher.address}/first`, { data: 'x', header: [] }),
      ]) {
        await assert.rejects(command, { code });
      }
      assert.deepEqual(
        asked.filter((path) => path !== WELL_KNOWN),
        [],
      );
      assert.deepEqual(await sentBy(), before);
    };

    it('is followed when it is true', async () => {
      pointsTo(second.url);

      const { set, origin } = await connect(first.url, {
        trust,
        gateway: gateway.address,
        chooseSet: setOf(next.billing),
      });

      assert.deepEqual([set.id, origin], ['next', second.url]);
    });

    it('gets nothing signed for another account, other contracts or another chain', async () => {
      pointsTo(second.url);
      const lies = [
        { gateway: testKey(10).address },
        { contracts: { billing: testKey(11).address } },
        { contracts: { disputes: chain.contracts.disputes } },
        { chainId: 1 },
      ];
      for (const lie of lies) {
        changed(second, lie);
        await refused();
      }
    });

    it('is followed for one step only, and never back', async () => {
      pointsTo(first.url);
      await refused();
      pointsTo(second.url);
      changed(second, {
        contracts: chain.contracts,
        otherSets: [{ billing: next.billing, url: first.url }],
      });
      await refused();
      assert.equal(asked.length, 4, 'two documents for each command');
    });

    it('gets no unencrypted request sent to another host, and no redirect followed', async () => {
      const { port } = new URL(second.url);
      const places = [
        'http://gateway.example',
        `http://localhost:${port}`,
        `ftp://127.0.0.1:${port}`,
        'no url',
      ];
      for (const place of places) {
        pointsTo(place);
        await refused();
      }
      pointsTo(second.url);
      second.lie = () => ({ status: 302, headers: { location: first.url } });
      await refused('GATEWAY_UNREACHABLE');
    });

    it('is refused when the pointer is left out and the set was requested', async () => {
      changed(first, { otherSets: undefined });
      await refused();
    });
  });
});

/** A folder without its ledger, which is put aside. */
function lose(folder: string): void {
  for (const name of readdirSync(folder)) {
    if (!/^(ledger\.sqlite|journal)/.test(name)) continue;
    mkdirSync(`${folder}.lost`, { recursive: true });
    renameSync(join(folder, name), join(`${folder}.lost`, name));
  }
}

function restore(folder: string): void {
  for (const name of readdirSync(folder)) {
    if (/^(ledger\.sqlite|journal)/.test(name)) rmSync(join(folder, name));
  }
  for (const name of readdirSync(`${folder}.lost`)) {
    renameSync(join(`${folder}.lost`, name), join(folder, name));
  }
}

async function startProcess(env: NodeJS.ProcessEnv): Promise<Running> {
  const child = spawn(process.execPath, [MAIN], {
    env,
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text) => {
    said += text;
  });
  const ended = once(child, 'exit').then(() => assert.fail(`the gateway ended: ${said}`));
  const [message] = await Promise.race([once(child, 'message'), ended]);
  ended.catch(() => {});
  return { child, url: message.ready.url };
}

async function stop(running: Running | undefined): Promise<void> {
  if (!running || running.child.exitCode !== null) return;
  const ended = once(running.child, 'exit');
  running.child.kill('SIGTERM');
  const [code] = await ended;
  assert.equal(code, 0);
}

/** Polls until the condition holds, for at most a minute. */
async function until(isSo: () => boolean): Promise<void> {
  const deadlineMs = Date.now() + 60_000;
  while (!isSo()) {
    if (Date.now() > deadlineMs) assert.fail('not within a minute');
    await new Promise((done) => setTimeout(done, 50));
  }
}
