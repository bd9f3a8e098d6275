// The auditor in Python beside our own: both judge what a gateway settles and shows, honest or not,
// by the same codes, and the chain takes what it shows as evidence.
import assert from 'node:assert/strict';
import { audit } from '../../broker/client/audit.ts';
import type { BatchReceipt } from '../../broker/client/batch-format.ts';
import type { FindingCode } from '../../broker/client/findings.ts';
import { drawOrder, drawSeed } from '../../contracts/libraries/draw.ts';
import {
  COUNT,
  type Lie,
  type LyingGateway,
  PASSED,
  type Plan,
  PRICE,
  startLyingGateway,
  stranger,
  word,
} from '../broker/settlement/lying-gateway.ts';
import { describeInPython, type Printed, reason, run } from './python.ts';

const FAILED = { ran: 'maybe', code: 'PROVIDER_CONNECTION', measuredMs: 8 } as const;

describeInPython(`an auditor in Python${reason}`, function () {
  this.timeout(180_000);
  let liar: LyingGateway;

  before(async () => {
    liar = await startLyingGateway();
  });
  after(() => liar?.close());

  it('finds nothing in honest batches, and in each other batch what our own audit finds', async () => {
    const { chain, gateway, hardhat, url, getBlock } = liar;
    for (const plan of plansOf(liar)) await liar.settle(plan());
    const { token, deployedAtBlock, ...contracts } = chain.contracts;
    const place = {
      url,
      rpcUrl: hardhat.url,
      chainId: chain.chainId,
      contracts: { ...contracts, token },
      fromBlock: deployedAtBlock,
      gateway: gateway.address,
    };

    const { batches, overcharges } = await run('main.py', ['audit'], { place, receipts: [] });
    const own = await audit({ view: chain.view, domain: chain.domain, getBlock });

    const expected = chain.view
      .batches(gateway.address)
      .map(({ batch }) =>
        codesOf(own.findings.filter((one) => one.batch === batch).map(({ code }) => code)),
      );
    const found: string[][] = batches.map(({ refused, findings }: Printed) =>
      refused ? [refused] : codesOf(findings.map(([code]: [FindingCode]) => code)),
    );
    assert.deepEqual(found, expected);
    // The chain itself says so, asked with what the auditor has rebuilt: 5 units too many.
    const dear = own.findings.filter(({ code }) => code === 'PRICE_ABOVE_TARIFF');
    assert.deepEqual(
      overcharges,
      dear.map(({ batch, seq, units }) => [batch, seq, true, Number(units)]),
    );
    assert.equal(overcharges.length, 1);
    assert.deepEqual(expected.slice(0, 3), [[], [], []]);
    assert.ok(expected.slice(3).every((codes) => codes.length > 0));
    assert.ok(new Set(expected.flat()).size >= 22);
  });
});

/** Findings that refuse a whole batch or lane: no other finding counts beside them. */
const REFUSALS: readonly string[] = [
  'CLAIM_MISMATCH',
  'HEADER_MISMATCH',
  'LANE_ROOT_MISMATCH',
  'RECEIPT_MISSING',
];

/** Each once, and where one of them refuses the whole, that one. */
function codesOf(codes: readonly string[]): string[] {
  const refusals = codes.filter((code) => REFUSALS.includes(code));
  return [...new Set(refusals.length > 0 ? refusals : codes)].toSorted();
}

/** Three honest batches, then one for each lie. */
function plansOf({ prepaid, signed, epoch, olderEpoch, ids, otherDeployment }: LyingGateway) {
  const lie = (one: Lie, index = 0) => ({ lies: { [index]: one } });
  const orderOf = ({ call }: BatchReceipt) => drawOrder(drawSeed(epoch.value, call), ids);
  const tell = (place: number, of: (order: number[]) => BatchReceipt['attempts']): Plan => ({
    ...lie({ place }),
    commit: ([first, ...rest]) => [
      ...(first ? [{ ...first, attempts: of(orderOf(first)) }] : []),
      ...rest,
    ],
  });
  const swapped = ([a, b, ...rest]: BatchReceipt[]) => (a && b ? [b, a, ...rest] : []);
  // Lanes go on from batch to batch, so a plan is made when its turn comes.
  const plans: readonly (() => Plan)[] = [
    () => ({ lies: { 1: { execution: { status: 0 } }, 2: { place: 1 }, 3: { place: 3 } } }),
    () => ({ lane: signed }),
    () => tell(1, ([a = 0]) => [{ deployment: a, ...FAILED, code: 'HEDGED' }]),
    () => ({ show: (items) => items.slice(1) }),
    () => ({ show: swapped }),
    () => ({ show: (items) => [...items, ...items] }),
    () => ({ commit: swapped }),
    () => lie({ receipt: { payer: stranger.address } }, 1),
    () => ({ excess: 7n }),
    () => lie({ receipt: { cumulative: prepaid.settled + 3n * PRICE + 9n } }, 2),
    () => lie({ receipt: { price: PRICE + 5n, cumulative: prepaid.settled + PRICE + 5n } }),
    () => lie({ call: { maxPrice: 10n } }),
    () => lie({ call: { deadlineSec: epoch.timeSec } }),
    () => lie({ execution: { input: word('99') } }),
    () => lie({ call: { signer: stranger.address } }),
    () => ({ lies: { 0: { call: { nonce: word('77') } }, 4: { call: { nonce: word('77') } } } }),
    () => ({ lane: signed, ...lie({ callKey: undefined }) }),
    () => ({ lane: signed, ...lie({ callKey: stranger }) }),
    () => lie({ groupKey: stranger }),
    () => ({
      commit: (items) =>
        items.map((item, at) => ({
          ...item,
          group: items[at === 0 ? 2 : at]?.group ?? item.group,
        })),
    }),
    () => lie({ call: { functionVersion: word('77') } }),
    () => lie({ execution: { deployment: otherDeployment } }),
    () => lie({ receipt: { provider: stranger.address } }),
    () => lie({ place: 3, receipt: { attempt: 0 } }),
    () => lie({ attempts: [{ ...FAILED, deployment: 99 }] }),
    () => tell(2, ([a = 0]) => [{ deployment: a, ...PASSED }]),
    () => tell(0, ([a = 0]) => [{ deployment: a, ...FAILED }]),
    () => tell(1, ([a = 0]) => [{ deployment: a, ...PASSED, measuredMs: 4 }]),
    () => tell(0, (order) => [{ deployment: order[2] ?? 0, ...PASSED }]),
    () =>
      tell(2, ([a = 0, b = 0]) => [
        { deployment: a, ...PASSED, code: 'LOAD' },
        { deployment: b, ...FAILED },
      ]),
    () => lie({ call: { beacon: 1_000_000 } }),
    () => lie({ call: { beacon: olderEpoch.epoch } }),
    () => ({
      pay: (payouts) => new Map([...payouts].map(([payee, units]) => [payee, units / 2n])),
    }),
    () => ({ header: { batch: 9_999 } }),
    () => ({ claim: (claim) => ({ ...claim, seqTo: claim.seqTo + COUNT }) }),
  ];
  return plans;
}
