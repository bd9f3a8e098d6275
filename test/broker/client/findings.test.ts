// An audit's list of findings is bounded: a batch with more faults than it holds hides no units, no
// larger fault, and nothing of another batch.
import assert from 'node:assert/strict';
import { audit, auditBatches } from '../../../broker/client/audit.ts';
import { findFrauds } from '../../../broker/client/find-frauds.ts';
import { gatherEvidence } from '../../../broker/client/gather-evidence.ts';
import {
  COUNT,
  type LyingGateway,
  PRICE,
  type Settlement,
  startLyingGateway,
  word,
} from '../settlement/lying-gateway.ts';

describe('audit of a batch with more faults than it lists', function () {
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

  it('lists the largest findings, and counts and sums all of them', async () => {
    const result = await audit(optionsOf(isFirstTwo));

    assert.equal(result.findings.length, 1_000);
    assert.equal(result.findingCount, MANY + 1);
    assert.equal(result.unexplainedUnits, BigInt(MANY - 1) + LARGE.units + 1n);
    assert.equal(result.proven, COUNT - 1);
    const { index, units } = result.findings.find((one) => one.index === LARGE.index) ?? {};
    assert.deepEqual({ index, units }, LARGE);
  });

  it('counts the faults of receipts that differ from the settled ones, but not their units', async () => {
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

  it('reads a lane a bounded number of times to find the first charge of a call', async () => {
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

  it('reports to a watcher the largest faults of the batch, and the faults of another batch', async () => {
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
