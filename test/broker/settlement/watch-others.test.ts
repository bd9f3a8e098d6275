// Gateways watch each other: what one settles, others open by sample, and a lie is proven by
// whoever saw it.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { createAlarms } from '../../../broker/alarms.ts';
import { readConfig } from '../../../broker/config.ts';
import { watchOthers } from '../../../broker/settlement/watch-others.ts';
import { createArtifactStore } from '../../../ipfs/artifact-store.ts';
import { createIpfsNode, type IpfsNode } from '../../../ipfs/node.ts';
import { testKey } from '../../contracts/hardhat-chain.ts';
import { environmentOf } from '../small-house.ts';
import { type LyingGateway, PRICE, startLyingGateway } from './lying-gateway.ts';

describe('a watcher of other gateways', function () {
  this.timeout(120_000);
  let liar: LyingGateway;
  let dir: string;
  let ipfs: IpfsNode;
  before(async () => {
    liar = await startLyingGateway();
    dir = mkdtempSync(join(tmpdir(), 'defaas-others-'));
    ipfs = await createIpfsNode({ dir: join(dir, 'ipfs') });
  });
  after(async () => {
    await ipfs?.close();
    await liar?.close();
    rmSync(dir, { recursive: true, force: true });
  });

  const watcher = (watchSamplePercent: number) => {
    const log = pino({ level: 'silent' });
    const account = liar.chain.connect(testKey(8));
    const env = environmentOf(dir, liar.hardhat);
    const alarms = createAlarms({ log, nowMs: Date.now });
    const watching = watchOthers({
      ...{ account, address: account.address, alarms, chain: liar.chain, log },
      artifacts: createArtifactStore(ipfs),
      closing: AbortSignal.timeout(120_000),
      config: { ...readConfig(env), watchSamplePercent },
      nowMs: () => Date.now() + 3_600_000,
    });
    return { alarms, ...watching };
  };

  it('proves the lie of a sampled batch, reports a withheld one, and reads nothing when the sample is 0', async () => {
    const price = PRICE + 5n;
    const { batch } = await liar.settle({
      lies: { 0: { receipt: { price, cumulative: liar.prepaid.settled + price } } },
    });
    await liar.settle({});
    const hidden = await liar.settle({});
    for (const cid of [...liar.blocks.keys()].slice(-2)) liar.blocks.delete(cid);
    const idle = watcher(0);
    const busy = watcher(100);

    await idle.look();
    await liar.chain.synced();
    assert.deepEqual(liar.chain.view.frauds(), []);
    await busy.look();
    await busy.look();
    idle.close();
    busy.close();

    await liar.chain.synced();
    const [fraud, ...others] = liar.chain.view.frauds();
    assert.deepEqual(others, []);
    assert.deepEqual(
      [fraud?.kind, fraud?.batch, fraud?.damage, fraud?.reporter],
      [4, batch, 5n, testKey(8).address],
    );
    const about = busy.alarms.list().map(({ about }) => about.split(' ').slice(1).join(' '));
    assert.deepEqual(about, [`${batch} overcharge`, `${hidden.batch} withheld`]);
  });

  it('draws its sample by a secret, so that no gateway can predict it', async () => {
    const kept = new Set(liar.blocks.keys());
    for (let n = 0; n < 24; n += 1) await liar.settle({});
    for (const cid of liar.blocks.keys()) if (!kept.has(cid)) liar.blocks.delete(cid);
    await liar.chain.synced();
    const samples: string[][] = [];
    for (let n = 0; n < 2; n += 1) {
      const half = watcher(50);
      await half.look();
      half.close();
      samples.push(half.alarms.list().map(({ about }) => about));
    }

    const [one = [], other = []] = samples;
    assert.ok(one.length > 0 && other.length > 0);
    assert.notDeepEqual(one, other);
  });
});
