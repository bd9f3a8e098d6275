import assert from 'node:assert/strict';
import { Transaction, Wallet } from 'ethers';
import { freshEpoch } from '../../contracts/beacon.ts';
import { ChainError } from '../../contracts/chain/chain-error.ts';
import type { SignedTransaction } from '../../contracts/chain/nonce-line.ts';
import type { ChainWriter } from '../../contracts/chain/writer.ts';
import { type Chain, createChain } from '../../contracts/chain.ts';
import { createKey } from '../../contracts/keystore.ts';
import type { Hex } from '../../contracts/libraries/keccak.ts';
import { functionIdOf, functionVersionOf } from '../../contracts/libraries/names.ts';
import { batchWord, hashClaim, NO_RECEIPTS } from '../../contracts/libraries/receipts.ts';
import { hashVoucher } from '../../contracts/libraries/typed-data.ts';
import { signDigest } from '../../contracts/signatures.ts';
import { type HardhatChain, startHardhatChain, TEST_TERMS, testKey } from './hardhat-chain.ts';
import { type RpcRequest, startRpcProxy } from './rpc-proxy.ts';

const UNIT = 1_000_000n;
const DAY_SEC = 86_400;
const digest = (byte: string): Hex => `0x${byte.repeat(32)}`;

describe('the chain', function () {
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

  it('moves money from a deposit through a settled call to payees and back, and the view shows each step', async () => {
    const { view } = chain;
    const session = createKey();
    const operator = createKey();

    // A function with one version, run by the gateway itself.
    await publisher.claimNamespace('alice');
    const { functionId } = await publisher.register('hello');
    const { functionVersion } = await publisher.publish(functionId, TEST_TERMS, true);
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
      seqFrom: 0,
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
    assert.equal(batchWord(batch.root, NO_RECEIPTS, 1, batch.timestampSec), stored);
    assert.equal(view.line(payer.address, gateway.address)?.allotted, 5n * UNIT - 1_000n);

    // Payees pull; the payer thaws, releases, withdraws.
    await chain.synced(await payer.payOut(gateway.address, publisher.address));
    assert.deepEqual(view.due(gateway.address, publisher.address), {
      credited: 150n,
      withdrawn: 150n,
      advanced: 0n,
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

describe('a chain client', function () {
  this.timeout(60_000);
  let hardhat: HardhatChain;
  before(async () => {
    hardhat = await startHardhatChain();
  });
  after(() => hardhat?.close());

  it('gives each refusal a stable code, the contract’s error and what to do', async () => {
    const chain = await hardhat.open();
    const [one, other] = [chain.connect(testKey(1)), chain.connect(testKey(2))];
    const { functionId } = await one.register('taken');

    await assert.rejects(one.register('taken'), isCode('NAME_TAKEN', 'NameTaken'));
    await assert.rejects(one.register('No!'), isCode('NAME_INVALID', 'InvalidName'));
    await assert.rejects(
      other.publish(functionId, TEST_TERMS, true),
      isCode('NOT_OWNER', 'NotOwner'),
    );
    await assert.rejects(
      one.withdraw(one.address, 1n),
      isCode('INSUFFICIENT_FREE', 'InsufficientFree'),
    );
    await assert.rejects(one.checkpoint(10 ** 6), isCode('CHAIN_REVERTED', 'NotYet'));
    await assert.rejects(one.send('token', 'transfer', [other.address, 1n]), (error) => {
      assert.ok(error instanceof ChainError);
      assert.equal(error.revert?.name, 'ERC20InsufficientBalance');
      assert.ok(!error.message.includes('\n') && error.message.length < 300);
      return true;
    });
    await assert.rejects(chain.read('registry', 'ownerOf', [1n]), isCode('CHAIN_REVERTED'));
    const poor = chain.connect(createKey());
    await assert.rejects(poor.register('poor'), isCode('CHAIN_GAS'));
  });

  it('names the row and the reason when a claim fails', async () => {
    const chain = await hardhat.open();
    const gateway = chain.connect(testKey(2));
    await gateway.mintMock(1_000n * UNIT);
    await gateway.bond(gateway.address, 1_000n * UNIT);
    const claim = {
      payer: gateway.address,
      signer: gateway.address,
      amount: 1n,
      ceiling: 1n,
      seqFrom: 0,
      seq: 1,
      receipts: digest('aa'),
      signature: digest('bb'),
    };

    await assert.rejects(gateway.settle(gateway.address, [claim], [], digest('cc')), (error) => {
      assert.ok(error instanceof ChainError);
      assert.deepEqual(error.revert, { name: 'ClaimFailed', args: [0n, 'LaneNotOpen'] });
      return true;
    });
  });

  it('sends many transactions of one account at once, and continues after a refused one', async () => {
    const chain = await hardhat.open();
    const writer = chain.connect(testKey(1));
    const names = Array.from({ length: 12 }, (_, i) => `many-${i}`);

    const sent = await Promise.allSettled(
      [...names, 'many-0', 'No!', 'last'].map((name) => writer.register(name)),
    );

    const refused = sent.filter(({ status }) => status === 'rejected').length;
    assert.equal(refused, 2);
    await chain.synced();
    for (const name of [...names, 'last']) assert.ok(chain.view.functionOf(writer.address, name));
  });

  it('shares an account with another process', async () => {
    const [chain, elsewhere] = [await hardhat.open(), await hardhat.open()];
    const [here, there] = [chain.connect(testKey(3)), elsewhere.connect(testKey(3))];

    await here.register('here-1');
    await there.register('there-1');
    await here.register('here-2');
    await there.register('there-2');

    await chain.synced();
    assert.ok(chain.view.functionOf(here.address, 'there-2'));
    assert.equal(chain.connect(testKey(3)), here);
  });

  it('reads the nonce again as often as other senders of the account were faster', async () => {
    const proxy = await startRpcProxy(() => hardhat.url);
    const chain = await hardhat.open({ rpcUrls: [proxy.url] });
    const FASTER = 12;
    const nonces = new Set<number>();
    proxy.answer(async ({ method, params }) => {
      if (method !== 'eth_sendRawTransaction' || nonces.size === FASTER) return undefined;
      nonces.add(Transaction.from(String(params[0])).nonce);
      const other = await hardhat.open();
      await other.connect(testKey(9)).mintMock(1n);
      return { error: { code: -32_000, message: 'nonce too low' } };
    });

    await chain.connect(testKey(9)).mintMock(1n);

    chain.close();
    await proxy.close();
    assert.equal(nonces.size, FASTER);
  });

  it('takes another nonce where the node holds another transaction with it, and replaces none', async () => {
    const proxy = await startRpcProxy(() => hardhat.url);
    const chain = await hardhat.open({ rpcUrls: [proxy.url] });
    const raws: string[] = [];
    proxy.answer(async ({ method, params }) => {
      if (method !== 'eth_sendRawTransaction') return undefined;
      raws.push(String(params[0]));
      if (raws.length > 1) return undefined;
      const other = await hardhat.open();
      await other.connect(testKey(9)).mintMock(1n);
      return { error: { code: -32_000, message: 'replacement transaction underpriced' } };
    });

    await chain.connect(testKey(9)).mintMock(1n);

    chain.close();
    await proxy.close();
    const [first, second] = raws.map((raw) => Transaction.from(raw));
    assert.equal(raws.length, 2);
    assert.equal(second?.nonce, (first?.nonce ?? 0) + 1);
    assert.ok((second?.maxFeePerGas ?? 0n) <= (first?.maxFeePerGas ?? 0n));
  });

  it('renews the allowance that another sender of the account has used up', async () => {
    const proxy = await startRpcProxy(() => hardhat.url);
    const chain = await hardhat.open({ rpcUrls: [proxy.url] });
    const key = testKey(9);
    const other = (await hardhat.open()).connect(key);
    await other.mintMock(10n * UNIT);
    let approvals = 0;
    proxy.answer(async ({ method, params }) => {
      if (method !== 'eth_sendRawTransaction') return undefined;
      const { to, raw } = { to: Transaction.from(String(params[0])).to, raw: String(params[0]) };
      if (to?.toLowerCase() !== hardhat.contracts.token) return undefined;
      approvals += 1;
      const result = await proxy.ask('eth_sendRawTransaction', [raw]);
      if (approvals === 1) await other.approveAndDeposit(UNIT);
      return { result };
    });

    await chain.connect(key).approveAndDeposit(UNIT);

    chain.close();
    await proxy.close();
    assert.equal(approvals, 2);
  });

  it('raises the fee of a transaction that is not included, and executes the call once', async () => {
    const chain = await hardhat.open({ bumpMs: 50 });
    const writer = chain.connect(testKey(9));
    const before = await chain.provider.getTransactionCount(writer.address);
    const signed: SignedTransaction[] = [];
    await hardhat.rpc('evm_setAutomine', [false]);
    const sending = writer.send('token', 'mint', [writer.address, UNIT], {
      onSigned: async (one) => void signed.push(one),
    });
    while (signed.length < 3) await new Promise((resolve) => setTimeout(resolve, 10));
    await hardhat.rpc('evm_mine');
    const { tx } = await sending;
    await hardhat.rpc('evm_setAutomine', [true]);

    assert.deepEqual([...new Set(signed.map(({ nonce }) => nonce))], [before]);
    assert.ok(signed.some((one) => one.tx === tx && one !== signed[0]));
    const fees = signed.map(({ raw }) => Transaction.from(raw).maxFeePerGas ?? 0n);
    const [first = 0n] = fees;
    assert.ok(fees.every((fee, i) => i === 0 || fee > (fees[i - 1] ?? 0n)));
    assert.ok(fees.every((fee) => fee <= 4n * first));
    assert.equal(await chain.provider.getTransactionCount(writer.address), before + 1);
  });

  it('offers more at once when a node finds the fee too low', async () => {
    const proxy = await startRpcProxy(() => hardhat.url);
    const chain = await hardhat.open({ rpcUrls: [proxy.url] });
    const raws: string[] = [];
    proxy.answer(({ method, params }) => {
      if (method !== 'eth_sendRawTransaction') return undefined;
      raws.push(String(params[0]));
      if (raws.length > 2) return undefined;
      return { error: { code: -32_000, message: 'transaction underpriced: tip needed 1 gwei' } };
    });
    await chain.connect(testKey(9)).mintMock(1n);
    chain.close();
    await proxy.close();

    const fees = raws.map((raw) => Transaction.from(raw).maxFeePerGas ?? 0n);
    assert.equal(fees.length, 3);
    assert.ok(fees.every((fee, i) => i === 0 || fee > (fees[i - 1] ?? 0n)));
  });

  it('reports that another transaction of the account took its nonce, and that nothing was done', async () => {
    const chain = await hardhat.open();
    const key = testKey(9);
    const writer = chain.connect(key);
    await hardhat.rpc('evm_setAutomine', [false]);
    const signed = Promise.withResolvers<SignedTransaction>();
    const sending = writer.send('token', 'mint', [writer.address, UNIT], {
      onSigned: async (one) => signed.resolve(one),
    });
    const refused = assert.rejects(sending, { code: 'CHAIN_REPLACED' });
    const first = await signed.promise;
    while ((await chain.provider.getTransaction(first.tx)) === null);
    const { maxFeePerGas, maxPriorityFeePerGas, nonce, chainId } = Transaction.from(first.raw);
    const raw = await new Wallet(key.privateKey).signTransaction({
      type: 2,
      to: key.address,
      nonce,
      chainId,
      gasLimit: 21_000n,
      maxFeePerGas: 10n * (maxFeePerGas ?? 0n),
      maxPriorityFeePerGas: 10n * (maxPriorityFeePerGas ?? 0n),
    });
    await hardhat.rpc('eth_sendRawTransaction', [raw]);
    await hardhat.rpc('evm_mine');
    await hardhat.rpc('evm_setAutomine', [true]);

    await refused;
    await writer.mintMock(1n);
  });

  it('asks the next RPC when one does not answer, and reports when none does', async () => {
    const dead = 'http://127.0.0.1:1';
    const { url, contracts } = hardhat;
    const chain = await createChain({ rpcUrls: [dead, url], contracts, pollMs: 20 });
    try {
      await chain.start();
      await chain.connect(testKey(1)).register('failover');
      await chain.synced();
      assert.ok(chain.view.functionOf(testKey(1).address, 'failover'));
    } finally {
      chain.close();
    }

    await assert.rejects(createChain({ rpcUrls: [dead], contracts }), isCode('CHAIN_UNREACHABLE'));
  });

  it('refuses another chain, and a chain without our contracts', async () => {
    const { url, contracts } = hardhat;
    const nowhere = { ...contracts, billing: testKey(19).address };

    const other = createChain({ rpcUrls: [url], contracts, chainId: 1 });
    await assert.rejects(other, isCode('CHAIN_MISMATCH'));
    const none = createChain({ rpcUrls: [url], contracts: nowhere });
    await assert.rejects(none, isCode('CHAIN_MISMATCH'));
  });

  it('is stale when no RPC has answered for a while, and not on a quiet chain', async () => {
    let nowMs = Date.now();
    const chain = await hardhat.open({ nowMs: () => nowMs, staleMs: 15_000 });

    assert.ok(!chain.isStale());
    chain.close();
    nowMs += 15_001;
    assert.ok(chain.isStale());
  });

  it('is stale when a chain with a block time has stopped', async () => {
    let nowMs = Date.now();
    const chain = await hardhat.open({ nowMs: () => nowMs, blockTimeSec: 2 });
    nowMs = chain.view.head.timestampSec * 1000;
    await chain.synced();

    assert.ok(!chain.isStale());
    nowMs += 6_001;
    await chain.synced();
    assert.ok(chain.isStale());
  });

  it('has a view of the newest block, and one that stays a configured number of blocks behind', async () => {
    const chain = await hardhat.open({ finality: 3 });
    const { functionId, blockNumber } = await chain.connect(testKey(1)).register('confirmed');
    await chain.synced(blockNumber);

    assert.ok(chain.view.functionById(functionId));
    assert.equal(chain.final.functionById(functionId), undefined);
    await hardhat.rpc('hardhat_mine', ['0x3']);
    while (chain.final.head.number < blockNumber) await chain.synced();
    assert.ok(chain.final.functionById(functionId));
    assert.equal(chain.final.head.number, blockNumber);
  });

  it('keeps the last final block while finality stalls, and has none on a chain that never finalised a block', async () => {
    const proxy = await startRpcProxy(() => hardhat.url);
    const chain = await hardhat.open({ rpcUrls: [proxy.url], finality: 'finalized' });
    const last = chain.final.head.number;
    const isFinality = ({ method, params }: RpcRequest) =>
      method === 'eth_getBlockByNumber' && params[0] === 'finalized';
    proxy.answer((request) =>
      isFinality(request)
        ? { error: { code: -39_001, message: 'finalized block not found' } }
        : undefined,
    );
    await hardhat.rpc('hardhat_mine', ['0x3']);
    await chain.synced();
    const young = await hardhat.open({ rpcUrls: [proxy.url], finality: 'finalized' });

    assert.ok(chain.view.head.number >= last + 3);
    assert.equal(chain.final.head.number, last);
    assert.equal(young.final.head.number, -1);
    proxy.answer(() => undefined);
    while (chain.final.head.number < last + 3) await chain.synced();
    chain.close();
    young.close();
    await proxy.close();
  });

  it('asks the Beacon which epoch comes next when the node’s block numbers differ from the EVM’s', async () => {
    const parent = await startHardhatChain({ beaconK: 4 });
    const proxy = await startRpcProxy(() => parent.url);
    const chain = await parent.open({ rpcUrls: [proxy.url] });
    // As on Arbitrum: the node has many more blocks than the EVM knows.
    proxy.answer(({ method }) =>
      method === 'eth_blockNumber' ? { result: '0xffffff' } : undefined,
    );
    await parent.rpc('hardhat_mine', ['0x10']);

    const epoch = await freshEpoch({ chain, writer: chain.connect(testKey(1)) });

    const [next] = await chain.read('beacon', 'nextEpoch', []);
    assert.ok(epoch.epoch >= Number(next) - 2 && epoch.epoch < Number(next));
    chain.close();
    await proxy.close();
    await parent.close();
  });

  it('forgets what a reorganisation has reverted, whether the new chain is shorter or longer', async () => {
    const chain = await hardhat.open();
    const writer = chain.connect(testKey(1));
    for (const [name, blocks] of [
      ['shorter', '0x0'],
      ['longer', '0x5'],
    ] as const) {
      const snapshot = await hardhat.rpc('evm_snapshot');
      await writer.register(`${name}-1`);
      await writer.register(`${name}-2`);
      await chain.synced();
      assert.ok(chain.view.functionOf(writer.address, `${name}-2`));

      await hardhat.rpc('evm_revert', [snapshot]);
      await hardhat.rpc('hardhat_mine', [blocks]);
      await chain.synced();
      assert.equal(chain.view.functionOf(writer.address, `${name}-1`), undefined);
      assert.equal(chain.view.head.number, await chain.provider.getBlockNumber());
      // The writer notices that its nonces were taken back.
      await writer.register(`${name}-1`);
      await chain.synced();
      assert.ok(chain.view.functionOf(writer.address, `${name}-1`));
    }
  });

  it('gives up waiting for a block when it is closed', async () => {
    const chain = await hardhat.open();
    const waiting = chain.synced(10 ** 9);

    chain.close();

    await assert.rejects(waiting, isCode('CHAIN_STALE'));
  });

  it('reports each block once, until it is told to stop', async () => {
    const chain = await hardhat.open();
    const seen: number[] = [];
    const stop = chain.onBlock(({ number }) => seen.push(number));
    const first = await chain.connect(testKey(1)).mintMock(1n);
    await chain.synced(first);
    stop();
    await chain.synced(await chain.connect(testKey(1)).mintMock(1n));

    assert.deepEqual(seen, [first]);
  });

  it('records an epoch once, does not wait for a known one, and mines only the missing blocks', async () => {
    const chain = await hardhat.open();
    const writer = chain.connect(testKey(1));
    const head = await chain.provider.getBlockNumber();

    const epoch = await freshEpoch({ chain, writer, notBeforeBlock: head + 2, mine: true });
    const again = await freshEpoch({ chain, writer: chain.connect(testKey(2)), mine: true });

    assert.equal(epoch.epoch, head + 2);
    assert.ok(again.epoch > epoch.epoch);
    await assert.rejects(writer.checkpoint(epoch.epoch), isCode('CHAIN_REVERTED', 'Known'));
    const block = await chain.provider.getBlock(again.epoch);
    assert.ok(block && block.timestamp <= again.timeSec);
  });
});

function isCode(code: string, revert?: string): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof ChainError, String(error));
    assert.equal(error.code, code, error.message);
    if (revert !== undefined) assert.equal(error.revert?.name, revert);
    return true;
  };
}
