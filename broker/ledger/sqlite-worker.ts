// The worker thread of `sqlite.ts`: the only place that touches the database file. One message, one transaction. Receipts lie in
// the journal's file; here is where they begin.
import { closeSync, fdatasyncSync, fsyncSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { parentPort, workerData } from 'node:worker_threads';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import type { Mandate } from '../../contracts/libraries/typed-data.ts';
import { createEntryIndex, type EntryPlace, shortId } from './entry-index.ts';
import { idOf, indexedPart, isOfSameLane } from './entry-text.ts';
import { readRecords, type StoredLine, type StoredRecord } from './journal-file.ts';
import { headFromText } from './journal-record.ts';
import type {
  BatchRecord,
  BatchState,
  DailyAmount,
  DeploymentRecord,
  GroupSignature,
  LaneTotals,
  LedgerState,
  ListedPayout,
  ServiceClient,
  SpendingScope,
  StoredAnswer,
  StoredGroup,
  StoredMandate,
  StoredPayout,
  StoredSecret,
  StoredVoucher,
} from './ledger.ts';
import { createSeenKeys } from './seen-keys.ts';

interface RecordRow {
  readonly record: string;
}

type MandateRow = Omit<StoredMandate, 'mandate' | 'revokedAtMs'> & {
  readonly mandate: string;
  readonly revokedAtMs: number | null;
};

type GroupRow = Omit<StoredGroup, 'key' | 'signature'> & {
  readonly at: number;
  readonly key: Address | null;
  readonly signature: Hex | null;
};

type PayoutRow = Omit<StoredPayout, 'units' | 'cumulative'> & {
  readonly units: string;
  readonly cumulative: string;
  readonly state: BatchState;
  readonly tx: Hex | null;
  readonly batch: number | null;
};

/** A group as it is entered: with its signature, where that came in the same batch. */
interface IndexedGroup {
  readonly root: Hex;
  readonly count: number;
  readonly at: number;
  signed?: GroupSignature;
}

/** Entries of one lane that stand one behind the other in a group: where the first begins. */
interface LaneRun {
  readonly at: number;
  readonly count: number;
}

/** Held in memory while a long journal is entered. */
const PLACES_AT_ONCE = 100_000;

const SCHEMA = `
CREATE TABLE IF NOT EXISTS journal (indexed_to INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS groups (n INTEGER PRIMARY KEY, root TEXT NOT NULL, count INTEGER NOT NULL, at INTEGER NOT NULL, key TEXT, signature TEXT) STRICT;
CREATE INDEX IF NOT EXISTS groups_unsigned ON groups (n) WHERE signature IS NULL;
CREATE TABLE IF NOT EXISTS lanes (n INTEGER PRIMARY KEY, payer TEXT NOT NULL, signer TEXT NOT NULL, seq INTEGER NOT NULL, cumulative TEXT NOT NULL, UNIQUE (payer, signer)) STRICT;
CREATE TABLE IF NOT EXISTS lane_runs (lane INTEGER, seq INTEGER, at INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (lane, seq)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS vouchers (payer TEXT, signer TEXT, ceiling TEXT NOT NULL, signature TEXT NOT NULL, PRIMARY KEY (payer, signer)) STRICT;
CREATE TABLE IF NOT EXISTS daily_limits (scope TEXT PRIMARY KEY, units TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS spending (scope TEXT, day TEXT, units TEXT NOT NULL, PRIMARY KEY (scope, day)) STRICT;
CREATE TABLE IF NOT EXISTS mandates (hash TEXT PRIMARY KEY, mandate TEXT NOT NULL, signature TEXT NOT NULL, revoked_at_ms INTEGER) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answers (scope TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, at_ms INTEGER NOT NULL, outcome TEXT, body BLOB, file TEXT) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answers_at ON answers (at_ms);
CREATE TABLE IF NOT EXISTS deployments (name TEXT, provider TEXT, region TEXT, record TEXT NOT NULL, PRIMARY KEY (name, provider, region)) STRICT;
CREATE TABLE IF NOT EXISTS manifests (function_version TEXT PRIMARY KEY, manifest TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS secrets (function_id TEXT, name TEXT, revision INTEGER NOT NULL, at_ms INTEGER NOT NULL, sealed BLOB, PRIMARY KEY (function_id, name)) STRICT;
CREATE TABLE IF NOT EXISTS clients (payer TEXT, id TEXT, record TEXT NOT NULL, PRIMARY KEY (payer, id)) STRICT;
CREATE TABLE IF NOT EXISTS batches (n INTEGER PRIMARY KEY, state TEXT NOT NULL, record TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS payouts (payee TEXT, n INTEGER, units TEXT NOT NULL, cumulative TEXT NOT NULL, key TEXT NOT NULL, signature TEXT NOT NULL, PRIMARY KEY (payee, n)) STRICT, WITHOUT ROWID;
`;

// Safe: this file only ever runs as the worker that sqlite.ts starts with the two files' paths.
const { file, journalFile } = workerData as { file: string; journalFile: string };
mkdirSync(dirname(file), { recursive: true });
const db = new DatabaseSync(file);
// One process at a time: a second one would cut off in the journal what the first is writing.
db.exec('PRAGMA busy_timeout = 5000; PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;');
// Idempotency keys are hashes, so each batch of answers touches other pages: 32 MiB of them stay in memory, and 64 MiB of changes are
// gathered before they are written back.
db.exec('PRAGMA cache_size = -32768; PRAGMA wal_autocheckpoint = 16384;');
db.exec(SCHEMA);
const entryIndex = createEntryIndex(db);
const journal = openSync(journalFile, 'a+');

const insertGroup = db.prepare('INSERT INTO groups VALUES (?, ?, ?, ?, ?, ?)');
const insertRun = db.prepare('INSERT INTO lane_runs VALUES (?, ?, ?, ?)');
const laneNumber = db.prepare(
  `INSERT INTO lanes (payer, signer, seq, cumulative) VALUES (?, ?, 0, '0')
    ON CONFLICT DO UPDATE SET seq = seq RETURNING n`,
);
const updateLane = db.prepare('UPDATE lanes SET seq = ?, cumulative = ? WHERE n = ?');
const signGroup = db.prepare('UPDATE groups SET key = ?, signature = ? WHERE n = ?');
const putAnswer = db.prepare('INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)');
const dropAnswer = db.prepare('DELETE FROM answers WHERE scope = ?');
const selectAnswer = db.prepare(
  'SELECT scope, fingerprint, at_ms AS atMs, outcome, body, file FROM answers WHERE scope = ?',
);
const selectSpending = db.prepare('SELECT units FROM spending WHERE scope = ? AND day = ?');
const upsertSpending = db.prepare(
  'INSERT INTO spending VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET units = excluded.units',
);

const operations = {
  /** Enters what a crash left unentered. @returns where the journal's last whole record ends */
  open: (): number => {
    // What was written before a crash may be whole and yet not on disk; what is entered must be.
    fdatasyncSync(journal);
    syncFolder(dirname(journalFile));
    if (hasOldLanes()) enterPlacesAnew();
    return operations.index(Number.MAX_SAFE_INTEGER);
  },

  /** Enters the journal's records up to `to`, which are durable. @returns where they end */
  index: (to: number): number => {
    let end = indexedTo();
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

  /** The filter of `seen-keys.ts` with all keys that are known. */
  seenKeys: (): Uint8Array => {
    const seen = createSeenKeys();
    for (const { scope } of db.prepare('SELECT scope FROM answers').iterate()) {
      seen.add(String(scope));
    }
    return seen.bits;
  },

  load: (day: string): LedgerState => ({
    lanes: rows<LaneTotals & { cumulative: string }>(
      'SELECT payer, signer, seq, cumulative FROM lanes',
    ).map((row) => ({
      ...row,
      cumulative: BigInt(row.cumulative),
    })),
    vouchers: rows<StoredVoucher & { ceiling: string }>(
      'SELECT payer, signer, ceiling, signature FROM vouchers',
    ).map((row) => ({
      ...row,
      ceiling: BigInt(row.ceiling),
    })),
    deployments: rows<RecordRow>('SELECT record FROM deployments').map((row) =>
      JSON.parse(row.record),
    ),
    manifests: rows('SELECT function_version AS functionVersion, manifest FROM manifests'),
    lastGroup: rows<{ n: number }>('SELECT coalesce(max(n), 0) AS n FROM groups')[0]?.n ?? 0,
    unsignedGroups: rows('SELECT n AS "group", root, count FROM groups WHERE signature IS NULL'),
    dailyLimits: dailyAmounts(rows('SELECT scope, units FROM daily_limits')),
    // A mandate counts in all, not by the day that was asked for.
    spentToday: dailyAmounts(
      rows("SELECT scope, units FROM spending WHERE day = ? AND scope NOT LIKE 'mandate:%'", day),
    ),
    mandates: rows<MandateRow>(
      'SELECT hash, mandate, signature, revoked_at_ms AS revokedAtMs FROM mandates',
    ).map((row) => ({ ...withoutNulls<StoredMandate>(row), mandate: mandateFrom(row.mandate) })),
    mandateSpending: rows<{ hash: Hex; day: string; units: string }>(
      "SELECT substr(scope, 9) AS hash, day, units FROM spending WHERE scope LIKE 'mandate:%'",
    ).map((row) => ({ ...row, units: BigInt(row.units) })),
  }),

  putSignatures: (signatures: readonly GroupSignature[]): void => {
    for (const { group, key, signature } of signatures) signGroup.run(key, signature, group);
  },

  putDailyLimit: (scope: SpendingScope, units: bigint | undefined): void => {
    if (units === undefined) db.prepare('DELETE FROM daily_limits WHERE scope = ?').run(scope);
    else db.prepare('INSERT OR REPLACE INTO daily_limits VALUES (?, ?)').run(scope, `${units}`);
  },

  voucher: (payer: Address, signer: Address): StoredVoucher | undefined =>
    rows<StoredVoucher & { ceiling: string }>(
      'SELECT payer, signer, ceiling, signature FROM vouchers WHERE payer = ? AND signer = ?',
      payer,
      signer,
    ).map((row) => ({ ...row, ceiling: BigInt(row.ceiling) }))[0],

  putVouchers: (vouchers: readonly StoredVoucher[]): void => {
    const put = db.prepare('INSERT OR REPLACE INTO vouchers VALUES (?, ?, ?, ?)');
    for (const { payer, signer, ceiling, signature } of vouchers) {
      const known = operations.voucher(payer, signer);
      if (known !== undefined && known.ceiling >= ceiling) continue;
      put.run(payer, signer, ceiling.toString(), signature);
    }
  },

  putMandate: ({ hash, mandate, signature, revokedAtMs }: StoredMandate): void => {
    db.prepare('INSERT INTO mandates VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING').run(
      hash,
      JSON.stringify(mandate, (_, value) => (typeof value === 'bigint' ? `${value}` : value)),
      signature,
      revokedAtMs ?? null,
    );
  },

  revokeMandate: (hash: Hex, atMs: number): void => {
    db.prepare(
      'UPDATE mandates SET revoked_at_ms = ? WHERE hash = ? AND revoked_at_ms IS NULL',
    ).run(atMs, hash);
  },

  answer: (scope: string): StoredAnswer | undefined => {
    const row = selectAnswer.get(scope);
    if (row === undefined) return undefined;
    return withoutNulls<StoredAnswer>(row);
  },

  expireAnswers: (beforeMs: number): readonly string[] =>
    rows<{ file: string | null }>(
      'DELETE FROM answers WHERE at_ms < ? RETURNING file',
      beforeMs,
    ).flatMap(({ file }) => file ?? []),

  putDeployment: (record: DeploymentRecord): void => {
    db.prepare('INSERT OR REPLACE INTO deployments VALUES (?, ?, ?, ?)').run(
      record.name,
      record.provider,
      record.region,
      JSON.stringify(record),
    );
  },

  putManifest: (functionVersion: Hex, manifest: string): void => {
    db.prepare('INSERT OR REPLACE INTO manifests VALUES (?, ?)').run(functionVersion, manifest);
  },

  putSecret: ({ functionId, name, atMs, sealed }: Omit<StoredSecret, 'revision'>): number =>
    rows<{ revision: number }>(
      `INSERT INTO secrets VALUES (?, ?, 1, ?, ?) ON CONFLICT DO UPDATE
        SET revision = revision + 1, at_ms = excluded.at_ms, sealed = excluded.sealed RETURNING revision`,
      functionId,
      name,
      atMs,
      sealed ?? null,
    )[0]?.revision ?? 0,

  secrets: (functionId: string): readonly StoredSecret[] =>
    rows<object>(
      'SELECT function_id AS functionId, name, revision, at_ms AS atMs, sealed FROM secrets WHERE function_id = ? ORDER BY name',
      functionId,
    ).map((row) => withoutNulls<StoredSecret>(row)),

  putClient: (client: ServiceClient): void => {
    db.prepare('INSERT OR REPLACE INTO clients VALUES (?, ?, ?)').run(
      client.payer,
      client.id,
      JSON.stringify(client),
    );
  },

  client: (payer: Address, id: string): ServiceClient | undefined =>
    rows<RecordRow>('SELECT record FROM clients WHERE payer = ? AND id = ?', payer, id).map((row) =>
      JSON.parse(row.record),
    )[0],

  clients: (payer: Address): readonly ServiceClient[] =>
    rows<RecordRow>('SELECT record FROM clients WHERE payer = ? ORDER BY id', payer).map((row) =>
      JSON.parse(row.record),
    ),

  dropClient: (payer: Address, id: string): void => {
    db.prepare('DELETE FROM clients WHERE payer = ? AND id = ?').run(payer, id);
  },

  /** Where the entries begin that may have this id. */
  entryPlaces: (id: Hex): readonly number[] => entryIndex.placesOf(id),

  groupsOfOtherKeys: ({
    key,
    from,
    limit,
  }: {
    readonly key: Address;
    readonly from: number;
    readonly limit: number;
  }): readonly StoredGroup[] =>
    rows(
      `SELECT n AS "group", root, count, key, signature FROM groups WHERE n >= ? AND key <> ? ORDER BY n LIMIT ?`,
      from,
      key,
      limit,
    ),

  group: (n: number): { group: StoredGroup; ids: readonly Hex[] } | undefined => {
    const [row] = rows<GroupRow>(
      'SELECT n AS "group", root, count, at, key, signature FROM groups WHERE n = ?',
      n,
    );
    if (row === undefined) return undefined;
    const { key, signature, at, ...group } = row;
    const { value: record } = readRecords(journal, at).next();
    const [, ...lines] = record?.lines ?? [];
    return {
      group: key === null || signature === null ? group : { ...group, key, signature },
      ids: lines.map(({ bytes }) => indexedPart(bytes).id),
    };
  },

  /** Runs of a lane's entries, by `seq`: enough for `limit` of them that are above `afterSeq`. */
  laneRuns: (lane: {
    readonly payer: Address;
    readonly signer: Address;
    readonly afterSeq: number;
    readonly limit: number;
  }): readonly LaneRun[] => {
    // The first may begin at or below `afterSeq`, and all of it be below.
    const [first, ...others] = rows<LaneRun>(
      `WITH lane AS (SELECT n FROM lanes WHERE payer = ?1 AND signer = ?2)
        SELECT at, count FROM lane_runs WHERE lane = (SELECT n FROM lane) AND seq >= coalesce(
          (SELECT max(seq) FROM lane_runs WHERE lane = (SELECT n FROM lane) AND seq <= ?3), 0) ORDER BY seq LIMIT ?4`,
      lane.payer,
      lane.signer,
      lane.afterSeq,
      lane.limit + 1,
    );
    if (first === undefined) return [];
    let left = lane.limit;
    const enough = others.filter(({ count }) => {
      const isNeeded = left > 0;
      left -= count;
      return isNeeded;
    });
    return [first, ...enough];
  },

  putBatch: (batch: BatchRecord, payouts: readonly Omit<StoredPayout, 'n'>[]): void => {
    db.prepare('INSERT OR REPLACE INTO batches VALUES (?, ?, ?)').run(
      batch.n,
      batch.state,
      JSON.stringify(batch),
    );
    const putPayout = db.prepare('INSERT OR REPLACE INTO payouts VALUES (?, ?, ?, ?, ?, ?)');
    for (const { payee, units, cumulative, key, signature } of payouts) {
      putPayout.run(payee, batch.n, `${units}`, `${cumulative}`, key, signature);
    }
  },

  payouts: (of: {
    readonly payee: Address;
    readonly before: number;
    readonly limit: number;
    readonly isOwed: boolean;
  }): readonly ListedPayout[] =>
    rows<PayoutRow>(
      `SELECT payee, payouts.n AS n, units, cumulative, key, signature, state,
        json_extract(record, '$.tx') AS tx, json_extract(record, '$.batch') AS batch
        FROM payouts JOIN batches ON batches.n = payouts.n
        WHERE payee = ? AND payouts.n < ? AND (? = 0 OR state <> 'void') ORDER BY payouts.n DESC LIMIT ?`,
      of.payee,
      of.before,
      of.isOwed ? 1 : 0,
      of.limit,
    ).map(({ tx, batch, units, cumulative, ...row }) => {
      const amounts = { units: BigInt(units), cumulative: BigInt(cumulative) };
      return {
        ...row,
        ...amounts,
        ...(tx !== null && { tx }),
        ...(batch !== null && { batch }),
      };
    }),

  owed: (payees: readonly Address[]): ReadonlyMap<Address, bigint> => {
    const newest = { before: Number.MAX_SAFE_INTEGER, limit: 1, isOwed: true };
    const found = payees.flatMap((payee) => operations.payouts({ payee, ...newest }));
    return new Map(found.map(({ payee, cumulative }) => [payee, cumulative]));
  },

  batches: (state?: BatchState): readonly BatchRecord[] =>
    rows<RecordRow>(
      'SELECT record FROM batches WHERE ? IS NULL OR state = ? ORDER BY n',
      state ?? null,
      state ?? null,
    ).map((row) => JSON.parse(row.record)),

  close: (): void => {
    closeSync(journal);
    db.close();
  },
};

export type Operations = typeof operations;

/** Where the first record begins that is not entered. */
function indexedTo(): number {
  const [known] = rows<{ at: number }>('SELECT indexed_to AS at FROM journal');
  if (known === undefined) db.exec('INSERT INTO journal VALUES (0)');
  return known?.at ?? 0;
}

/** A ledger of the time when lanes had a row for each receipt, or for each group. */
function hasOldLanes(): boolean {
  const old = "SELECT 1 FROM sqlite_schema WHERE name IN ('lane_entries', 'lane_groups')";
  return rows(old).length > 0;
}

function enterPlacesAnew(): void {
  const end = indexedTo();
  db.exec('DELETE FROM entry_segments; DELETE FROM entry_pages; DELETE FROM lane_runs;');
  const batch = createBatch();
  for (const record of readRecords(journal, 0)) {
    if (record.end > end) break;
    batch.enterEntries(record);
  }
  batch.finish();
  for (const table of ['entries', 'lane_entries', 'lane_groups']) {
    db.exec(`DROP TABLE IF EXISTS ${table}`);
  }
}

/** Collects what many records change in the same rows, so that each row is written once. */
function createBatch() {
  const groups = new Map<number, IndexedGroup>();
  const lanes = new Map<string, { readonly n: number; seq: number; cumulative: string }>();
  let places: EntryPlace[] = [];

  const enterPlaces = (): void => {
    entryIndex.enter(places);
    places = [];
  };
  const laneOf = (payer: Address, signer: Address) => {
    const name = payer + signer;
    const known = lanes.get(name);
    if (known !== undefined) return known;
    const fresh = { n: Number(laneNumber.get(payer, signer)?.n), seq: 0, cumulative: '0' };
    lanes.set(name, fresh);
    return fresh;
  };
  /** Neighbours are of one lane most of the time: of such a run the first and the last say all. */
  const enterEntries = ({ lines: [, ...entries] }: StoredRecord): void => {
    let run: StoredLine[] = [];
    for (const line of entries) {
      places.push({ id: shortId(idOf(line.bytes)), at: line.at });
      if (places.length === PLACES_AT_ONCE) enterPlaces();
      const [first] = run;
      if (first !== undefined && !isOfSameLane(first.bytes, line.bytes)) {
        enterRun(run);
        run = [];
      }
      run.push(line);
    }
    enterRun(run);
  };
  const enterRun = (run: readonly StoredLine[]): void => {
    const [first, last] = [run[0], run.at(-1)];
    if (first === undefined || last === undefined) return;
    const { payer, signer, seq, cumulative } = indexedPart(last.bytes);
    const lane = laneOf(payer, signer);
    insertRun.run(lane.n, indexedPart(first.bytes).seq, first.at, run.length);
    lane.seq = seq;
    lane.cumulative = cumulative;
  };
  const sign = (signed: GroupSignature): void => {
    const group = groups.get(signed.group);
    if (group === undefined) operations.putSignatures([signed]);
    else group.signed = signed;
  };

  return {
    enterEntries,
    enter: (record: StoredRecord): void => {
      const { at, lines } = record;
      const { group, answers, dropped } = headFromText(lines[0]?.bytes.toString() ?? '');
      for (const answer of answers) {
        const { scope, fingerprint, atMs, outcome, body, file: name } = answer;
        putAnswer.run(scope, fingerprint, atMs, outcome ?? null, body ?? null, name ?? null);
      }
      for (const scope of dropped) dropAnswer.run(scope);
      if (group === undefined) return;
      enterEntries(record);
      groups.set(group.group, { root: group.root, count: lines.length - 1, at });
      for (const { scope, day, units } of group.spending) {
        const spent = selectSpending.get(scope, day)?.units ?? '0';
        upsertSpending.run(scope, day, `${BigInt(String(spent)) + units}`);
      }
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
}

/** So that a file that was made is found after a power cut; Windows keeps that by itself. */
function syncFolder(folder: string): void {
  if (process.platform === 'win32') return;
  const descriptor = openSync(folder, 'r');
  fsyncSync(descriptor);
  closeSync(descriptor);
}

function mandateFrom(text: string): Mandate {
  const { functionId, maxPrice, perDay, total, serial, ...rest } = JSON.parse(text);
  return {
    ...rest,
    functionId: BigInt(functionId),
    maxPrice: BigInt(maxPrice),
    perDay: BigInt(perDay),
    total: BigInt(total),
    serial: BigInt(serial),
  };
}

function dailyAmounts(
  found: readonly { readonly scope: SpendingScope; readonly units: string }[],
): DailyAmount[] {
  return found.map(({ scope, units }) => ({ scope, units: BigInt(units) }));
}

/** Rows as plain objects of the columns named in the statement. */
function rows<Row>(sql: string, ...parameters: (string | number | Uint8Array | null)[]): Row[] {
  // Safe: the schema above is the only writer of these columns, and STRICT tables keep their types.
  return db
    .prepare(sql)
    .all(...parameters)
    .map((row) => ({ ...row }) as Row);
}

function withoutNulls<Row>(row: object): Row {
  // Safe: as above; a column that may be NULL is optional in `Row`.
  return Object.fromEntries(Object.entries(row).filter(([, value]) => value !== null)) as Row;
}

parentPort?.on('message', ({ id, name, args }) => {
  // Safe: sqlite.ts sends the names and arguments of `Operations` only.
  const operation = operations[name as keyof Operations] as (...args: unknown[]) => unknown;
  if (name === 'close') {
    parentPort?.postMessage({ id, value: operation() });
    return;
  }
  try {
    // What is in the journal can be entered again; all else is durable by this transaction.
    db.exec(`PRAGMA synchronous = ${name === 'index' ? 'NORMAL' : 'FULL'}`);
    db.exec('BEGIN IMMEDIATE');
    const value = operation(...args);
    db.exec('COMMIT');
    parentPort?.postMessage({ id, value });
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK');
    parentPort?.postMessage({ id, error: error instanceof Error ? error.message : String(error) });
  }
});
