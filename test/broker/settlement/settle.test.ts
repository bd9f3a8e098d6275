// Settlement with uncooperative payers: whatever one lane does, the others are settled and the
// gateway takes what it may.
import assert from 'node:assert/strict';
import {
  Contract,
  ContractFactory,
  Interface,
  JsonRpcProvider,
  type Provider,
  Wallet,
} from 'ethers';
import { fetchBlock } from '../../../broker/client/artifacts.ts';
import { audit } from '../../../broker/client/audit.ts';
import { createChainReader } from '../../../broker/client/chain-reader.ts';
import type { DefaasClientError } from '../../../broker/client/errors.ts';
import { createCaller } from '../../../broker/client/invoke.ts';
import { createLaneMemory } from '../../../broker/client/lane-memory.ts';
import { createSession } from '../../../broker/client/session.ts';
import { settle } from '../../../broker/client/settlement.ts';
import type { Gateway } from '../../../broker/gateway.ts';
import { startCycle } from '../../../broker/settlement/cycle.ts';
import { type SettlementRefused, settle as settleOf } from '../../../broker/settlement/settle.ts';
import { artifacts } from '../../../contracts/artifacts.gen.ts';
import type { ChainWriter } from '../../../contracts/chain/writer.ts';
import type { Key } from '../../../contracts/keystore.ts';
import type { Address } from '../../../contracts/libraries/keccak.ts';
import { testKey } from '../../contracts/hardhat-chain.ts';
import { compileWallets } from '../identity/contract-wallets.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../small-house.ts';
import { serve } from './served.ts';

const CYCLE_SEC = 600;
const DAY_SEC = 86_400;
const PRICE = 20n;
const DEPOSIT = 1_000_000n;
const HANDLER = `export default async () => new Response('ok');`;
const WALLETS = 50;
const TARIFF = { perCall: Number(PRICE), perGiBSecond: 0, maxPrice: Number(PRICE) };

/** Waits until a transaction is in the pool. */
async function pooled(provider: JsonRpcProvider): Promise<void> {
  for (;;) {
    const { pending } = await provider.send('txpool_content', []).catch(() => ({ pending: {} }));
    const block = await provider.send('eth_getBlockByNumber', ['pending', false]);
    if (Object.keys(pending).length > 0 || block.transactions.length > 0) return;
  }
}

