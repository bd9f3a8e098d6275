// What a watcher spends on other gateways' frauds: what is worth its gas, so much at a look, and
// never what it needs to answer demands.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { createAlarms } from '../../../broker/alarms.ts';
import { type Config, readConfig } from '../../../broker/config.ts';
import { reservedWei } from '../../../broker/settlement/answer-demands.ts';
import { MAX_PROOFS } from '../../../broker/settlement/send-proofs.ts';
import { watchOthers } from '../../../broker/settlement/watch-others.ts';
import { createArtifactStore } from '../../../ipfs/artifact-store.ts';
import { createIpfsNode, type IpfsNode } from '../../../ipfs/node.ts';
import { testKey } from '../../contracts/hardhat-chain.ts';
import { environmentOf } from '../small-house.ts';
import { COUNT, type LyingGateway, PRICE, startLyingGateway } from './lying-gateway.ts';

describe('a watcher of a gateway that commits many frauds', function () {
  this.timeout(120_000);
  const account = testKey(8);
  let liar: LyingGateway;
  let dir: string;
  let ipfs: IpfsNode;
  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-proofs-'));
    ipfs = await createIpfsNode({ dir: join(dir, 'ipfs') });
  });
  after(async () => {
    await ipfs?.close();
    rmSync(dir, { recursive: true, force: true });
  });
  beforeEach(async () => {
    liar = await startLyingGateway();
  });
  afterEach(() => liar?.close());

  /** Each receipt costs so much more than it may, and no two as much. */
  const overcharge = async (batches: number): Promise<void> => {
    for (let batch = 0; batch < batches; batch += 1) {
      const lies = Array.from({ length: COUNT }, (_, index) => ({
        receipt: { price: PRICE + BigInt(batch * COUNT + index + 1) },
      }));
      await liar.settle({ lies });
    }
  };
  /** Looks once at everything; what it could not prove, in words. */
  const look = async (config: Partial<Config> = {}): Promise<string | undefined> => {
    const log = pino({ level: 'silent' });
    const alarms = createAlarms({ log, nowMs: Date.now });
    const watching = watchOthers({
      ...{ account: liar.chain.connect(account), address: account.address },
      ...{ alarms, chain: liar.chain, log },
      artifacts: createArtifactStore(ipfs),
      closing: AbortSignal.timeout(120_000),
      config: {
        ...readConfig(environmentOf(dir, liar.hardhat)),
        watchSamplePercent: 100,
        ...config,
      },
      nowMs: () => Date.now() + 3_600_000,
    });
    await watching.look();
    watching.close();
    await liar.chain.synced();
    return alarms.list().find(({ about }) => about.endsWith(' unproven'))?.message;
  };
  const damages = () => liar.chain.view.frauds().map(({ damage }) => Number(damage));
  const balance = (): Promise<bigint> => liar.chain.provider.getBalance(account.address);

  it('proves a limited number at each look, the largest damage first, and names the rest', async () => {
    await overcharge(4);

    const unproven = await look();

    const largest = Array.from({ length: MAX_PROOFS }, (_, index) => 4 * COUNT - index);
    assert.deepEqual(damages(), largest);
    const { address } = liar.gateway;
    assert.match(
      unproven ?? '',
      new RegExp(`gateway ${address} are not proven: 4 beyond what one look proves; defaas watch`),
    );
  });

  it('sends no proof whose reward is less than its gas', async () => {
    await overcharge(1);
    const before = await balance();

    const unproven = await look({ nativePriceUnits: 10n ** 15n });

    assert.deepEqual(damages(), []);
    assert.equal(await balance(), before);
    assert.match(unproven ?? '', /: 5 worth less than its gas;/);
  });

  it('keeps in its account the gas that answers to demands may need', async () => {
    await overcharge(1);
    const { gasPrice } = await liar.chain.provider.getFeeData();
    const reserved = reservedWei(
      { address: account.address, chain: liar.chain },
      gasPrice ?? assert.fail(),
    );
    await liar.hardhat.rpc('hardhat_setBalance', [account.address, `0x${reserved.toString(16)}`]);

    const unproven = await look();

    assert.deepEqual(damages(), []);
    assert.equal(await balance(), reserved);
    assert.match(unproven ?? '', /: 5 for want of gas;/);
  });
});
