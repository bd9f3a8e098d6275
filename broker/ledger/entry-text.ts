// A journal entry as one line of JSON and back: what the journal's file keeps.
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import type { JournalEntry, StoredEntry } from './ledger.ts';

/** What the index takes of a line without parsing it: all of it comes first, in this order. */
const INDEXED =
  /^\{"id":"(0x[0-9a-f]{64})","receipt":\{"payer":"(0x[0-9a-f]{40})","signer":"(0x[0-9a-f]{40})","seq":(\d+),"cumulative":"(\d+)",/;

/** Characters of a line in which that stands, with room. */
const INDEXED_CHARACTERS = 384;
/** Where in a line the id stands, and where payer and signer with what is between them. */
const ID = { from: 7, to: 73 };
const LANE = { from: 73, to: 191 };

export interface IndexedEntry {
  readonly id: Hex;
  readonly payer: Address;
  readonly signer: Address;
  readonly seq: number;
  readonly cumulative: string;
}

/**
 * JSON with money as decimal strings. The three structs, whose fields the contracts fix, are written out by hand:
 * this runs for every call, and hex and numbers need no escaping. What may be any text is left to `JSON.stringify`.
 */
export function entryToText(entry: JournalEntry, group: number, groupIndex: number): string {
  const { id, receipt, call, execution, callSignature, item, reason, attempts } = entry;
  return (
    `{"id":"${id}","receipt":{"payer":"${receipt.payer}","signer":"${receipt.signer}","seq":${receipt.seq},` +
    `"cumulative":"${receipt.cumulative}","gateway":"${receipt.gateway}","call":"${receipt.call}",` +
    `"execution":"${receipt.execution}","provider":"${receipt.provider}","attempt":${receipt.attempt},` +
    `"atBlock":${receipt.atBlock},"price":"${receipt.price}"},` +
    `"call":{"payer":"${call.payer}","gateway":"${call.gateway}","signer":"${call.signer}","nonce":"${call.nonce}",` +
    `"functionVersion":"${call.functionVersion}","input":"${call.input}","maxPrice":"${call.maxPrice}",` +
    `"deadlineSec":${call.deadlineSec},"beacon":${call.beacon},"authority":"${call.authority}"},` +
    `"execution":{"deployment":${execution.deployment},"request":"${execution.request}",` +
    `"billedMs":${execution.billedMs},"initMs":${execution.initMs},"memoryMiB":${execution.memoryMiB},` +
    `"status":${execution.status},` +
    `"input":"${execution.input}","output":"${execution.output}","finishedAtSec":${execution.finishedAtSec}},` +
    `"salt":"${entry.salt}","group":${group},"groupIndex":${groupIndex},` +
    `"cloud":"${entry.cloud}","functionName":${JSON.stringify(entry.functionName)},` +
    `"attempts":${attempts.length === 0 ? '[]' : JSON.stringify(attempts)}` +
    `${callSignature === undefined ? '' : `,"callSignature":"${callSignature}"`}` +
    `${item === undefined ? '' : `,"item":"${item}"`}` +
    `${reason === undefined ? '' : `,"reason":${JSON.stringify(reason)}`}}`
  );
}

/** The inverse of `entryToText`; the text is our own, from our own ledger. */
export function entryFromText(text: string): StoredEntry {
  const { receipt, call, ...rest } = JSON.parse(text);
  return {
    ...rest,
    receipt: { ...receipt, price: BigInt(receipt.price), cumulative: BigInt(receipt.cumulative) },
    call: { ...call, maxPrice: BigInt(call.maxPrice) },
  };
}

/** What the index takes of a line of the journal. @throws Error  the line is not that of `entryToText` */
export function indexedPart(line: Buffer): IndexedEntry {
  const text = line.toString('latin1', 0, INDEXED_CHARACTERS);
  const [, id, payer, signer, seq, cumulative] = INDEXED.exec(text) ?? [];
  if (cumulative === undefined) throw new Error('a line of the journal is no entry');
  // Safe: the pattern above is that of these types.
  return {
    id: id as Hex,
    payer: payer as Address,
    signer: signer as Address,
    seq: Number(seq),
    cumulative,
  };
}

/** The receipt's id, of a line that is an entry. */
export function idOf(line: Buffer): Hex {
  // Safe: `indexedPart` says of the same place that it is one.
  return line.toString('latin1', ID.from, ID.to) as Hex;
}

/** Whether the receipts of two lines have payer and signer in common. */
export function isOfSameLane(a: Buffer, b: Buffer): boolean {
  return a.compare(b, LANE.from, LANE.to, LANE.from, LANE.to) === 0;
}
