// The shapes that no transaction can take: they are settled in several, each within its bounds, and
// nothing waits for another.
import assert from 'node:assert/strict';
import { type JsonRpcProvider, Transaction } from 'ethers';
import type { Gateway } from '../../../broker/gateway.ts';
import { readBounds } from '../../../broker/settlement/bounds.ts';
import { startCycle } from '../../../broker/settlement/cycle.ts';
import { type SettleResult, settle } from '../../../broker/settlement/settle.ts';
import { gatherShares } from '../../../broker/settlement/shares.ts';
import { createAbi } from '../../../contracts/chain/abi.ts';
import type { Address, Hex } from '../../../contracts/libraries/keccak.ts';
import { digestOf, functionIdOf, functionVersionOf } from '../../../contracts/libraries/names.ts';
import { TEST_TERMS, testKey } from '../../contracts/hardhat-chain.ts';
import { startRpcProxy } from '../../contracts/rpc-proxy.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../small-house.ts';
import { laneKey, openLanes, serve } from './served.ts';

const MAX_BYTES = 96 * 1024;
/** Three quarters of EIP-7825's cap. */
const MAX_GAS = 12_582_912n;
const PRICE = 1_000n;
const FUNCTIONS_AT_ONCE = 20;
const TOKEN = 1_000_000n;
/** A coin of 3,000 tokens: a lane's gas at 1 gwei costs 0.07 tokens. */
const NATIVE_PRICE_UNITS = 3_000_000_000n;

