import assert from 'node:assert/strict';
import { freshEpoch } from '../../contracts/beacon.ts';
import type { ChainWriter } from '../../contracts/chain/writer.ts';
import type { Chain } from '../../contracts/chain.ts';
import { createKey } from '../../contracts/keystore.ts';
import type { Hex } from '../../contracts/libraries/keccak.ts';
import { functionIdOf, functionVersionOf } from '../../contracts/libraries/names.ts';
import { batchWord, hashClaim } from '../../contracts/libraries/receipts.ts';
import { hashVoucher } from '../../contracts/libraries/typed-data.ts';
import { signDigest } from '../../contracts/signatures.ts';
import { type HardhatChain, startHardhatChain, TEST_TERMS, testKey } from './hardhat-chain.ts';

const UNIT = 1_000_000n;
const DAY_SEC = 86_400;
const digest = (byte: string): Hex => `0x${byte.repeat(32)}`;

describe('chain', function () {
  this.timeout(60_000);
  let hardhat: HardhatChain;
  let chain: Chain;
  let publisher: ChainWriter;
  let gateway: ChainWriter;
  let settler: ChainWriter;
  let payer: ChainWriter;

  before(async () => {
    hardhat = await startHardhatChain();
    chain = await hardhat.open();
    [publisher, gateway, settler, payer] = [1, 2, 3, 4].map((i) => chain.connect(testKey(i))) as [
      ChainWriter,
      ChainWriter,
      ChainWriter,
      ChainWriter,
    ];
  });
  after(() => hardhat?.close());

  it('moves money from a deposit through a settled call to payees and back, and sees each step', async () => {
    const { view } = chain;
    const session = createKey();
    const operator = createKey();

    // A function with one version, run by the gateway itself.
    await publisher.claimNamespace('alice');
    const { functionId } = await publisher.register('hello');
    const { functionVersion } = await publisher.publish(functionId, TEST_TERMS);
    await gateway.registerParty({
      roles: 3,
      uri: 'http://127.0.0.1:8080',
      jwksThumbprint: digest('cc'),
    });
    await gateway.addKey(operator.privateKey, 1);
    const deployment = await gateway.enrol(functionVersion, 'aws-lambda', 'us-east-1');
    await chain.synced(await gateway.setCandidates(functionVersion, [deployment]));

    assert.equal(functionId, functionIdOf(publisher.address, 'hello'));
    assert.equal(functionVersion, functionVersionOf(chain.contracts.registry, functionId, 1));
    assert.equal(view.resolveNamespace('alice'), publisher.address);
    const fn = view.functionOf(publisher.address, 'hello');
    assert.ok(fn);
    assert.equal(fn.latest, 1);
    const { blockNumber: _, ...version } = view.versionOf(fn) ?? assert.fail();
    assert.deepEqual(version, {
      ...TEST_TERMS,
      functionVersion,
      functionId,
      number: 1,
      deprecated: false,
    });
    assert.equal(view.deployments(functionVersion)[0]?.cloud, 'aws-lambda');
    assert.ok(view.isKeyInForce(operator.address, gateway.address));
    assert.ok(!view.isKeyInForce(operator.address, publisher.address));

    // An epoch from which the set is in force.
    const set = view.candidates(functionVersion, gateway.address);
    assert.ok(set);
    const epoch = await freshEpoch({
      chain,
      writer: gateway,
      atLeastEpoch: set.fromEpoch,
      mine: true,
    });
    assert.ok(epoch.epoch >= set.fromEpoch);
    assert.deepEqual(view.candidates(functionVersion, gateway.address, epoch.epoch), set);
    assert.equal(view.candidates(functionVersion, gateway.address, set.fromEpoch - 1), undefined);
    assert.deepEqual(view.epochOf(epoch.epoch), epoch);

    // A bond, a fee, a settler; a payer with a lane.
    await gateway.mintMock(1_000n * UNIT);
    await gateway.bond(gateway.address, 1_000n * UNIT);
    await gateway.setSettler(settler.address);
    await gateway.announceFee(300);
    await payer.mintMock(10n * UNIT);
    const expirySec = view.head.timestampSec + 30 * DAY_SEC;
    const lane = { signer: session.address, cap: 5n * UNIT, expirySec, mode: 1 } as const;
    await chain.synced(
      await payer.depositAllotOpenLane({ amount: 5n * UNIT, gateway: gateway.address, lane }),
    );
    assert.deepEqual(view.lane(payer.address, gateway.address, session.address), {
      settled: 0n,
      seq: 0,
      cap: 5n * UNIT,
      expirySec,
      mode: 1,
    });

    // One settlement by the settler, against a voucher.
    const voucher = { payer: payer.address, gateway: gateway.address, signer: session.address };
    const claim = {
      payer: payer.address,
      signer: session.address,
      amount: 1_000n,
      ceiling: 2_000n,
      seq: 3,
      receipts: digest('dd'),
      signature: signDigest(
        session.privateKey,
        hashVoucher(chain.domain, { ...voucher, ceiling: 2_000n }),
      ),
    };
    const payouts = [
      { payee: publisher.address, amount: 150n },
      { payee: gateway.address, amount: 850n },
    ];
    const settled = await settler.settle(gateway.address, [claim], payouts, digest('ee'));
    await chain.synced(settled.blockNumber);

    const [batch] = view.batches(gateway.address);
    assert.ok(batch);
    assert.equal(batch.batch, settled.batch);
    assert.equal(batch.tx, settled.tx);
    assert.equal(batch.total, 1_000n);
    assert.equal(batch.feeBps, 0);
    assert.deepEqual(batch.payouts, payouts);
    const [first] = batch.claims;
    assert.ok(first);
    const leaf = hashClaim({ ...first, settledTo: first.settled, seqTo: first.seq });
    assert.equal(batch.root, leaf);
    const [stored] = await chain.read('billing', 'rootOf', [gateway.address, settled.batch]);
    assert.equal(batchWord(batch.root, 1, batch.timestampSec), stored);
    assert.equal(view.line(payer.address, gateway.address)?.allotted, 5n * UNIT - 1_000n);

    // Payees pull; the payer thaws, releases, withdraws.
    await chain.synced(await payer.payOut(gateway.address, publisher.address));
    assert.deepEqual(view.due(gateway.address, publisher.address), {
      credited: 150n,
      withdrawn: 150n,
    });
    await payer.thaw(gateway.address, 5n * UNIT - 1_000n);
    await hardhat.rpc('evm_increaseTime', [DAY_SEC]);
    await payer.release(payer.address, gateway.address);
    await chain.synced(await payer.withdraw(payer.address, 5n * UNIT - 1_000n));
    assert.equal(view.free(payer.address), 0n);
    assert.equal(view.line(payer.address, gateway.address)?.allotted, 0n);
    const [balance] = await chain.read('token', 'balanceOf', [payer.address]);
    assert.equal(balance, 10n * UNIT - 1_000n);
  });
});
