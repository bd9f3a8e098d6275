// The audit on a real chain: an honest batch has no finding, and each lie of a gateway has the one that names it.
import assert from 'node:assert/strict';
import {
  type BatchReceipt,
  batchCid,
  encodeBatch,
  type GetBlock,
} from '../../../broker/client/batch.ts';
import { audit, type Finding, type FindingCode } from '../../../broker/settlement/audit.ts';
import type { ChainWriter } from '../../../contracts/chain/writer.ts';
import type { Chain, Epoch } from '../../../contracts/chain.ts';
import { createKey, type Key } from '../../../contracts/keystore.ts';
import { drawOrder, drawSeed } from '../../../contracts/libraries/draw.ts';
import type { Address, Hex } from '../../../contracts/libraries/keccak.ts';
import { CODECS, cidOf } from '../../../contracts/libraries/names.ts';
import { createTree, rootOf } from '../../../contracts/libraries/ordered-merkle.ts';
import {
  type Call,
  type Claim,
  type Execution,
  hashCall,
  hashClaim,
  hashExecution,
  hashReceipt,
  NO_AUTHORITY,
  type Receipt,
} from '../../../contracts/libraries/receipts.ts';
import { splitPrice } from '../../../contracts/libraries/tariffs.ts';
import {
  hashReceiptGroup,
  hashSignedCall,
  hashVoucher,
} from '../../../contracts/libraries/typed-data.ts';
import { signDigest } from '../../../contracts/signatures.ts';
import { type HardhatChain, startHardhatChain, testKey } from '../../contracts/hardhat-chain.ts';

const UNIT = 1_000_000n;
const PREPAID = 1;
const SIGNED = 2;
const PUBLISHER_BPS = 1_500;
/** Of an honest call here: perCall 20, and 128 MiB for 100 ms at 40 per GiB and second, rounded up. */
const PRICE = 21n;
const COUNT = 5;
const stranger = createKey();
const PASSED = { ran: 'no', code: 'CIRCUIT_OPEN', measuredMs: 0 } as const;
const FAILED = { ran: 'maybe', code: 'PROVIDER_CONNECTION', measuredMs: 8 } as const;
const word = (byte: string): Hex => `0x${byte.repeat(32)}`;

interface Lane {
  readonly payer: Key;
  readonly key: Key;
  readonly mode: 1 | 2;
  settled: bigint;
  seq: number;
  nonce: bigint;
}

/** What a gateway may do to one receipt before it numbers and signs it. */
interface Lie {
  readonly call?: Partial<Call>;
  readonly execution?: Partial<Execution>;
  readonly receipt?: Partial<Receipt>;
  readonly attempts?: BatchReceipt['attempts'];
  readonly callKey?: Key | undefined;
  readonly groupKey?: Key;
  /** Which place of the drawn order runs it. */
  readonly place?: number;
}

/** What a gateway may do to a batch. */
interface Plan {
  readonly lane?: Lane;
  /** For the receipt at this index. */
  readonly lies?: Readonly<Record<number, Lie>>;
  /** Changes what stands in the lane tree, and on the pages. */
  readonly commit?: (items: BatchReceipt[]) => BatchReceipt[];
  /** Changes the pages only. */
  readonly show?: (items: BatchReceipt[]) => BatchReceipt[];
  readonly pay?: (payouts: Map<Address, bigint>) => Map<Address, bigint>;
  /** Taken above the sum of the receipts, base units. */
  readonly excess?: bigint;
  readonly header?: { readonly batch?: number; readonly gateway?: Address };
  readonly claim?: (claim: Claim) => Claim;
}

