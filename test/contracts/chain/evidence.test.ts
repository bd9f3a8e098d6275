// Evidence of every kind against a batch with one lie of each, through the typed reads and writes
// of Disputes.
import assert from 'node:assert/strict';
import { ChainError } from '../../../contracts/chain/chain-error.ts';
import { createDisputeReads, type DisputeReads } from '../../../contracts/chain/dispute-reads.ts';
import {
  demandIdOf,
  type Evidence,
  FRAUD_KIND,
  type Leaf,
  leafAt,
  type OpenedLeaf,
  type Place,
  placeAt,
} from '../../../contracts/chain/evidence.ts';
import type { ChainWriter } from '../../../contracts/chain/writer.ts';
import type { Chain } from '../../../contracts/chain.ts';
import { createKey } from '../../../contracts/keystore.ts';
import { drawOrder, drawSeed } from '../../../contracts/libraries/draw.ts';
import type { Hex } from '../../../contracts/libraries/keccak.ts';
import { rootOf } from '../../../contracts/libraries/ordered-merkle.ts';
import {
  type Call,
  type Execution,
  hashCall,
  hashExecution,
  hashReceipt,
  NO_AUTHORITY,
  type Receipt,
} from '../../../contracts/libraries/receipts.ts';
import { priceOf } from '../../../contracts/libraries/tariffs.ts';
import {
  hashReceiptGroup,
  hashToSign,
  hashVoucher,
} from '../../../contracts/libraries/typed-data.ts';
import { signDigest } from '../../../contracts/signatures.ts';
import { type HardhatChain, startHardhatChain, TEST_TERMS, testKey } from '../hardhat-chain.ts';

const UNIT = 1_000_000n;
const DAY_SEC = 86_400;
const HASH: Hex = `0x${'11'.repeat(32)}`;
const PRICE = priceOf({ status: 200, billedMs: 100, memoryMiB: 128 }, TEST_TERMS);
/** Which receipt has which lie. */
const [HONEST, DEAR, LATE, REPEATED, MISROUTED, BROKEN] = [0, 1, 2, 3, 4, 5] as const;
const EXCESS = { price: 70n * UNIT, sum: 5n, edge: 7n } as const;

