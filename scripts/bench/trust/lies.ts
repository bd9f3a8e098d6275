// What a lying gateway commits instead of the calls that it served. Each lie takes up to
// `takeUnits` that the payer does not owe.

import { entryAt, type ToCommit } from './books.ts';
import { type Entry, type House, type Lane, TOKEN, word } from './house.ts';

export const LIES = [
  'none',
  'overcharge',
  'overLimit',
  'pastDeadline',
  'otherVersion',
  'otherInput',
  'otherLane',
  'twoKinds',
  'duplicate',
  'sum',
  'firstEdge',
  'lastEdge',
  'foreign',
  'omit',
  'withhold',
  'hide',
  'invent',
] as const;
export type Lie = (typeof LIES)[number];

/**
 * The part of a lie's taking that no evidence can show: a Call that the gateway writes in a prepaid
 * lane, priced by the tariff.
 */
export function isUnprovable(lie: Lie, lane: Pick<Lane, 'mode'>): boolean {
  return lie === 'invent' && lane.mode === 'prepaid';
}

/** The claim on `lane` under a lie. The lane has at least one served call. */
export function lieOn(house: House, lane: Lane, lie: Lie, takeUnits: bigint, at: number): ToCommit {
  const served = lane.served;
  const index = at % served.length;
  const target = served[index];
  const last = served.at(-1);
  if (!target || !last) throw new Error('a lane without calls');
  const end = last.receipt.cumulative;
  const honest = { lane, entries: served, settledTo: end };
  const next = { seq: last.receipt.seq + 1, before: end };
  /** Billed so that the tariff gives just this price. */
  const msFor = (units: bigint) => Number(((units > TOKEN ? units - TOKEN : 0n) * 1_000n) / TOKEN);
  const appended = (entry: Entry): ToCommit => ({
    lane,
    entries: [...served, entry],
    settledTo: entry.receipt.cumulative,
  });
  const priced = { ...next, billedMs: msFor(takeUnits) };
  const price = { price: takeUnits, cumulative: end + takeUnits };
  switch (lie) {
    case 'none':
      return honest;
    case 'overcharge':
      return repriced(honest, index, (entry, before) =>
        remade(house, lane, entry, before, { price: entry.receipt.price + takeUnits }),
      );
    case 'overLimit':
      return appended(
        entryAt(house, lane, priced, { call: { maxPrice: takeUnits - 1n }, receipt: price }),
      );
    case 'pastDeadline':
      return appended(
        entryAt(house, lane, priced, {
          call: { deadlineSec: house.evm.nowSec() - 1 },
          receipt: price,
        }),
      );
    case 'otherVersion':
      return appended(
        entryAt(house, lane, priced, { execution: { deployment: 6 }, receipt: price }),
      );
    case 'otherInput':
      return appended(
        entryAt(house, lane, priced, { execution: { input: word(78) }, receipt: price }),
      );
    case 'otherLane':
      return appended(
        entryAt(house, lane, priced, { call: { signer: house.of.stranger }, receipt: price }),
      );
    case 'twoKinds':
      // Above the tariff and above what its Call allows: two proofs of one taking.
      return appended(
        entryAt(
          house,
          lane,
          { ...next, billedMs: 0 },
          {
            call: { maxPrice: TOKEN },
            receipt: { price: takeUnits + TOKEN, cumulative: end + takeUnits + TOKEN },
          },
        ),
      );
    case 'duplicate': {
      const again = target.receipt.price < takeUnits ? target.receipt.price : takeUnits;
      const { call, execution, callSignature } = target;
      const receipt = { ...target.receipt, seq: next.seq, price: again, cumulative: end + again };
      return appended({ receipt, call, execution, callSignature });
    }
    case 'sum':
      return repriced(honest, index, (entry, before) => ({
        ...entry,
        receipt: {
          ...entry.receipt,
          cumulative: before + entry.receipt.price + (index === 0 ? 0n : takeUnits),
        },
      }));
    case 'firstEdge':
      return repriced(honest, 0, (entry, before) => ({
        ...entry,
        receipt: { ...entry.receipt, cumulative: before + entry.receipt.price + takeUnits },
      }));
    case 'lastEdge':
      return { ...honest, settledTo: end + takeUnits };
    case 'foreign':
      return appended(
        entryAt(house, lane, priced, { receipt: { ...price, signer: house.of.stranger } }),
      );
    case 'omit':
      // Longer than what it handed out, and priced as that.
      return repriced(honest, index, (entry, before) => {
        const billedMs = entry.execution.billedMs + Number((takeUnits * 1_000n) / TOKEN);
        const { seq } = entry.receipt;
        return entryAt(house, lane, { seq, before, billedMs }, { call: entry.call });
      });
    case 'withhold':
      return { ...honest, settledTo: end + takeUnits, shown: 'nothing' };
    case 'hide':
      return { ...lieOn(house, lane, 'overcharge', takeUnits, at), shown: 'hidden' };
    case 'invent':
      return appended(entryAt(house, lane, priced, { receipt: price, isInvented: true }));
  }
}

/** One entry changed, and the sums of all after it. */
function repriced(
  { lane, entries }: ToCommit,
  index: number,
  change: (entry: Entry, before: bigint) => Entry,
): ToCommit {
  let before = lane.settledUnits;
  const next = entries.map((entry, i) => {
    const changed =
      i === index
        ? change(entry, before)
        : { ...entry, receipt: { ...entry.receipt, cumulative: before + entry.receipt.price } };
    before = changed.receipt.cumulative;
    return changed;
  });
  return { lane, entries: next, settledTo: before };
}

/** The same call at another price, which its Call allows and its tariff does not. */
function remade(
  house: House,
  lane: Lane,
  entry: Entry,
  before: bigint,
  { price }: { readonly price: bigint },
): Entry {
  const { seq } = entry.receipt;
  const { billedMs } = entry.execution;
  const receipt = { price, cumulative: before + price };
  return entryAt(house, lane, { seq, before, billedMs }, { call: entry.call, receipt });
}
