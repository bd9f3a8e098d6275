// Where each receipt begins in the journal, by its id. Ids are hashes, so a tree with a row per id
// would dirty one page per receipt. Instead each batch is one sorted segment at the end of a table,
// merged with the segments before it that are not much larger (the logarithmic method of Bentley
// and Saxe). That keeps segments few and writes each receipt few times
// (docs/decisions/entry-index.md).
import type { DatabaseSync } from 'node:sqlite';
import type { Hex } from '../../contracts/libraries/keccak.ts';

/** A receipt: the first 48 bits of its id, as a number, and the byte where its line begins. */
export interface EntryPlace {
  readonly id: number;
  readonly at: number;
}

export interface EntryIndex {
  enter(places: readonly EntryPlace[]): void;
  /** Where the lines begin that may be this receipt's. Other ids can share its 48 bits. */
  placesOf(id: Hex): readonly number[];
}

/** Id, then byte of the line: 48 bits each, big-endian. */
const PLACE_BYTES = 12;
const NUMBER_BYTES = 6;
/** Places in one row. Four such rows fill a 4 KiB page of SQLite without overflow. */
const PAGE_PLACES = 76;
/** Merging stops at this size, which bounds the time of one batch. */
const MAX_SEGMENT_PLACES = 2 ** 18;

const SCHEMA = `
CREATE TABLE IF NOT EXISTS entry_segments (n INTEGER PRIMARY KEY, count INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS entry_pages (segment INTEGER, first INTEGER, places BLOB NOT NULL, PRIMARY KEY (segment, first)) STRICT, WITHOUT ROWID;
`;

export function createEntryIndex(db: DatabaseSync): EntryIndex {
  db.exec(SCHEMA);
  const lastSegment = db.prepare('SELECT n, count FROM entry_segments ORDER BY n DESC LIMIT 1');
  const insertSegment = db.prepare('INSERT INTO entry_segments (count) VALUES (?) RETURNING n');
  const dropSegment = db.prepare('DELETE FROM entry_segments WHERE n = ?');
  const selectPages = db.prepare('SELECT places FROM entry_pages WHERE segment = ? ORDER BY first');
  const insertPage = db.prepare('INSERT INTO entry_pages VALUES (?, ?, ?)');
  const dropPages = db.prepare('DELETE FROM entry_pages WHERE segment = ?');
  const selectPagesWith = db.prepare(
    `SELECT places FROM entry_segments CROSS JOIN entry_pages ON segment = n
      AND first = (SELECT max(first) FROM entry_pages WHERE segment = n AND first <= ?)`,
  );

  /** Reads the segment and deletes it. */
  const take = (segment: number): Buffer => {
    const pages = selectPages.all(segment).map(pageOf);
    dropPages.run(segment);
    dropSegment.run(segment);
    return Buffer.concat(pages);
  };
  const put = (places: Buffer): void => {
    const segment = Number(insertSegment.get(countOf(places))?.n);
    for (let from = 0; from < countOf(places); ) {
      let to = Math.min(from + PAGE_PLACES, countOf(places));
      // Places with the same id stay in one page, because a look-up reads one page per segment.
      while (to < countOf(places) && idAt(places, to) === idAt(places, to - 1)) to += 1;
      const page = places.subarray(from * PLACE_BYTES, to * PLACE_BYTES);
      insertPage.run(segment, idAt(places, from), page);
      from = to;
    }
  };

  return {
    enter: (fresh) => {
      if (fresh.length === 0) return;
      let places = sorted(fresh);
      for (;;) {
        const { n, count } = lastSegment.get() ?? {};
        const isTakenIn = Number(count) <= 2 * countOf(places);
        if (!isTakenIn || Number(count) + countOf(places) > MAX_SEGMENT_PLACES) break;
        places = merged(take(Number(n)), places);
      }
      put(places);
    },
    placesOf: (id) => {
      const wanted = shortId(id);
      return selectPagesWith.all(wanted).flatMap((row) => {
        const page = pageOf(row);
        const found: number[] = [];
        for (let i = 0; i < countOf(page); i += 1) {
          if (idAt(page, i) === wanted) {
            found.push(page.readUIntBE(i * PLACE_BYTES + NUMBER_BYTES, NUMBER_BYTES));
          }
        }
        return found;
      });
    },
  };
}

/** The 48 bits of an id that are kept. */
export function shortId(id: Hex): number {
  return Number.parseInt(id.slice(2, 2 + 2 * NUMBER_BYTES), 16);
}

function sorted(places: readonly EntryPlace[]): Buffer {
  const bytes = Buffer.allocUnsafe(places.length * PLACE_BYTES);
  let end = 0;
  for (const { id, at } of places.toSorted((a, b) => a.id - b.id)) {
    end = bytes.writeUIntBE(id, end, NUMBER_BYTES);
    end = bytes.writeUIntBE(at, end, NUMBER_BYTES);
  }
  return bytes;
}

function merged(a: Buffer, b: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(a.length + b.length);
  let [atA, atB] = [0, 0];
  for (let end = 0; end < bytes.length; end += PLACE_BYTES) {
    const isA = atB === countOf(b) || (atA < countOf(a) && idAt(a, atA) <= idAt(b, atB));
    const from = (isA ? atA++ : atB++) * PLACE_BYTES;
    (isA ? a : b).copy(bytes, end, from, from + PLACE_BYTES);
  }
  return bytes;
}

function countOf(places: Buffer): number {
  return places.length / PLACE_BYTES;
}

function idAt(places: Buffer, index: number): number {
  return places.readUIntBE(index * PLACE_BYTES, NUMBER_BYTES);
}

function pageOf(row: Record<string, unknown>): Buffer {
  // Safe: `put` above is the only writer of the column, and a STRICT table keeps its type.
  const { buffer, byteOffset, byteLength } = row.places as Uint8Array<ArrayBuffer>;
  return Buffer.from(buffer, byteOffset, byteLength);
}