describe('settlement', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let provider: JsonRpcProvider;
  let name: string;
  before(async () => {
    house = await startSmallHouse({ settlementCycleSec: CYCLE_SEC });
    provider = new JsonRpcProvider(house.chain.url, 31337, {
      staticNetwork: true,
      cacheTimeout: -1,
    });
    name = await house.publish('ok', HANDLER, { tariff: TARIFF });
  });
  after(async () => {
    provider?.destroy();
    await house?.close();
  });

  const call = async (payer: Key, signer: Key, times: number): Promise<void> => {
    const caller = await house.caller(payer, signer);
    for (let i = 0; i < times; i++) await caller.invoke({ function: name });
  };
  const expirySec = (): number => Math.floor(Date.now() / 1000) + 30 * DAY_SEC;
  const versionOf = (of: string) => {
    const { view } = house.gateway().chain;
    const fn = view.functionOf(KEYS.publisher.address, of.split('/')[1] ?? '');
    return (fn && view.versionOf(fn)) ?? assert.fail(of);
  };
  /** Makes a wallet call Billing. */
  const runAs = async (
    wallet: Address,
    method: string,
    args: readonly unknown[],
  ): Promise<void> => {
    const data = new Interface(artifacts.Billing.abi).encodeFunctionData(method, args);
    const { abi } = walletCode();
    const at = new Contract(wallet, abi, new Wallet(testKey(9).privateKey, provider));
    const sent = await at.getFunction('run')(house.chain.contracts.billing, data);
    const { blockNumber } = await sent.wait();
    await house.gateway().chain.synced(blockNumber);
  };
  /** A contract wallet with a line, and a lane of its own. */
  const openWallet = async (owner: Key) => {
    const wallet = await walletOf(owner, provider);
    const address = (await wallet.getAddress()).toLowerCase() as Address; // ethers types hex as string
    const token = house.view.connect(KEYS.user);
    await token.mintMock(DEPOSIT);
    await token.approveAndDeposit(DEPOSIT, address);
    await runAs(address, 'allot', [KEYS.gateway.address, DEPOSIT]);
    await runAs(address, 'openLane', [KEYS.gateway.address, address, DEPOSIT, expirySec(), 1]);
    return { wallet, address };
  };
  const operator = () => house.session(KEYS.gateway);
  const laneOf = (payer: Address, signer: Address) =>
    house.gateway().chain.view.lane(payer, KEYS.gateway.address, signer);
  /** Every unit that was ever settled is explained. */
  const assertAudited = async (): Promise<void> => {
    await house.view.synced();
    const { connection } = await house.session(KEYS.user);
    const getBlock = (cid: string) => fetchBlock(connection, cid);
    const { findings, receipts, proven } = await audit({
      view: house.view.view,
      domain: house.view.domain,
      getBlock,
    });
    assert.deepEqual(findings, []);
    assert.equal(proven, receipts);
  };

  it('accepts no voucher from a contract wallet, whose answer may change, and says that a session key can sign', async () => {
    const owner = testKey(40);
    const { address } = await openWallet(owner);
    const connection = await house.connect();
    const session = await createSession({
      connection,
      key: new OwnerOf(owner, address),
      lane: { payer: address, signer: address },
    });
    const chain = createChainReader(connection.chain);
    const caller = createCaller({ session, memory: createLaneMemory(), mode: 'prepaid', chain });

    await assert.rejects(caller.invoke({ function: name }), (error: DefaasClientError) => {
      assert.equal(error.code, 'VOUCHER_BY_CONTRACT');
      assert.match(error.message, /session key/);
      return true;
    });

    const key = testKey(42);
    await runAs(address, 'openLane', [KEYS.gateway.address, key.address, DEPOSIT, expirySec(), 1]);
    const byKey = await createSession({
      connection,
      key: key.privateKey,
      lane: { payer: address, signer: key.address },
    });
    await createCaller({
      session: byKey,
      memory: createLaneMemory(),
      mode: 'prepaid',
      chain,
    }).invoke({ function: name });
    assert.equal((await settleOf(house.gateway())).totalUnits, PRICE);
  });

  it('settles the other lanes in one cycle, and names 50 contract wallets that revoke their signatures', async () => {
    const gateway = house.gateway();
    const owner = testKey(40);
    const { functionVersion } = versionOf(name);
    const wallets: Contract[] = [];
    for (let i = 0; i < WALLETS; i += 1) {
      const { wallet, address } = await openWallet(owner);
      wallets.push(wallet);
      await serve(gateway, address, { ...owner, address }, [
        { functionVersion, priceUnits: PRICE },
      ]);
    }
    const lane = await house.openLane(KEYS.user);
    await call(KEYS.user, lane, 2);
    for (const wallet of wallets) await (await wallet.getFunction('flip')()).wait();
    const before = await provider.getTransactionCount(KEYS.settler.address);

    const settled = await settleOf(gateway);
    const cycle = startCycle({ ...gateway, nowMs: () => Date.now() + 2 * CYCLE_SEC * 1000 });
    await cycle.look();
    cycle.close();
    await assert.rejects(settleOf(gateway), (error: SettlementRefused) => {
      assert.equal(error.refused.length, WALLETS);
      assert.ok(error.refused.every(({ reason }) => reason === 'InvalidSignature'));
      return true;
    });

    assert.deepEqual([settled.lanes, settled.receipts, settled.refused], [1, 2, []]);
    assert.equal(laneOf(KEYS.user.address, lane.address)?.seq, 2);
    // Nothing was sent for a word that had changed before we looked.
    assert.equal(await provider.getTransactionCount(KEYS.settler.address), before + 1);
    for (const wallet of wallets) await (await wallet.getFunction('flip')()).wait();
    for (let i = 0; i < WALLETS; i += 1) {
      const late = await settleOf(gateway);
      assert.deepEqual([late.lanes, late.totalUnits], [1, PRICE]);
    }
  });

  it('sets aside the wallet that revokes its signature in the block of its settlement', async () => {
    const gateway = house.gateway();
    const owner = testKey(40);
    const { functionVersion } = versionOf(name);
    const { wallet, address } = await openWallet(owner);
    await serve(gateway, address, { ...owner, address }, [{ functionVersion, priceUnits: PRICE }]);
    await house.chain.rpc('evm_setAutomine', [false]);
    const settling = assert.rejects(settleOf(gateway), (error: SettlementRefused) => {
      assert.deepEqual(
        error.refused.map(({ reason }) => reason),
        ['InvalidSignature'],
      );
      return true;
    });
    await pooled(provider);
    const fees = { maxFeePerGas: 10n ** 12n, maxPriorityFeePerGas: 10n ** 11n };
    await wallet.getFunction('flip')({ ...fees, gasLimit: 100_000n });
    await house.chain.rpc('evm_mine', []);
    await house.chain.rpc('evm_setAutomine', [true]);

    await settling;

    assert.equal((await gateway.ledger.batches('void')).length, 1);
    await (await wallet.getFunction('flip')()).wait();
    assert.equal((await settleOf(gateway)).totalUnits, PRICE);
  });

  it('claims nothing while an earlier settlement is pending, because its tree would differ from the one on the chain', async () => {
    const lane = await house.openLane(KEYS.user);
    await call(KEYS.user, lane, 1);
    await house.chain.rpc('evm_setAutomine', [false]);
    const first = settleOf(house.gateway());
    await pooled(provider);
    await call(KEYS.user, lane, 2);

    await assert.rejects(settleOf(house.gateway()), { code: 'CHAIN_PENDING' });

    await house.chain.rpc('evm_mine', []);
    await house.chain.rpc('evm_setAutomine', [true]);
    assert.equal((await first).receipts, 1);
    assert.equal((await settleOf(house.gateway())).receipts, 2);
    await assertAudited();
  });

  it('claims what was signed when it began, while calls and vouchers continue', async () => {
    const gateway = house.gateway();
    const lane = await house.openLane(KEYS.user);
    const memory = createLaneMemory();
    memory.update((record) => ({ ...record, ceilingUnits: PRICE }));
    const caller = await house.caller(KEYS.user, lane, memory);
    await caller.invoke({ function: name });
    const { laneEntries } = gateway.ledger;
    let isFirst = true;
    // A call in the middle: it brings a higher voucher, a receipt, and a group whose signature is
    // not stored yet.
    const ledger = {
      ...gateway.ledger,
      laneEntries: async (of: Parameters<typeof laneEntries>[0]) => {
        if (isFirst) await caller.invoke({ function: name });
        isFirst = false;
        return laneEntries(of);
      },
    };

    const settled = await settleOf({ ...gateway, ledger });

    assert.deepEqual([settled.receipts, settled.refused], [1, []]);
    assert.equal((await settleOf(gateway)).receipts, 1);
    await assertAudited();
  });

  it('takes as many receipts as a thawed line still covers', async () => {
    const payer = testKey(6);
    const lane = await house.openLane(payer, 100n * PRICE);
    await call(payer, lane, 3);
    const writer = house.view.connect(payer);
    await writer.thaw(KEYS.gateway.address, 98n * PRICE);
    await house.chain.rpc('evm_increaseTime', [DAY_SEC + 1]);
    await house.chain.rpc('evm_mine', []);
    const block = await writer.release(payer.address, KEYS.gateway.address);
    await house.gateway().chain.synced(block);

    const settled = await settle(await operator());

    assert.deepEqual([settled.lanes, settled.receipts, settled.totalUnits], [1, 2, 2n * PRICE]);
    await assert.rejects(settle(await operator()), /InsufficientLine/);
    await assertAudited();
  });

  it('leaves out the lane that the chain refuses, and settles the others in the same run', async () => {
    const payer = testKey(7);
    const writer = house.view.connect(payer);
    const signer = testKey(41);
    await writer.mintMock(DEPOSIT);
    // The chain's clock is ahead of the gateway's by now, and this lane ends between the two.
    const { timestamp } = (await provider.getBlock('latest')) ?? assert.fail();
    const block = await writer.depositAllotOpenLane({
      amount: DEPOSIT,
      gateway: KEYS.gateway.address,
      lane: { signer: signer.address, cap: DEPOSIT, expirySec: timestamp + 7_200, mode: 1 },
    });
    await house.gateway().chain.synced(block);
    const lane = await house.openLane(KEYS.user);
    await call(payer, signer, 1);
    await call(KEYS.user, lane, 1);
    await house.chain.rpc('evm_increaseTime', [7_300]);
    await house.chain.rpc('evm_mine', []);

    const settled = await settle(await operator());

    assert.deepEqual([settled.lanes, settled.receipts], [1, 1]);
    const refused = settled.refused.map(({ signer, reason }) => [signer, reason]);
    assert.ok(refused.some((one) => one.join() === `${signer.address},LaneExpired`));
    await assertAudited();
  });

  it('settles automatically a cycle after the first receipt, again a cycle later, and sooner when the payer leaves', async () => {
    let nowMs = Date.now();
    const gateway: Gateway = { ...house.gateway(), nowMs: () => nowMs };
    const cycle = startCycle(gateway);
    const lane = await house.openLane(KEYS.user);
    const settledSeq = () => laneOf(KEYS.user.address, lane.address)?.seq;
    const lookAfter = async (seconds: number): Promise<void> => {
      nowMs += seconds * 1000;
      await cycle.look();
    };
    await call(KEYS.user, lane, 1);

    await lookAfter(0);
    await lookAfter(CYCLE_SEC - 1);
    assert.equal(settledSeq(), 0);
    await call(KEYS.user, lane, 1);
    await lookAfter(1);
    assert.equal(settledSeq(), 2);
    await call(KEYS.user, lane, 1);
    await lookAfter(1);
    await lookAfter(CYCLE_SEC - 1);
    assert.equal(settledSeq(), 2);
    await lookAfter(1);
    assert.equal(settledSeq(), 3);

    await call(KEYS.user, lane, 1);
    const block = await house.view.connect(KEYS.user).thaw(KEYS.gateway.address, 1n);
    await gateway.chain.synced(block);
    const { thawEndSec } =
      gateway.chain.view.line(KEYS.user.address, KEYS.gateway.address) ?? assert.fail();
    nowMs = (thawEndSec - 400) * 1000;
    await lookAfter(0);
    assert.equal(settledSeq(), 3);
    await lookAfter(100);
    assert.equal(settledSeq(), 4);
    cycle.close();
  });

  it('tops up a line that runs low from what its payer allows, also when another payer has withdrawn', async () => {
    const [payer, gone] = [testKey(13), testKey(14)];
    const limit = 10n * PRICE;
    for (const one of [payer, gone]) {
      const lane = await house.openLane(one, limit);
      await call(one, lane, 9);
      const writer = house.view.connect(one);
      await writer.mintMock(DEPOSIT);
      await writer.approveAndDeposit(DEPOSIT);
      await house.gateway().chain.synced(await writer.setLimit(KEYS.gateway.address, limit));
    }
    const gateway = house.gateway();
    const allottedOf = ({ address }: Key) =>
      gateway.chain.view.line(address, gateway.address)?.allotted;
    // One payer withdraws its money just before the top-up.
    const settler: ChainWriter = {
      ...gateway.settler,
      topUp: async (...args) => {
        await house.view.connect(gone).withdraw(gone.address, DEPOSIT);
        return gateway.settler.topUp(...args);
      },
    };
    const cycle = startCycle({ ...gateway, settler });
    await cycle.look();
    cycle.close();

    assert.equal(allottedOf(payer), limit);
    assert.equal(allottedOf(gone), PRICE);
  });

  it('sends nothing while the bond is too low to settle, says so, and settles when it is high enough again', async () => {
    const gateway = house.gateway();
    const lane = await house.openLane(KEYS.user);
    await call(KEYS.user, lane, 1);
    const writer = house.view.connect(KEYS.gateway);
    const { bond } = gateway.chain.view.gateway(gateway.address) ?? assert.fail();
    await gateway.chain.synced(await writer.unbond(bond));
    const { settleUntilSec } = gateway.chain.view.gateway(gateway.address) ?? assert.fail();
    await house.chain.rpc('evm_setNextBlockTimestamp', [settleUntilSec + 1]);
    await house.chain.rpc('evm_mine', []);
    const before = await provider.getTransactionCount(KEYS.settler.address);

    await assert.rejects(settleOf(gateway), { code: 'BOND_TOO_LOW' });

    assert.equal(await provider.getTransactionCount(KEYS.settler.address), before);
    await gateway.chain.synced(await writer.unbond(0n));
    assert.equal((await settleOf(gateway)).totalUnits, PRICE);
  });
});

/** Signs with a wallet's owner's key in the wallet's name. */
class OwnerOf extends Wallet {
  readonly #wallet: Address;

  constructor(owner: Key, wallet: Address, provider?: Provider) {
    super(owner.privateKey, provider);
    this.#wallet = wallet;
  }

  override async getAddress(): Promise<string> {
    return this.#wallet;
  }
}

let compiled: ReturnType<typeof compileWallets> | undefined;
/** Compiled once. */
function walletCode() {
  compiled ??= compileWallets();
  return compiled.Wallet1271 ?? assert.fail('Wallet1271');
}

/** An ERC-1271 wallet of `owner`; anybody can make it act. */
async function walletOf(owner: Key, provider: Provider): Promise<Contract> {
  const { abi, evm } = walletCode();
  const deployer = new Wallet(testKey(9).privateKey, provider);
  const made = await new ContractFactory(abi, evm.bytecode.object, deployer).deploy(owner.address);
  await made.waitForDeployment();
  return new Contract(await made.getAddress(), abi, deployer);
}