describe('audit', () => {
  let hardhat: HardhatChain;
  let chain: Chain;
  let gateway: ChainWriter;
  let settler: ChainWriter;
  let provider: ChainWriter;
  let publisher: ChainWriter;
  let operator: Key;
  let prepaid: Lane;
  let signed: Lane;
  let functionVersion: Hex;
  let ids: number[];
  let otherDeployment: number;
  let epoch: Epoch;
  let olderEpoch: Epoch;
  const blocks = new Map<string, Uint8Array>();
  const getBlock: GetBlock = async (cid) => blocks.get(cid) ?? assert.fail(`no block ${cid}`);

  before(async () => {
    hardhat = await startHardhatChain();
    chain = await hardhat.open();
    publisher = chain.connect(testKey(1));
    gateway = chain.connect(testKey(2));
    settler = chain.connect(testKey(3));
    provider = chain.connect(testKey(5));
    operator = createKey();
    const { functionId } = await publisher.register('hello');
    ({ functionVersion } = await publisher.publish(functionId, TERMS, true));
    const other = await publisher.publish(functionId, { ...TERMS, memoryMiB: 256 }, true);
    const party = { uri: 'http://127.0.0.1', jwksThumbprint: word('00') };
    await gateway.registerParty({ ...party, roles: 3 });
    await provider.registerParty({ ...party, roles: 2 });
    await gateway.addKey(operator.privateKey, 1);
    await gateway.mintMock(10_000n * UNIT);
    await gateway.bond(gateway.address, 5_000n * UNIT);
    await gateway.setSettler(settler.address);
    ids = [];
    for (const region of ['a', 'b', 'c', 'd']) {
      ids.push(await provider.enrol(functionVersion, 'aws-lambda', region));
    }
    otherDeployment = await provider.enrol(other.functionVersion, 'aws-lambda', 'a');
    await gateway.setCandidates(functionVersion, ids);
    await hardhat.rpc('hardhat_mine', ['0x3']);
    await chain.synced();
    olderEpoch = await checkpoint();
    epoch = await checkpoint();
    prepaid = await openLane(testKey(4), PREPAID);
    signed = await openLane(testKey(6), SIGNED);
  });
  after(() => hardhat.close());

  async function checkpoint(): Promise<Epoch> {
    const height = chain.view.head.number - 1;
    await chain.synced(await gateway.checkpoint(height));
    return chain.view.epochOf(height) ?? assert.fail('no epoch');
  }

  async function openLane(payer: Key, mode: 1 | 2): Promise<Lane> {
    const key = createKey();
    const writer = chain.connect(payer);
    await writer.mintMock(100n * UNIT);
    const expirySec = chain.view.head.timestampSec + 30 * 86_400;
    const lane = { signer: key.address, cap: 50n * UNIT, expirySec, mode };
    const terms = { amount: 50n * UNIT, gateway: gateway.address, lane };
    await chain.synced(await writer.depositAllotOpenLane(terms));
    return { payer, key, mode, settled: 0n, seq: 0, nonce: 0n };
  }

  /** An honest receipt, but for the lie. */
  function serve(lane: Lane, index: number, before: bigint, lie: Lie): Omit<BatchReceipt, 'group'> {
    const named = {
      payer: lane.payer.address,
      gateway: gateway.address,
      signer: lane.key.address,
    };
    lane.nonce += 1n;
    const nowSec = epoch.timeSec + 5;
    const call: Call = {
      ...named,
      nonce: `0x${lane.nonce.toString(16).padStart(64, '0')}`,
      functionVersion,
      input: word('11'),
      maxPrice: 1_000n,
      deadlineSec: nowSec + 60,
      beacon: epoch.epoch,
      authority: NO_AUTHORITY,
      ...lie.call,
    };
    const drawn = call.beacon === olderEpoch.epoch ? olderEpoch : epoch;
    const order = drawOrder(drawSeed(drawn.value, call), ids);
    const execution: Execution = {
      deployment: order[lie.place ?? 0] ?? 0,
      request: word('22'),
      billedMs: 100,
      initMs: 0,
      memoryMiB: 128,
      status: 200,
      input: call.input,
      output: word('33'),
      finishedAtSec: nowSec,
      ...lie.execution,
    };
    const price = lie.receipt?.price ?? (execution.status === 0 ? 0n : PRICE);
    const receipt: Receipt = {
      ...named,
      seq: lane.seq + 1 + index,
      call: hashCall(call),
      execution: hashExecution(execution),
      provider: provider.address,
      attempt: lie.place ?? 0,
      atBlock: chain.view.head.number,
      price,
      cumulative: before + price,
      ...lie.receipt,
    };
    const callKey = 'callKey' in lie ? lie.callKey : lane.key;
    const isSigned = lane.mode === SIGNED && callKey;
    return {
      receipt,
      call,
      execution,
      ...(isSigned && {
        callSignature: signDigest(callKey.privateKey, hashSignedCall(chain.domain, call)),
      }),
      attempts:
        lie.attempts ??
        order.slice(0, receipt.attempt).map((deployment) => ({ deployment, ...PASSED })),
      ...(execution.status === 0 && { reason: 'threw' }),
    };
  }

  /** Receipts in groups of two, as a busy and an idle gateway make them. */
  function group(
    items: readonly Omit<BatchReceipt, 'group'>[],
    keys: readonly Key[],
  ): BatchReceipt[] {
    return items.map((item, index) => {
      const start = index - (index % 2);
      const hashes = items.slice(start, start + 2).map(({ receipt }) => hashReceipt(receipt));
      const tree = createTree(hashes);
      const { root, count } = tree;
      const digest = hashReceiptGroup(chain.domain, { gateway: gateway.address, root, count });
      const signature = signDigest((keys[start] ?? operator).privateKey, digest);
      const place = { root, count, index: index - start, path: tree.path(index - start) };
      return { ...item, group: { ...place, signature } };
    });
  }

  /** Serves, settles on the chain and puts the pages away, lying as planned. Gives the batch's number and what it took. */
  async function settle(plan: Plan): Promise<{ batch: number; total: bigint; cid: string }> {
    const lane = plan.lane ?? prepaid;
    const bare: Omit<BatchReceipt, 'group'>[] = [];
    let sum = lane.settled;
    for (let index = 0; index < COUNT; index += 1) {
      const item = serve(lane, index, sum, plan.lies?.[index] ?? {});
      bare.push(item);
      sum = item.receipt.cumulative;
    }
    const keys = bare.map((_, index) => plan.lies?.[index]?.groupKey ?? operator);
    const items = (plan.commit ?? ((same) => same))(group(bare, keys));
    const claim: Claim = {
      payer: lane.payer.address,
      signer: lane.key.address,
      settledFrom: lane.settled,
      settledTo: sum + (plan.excess ?? 0n),
      seqFrom: lane.seq,
      seqTo: lane.seq + COUNT,
      receipts: rootOf(items.map(({ receipt }) => hashReceipt(receipt))),
    };
    const payouts = (plan.pay ?? ((same) => same))(sharesOf(items));
    // The contract wants all but the fee paid out; to whom, it cannot judge.
    const paid = [...payouts.values()].reduce((all, units) => all + units, 0n);
    const rest = claim.settledTo - claim.settledFrom - paid;
    if (rest > 0n) payouts.set(stranger.address, (payouts.get(stranger.address) ?? 0n) + rest);
    const batch = chain.view.gateway(gateway.address)?.batches ?? 0;
    const { digest } = await encodeBatch({
      header: {
        chainId: chain.chainId,
        billing: chain.contracts.billing,
        gateway: gateway.address,
        batch,
        root: rootOf([hashClaim(claim)]),
        ...plan.header,
      },
      lanes: [
        {
          claim: (plan.claim ?? ((same) => same))(claim),
          receipts: (plan.show ?? ((same) => same))(items),
        },
      ],
      put: ({ cid, bytes }) => void blocks.set(cid, bytes),
    });
    const voucher = {
      payer: claim.payer,
      gateway: gateway.address,
      signer: claim.signer,
      ceiling: claim.settledTo,
    };
    const { blockNumber } = await settler.settle(
      gateway.address,
      [
        {
          payer: claim.payer,
          signer: claim.signer,
          amount: claim.settledTo,
          ceiling: claim.settledTo,
          seqFrom: claim.seqFrom,
          seq: claim.seqTo,
          receipts: claim.receipts,
          signature: signDigest(lane.key.privateKey, hashVoucher(chain.domain, voucher)),
        },
      ],
      [...payouts].map(([payee, amount]) => ({ payee, amount })),
      digest,
    );
    await chain.synced(blockNumber);
    const total = claim.settledTo - lane.settled;
    lane.settled = claim.settledTo;
    lane.seq += COUNT;
    return { batch, total, cid: batchCid(digest) };
  }

  function sharesOf(items: readonly BatchReceipt[]): Map<Address, bigint> {
    const shares = new Map<Address, bigint>();
    const add = (payee: Address, units: bigint) =>
      shares.set(payee, (shares.get(payee) ?? 0n) + units);
    for (const { receipt } of items) {
      const split = splitPrice(receipt.price, 0, PUBLISHER_BPS);
      add(receipt.provider, split.provider);
      add(publisher.address, split.publisher);
    }
    return shares;
  }

  /** Findings of one batch, and the rest of the run. */
  async function look(batch: number, from: GetBlock = getBlock) {
    const result = await audit({ view: chain.view, domain: chain.domain, getBlock: from });
    const findings = result.findings.filter((finding) => finding.batch === batch);
    return { ...result, findings };
  }

  const codes = (findings: readonly Finding[]) => findings.map(({ code }) => code);
  const unitsOf = (findings: readonly Finding[]) =>
    findings.reduce((sum, { units }) => sum + units, 0n);

  it('proves every receipt of honest batches, free ones and failovers among them', async () => {
    const failed: Lie = { execution: { status: 0 } };
    const lies = { 1: failed, 2: { place: 1 }, 3: { place: 3 } };
    const first = await settle({ lies });
    await settle({ lane: signed });

    const result = await look(first.batch);

    assert.deepEqual(result.findings, []);
    assert.equal(result.findingCount, 0);
    assert.equal(result.receipts, 2 * COUNT);
    assert.equal(result.proven, 2 * COUNT);
    assert.equal(result.unexplainedUnits, 0n);
    assert.equal(result.totalUnits, BigInt(2 * COUNT - 1) * PRICE);
    assert.equal(result.passedOver.CIRCUIT_OPEN, 1 + 3);
  });

  it('takes each account that an honest gateway gives of the draw', async () => {
    const accounts: ((order: number[]) => Attempt[])[] = [
      ([a = 0]) => [{ deployment: a, ...PASSED, code: 'LOAD' }],
      // By price: a later place was tried first.
      ([a = 0, , c = 0]) => [
        { deployment: a, ...PASSED, code: 'POLICY' },
        { deployment: c, ...FAILED },
      ],
      ([a = 0]) => [{ deployment: a, ...FAILED, code: 'HEDGED' }],
    ];
    const account = (item: BatchReceipt, index: number) => ({
      ...item,
      attempts: accounts[index]?.(orderOf(item.call)) ?? item.attempts,
    });
    const before = await look(0);
    const { batch } = await settle({
      lies: { 0: { place: 1 }, 1: { place: 1 }, 2: { place: 1 } },
      commit: (items) => items.map(account),
    });

    const { findings, passedOver } = await look(batch);

    assert.deepEqual(findings, []);
    assert.deepEqual(
      [passedOver.LOAD, passedOver.POLICY, passedOver.FAILED - before.passedOver.FAILED],
      [1, 1, 1],
    );
  });

  it('names an epoch that was not the newest final one, in prepaid lanes', async () => {
    const lies = { 0: { call: { beacon: olderEpoch.epoch } } };
    const { batch } = await settle({ lies });
    const { batch: batchOfSigned } = await settle({ lane: signed, lies });
    const finalAfterBlocks = chain.view.head.number;

    const { findings } = await look(batch);
    const ofSigned = await look(batchOfSigned);
    const patient = await audit({
      view: chain.view,
      domain: chain.domain,
      getBlock,
      finalAfterBlocks,
    });

    assert.deepEqual(codes(findings), ['EPOCH_STALE']);
    assert.deepEqual(ofSigned.findings, []);
    assert.deepEqual(
      patient.findings.filter((finding) => finding.batch === batch),
      [],
    );
  });

  const swap = (items: BatchReceipt[], a: number, b: number) =>
    items.map((item, index) => items[index === a ? b : index === b ? a : index] ?? item);
  const at = (items: readonly BatchReceipt[], index: number) =>
    items[index] ?? assert.fail(`no receipt ${index}`);
  /** Any receipt with the same call as the one before it. */
  const chargeAgain = (items: BatchReceipt[]) =>
    items.map((item, index) => (index === 2 ? at(items, 1) : item));

  const orderOf = (call: Call) => drawOrder(drawSeed(epoch.value, call), ids);
  type Attempt = BatchReceipt['attempts'][number];
  /** What a page tells of the places around the used one, and cannot be. */
  const accounts: [title: string, place: number, of: (order: number[]) => Attempt[]][] = [
    ['says nothing of a place that it passed over', 2, ([a = 0]) => [{ deployment: a, ...PASSED }]],
    [
      'tells of a place twice',
      1,
      ([a = 0]) => [
        { deployment: a, ...PASSED },
        { deployment: a, ...FAILED },
      ],
    ],
    ['tells of the used one as of another', 0, ([a = 0]) => [{ deployment: a, ...FAILED }]],
    [
      'passes a place over that it says it tried',
      1,
      ([a = 0]) => [{ deployment: a, ...PASSED, measuredMs: 4 }],
    ],
    [
      'passes a place over that comes later',
      0,
      (order) => [{ deployment: order[2] ?? 0, ...PASSED }],
    ],
    [
      'lays a failover to the load',
      2,
      ([a = 0, b = 0]) => [
        { deployment: a, ...PASSED, code: 'LOAD' },
        { deployment: b, ...FAILED },
      ],
    ],
  ];

  /** A lie, the finding that must be there, and how many units of the batch it leaves unexplained. */
  const cases: [
    title: string,
    code: FindingCode,
    units: (total: bigint) => bigint,
    plan: () => Plan,
  ][] = [
    [
      'drops a receipt from the pages',
      'RECEIPT_MISSING',
      (total) => total,
      () => ({
        show: (items) => items.slice(1),
      }),
    ],
    [
      'drops a receipt from tree and pages',
      'RECEIPT_MISSING',
      (total) => total,
      () => ({
        commit: (items) => items.slice(0, -1),
      }),
    ],
    [
      'shows other receipts than it settled',
      'LANE_ROOT_MISMATCH',
      (total) => total,
      () => ({
        show: (items) => swap(items, 0, 1),
      }),
    ],
    [
      'shows more receipts than it settled',
      'LANE_ROOT_MISMATCH',
      (total) => total,
      () => ({
        show: (items) => [...items, ...items],
      }),
    ],
    ['repeats a receipt', 'RECEIPT_MISPLACED', () => PRICE, () => ({ commit: chargeAgain })],
    [
      'moves a receipt to another place',
      'RECEIPT_MISPLACED',
      () => 2n * PRICE,
      () => ({
        commit: (items) => swap(items, 1, 2),
      }),
    ],
    [
      'moves a receipt from another lane',
      'RECEIPT_OF_OTHER_LANE',
      () => PRICE,
      () => ({
        lies: { 1: { receipt: { payer: stranger.address } } },
      }),
    ],
    ['adds up wrongly', 'CUMULATIVE_BREAK', () => 7n, () => ({ excess: 7n })],
    [
      'adds up wrongly in the middle',
      'CUMULATIVE_BREAK',
      () => 9n,
      () => ({
        lies: { 2: { receipt: { cumulative: prepaid.settled + 3n * PRICE + 9n } } },
        pay: (payouts) => payouts,
      }),
    ],
    [
      'charges more than the tariff',
      'PRICE_ABOVE_TARIFF',
      () => 5n,
      () => ({
        lies: {
          3: { receipt: { price: PRICE + 5n, cumulative: prepaid.settled + 4n * PRICE + 5n } },
        },
      }),
    ],
    [
      'charges a failed call',
      'PRICE_ABOVE_TARIFF',
      () => PRICE,
      () => ({
        lies: {
          0: {
            execution: { status: 0 },
            receipt: { price: PRICE, cumulative: prepaid.settled + PRICE },
          },
        },
      }),
    ],
    [
      'charges more than the call allows',
      'PRICE_ABOVE_MAX',
      () => PRICE - 10n,
      () => ({
        lies: { 0: { call: { maxPrice: 10n } } },
      }),
    ],
    [
      'charges a call after its deadline',
      'DEADLINE_PASSED',
      () => PRICE,
      () => ({
        lies: { 0: { call: { deadlineSec: epoch.timeSec } } },
      }),
    ],
    [
      'runs another input',
      'INPUT_MISMATCH',
      () => PRICE,
      () => ({
        lies: { 0: { execution: { input: word('99') } } },
      }),
    ],
    [
      'charges a call of another lane',
      'CALL_OF_OTHER_LANE',
      () => PRICE,
      () => ({
        lies: { 0: { call: { signer: stranger.address } } },
      }),
    ],
    [
      'charges one call twice',
      'CALL_CHARGED_TWICE',
      () => PRICE,
      () => ({
        lies: { 0: { call: { nonce: word('77') } }, 4: { call: { nonce: word('77') } } },
      }),
    ],
    [
      'invents a call in a signed lane',
      'CALL_UNSIGNED',
      () => PRICE,
      () => ({
        lane: signed,
        lies: { 0: { callKey: undefined } },
      }),
    ],
    [
      'signs a call itself',
      'CALL_UNSIGNED',
      () => PRICE,
      () => ({
        lane: signed,
        lies: { 0: { callKey: stranger } },
      }),
    ],
    [
      'signs with a key that is not its own',
      'GROUP_SIGNATURE_INVALID',
      () => 2n * PRICE,
      () => ({
        lies: { 0: { groupKey: stranger } },
      }),
    ],
    [
      'shows a receipt outside its group',
      'GROUP_PATH_INVALID',
      () => PRICE,
      () => ({
        commit: (items) =>
          items.map((item, index) => (index === 0 ? { ...item, group: at(items, 2).group } : item)),
      }),
    ],
    [
      'bills a version that does not exist',
      'VERSION_UNKNOWN',
      () => PRICE,
      () => ({
        lies: { 0: { call: { functionVersion: word('77') } } },
      }),
    ],
    [
      'runs a deployment of another version',
      'DEPLOYMENT_MISMATCH',
      () => PRICE,
      () => ({
        lies: { 0: { execution: { deployment: otherDeployment } } },
      }),
    ],
    [
      'pays another provider',
      'PROVIDER_MISMATCH',
      () => PRICE,
      () => ({
        lies: { 0: { receipt: { provider: stranger.address } } },
      }),
    ],
    [
      'steers a call outside the draw',
      'OUT_OF_DRAW',
      () => PRICE,
      () => ({
        lies: { 0: { place: 3, receipt: { attempt: 0 } } },
      }),
    ],
    [
      'steers a failover',
      'OUT_OF_DRAW',
      () => PRICE,
      () => ({
        lies: { 0: { place: 3, receipt: { attempt: 2 } } },
      }),
    ],
    [
      'tells of an attempt that was never drawn',
      'OUT_OF_DRAW',
      () => PRICE,
      () => ({
        lies: {
          0: {
            attempts: [{ deployment: 99, ran: 'no', code: 'PROVIDER_THROTTLED', measuredMs: 3 }],
          },
        },
      }),
    ],
    [
      'names the other candidate’s place',
      'OUT_OF_DRAW',
      () => PRICE,
      () => ({
        lies: { 0: { place: 1, receipt: { attempt: 0 } } },
      }),
    ],
    ...accounts.map(([title, place, account]): (typeof cases)[number] => [
      title,
      'PLACE_UNACCOUNTED',
      () => PRICE,
      () => ({
        commit: (items) =>
          items.map((item, index) =>
            index === 0 ? { ...item, attempts: account(orderOf(item.call)) } : item,
          ),
        lies: { 0: { place } },
      }),
    ]),
    [
      'draws by an epoch without a value',
      'EPOCH_UNRECORDED',
      () => PRICE,
      () => ({
        lies: { 0: { call: { beacon: 1_000_000 } } },
      }),
    ],
    [
      'draws by an epoch that was not the newest',
      'EPOCH_STALE',
      () => PRICE,
      () => ({ lies: { 0: { call: { beacon: olderEpoch.epoch } } } }),
    ],
    [
      'pays a friend for a payee',
      'PAYOUT_SHORT',
      () => 1n,
      () => ({
        pay: (payouts) =>
          new Map([
            ...payouts,
            [provider.address, (payouts.get(provider.address) ?? 0n) - 1n],
            [stranger.address, 1n],
          ]),
      }),
    ],
    [
      'shows the pages of another batch',
      'HEADER_MISMATCH',
      (total) => total,
      () => ({
        header: { batch: 0 },
      }),
    ],
    [
      'shows the pages of another gateway',
      'HEADER_MISMATCH',
      (total) => total,
      () => ({
        header: { gateway: stranger.address },
      }),
    ],
    [
      'shows another claim',
      'CLAIM_MISMATCH',
      (total) => total,
      () => ({
        claim: (claim) => ({ ...claim, settledTo: claim.settledTo + 1n }),
      }),
    ],
  ];

  for (const [title, code, units, plan] of cases) {
    it(`finds a gateway that ${title}`, async () => {
      const { batch, total } = await settle(plan());

      const { findings } = await look(batch);

      assert.ok(codes(findings).includes(code), `${codes(findings)}`);
      assert.equal(
        unitsOf(findings),
        units(total),
        JSON.stringify(findings.map((f) => [f.code, `${f.units}`, f.message])),
      );
      const found = findings.find((finding) => finding.code === code);
      assert.equal(found?.gateway, gateway.address);
      assert.ok(found.message.length > 10);
    });
  }

  it('names the lane and the place of what it finds', async () => {
    const seq = prepaid.seq + 4;
    const cumulative = prepaid.settled + 4n * PRICE + 2n;
    const lies = { 3: { receipt: { price: PRICE + 2n, cumulative } } };
    const { batch } = await settle({ lies });

    const { findings } = await look(batch);

    const [found] = findings;
    assert.deepEqual(found?.lane, { payer: prepaid.payer.address, signer: prepaid.key.address });
    assert.equal(found.seq, seq);
    assert.equal(found.units, 2n);
  });

  it('calls a batch unexplained whose blocks are withheld or altered, and goes on with the others', async () => {
    const { batch, total, cid } = await settle({});
    const pages = [...blocks.keys()].slice(-2, -1);
    const without =
      (missing: string): GetBlock =>
      (asked) =>
        asked === missing ? Promise.reject(new Error('withheld')) : getBlock(asked);
    const altered: GetBlock = async (asked) =>
      (await getBlock(asked)).map((byte, index) =>
        asked === cid && index === 9 ? byte ^ 1 : byte,
      );

    const noPage = await look(batch, without(pages[0] ?? ''));
    const noRoot = await look(batch, without(cid));
    const other = await look(batch, altered);
    const whole = await look(batch);

    assert.deepEqual(codes(noPage.findings), ['BATCH_BLOCK_MISSING']);
    assert.deepEqual(codes(noRoot.findings), ['BATCH_BLOCK_MISSING']);
    assert.deepEqual(codes(other.findings), ['BATCH_BLOCK_ALTERED']);
    for (const { findings } of [noPage, noRoot, other]) assert.equal(unitsOf(findings), total);
    assert.deepEqual(whole.findings, []);
    assert.equal(whole.proven, noPage.proven + COUNT);
  });
});

const TERMS = {
  manifestCid: cidOf(CODECS.raw, word('aa')),
  artifactCid: cidOf(CODECS.dagPb, word('bb')),
  tariff: {
    perCall: 20n,
    perGiBSecond: 40n,
    maxPrice: 100_000n,
    minBilledMs: 0,
    roundMs: 1,
    publisherBps: PUBLISHER_BPS,
  },
  accessMode: 0,
  memoryMiB: 128,
  timeoutMs: 10_000,
  idempotent: true,
  deterministic: false,
} as const;
