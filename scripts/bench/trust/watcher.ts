// A watcher that proves every fraud shown by the chain, the gateway's pages and the receipts that
// payers hand to it.
import { drawOrder, drawSeed } from '../../../contracts/libraries/draw.ts';
import { hashReceipt } from '../../../contracts/libraries/receipts.ts';
import { priceOf } from '../../../contracts/libraries/tariffs.ts';
import { type Claimed, callOf, executionOf, handOut, leafOf } from './books.ts';
import { type Entry, type House, type Party, TERMS } from './house.ts';

export interface Proof {
  readonly method: string;
  readonly args: readonly unknown[];
}

/** Every proof that a claim gives, and the leaves that nobody can open. */
export function proofsOf(
  house: House,
  claimed: Claimed,
  handedOut: readonly Entry[],
): { readonly proofs: readonly Proof[]; readonly unopened: readonly number[] } {
  const { place, entries, lane, shown } = claimed;
  const proofs: Proof[] = [];
  const unopened: number[] = [];
  const from = lane.settledSeq - entries.length;
  if (shown !== 'pages')
    return { proofs: [], unopened: shown === 'nothing' ? [0] : [...entries.keys()] };
  const opened = (index: number) => {
    const entry = entries[index];
    if (!entry) throw new Error('no such leaf');
    return [place, leafOf(claimed, index), callOf(entry.call), executionOf(entry.execution)];
  };
  const seen = new Map<string, number>();
  let before = claimed.place.settledFrom;
  entries.forEach(({ receipt, call, execution, callSignature }, index) => {
    const leaf = leafOf(claimed, index);
    const isForeign = receipt.signer !== lane.key.address || receipt.seq !== from + index + 1;
    if (isForeign) {
      proofs.push({ method: 'proveEdge', args: [place, leaf] });
      unopened.push(index);
    }
    if (receipt.cumulative !== BigInt(String(before)) + receipt.price) {
      proofs.push(
        index === 0
          ? { method: 'proveEdge', args: [place, leaf] }
          : { method: 'proveBreak', args: [place, leafOf(claimed, index - 1), leaf] },
      );
    }
    before = receipt.cumulative;
    const isLast = index === entries.length - 1;
    if (isLast && receipt.cumulative !== place.settledTo) {
      proofs.push({ method: 'proveEdge', args: [place, leaf] });
    }
    if (isForeign) return;
    if (receipt.price > priceOf(execution, TERMS)) {
      proofs.push({ method: 'proveOvercharge', args: opened(index) });
    }
    const isOverLimit =
      receipt.price > call.maxPrice ||
      execution.finishedAtSec > call.deadlineSec ||
      execution.input !== call.input ||
      call.signer !== receipt.signer ||
      execution.deployment === 6;
    if (receipt.price > 0n && isOverLimit)
      proofs.push({ method: 'proveOverLimit', args: opened(index) });
    const first = seen.get(receipt.call);
    if (first !== undefined && receipt.price > 0n) {
      const args = [place, leafOf(claimed, first), place, leaf];
      proofs.push({ method: 'proveDuplicate', args });
    } else if (receipt.price > 0n) {
      seen.set(receipt.call, index);
    }
    const order = drawOrder(drawSeed(house.epochValue, call), house.ids).slice(0, 2);
    if (!order.includes(execution.deployment)) {
      proofs.push({ method: 'proveMisroute', args: [...opened(index), 1, house.ids] });
    }
    if (lane.mode === 'signed' && callSignature === undefined) unopened.push(index);
  });
  return { proofs: [...proofs, ...omissions(house, claimed, handedOut)], unopened };
}

/** Receipts that the payer holds, and another leaf at their place. */
function omissions(house: House, claimed: Claimed, handedOut: readonly Entry[]): Proof[] {
  const { place, tree, lane, entries } = claimed;
  const from = lane.settledSeq - entries.length;
  return handedOut.flatMap(({ receipt }) => {
    const index = receipt.seq - from - 1;
    const committed = entries[index]?.receipt;
    if (committed === undefined) return [];
    if (hashReceipt(committed) === hashReceipt(receipt)) return [];
    const args = [
      handOut(house, receipt),
      place,
      hashReceipt(committed),
      tree.path(index),
      [committed],
    ];
    return [{ method: 'proveOmission', args }];
  });
}

/** Sends them all; what is refused is left. The units that were slashed. */
export async function prove(house: House, by: Party, proofs: readonly Proof[]): Promise<bigint> {
  let slashed = 0n;
  for (const { method, args } of proofs) {
    const sent = await house.send(by, 'Disputes', method, ...args);
    if (sent.ok)
      for (const { name, args } of sent.logs) if (name === 'Slashed') slashed += args.amount;
  }
  return slashed;
}
