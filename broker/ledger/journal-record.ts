// What one record of the journal's file says, as lines and back: a group of receipts with what goes along, or a key's claim.
import { entryToText } from './entry-text.ts';
import type { GroupCommit, StoredAnswer } from './ledger.ts';

/** Beside the entries: the record's first line. */
export interface RecordHead {
  /** The group of the entries that follow. */
  readonly group?: Pick<GroupCommit, 'group' | 'root' | 'spending' | 'signatures'>;
  /** Claims, or outcomes over claims. */
  readonly answers: readonly StoredAnswer[];
  /** Scopes of keys that are to be forgotten. */
  readonly dropped: readonly string[];
}

/** A committed group: its head, then one line per entry. */
export function groupLines({ entries, answers, ...group }: GroupCommit): string[] {
  const lines = [headToText({ group, answers, dropped: [] })];
  entries.forEach((entry, index) => {
    lines.push(entryToText(entry, group.group, index));
  });
  return lines;
}

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

/** The inverse of `headToText`; the text is our own, from our own ledger. */
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
