// A settled claim opened: its receipts from whoever has them, held against the lane tree that the
// chain knows, and the leaves that are asked for with their paths. Memory holds the asked leaves
// and log2(n) nodes, however long the lane is.
import type { Leaf, Place } from '../../contracts/chain/evidence.ts';
import { createPaths } from '../../contracts/libraries/ordered-merkle.ts';
import { hashReceipt } from '../../contracts/libraries/receipts.ts';
import type { BatchReceipt } from './batch-format.ts';

/** A receipt with what stands behind its hashes. */
export type OpenedReceipt = Pick<BatchReceipt, 'receipt' | 'call' | 'execution' | 'callSignature'>;

export type OpenedLeaf = Omit<OpenedReceipt, 'receipt'> & { readonly leaf: Leaf };

/**
 * The leaves at `indexes` of a claim, from its receipts in order. Undefined when they are not those
 * that were settled: too few, too many, or another root. Whatever the source throws passes.
 */
export async function openClaim(
  place: Pick<Place, 'seqFrom' | 'seqTo' | 'receipts'>,
  receipts: AsyncIterable<OpenedReceipt>,
  indexes: ReadonlySet<number>,
): Promise<ReadonlyMap<number, OpenedLeaf> | undefined> {
  const count = place.seqTo - place.seqFrom;
  const tree = createPaths();
  const asked = new Map<number, OpenedReceipt>();
  for await (const item of receipts) {
    const index = tree.count;
    if (index === count) return undefined;
    tree.add(hashReceipt(item.receipt));
    if (indexes.has(index)) asked.set(index, item);
    else tree.forget(index);
  }
  if (tree.count !== count || tree.root() !== place.receipts) return undefined;
  const leaves = new Map<number, OpenedLeaf>();
  for (const [index, { receipt, call, execution, callSignature }] of asked) {
    const leaf = { receipt, index, path: tree.path(index) ?? [] };
    leaves.set(index, { leaf, call, execution, ...(callSignature && { callSignature }) });
  }
  return leaves;
}
