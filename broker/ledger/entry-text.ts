// A journal entry as text and back: what the ledger's tables keep.
import type { JournalEntry } from './ledger.ts';

/** JSON with money and nonces as decimal strings; everything else is JSON already. */
export function entryToText(entry: JournalEntry): string {
  const { receipt, call } = entry;
  return JSON.stringify({
    ...entry,
    receipt: { ...receipt, price: `${receipt.price}`, cumulative: `${receipt.cumulative}` },
    call: { ...call, nonce: `${call.nonce}`, maxPrice: `${call.maxPrice}` },
  });
}

/** The inverse of `entryToText`; the text is our own, from our own ledger. */
export function entryFromText(text: string): JournalEntry {
  const { receipt, call, ...rest } = JSON.parse(text);
  return {
    ...rest,
    receipt: { ...receipt, price: BigInt(receipt.price), cumulative: BigInt(receipt.cumulative) },
    call: { ...call, nonce: BigInt(call.nonce), maxPrice: BigInt(call.maxPrice) },
  };
}