describe('evidence', () => {
  let hardhat: HardhatChain;
  let chain: Chain;
  let reads: DisputeReads;
  let payer: ChainWriter;
  let gateway: ChainWriter;
  let place: Place;
  let receipts: Receipt[];
  let calls: Call[];
  let executions: Execution[];
  let ids: number[];
  let kinds: Record<Evidence['kind'], { evidence: Evidence; damage: bigint }>;
  const operator = createKey();
  const session = createKey();

  before(async () => {
    hardhat = await startHardhatChain();
    chain = await hardhat.open();
    reads = createDisputeReads(chain);
    gateway = chain.connect(testKey(2));
    payer = chain.connect(testKey(4));
    const functionVersion = await publish();
    await openLane();
    await serve(functionVersion);
    await settle();
    kinds = collectEvidence();
  });
  after(() => hardhat?.close());

  async function publish(): Promise<Hex> {
    const publisher = chain.connect(testKey(1));
    const { functionId } = await publisher.register('hello');
    const { functionVersion } = await publisher.publish(functionId, TEST_TERMS, true);
    await gateway.registerParty({ roles: 3, uri: 'http://127.0.0.1', jwksThumbprint: HASH });
    await gateway.addKey(operator.privateKey, 1);
    await gateway.mintMock(10_000n * UNIT);
    await gateway.bond(gateway.address, 5_000n * UNIT);
    ids = [];
    for (const region of ['a', 'b', 'c']) {
      ids.push(await gateway.enrol(functionVersion, 'aws-lambda', region));
    }
    await gateway.setCandidates(functionVersion, ids);
    await hardhat.rpc('hardhat_mine', ['0x3']);
    await chain.synced();
    await chain.synced(await gateway.checkpoint(chain.view.head.number - 1));
    return functionVersion;
  }

  async function openLane(): Promise<void> {
    await payer.mintMock(500n * UNIT);
    const expirySec = chain.view.head.timestampSec + 30 * DAY_SEC;
    const lane = { signer: session.address, cap: 200n * UNIT, expirySec, mode: 2 as const };
    await payer.depositAllotOpenLane({ amount: 200n * UNIT, gateway: gateway.address, lane });
    await payer.approveAndDeposit(100n * UNIT);
  }

  async function serve(functionVersion: Hex): Promise<void> {
    const named = { payer: payer.address, gateway: gateway.address, signer: session.address };
    const epoch = chain.view.latestEpoch ?? assert.fail();
    [receipts, calls, executions] = [[], [], []];
    let cumulative = 0n;
    for (let i: number = HONEST; i <= BROKEN; i += 1) {
      const nonce: Hex = `0x${`${i === REPEATED ? HONEST : i}`.padStart(64, '0')}`;
      const call: Call = {
        ...{ ...named, nonce, functionVersion, input: HASH, maxPrice: 1_000n * UNIT },
        ...{ deadlineSec: epoch.timeSec + 60, beacon: epoch.epoch, authority: NO_AUTHORITY },
      };
      const order = drawOrder(drawSeed(epoch.value, call), ids);
      const execution: Execution = {
        ...{ deployment: order[i === MISROUTED ? 2 : 0] ?? 0, request: HASH, billedMs: 100 },
        ...{ initMs: 0, memoryMiB: 128, status: 200, input: HASH, output: HASH },
        finishedAtSec: call.deadlineSec + (i === LATE ? 1 : 0),
      };
      const price = i === DEAR ? PRICE + EXCESS.price : PRICE;
      cumulative += price + (i === BROKEN ? EXCESS.sum : 0n);
      calls.push(call);
      executions.push(execution);
      receipts.push({
        ...{ ...named, seq: i + 1, call: hashCall(call), execution: hashExecution(execution) },
        ...{ provider: gateway.address, attempt: 0, atBlock: 1, price, cumulative },
      });
    }
  }

  async function settle(): Promise<void> {
    const amount = (receipts.at(-1)?.cumulative ?? 0n) + EXCESS.edge;
    const named = { payer: payer.address, gateway: gateway.address, signer: session.address };
    const digest = hashVoucher(chain.domain, { ...named, ceiling: amount });
    const claim = {
      ...{ ...named, amount, ceiling: amount, seqFrom: 0, seq: receipts.length },
      receipts: rootOf(receipts.map(hashReceipt)),
      signature: signDigest(session.privateKey, digest),
    };
    const payouts = [{ payee: gateway.address, amount }];
    const { blockNumber } = await gateway.settle(gateway.address, [claim], payouts, HASH);
    await chain.synced(blockNumber);
    place = placeAt(chain.view.batches().at(-1) ?? assert.fail(), 0);
  }

  const at = (index: number): Leaf => leafAt(receipts, index);
  const open = (index: number): OpenedLeaf => ({
    place,
    leaf: at(index),
    call: calls[index] ?? assert.fail(),
    execution: executions[index] ?? assert.fail(),
  });

  function collectEvidence(): typeof kinds {
    const { leaf } = open(HONEST);
    const cheap = { ...leaf.receipt, price: 1n };
    const group = { gateway: gateway.address, root: hashReceipt(cheap), count: 1 };
    const signature = signDigest(operator.privateKey, hashReceiptGroup(chain.domain, group));
    const signed = { receipt: cheap, index: 0, count: 1, path: [], signature };
    const node = hashReceipt(leaf.receipt);
    const repeated = {
      ...{ firstPlace: place, first: at(HONEST), laterPlace: place, later: at(REPEATED) },
    };
    return {
      omission: {
        evidence: {
          ...{ kind: 'omission', signed, place, node, path: leaf.path, opened: leaf.receipt },
        },
        damage: PRICE - 1n,
      },
      break: {
        evidence: { kind: 'break', place, a: at(BROKEN - 1), b: at(BROKEN) },
        damage: EXCESS.sum,
      },
      edge: { evidence: { kind: 'edge', place, leaf: at(BROKEN) }, damage: EXCESS.edge },
      overcharge: { evidence: { kind: 'overcharge', ...open(DEAR) }, damage: EXCESS.price },
      'over-limit': { evidence: { kind: 'over-limit', ...open(LATE) }, damage: PRICE },
      duplicate: { evidence: { kind: 'duplicate', ...repeated }, damage: PRICE },
      misroute: {
        evidence: { kind: 'misroute', ...open(MISROUTED), setNo: 1, ids },
        damage: 0n,
      },
    };
  }

  it('of every kind is judged a fraud with its damage, and no evidence about an honest receipt is', async () => {
    for (const [kind, { evidence, damage }] of Object.entries(kinds)) {
      assert.deepEqual(await reads.check(evidence), { isFraud: true, damage }, kind);
    }
    const honest: Evidence[] = [
      { kind: 'overcharge', ...open(HONEST) },
      { kind: 'over-limit', ...open(HONEST) },
      { kind: 'misroute', ...open(HONEST), setNo: 1, ids },
      { kind: 'break', place, a: at(HONEST), b: at(DEAR) },
      { kind: 'edge', place, leaf: at(HONEST) },
    ];
    for (const evidence of honest) {
      assert.equal((await reads.check(evidence)).isFraud, false, evidence.kind);
      await assert.rejects(payer.prove(evidence), isRevert('NoFraud'));
    }
  });

  it('that does not hold together is refused', async () => {
    const other = { ...place, settledTo: place.settledTo + 1n };

    await assert.rejects(
      reads.check({ kind: 'edge', place: other, leaf: at(BROKEN) }),
      isRevert('InvalidProof'),
    );
  });

  it('takes at least the floor of its kind once, and what it paid can be read', async () => {
    const { floors } = await reads.readTerms();
    const floorOf = { 2: floors.grave, 3: floors.grave, 4: floors.charge, 5: floors.charge };
    let repaid = 0n;
    for (const { evidence, damage } of Object.values(kinds)) {
      const kind = FRAUD_KIND[evidence.kind];
      const floor = kind === 6 ? floors.misroute : floorOf[kind];
      const expected = 3n * damage > floor ? 3n * damage : floor;

      const { id, slashed, paid, blockNumber } = await payer.prove(evidence);

      assert.deepEqual([slashed, paid], [expected, damage], evidence.kind);
      assert.equal(await reads.isProven(id), true);
      assert.equal(await reads.paidOf(id), damage);
      repaid += damage;
      assert.equal(await reads.repaidOf(gateway.address, place.batch, 0), repaid);
      await chain.synced(blockNumber);
      const known = chain.view.frauds(gateway.address).at(-1);
      assert.deepEqual(
        [known?.id, known?.kind, known?.batch, known?.claim, known?.paid, known?.slashed],
        [id, kind, place.batch, 0, paid, slashed],
      );
      await assert.rejects(payer.prove(evidence), isRevert('AlreadyProven'));
    }
    const { current, previous } = await reads.bucketOf(gateway.address);
    const { bond = 0n } = chain.view.gateway(gateway.address) ?? {};
    const used = current + previous;
    // D2 and D3 take 100 each, D4 210, D5 twice 10, D6 1; of all but D2 three times the damage is
    // not capped.
    assert.equal(used, 321n * UNIT - 3n * (EXCESS.sum + EXCESS.edge + 2n * PRICE));
    assert.equal(await reads.roomOf(gateway.address), (bond + used) / 4n - used);
  });

  it('that is withheld can be demanded: the answer carries all that D4 to D6 need, or the demand expires', async () => {
    const terms = await reads.readTerms();
    const answered = await payer.demand(place, DEAR);
    const silent = await payer.demand(place, LATE);
    assert.equal(answered.id, demandIdOf(place, DEAR));
    assert.deepEqual(await reads.demandOf(answered.id), {
      ...{ demander: payer.address, deadlineSec: answered.deadlineSec, index: DEAR },
    });
    const opened = open(DEAR);
    const digest = hashToSign(chain.domain, opened.leaf.receipt.call);
    const callSignature = signDigest(session.privateKey, digest);
    await assert.rejects(gateway.answer(opened), isRevert('InvalidProof'));

    const { blockNumber } = await gateway.answer(opened, callSignature);

    await chain.synced(blockNumber);
    assert.equal(await reads.demandOf(answered.id), 'answered');
    const told = chain.view.demands(gateway.address).find(({ id }) => id === answered.id);
    const { call, execution, leaf } = opened;
    assert.deepEqual(told?.answer, {
      ...{ receipt: leaf.receipt, path: leaf.path, call, execution, callSignature },
      blockNumber,
    });
    await assert.rejects(payer.expire(place, LATE), isRevert('StillOpen'));
    await hardhat.rpc('evm_increaseTime', [terms.answerWindowSec + 1]);
    const before = await reads.repaidOf(gateway.address, place.batch, 0);

    const expired = await payer.expire(place, LATE);

    const delta = place.settledTo - place.settledFrom;
    assert.deepEqual(
      [expired.id, expired.damage, expired.paid],
      [silent.id, delta, delta - before],
    );
    assert.equal(await reads.demandOf(silent.id), undefined);
    await chain.synced(expired.blockNumber);
    assert.equal(chain.view.frauds().at(-1)?.kind, FRAUD_KIND.silence);
  });

  it('has the terms with which the contracts were deployed', async () => {
    assert.deepEqual(await reads.readTerms(), {
      demandPledge: UNIT,
      demandWindowSec: 7 * DAY_SEC,
      answerWindowSec: 2 * DAY_SEC,
      proofWindowSec: 12 * DAY_SEC,
      floors: { grave: 100n * UNIT, charge: 10n * UNIT, misroute: UNIT, silence: 50n * UNIT },
    });
  });

  it('must name a claim or receipt that exists', () => {
    const batch = chain.view.batches().at(-1) ?? assert.fail();

    assert.throws(() => placeAt(batch, 1), RangeError);
    assert.throws(() => leafAt(receipts, receipts.length), RangeError);
  });
});

function isRevert(name: string): (error: unknown) => boolean {
  return (error) => error instanceof ChainError && error.revert?.name === name;
}