describe('settlement of more than one transaction can hold', function () {
  this.timeout(300_000);
  let house: SmallHouse;
  let gateway: Gateway;
  before(async () => {
    house = await startSmallHouse({
      exposureMaxUnits: 10n ** 15n,
      nativePriceUnits: NATIVE_PRICE_UNITS,
    });
    gateway = house.gateway();
  });
  after(() => house?.close());

  /**
   * Functions of the publisher with one version each; where they are given to others, each to
   * somebody else.
   */
  const publishMany = async (count: number, prefix: string, isGiven: boolean): Promise<Hex[]> => {
    const writer = house.view.connect(KEYS.publisher);
    const { contracts } = house.chain;
    const { encode } = createAbi(contracts);
    const { manifestCid, artifactCid, ...terms } = TEST_TERMS;
    const [manifest, artifact] = [digestOf(manifestCid), digestOf(artifactCid)];
    const struct = {
      ...terms,
      manifest: manifest.digest,
      artifact: artifact.digest,
      manifestCodec: manifest.codec,
      artifactCodec: artifact.codec,
    };
    const ids = Array.from({ length: count }, (_, i) =>
      functionIdOf(writer.address, `${prefix}-${i}`),
    );
    let block = 0;
    for (let i = 0; i < count; i += FUNCTIONS_AT_ONCE) {
      const calls = ids
        .slice(i, i + FUNCTIONS_AT_ONCE)
        .flatMap((id, k) => [
          encode('registry', 'register', [`${prefix}-${i + k}`]),
          encode('registry', 'publish', [id, struct, true]),
          ...(isGiven
            ? [encode('registry', 'transferFrom', [writer.address, ownerOf(i + k), id])]
            : []),
        ]);
      block = (await writer.send('registry', 'multicall', [calls])).blockNumber;
    }
    await gateway.chain.synced(block);
    return ids.map((id) => functionVersionOf(contracts.registry, id, 1));
  };
  const ownerOf = (index: number): Address =>
    `0x${(0xbeef_0000 + index).toString(16).padStart(40, '0')}`;
  /** Settles batch after batch, each within the bounds. */
  const settleAll = async (): Promise<SettleResult[]> => {
    const batches: SettleResult[] = [];
    do batches.push(await settle(gateway));
    while ((batches.at(-1)?.left ?? 0) > 0);
    for (const { tx } of batches) await assertWithin(gateway.chain.provider, tx);
    return batches;
  };
  const creditedTo = (payee: Address): bigint =>
    gateway.chain.view.due(gateway.address, payee).credited;

  it('settles 256 lanes with 511 payees in several transactions, each within its bounds', async () => {
    const payer = testKey(10);
    const versions = await publishMany(510, 'given', true);
    const signers = Array.from({ length: 256 }, (_, i) => laneKey(i));
    await openLanes(house, payer, signers, 10n ** 9n);
    for (const [i, signer] of signers.entries()) {
      const [first = '0x', second = first] = [versions[2 * i] ?? versions[0], versions[2 * i + 1]];
      await serve(gateway, payer.address, signer, [
        { functionVersion: first, priceUnits: PRICE },
        { functionVersion: second, priceUnits: PRICE },
      ]);
    }

    const batches = await settleAll();

    const units = batches.reduce((sum, { totalUnits }) => sum + totalUnits, 0n);
    const lanes = batches.reduce((sum, batch) => sum + batch.lanes, 0);
    assert.deepEqual([lanes, units], [256, 512n * PRICE]);
    assert.deepEqual(
      batches.flatMap(({ refused }) => refused),
      [],
    );
    for (let i = 0; i < 510; i += 1) assert.ok(creditedTo(ownerOf(i)) > 0n, `payee ${i}`);
  });

  it('claims free receipts that fill a batch at price 0, and the paid ones in a later batch', async () => {
    const payer = testKey(13);
    const [functionVersion = '0x'] = await publishMany(1, 'free', false);
    const signer = laneKey(800);
    await openLanes(house, payer, [signer], TOKEN);
    const free = Array.from({ length: 5 }, () => ({ functionVersion, priceUnits: 0n }));
    await serve(gateway, payer.address, signer, [...free, { functionVersion, priceUnits: PRICE }]);
    const lane = gateway.lanes.lane(payer.address, signer.address);
    const bounds = { ...(await readBounds(gateway)), receipts: 2 };

    const { shares, left } = await gatherShares(gateway, [lane], bounds, (_, why) =>
      assert.fail(why),
    );

    const [share] = shares;
    assert.deepEqual([share?.claim.settledTo, share?.claim.seqTo, left], [0n, 2, 1]);
    const [whole] = (await gatherShares(gateway, [lane], await readBounds(gateway), () => {}))
      .shares;
    assert.deepEqual([whole?.claim.settledTo, whole?.claim.seqTo], [PRICE, 6]);
    await settleAll();
  });

  it('settles at once a lane that owes a hundred times its gas, and 5,000 lanes that owe less than their gas only on command', async () => {
    const [payer, other] = [testKey(11), testKey(12)];
    const [functionVersion = '0x'] = await publishMany(1, 'dust', false);
    const dust = Array.from({ length: 5_000 }, (_, i) => laneKey(1_000 + i));
    await openLanes(house, payer, dust, 10n ** 9n);
    const worth = laneKey(900);
    await openLanes(house, other, [worth], 100n * TOKEN);
    await Promise.all(
      dust.map((signer) =>
        serve(gateway, payer.address, signer, [{ functionVersion, priceUnits: 1n }]),
      ),
    );
    await serve(gateway, other.address, worth, [{ functionVersion, priceUnits: 50n * TOKEN }]);
    const seqOf = (by: Address, signer: Address) =>
      gateway.chain.view.lane(by, gateway.address, signer)?.seq;
    const cycle = startCycle(gateway);

    await cycle.look();
    cycle.close();

    assert.equal(seqOf(other.address, worth.address), 1);
    assert.ok(dust.every(({ address }) => seqOf(payer.address, address) === 0));
    const batches = await settleAll();
    assert.equal(
      batches.reduce((sum, { receipts }) => sum + receipts, 0),
      5_000,
    );
    assert.ok(dust.every(({ address }) => seqOf(payer.address, address) === 1));
  });

  it('settles in smaller transactions at a node that refuses large ones, and sets aside a lane that it refuses in any', async () => {
    const payer = testKey(13);
    const [functionVersion = '0x'] = await publishMany(1, 'small', false);
    const signers = Array.from({ length: 12 }, (_, i) => laneKey(20_000 + i));
    await openLanes(house, payer, signers, 10n ** 9n);
    const [bad = laneKey(0)] = signers;
    for (const [i, signer] of signers.entries()) {
      const priceUnits = PRICE - BigInt(i);
      await serve(gateway, payer.address, signer, [{ functionVersion, priceUnits }]);
    }
    const proxy = await startRpcProxy(() => house.chain.url);
    await house.restart({ chainRpcUrls: [proxy.url] });
    gateway = house.gateway();
    proxy.answer(({ method, params }) => {
      if (method !== 'eth_estimateGas' && method !== 'eth_sendRawTransaction') return undefined;
      const data = JSON.stringify(params);
      if (data.includes(bad.address.slice(2))) return refusal('transaction reverted');
      return data.length > 2 * 2_500 ? refusal('oversized data') : undefined;
    });

    const batches = await settleAll();

    const refused = batches.flatMap((batch) => batch.refused);
    assert.deepEqual([...new Set(refused.map(({ reason }) => reason))], ['NodeRefused']);
    assert.ok(refused.every(({ lane }) => lane.signer === bad.address));
    assert.equal(
      batches.reduce((sum, { lanes }) => sum + lanes, 0),
      11,
    );
    assert.ok(batches.length > 2);
    await proxy.close();
    await house.restart();
    gateway = house.gateway();
    assert.equal((await settle(gateway)).lanes, 1);
  });
});

const refusal = (message: string) => ({ error: { code: -32_000, message } });

/** What was sent is what nodes take. */
async function assertWithin(provider: JsonRpcProvider, tx: Hex): Promise<void> {
  const [sent, receipt] = await Promise.all([
    provider.getTransaction(tx),
    provider.getTransactionReceipt(tx),
  ]);
  const bytes = (Transaction.from(sent ?? assert.fail()).serialized.length - 2) / 2;
  assert.ok(bytes <= MAX_BYTES, `${bytes} bytes`);
  assert.ok((receipt?.gasUsed ?? MAX_GAS) < MAX_GAS, `${receipt?.gasUsed} gas`);
}
