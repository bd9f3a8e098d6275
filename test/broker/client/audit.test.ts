// The audit on a real chain: an honest batch has no finding, and each lie of a gateway has the one that names it.
import assert from 'node:assert/strict';
import {
  audit,
  auditBatches,
  type Finding,
  type FindingCode,
} from '../../../broker/client/audit.ts';
import type { BatchReceipt, GetBlock } from '../../../broker/client/batch.ts';
import { findFrauds } from '../../../broker/client/find-frauds.ts';
import { gatherEvidence } from '../../../broker/client/gather-evidence.ts';
import type { Epoch } from '../../../contracts/chain/types.ts';
import type { Chain } from '../../../contracts/chain.ts';
import { drawOrder, drawSeed } from '../../../contracts/libraries/draw.ts';
import type { Call } from '../../../contracts/libraries/receipts.ts';
import {
  COUNT,
  type Lane,
  type Lie,
  type LyingGateway,
  PASSED,
  type Plan,
  PRICE,
  type Settlement,
  startLyingGateway,
  stranger,
  word,
} from '../settlement/lying-gateway.ts';

const FAILED = { ran: 'maybe', code: 'PROVIDER_CONNECTION', measuredMs: 8 } as const;

describe('audit', () => {
  let liar: LyingGateway;
  let chain: Chain;
  let gateway: LyingGateway['gateway'];
  let provider: LyingGateway['provider'];
  let prepaid: Lane;
  let signed: Lane;
  let ids: number[];
  let otherDeployment: number;
  let epoch: Epoch;
  let olderEpoch: Epoch;
  let blocks: Map<string, Uint8Array>;
  let getBlock: GetBlock;
  const settle = (plan: Plan): Promise<Settlement> => liar.settle(plan);

  before(async () => {
    liar = await startLyingGateway();
    ({ chain, gateway, provider, prepaid, signed, ids } = liar);
    ({ otherDeployment, epoch, olderEpoch, blocks, getBlock } = liar);
  });
  after(() => liar.close());

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

describe('audit of a batch in which more is wrong than can be kept', function () {
  this.timeout(120_000);
  const MANY = 1_500;
  const LARGE = { index: MANY - 1, units: 500n };
  let liar: LyingGateway;
  let many: Settlement;
  let other: Settlement;
  before(async () => {
    liar = await startLyingGateway();
    const excessAt = (index: number) => (index === LARGE.index ? LARGE.units : 1n);
    const lies = Array.from({ length: MANY }, (_, index) => ({
      receipt: { price: PRICE + excessAt(index) },
    }));
    many = await liar.settle({ count: MANY, lies });
    other = await liar.settle({ lies: { 0: { receipt: { price: PRICE + 1n } } } });
  });
  after(() => liar?.close());

  const optionsOf = (isWanted: (settled: { readonly batch: number }) => boolean) => {
    const { view, domain } = liar.chain;
    return { view, domain, getBlock: liar.getBlock, isWanted };
  };
  const isFirstTwo = ({ batch }: { readonly batch: number }) => batch <= other.batch;

  it('lists the largest, counts all, and has every unit in its sum', async () => {
    const result = await audit(optionsOf(isFirstTwo));

    assert.equal(result.findings.length, 1_000);
    assert.equal(result.findingCount, MANY + 1);
    assert.equal(result.unexplainedUnits, BigInt(MANY - 1) + LARGE.units + 1n);
    assert.equal(result.proven, COUNT - 1);
    const { index, units } = result.findings.find((one) => one.index === LARGE.index) ?? {};
    assert.deepEqual({ index, units }, LARGE);
  });

  it('counts what is wrong with receipts that are not those that were settled', async () => {
    const { batch } = await liar.settle({
      count: MANY,
      lies: Array.from({ length: MANY }, () => ({ receipt: { price: PRICE + 1n } })),
      show: (items) => items.toReversed(),
    });

    const result = await audit(optionsOf((settled) => settled.batch === batch));

    assert.equal(result.findings.length, 1_000);
    assert.ok(result.findingCount > 2 * MANY, `${result.findingCount}`);
    const tree = result.findings.find(({ code }) => code === 'LANE_ROOT_MISMATCH');
    assert.equal(result.unexplainedUnits, tree?.units);
  });

  it('reads a lane so many times at most for calls that were charged before', async () => {
    const call = { nonce: word('77') };
    const lies = Array.from({ length: 100 }, () => ({ call }));
    const { batch } = await liar.settle({ count: 100, lies });
    const isWanted = (one: { readonly batch: number }) => one.batch === batch;
    const { findings } = await audit(optionsOf(isWanted));
    const settled = liar.chain.view.batches().find(isWanted) ?? assert.fail();
    const { view } = liar.chain;
    let read = 0;
    const getBlock = (cid: string) => {
      read += 1;
      return liar.getBlock(cid);
    };

    const proofs = new Set<string>();
    for await (const { evidence } of gatherEvidence({ view, getBlock, settled, findings })) {
      proofs.add(evidence.kind);
    }

    assert.equal(findings.length, 99);
    assert.deepEqual([...proofs], ['duplicate']);
    assert.ok(read < 100, `${read}`);
  });

  it('hides nothing of what is wrong with another batch, nor the largest in itself, from who watches', async () => {
    const found: number[][] = [];
    for await (const { settled, findings } of auditBatches(optionsOf(isFirstTwo))) {
      found.push([settled.batch, findings.length]);
    }
    const frauds = new Set<string>();
    const { chain, getBlock } = liar;
    const watched = { chain, getBlock: () => getBlock, isWanted: isFirstTwo };
    for await (const { evidence, damage } of findFrauds(watched)) {
      if (evidence.kind !== 'overcharge') assert.fail(evidence.kind);
      frauds.add(`${evidence.place.batch} ${evidence.leaf.index} ${damage}`);
    }

    assert.deepEqual(found, [
      [many.batch, 1_000],
      [other.batch, 1],
    ]);
    assert.equal(frauds.size, 101);
    assert.ok(frauds.has(`${many.batch} ${LARGE.index} ${LARGE.units}`));
    assert.ok(frauds.has(`${other.batch} 0 1`));
  });
});
