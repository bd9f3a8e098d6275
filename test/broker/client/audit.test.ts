// The audit on a real chain: an honest batch has no finding, and each lie of a gateway has its own
// finding.
import assert from 'node:assert/strict';
import { audit } from '../../../broker/client/audit.ts';
import type { GetBlock } from '../../../broker/client/batch.ts';
import type { BatchReceipt } from '../../../broker/client/batch-format.ts';
import type { Finding, FindingCode } from '../../../broker/client/findings.ts';
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

describe('the audit', () => {
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

  it('accepts each reason that an honest gateway gives for passing over a place of the draw', async () => {
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
  /** False statements of a page about the places around the used one. */
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

  /** A lie, its expected finding, and how many units of the batch it leaves unexplained. */
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
      'shows a lane without pages',
      'RECEIPT_MISSING',
      (total) => total,
      () => ({
        show: () => [],
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
