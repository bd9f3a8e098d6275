// Opens a settled claim: reads its receipts from any source, checks them against the lane tree's
// root on the chain, and returns the requested leaves with their paths. Memory holds the requested
// leaves and log2(n) nodes, however long the lane is.
import type { Leaf, Place } from '../../contracts/chain/evidence.ts';
import { createPaths } from '../../contracts/libraries/ordered-merkle.ts';
import { hashReceipt } from '../../contracts/libraries/receipts.ts';
import type { BatchReceipt } from './batch-format.ts';

/** A receipt with the preimages of its hashes. */
export type OpenedReceipt = Pick<BatchReceipt, 'receipt' | 'call' | 'execution' | 'callSignature'>;

export type OpenedLeaf = Omit<OpenedReceipt, 'receipt'> & { readonly leaf: Leaf };

/**
 * Returns the leaves at `indexes` of a claim, from its receipts in order. Undefined if they are not
 * the settled ones: too few, too many, or another root. Errors of the source pass through.
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
