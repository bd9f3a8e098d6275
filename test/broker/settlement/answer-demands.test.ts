// Whoever demands receipts of an honest gateway pays for them: it answers every demand, from
// whatever it still has, and loses nothing.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { JsonRpcProvider } from 'ethers';
import { settle } from '../../../broker/client/settlement.ts';
import { placeAt } from '../../../contracts/chain/evidence.ts';
import type { Demand } from '../../../contracts/chain/types.ts';
import type { ChainWriter } from '../../../contracts/chain/writer.ts';
import type { Key } from '../../../contracts/keystore.ts';
import { testKey } from '../../contracts/hardhat-chain.ts';
import { environmentOf, KEYS, type SmallHouse, startSmallHouse } from '../small-house.ts';

const UNIT = 1_000_000n;
const PLEDGE = UNIT;
const HANDLER = `export default async () => new Response('ok');`;
const TARIFF = { perCall: 20, perGiBSecond: 0, maxPrice: 20 };
const DAY_SEC = 86_400;
const WINDOW_SEC = 2 * DAY_SEC;
const MAIN = resolve(import.meta.dirname, '../../../broker/main.ts');

describe('a gateway that answers demands', function () {
  this.timeout(240_000);
  let house: SmallHouse;
  let provider: JsonRpcProvider;
  let name: string;
  let stranger: ChainWriter;

  beforeEach(async () => {
    house = await startSmallHouse();
    provider = new JsonRpcProvider(house.chain.url, 31337, {
      staticNetwork: true,
      cacheTimeout: -1,
    });
    name = await house.publish('ok', HANDLER, { tariff: TARIFF });
    stranger = house.view.connect(testKey(12));
    await stranger.mintMock(1_000n * UNIT);
    await stranger.approveAndDeposit(1_000n * UNIT, stranger.address);
  });
  afterEach(async () => {
    provider?.destroy();
    await house?.close();
  });

  const serve = async (payer: Key, calls: number, mode: 'prepaid' | 'signed' = 'prepaid') => {
    const lane = await house.openLane(payer, 5n * UNIT, mode);
    const caller = await house.caller(payer, lane, undefined, mode);
    for (let i = 0; i < calls; i += 1) await caller.invoke({ function: name });
  };
  const settleAll = async () => settle(await house.session(KEYS.gateway));
  const batches = async () => {
    await house.view.synced();
    return house.view.view.batches(KEYS.gateway.address);
  };
  /** Every leaf that was ever settled, in no order. */
  const leaves = async () =>
    (await batches()).flatMap((batch) =>
      batch.claims.flatMap(({ seqFrom, seq }, claim) =>
        Array.from({ length: seq - seqFrom }, (_, index) => ({
          place: placeAt(batch, claim),
          index,
        })),
      ),
    );
  const demandAll = async (wanted: Awaited<ReturnType<typeof leaves>>) => {
    for (const { place, index } of wanted) await stranger.demand(place, index);
  };
  const demands = (): Demand[] => house.view.view.demands(KEYS.gateway.address);
  const answered = async (): Promise<void> => {
    await house.view.synced();
    while (demands().some(({ state }) => state !== 'answered')) {
      await new Promise((done) => house.view.onBlock(() => done(undefined)));
    }
  };
  const bond = async (): Promise<bigint> => {
    const [bonded] = await house.view.read('billing', 'standing', [KEYS.gateway.address]);
    return bonded;
  };
  const free = async (): Promise<bigint> => {
    const [units] = await house.view.read('billing', 'free', [KEYS.gateway.address]);
    return units;
  };
  const later = async (seconds: number): Promise<void> => {
    await house.chain.rpc('evm_increaseTime', [seconds]);
    await house.chain.rpc('evm_mine', []);
  };
  /** After the window nothing of it can be turned against the gateway. */
  const assertNothingLost = async (bondBefore: bigint, count: number): Promise<void> => {
    await later(WINDOW_SEC + 1);
    for (const { place, index } of (await leaves()).slice(0, 5)) {
      await assert.rejects(stranger.expire(place, index), { code: 'NOT_DEMANDED' });
    }
    await house.view.synced();
    assert.deepEqual(house.view.view.frauds(KEYS.gateway.address), []);
    assert.equal(await bond(), bondBefore);
    assert.equal(await free(), BigInt(count) * PLEDGE);
  };

  it('answers five demands of a stranger, and a hundred at once over lanes of both modes and batches', async () => {
    await serve(testKey(9), 30);
    await serve(testKey(10), 25, 'signed');
    await settleAll();
    await serve(testKey(11), 30);
    await serve(testKey(9), 20);
    await settleAll();
    const bondBefore = await bond();
    const all = await leaves();
    assert.equal(all.length, 105);

    await demandAll(all.slice(0, 5));
    await answered();
    // All of them wait in one block, so that the gateway sees them at once.
    await house.chain.rpc('evm_setAutomine', [false]);
    const sending = Promise.all(
      all.slice(5).map(({ place, index }) => stranger.demand(place, index)),
    );
    await house.chain.rpc('evm_setIntervalMining', [200]);
    await sending;
    await answered();
    await house.chain.rpc('evm_setIntervalMining', [0]);
    await house.chain.rpc('evm_setAutomine', [true]);

    assert.equal(demands().length, 105);
    const opened = new Set(demands().map(({ answer }) => answer?.receipt.call));
    assert.equal(opened.size, 105);
    const signed = demands().filter(({ answer }) => answer?.callSignature !== undefined);
    assert.equal(signed.length, 25);
    await assertNothingLost(bondBefore, 105);
    assert.deepEqual(
      house
        .gateway()
        .alarms.list()
        .filter(({ kind }) => kind !== 'BOND_LOW'),
      [],
    );
  });

  it('answers from the pages on IPFS what the ledger has lost, and reports what neither has', async () => {
    await serve(testKey(9), 7);
    await serve(testKey(10), 5, 'signed');
    await settleAll();
    const bondBefore = await bond();
    const all = await leaves();
    const ledger = join(house.dir, 'gateway', 'ledger.sqlite');
    await house.restart({}, () => {
      const database = new DatabaseSync(ledger);
      database.exec('DELETE FROM lane_runs');
      database.close();
    });

    await demandAll(all.slice(0, 11));
    await answered();

    assert.equal(demands().length, 11);
    await house.restart({}, () => rmSync(join(house.dir, 'ipfs', 'blocks'), { recursive: true }));
    const last = all.at(-1) ?? assert.fail();
    const { id, blockNumber } = await stranger.demand(last.place, last.index);
    await house.gateway().chain.synced(blockNumber);
    while (
      house
        .gateway()
        .alarms.list()
        .every(({ kind }) => kind !== 'DEMAND_UNANSWERABLE')
    ) {
      await new Promise((done) => setImmediate(done));
    }
    const session = await house.session(KEYS.gateway);
    const { alarms } = await (await session.request('/alarms')).json();
    const shown = alarms.find(({ kind }: { kind: string }) => kind === 'DEMAND_UNANSWERABLE');
    assert.equal(shown.about, id);
    const other = await house.session(KEYS.user);
    await assert.rejects(other.request('/alarms'), { code: 'OPERATOR_ONLY' });
    assert.equal(await bond(), bondBefore);
  });

  it('continues to answer after it is killed between its answers, as a process of its own', async () => {
    await serve(testKey(9), 6);
    await settleAll();
    const bondBefore = await bond();
    const all = await leaves();
    await house.stop();
    const env = { ...process.env, ...environmentOf(house.dir, house.chain) };
    const first = await startProcess(env);
    await house.chain.rpc('evm_setAutomine', [false]);
    const sending = Promise.all(all.map(({ place, index }) => stranger.demand(place, index)));
    const demanded = await pooled(provider, stranger.address, 6);
    await house.chain.rpc('evm_mine', []);
    await sending;
    assert.equal(demanded, 6);
    await pooled(provider, KEYS.gateway.address, 1);

    first.kill('SIGKILL');
    await once(first, 'exit');
    const second = await startProcess(env);
    try {
      await house.chain.rpc('evm_setIntervalMining', [200]);
      await answered();
    } finally {
      second.kill('SIGTERM');
      await once(second, 'exit');
    }

    await house.chain.rpc('evm_setIntervalMining', [0]);
    await house.chain.rpc('evm_setAutomine', [true]);
    await assertNothingLost(bondBefore, 6);
  });

  const losses: readonly (readonly [what: string, lose: (folder: string) => void])[] = [
    [
      'an older copy of its ledger',
      (folder) => {
        const database = new DatabaseSync(join(folder, 'ledger.sqlite'));
        database.exec('UPDATE lanes SET seq = 1');
        database.close();
      },
    ],
    [
      'an empty ledger',
      (folder) => {
        for (const name of [
          'ledger.sqlite',
          'ledger.sqlite-wal',
          'ledger.sqlite-shm',
          'journal.log',
        ]) {
          rmSync(join(folder, name), { force: true });
        }
      },
    ],
  ];
  for (const [what, lose] of losses) {
    it(`takes no call with ${what}, and answers from the pages all the same`, async () => {
      await serve(testKey(9), 4);
      await settleAll();
      const bondBefore = await bond();
      const all = await leaves();
      await house.stop();
      lose(join(house.dir, 'gateway'));

      const env = { ...process.env, ...environmentOf(house.dir, house.chain) };
      const child = spawn(process.execPath, [MAIN], { env, stdio: ['ignore', 'ignore', 'pipe'] });
      let said = '';
      child.stderr.setEncoding('utf8').on('data', (text) => {
        said += text;
      });
      try {
        await demandAll(all);
        await answered();
      } finally {
        child.kill('SIGTERM');
        await once(child, 'exit');
      }

      assert.equal(child.exitCode, 1);
      assert.match(said, /the ledger is lost: no call is taken/);
      await assertNothingLost(bondBefore, 4);
    });
  }

  it('answers again when a reorganisation reverts its answer', async () => {
    await serve(testKey(9), 2);
    await settleAll();
    const [leaf] = await leaves();
    assert.ok(leaf);
    await house.chain.rpc('evm_setAutomine', [false]);
    const sending = stranger.demand(leaf.place, leaf.index);
    await pooled(provider, stranger.address, 1);
    await house.chain.rpc('evm_mine', []);
    await sending;
    await pooled(provider, KEYS.gateway.address, 1);
    const before = await house.chain.rpc('evm_snapshot');
    await house.chain.rpc('evm_mine', []);
    await answered();

    await house.chain.rpc('evm_revert', [before]);
    const { transactions } = await provider.send('eth_getBlockByNumber', ['pending', false]);
    for (const tx of transactions) await house.chain.rpc('hardhat_dropTransaction', [tx]);
    await house.chain.rpc('evm_setAutomine', [true]);
    await house.chain.rpc('evm_mine', []);
    await house.chain.rpc('evm_mine', []);
    await house.view.synced();
    assert.equal(demands()[0]?.state, 'open');

    await answered();
    assert.equal(demands().length, 1);
  });
});

async function startProcess(env: NodeJS.ProcessEnv): Promise<ChildProcess> {
  const child = spawn(process.execPath, [MAIN], {
    env,
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text) => {
    said += text;
  });
  const ended = once(child, 'exit').then(() => assert.fail(`the gateway ended: ${said}`));
  await Promise.race([once(child, 'message'), ended]);
  ended.catch(() => {});
  return child;
}

/** Waits until so many transactions of an account wait in the pool. */
async function pooled(provider: JsonRpcProvider, from: string, least: number): Promise<number> {
  for (;;) {
    const block = await provider.send('eth_getBlockByNumber', ['pending', true]);
    const sent = block.transactions.filter((one: { from: string }) => one.from === from).length;
    if (sent >= least) return sent;
  }
}
