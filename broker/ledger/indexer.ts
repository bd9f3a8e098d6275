// Indexes the journal's records in the database: where each receipt and each lane's receipts begin,
// groups, sums spent per day, and outcomes of keyed calls. Runs in the worker thread of
// `sqlite.ts`.
import type { DatabaseSync } from 'node:sqlite';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { rows } from './database.ts';
import { createEntryIndex, type EntryPlace, shortId } from './entry-index.ts';
import { readRecords, type StoredLine, type StoredRecord } from './journal-file.ts';
import { headFromText, type LaneRun } from './journal-record.ts';
import type { GroupSignature, Spending, StoredAnswer } from './ledger.ts';

export interface Indexer {
  /**
   * Indexes the records up to byte `to` of the journal, which must be durable.
   * @returns where the last of them ends
   */
  index(to: number): number;
  /** Where the lines begin that may have the receipt with this id. */
  placesOf(id: Hex): readonly number[];
  putSignatures(signatures: readonly GroupSignature[]): void;
}

/** A group to be indexed, with its signature if that came in the same batch. */
interface IndexedGroup {
  readonly root: Hex;
  readonly count: number;
  readonly at: number;
  signed?: GroupSignature;
}

/** Bounds the memory used while a long journal is indexed. */
const PLACES_AT_ONCE = 100_000;

/** @param journal  file descriptor of the journal */
export function createIndexer(db: DatabaseSync, journal: number): Indexer {
  const entryIndex = createEntryIndex(db);
  const insertGroup = db.prepare('INSERT INTO groups VALUES (?, ?, ?, ?, ?, ?)');
  const signGroup = db.prepare('UPDATE groups SET key = ?, signature = ? WHERE n = ?');
  const insertRun = db.prepare('INSERT INTO lane_runs VALUES (?, ?, ?, ?)');
  const laneNumber = db.prepare(
    `INSERT INTO lanes (payer, signer, seq, cumulative) VALUES (?, ?, 0, '0')
      ON CONFLICT DO UPDATE SET seq = seq RETURNING n`,
  );
  const updateLane = db.prepare('UPDATE lanes SET seq = ?, cumulative = ? WHERE n = ?');
  const putAnswer = db.prepare('INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)');
  const dropAnswer = db.prepare('DELETE FROM answers WHERE scope = ?');
  const selectSpending = db.prepare('SELECT units FROM spending WHERE scope = ? AND day = ?');
  const upsertSpending = db.prepare(
    'INSERT INTO spending VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET units = excluded.units',
  );

  const putSignatures = (signatures: readonly GroupSignature[]): void => {
    for (const { group, key, signature } of signatures) signGroup.run(key, signature, group);
  };
  const enterAnswer = (answer: StoredAnswer): void => {
    const { scope, fingerprint, atMs, outcome, body, file } = answer;
    putAnswer.run(scope, fingerprint, atMs, outcome ?? null, body ?? null, file ?? null);
  };
  const enterSpending = ({ scope, day, units }: Spending): void => {
    const spent = selectSpending.get(scope, day)?.units ?? '0';
    upsertSpending.run(scope, day, `${BigInt(String(spent)) + units}`);
  };

  /** Collects what many records change in the same rows, so that each row is written once. */
  const createBatch = () => {
    const groups = new Map<number, IndexedGroup>();
    const lanes = new Map<string, { readonly n: number; seq: number; cumulative: string }>();
    let places: EntryPlace[] = [];

    const enterPlaces = (): void => {
      entryIndex.enter(places);
      places = [];
    };
    const enterIds = (ids: readonly Hex[], lines: readonly StoredLine[]): void => {
      ids.forEach((id, index) => {
        places.push({ id: shortId(id), at: startOf(lines, index) });
      });
      if (places.length >= PLACES_AT_ONCE) enterPlaces();
    };
    const laneOf = (payer: Address, signer: Address) => {
      const name = payer + signer;
      const known = lanes.get(name);
      if (known !== undefined) return known;
      const fresh = { n: Number(laneNumber.get(payer, signer)?.n), seq: 0, cumulative: '0' };
      lanes.set(name, fresh);
      return fresh;
    };
    const enterRuns = (runs: readonly LaneRun[], lines: readonly StoredLine[]): void => {
      let first = 0;
      for (const { payer, signer, count, seqFrom, seqTo, cumulative } of runs) {
        const lane = laneOf(payer, signer);
        insertRun.run(lane.n, seqFrom, startOf(lines, first), count);
        lane.seq = seqTo;
        lane.cumulative = cumulative;
        first += count;
      }
    };
    const sign = (signed: GroupSignature): void => {
      const group = groups.get(signed.group);
      if (group === undefined) putSignatures([signed]);
      else group.signed = signed;
    };

    return {
      enter: ({ at, lines: [head, ...lines] }: StoredRecord): void => {
        const { group, answers, dropped } = headFromText(head?.bytes.toString() ?? '');
        for (const answer of answers) enterAnswer(answer);
        for (const scope of dropped) dropAnswer.run(scope);
        if (group === undefined) return;
        enterIds(group.ids, lines);
        enterRuns(group.runs, lines);
        groups.set(group.group, { root: group.root, count: group.ids.length, at });
        for (const spent of group.spending) enterSpending(spent);
        for (const signed of group.signatures) sign(signed);
      },
      finish: (): void => {
        enterPlaces();
        for (const [n, { root, count, at, signed }] of groups) {
          insertGroup.run(n, root, count, at, signed?.key ?? null, signed?.signature ?? null);
        }
        for (const { n, seq, cumulative } of lanes.values()) updateLane.run(seq, cumulative, n);
      },
    };
  };

  return {
    index: (to) => {
      let end = indexedTo(db);
      const batch = createBatch();
      for (const record of readRecords(journal, end)) {
        if (record.end > to) break;
        batch.enter(record);
        end = record.end;
      }
      batch.finish();
      db.prepare('UPDATE journal SET indexed_to = ?').run(end);
      return end;
    },
    placesOf: entryIndex.placesOf,
    putSignatures,
  };
}

/** Byte where the first record begins that is not indexed yet. */
function indexedTo(db: DatabaseSync): number {
  const [known] = rows<{ at: number }>(db, 'SELECT indexed_to AS at FROM journal');
  if (known === undefined) db.exec('INSERT INTO journal VALUES (0)');
  return known?.at ?? 0;
}

/** @throws Error  the group has fewer lines than its head says */
function startOf(lines: readonly StoredLine[], index: number): number {
  const line = lines[index];
  if (line === undefined) throw new Error('a record of the journal lacks lines');
  return line.at;
}
