// A watcher of what an answer to a demand shows, however the answer was sent.
import assert from 'node:assert/strict';
import { findFrauds } from '../../../broker/client/find-frauds.ts';
import { openedArguments, placeAt } from '../../../contracts/chain/evidence.ts';
import { toAddress } from '../../../contracts/chain/replay.ts';
import type { Address, Hex } from '../../../contracts/libraries/keccak.ts';
import { pathOf } from '../../../contracts/libraries/ordered-merkle.ts';
import { hashReceipt } from '../../../contracts/libraries/receipts.ts';
import { testKey } from '../../contracts/hardhat-chain.ts';
import {
  type LyingGateway,
  PRICE,
  startLyingGateway,
  stranger,
} from '../settlement/lying-gateway.ts';

const PLEDGE = 1_000_000n;

describe('what an answer to a demand shows', function () {
  this.timeout(60_000);
  let liar: LyingGateway;
  beforeEach(async () => {
    liar = await startLyingGateway();
  });
  afterEach(() => liar?.close());

  /** Sends a transaction that makes a contract of this code. @returns the contract */
  const create = async (code: string): Promise<Address> => {
    const from = testKey(9).address;
    const tx = await liar.hardhat.rpc('eth_sendTransaction', [{ from, data: `0x${code}` }]);
    const receipt = await liar.chain.provider.getTransactionReceipt(String(tx));
    assert.equal(receipt?.status, 1);
    return toAddress(receipt.contractAddress ?? assert.fail());
  };
  /** Calls a contract with data that no transaction of the call has in it. */
  const callHidden = async (to: Address, data: Hex): Promise<void> => {
    const text = data.slice(2);
    const size = (text.length / 2).toString(16).padStart(4, '0');
    // CODECOPY(0, 10, size), RETURN(0, size): a contract whose code is the data.
    const holder = await create(`61${size}80600a5f395ff3${text}`);
    const address = holder.slice(2);
    // EXTCODECOPY of all of it to memory, then CALL with it.
    await create(`73${address}3b805f5f73${address}3c5f5f825f5f73${to.slice(2)}5af100`);
  };

  it('is judged also when no transaction carries the Merkle path in its data', async () => {
    const price = PRICE + 6n;
    const { batch, items } = await liar.settle({ lies: { 2: { receipt: { price } } } });
    liar.blocks.clear();
    const { chain } = liar;
    const settled = chain.view.batches()[batch] ?? assert.fail();
    const place = placeAt(settled, 0);
    const demander = chain.connect(testKey(9));
    await demander.mintMock(PLEDGE);
    await demander.approveAndDeposit(PLEDGE);
    await demander.demand(place, 2);
    const { receipt, call, execution } = items[2] ?? assert.fail();
    const leaves = items.map((item) => hashReceipt(item.receipt));
    const opened = { place, leaf: { receipt, index: 2, path: pathOf(leaves, 2) }, call, execution };
    const data = chain.encode('disputes', 'answer', [...openedArguments(opened), '0x']);

    await callHidden(chain.contracts.disputes, data);
    await chain.synced();
    const found: [string, bigint][] = [];
    const getBlock = () => liar.getBlock;
    for await (const { evidence, damage } of findFrauds({
      chain,
      getBlock,
      isWanted: () => true,
    })) {
      if (evidence.kind !== 'withheld') await demander.prove(evidence);
      found.push([evidence.kind, damage]);
    }

    assert.equal(chain.view.demands()[0]?.state, 'answered');
    assert.deepEqual(
      found.filter(([kind]) => kind !== 'withheld'),
      [['overcharge', 6n]],
    );
  });
});

describe('what a batch shows', function () {
  this.timeout(120_000);
  let liar: LyingGateway;
  beforeEach(async () => {
    liar = await startLyingGateway();
  });
  afterEach(() => liar?.close());

  it('is found, the largest of it, among more faults that nobody can prove than are kept', async () => {
    const count = 1_100;
    const unsigned = Array.from({ length: count }, (_, index) => [index, { groupKey: stranger }]);
    const lies = { ...Object.fromEntries(unsigned) };
    // Tiny ones first, then the large one.
    const dear = (price: bigint) => ({ groupKey: stranger, receipt: { price } });
    for (let index = 0; index < count - 1; index += 1) lies[index] = dear(PRICE + 1n);
    lies[count - 1] = dear(PRICE + 900n);
    const { batch } = await liar.settle({ count, lies });

    const damages: bigint[] = [];
    const { chain } = liar;
    for await (const { evidence, damage } of findFrauds({
      chain,
      getBlock: () => liar.getBlock,
      isWanted: (settled) => settled.batch === batch,
    })) {
      assert.equal(evidence.kind, 'overcharge');
      damages.push(damage);
    }

    assert.ok(damages.includes(900n), `${damages.length} of up to ${damages.at(-1)}`);
  });
});
