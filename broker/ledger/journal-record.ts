// What one record of the journal's file says, as lines of JSON and back: a head, then one line for
// each receipt of a group. The head has all that the index needs, so indexing does not read the
// other lines.
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import type { GroupCommit, JournalEntry, StoredAnswer, StoredEntry } from './ledger.ts';

/** The record's first line. */
export interface RecordHead {
  /** The group of the receipts in the lines that follow; undefined in a record without receipts. */
  readonly group?: GroupHead;
  /** Claims of idempotency keys, and outcomes that overwrite claims. */
  readonly answers: readonly StoredAnswer[];
  /** Scopes of idempotency keys to forget. */
  readonly dropped: readonly string[];
}

interface GroupHead extends Pick<GroupCommit, 'group' | 'root' | 'spending' | 'signatures'> {
  /** Ids of the receipts, in the order of their lines. */
  readonly ids: readonly Hex[];
  /** Together they cover all receipts of the group, in the order of their lines. */
  readonly runs: readonly LaneRun[];
}

/** Receipts of one lane in consecutive lines of a group. */
export interface LaneRun {
  readonly payer: Address;
  readonly signer: Address;
  readonly count: number;
  /** `seq` of the first and of the last receipt. */
  readonly seqFrom: number;
  readonly seqTo: number;
  /** `cumulative` of the last receipt, base units in decimal. */
  readonly cumulative: string;
}

/** The lines of a committed group: its head, then one line for each receipt. */
export function groupLines({ entries, answers, ...group }: GroupCommit): string[] {
  const ids = entries.map(({ id }) => id);
  const head = { group: { ...group, ids, runs: runsOf(entries) }, answers, dropped: [] };
  return [
    headToText(head),
    ...entries.map((entry, index) => entryToText(entry, group.group, index)),
  ];
}

function runsOf(entries: readonly JournalEntry[]): LaneRun[] {
  const runs: { -readonly [Field in keyof LaneRun]: LaneRun[Field] }[] = [];
  for (const { receipt } of entries) {
    const { payer, signer, seq } = receipt;
    const cumulative = `${receipt.cumulative}`;
    const last = runs.at(-1);
    if (last?.payer === payer && last.signer === signer) {
      last.count += 1;
      last.seqTo = seq;
      last.cumulative = cumulative;
    } else runs.push({ payer, signer, count: 1, seqFrom: seq, seqTo: seq, cumulative });
  }
  return runs;
}

/** JSON of a head: money as decimal strings, bodies of answers as base64. */
export function headToText({ group, answers, dropped }: RecordHead): string {
  return JSON.stringify({
    ...(group && {
      group: {
        ...group,
        spending: group.spending.map((one) => ({ ...one, units: `${one.units}` })),
      },
    }),
    answers: answers.map(({ body, ...rest }) => ({
      ...rest,
      ...(body && { body: Buffer.from(body).toString('base64') }),
    })),
    dropped,
  });
}

/** The inverse of `headToText`. @throws SyntaxError, TypeError  the text is no head */
export function headFromText(text: string): RecordHead {
  const { group, answers, dropped } = JSON.parse(text);
  return {
    ...(group && {
      group: {
        ...group,
        spending: group.spending.map((one: { units: string }) => ({
          ...one,
          units: BigInt(one.units),
        })),
      },
    }),
    answers: answers.map(({ body, ...rest }: { body?: string }) => ({
      ...rest,
      ...(body !== undefined && { body: Buffer.from(body, 'base64') }),
    })),
    dropped,
  };
}

/** JSON of a receipt with its place in the signed group: money as decimal strings. */
export function entryToText(entry: JournalEntry, group: number, groupIndex: number): string {
  const { receipt, call } = entry;
  return JSON.stringify({
    ...entry,
    receipt: { ...receipt, price: `${receipt.price}`, cumulative: `${receipt.cumulative}` },
    call: { ...call, maxPrice: `${call.maxPrice}` },
    group,
    groupIndex,
  });
}

/** The inverse of `entryToText`. @throws SyntaxError, TypeError  the text is no entry */
export function entryFromText(text: string): StoredEntry {
  const { receipt, call, ...rest } = JSON.parse(text);
  return {
    ...rest,
    receipt: { ...receipt, price: BigInt(receipt.price), cumulative: BigInt(receipt.cumulative) },
    call: { ...call, maxPrice: BigInt(call.maxPrice) },
  };
}
