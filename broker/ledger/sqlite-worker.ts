// The worker thread of `sqlite.ts`: the only place that touches the database file. One message, one transaction.
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { parentPort, workerData } from 'node:worker_threads';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import type { SpendingScope } from '../invocation/daily-limits.ts';
import type {
  BatchRecord,
  BatchState,
  DailyAmount,
  DeploymentRecord,
  GroupCommit,
  GroupSignature,
  LaneTotals,
  LedgerState,
  StoredAnswer,
  StoredGroup,
  StoredSecret,
  StoredVoucher,
} from './ledger.ts';

export interface EntryRow {
  readonly text: string;
  readonly group: number;
  readonly groupIndex: number;
}

interface RecordRow {
  readonly record: string;
}

type GroupRow = Omit<StoredGroup, 'key' | 'signature'> & {
  readonly key: Address | null;
  readonly signature: Hex | null;
};

export interface CommitRow {
  readonly id: Hex;
  readonly payer: Address;
  readonly signer: Address;
  readonly seq: number;
  readonly cumulative: string;
  readonly text: string;
}

const SCHEMA = `
CREATE TABLE IF NOT EXISTS groups (n INTEGER PRIMARY KEY, root TEXT NOT NULL, count INTEGER NOT NULL, key TEXT, signature TEXT) STRICT;
CREATE INDEX IF NOT EXISTS groups_unsigned ON groups (n) WHERE signature IS NULL;
CREATE TABLE IF NOT EXISTS receipts (n INTEGER PRIMARY KEY, id TEXT NOT NULL, payer TEXT NOT NULL, signer TEXT NOT NULL, seq INTEGER NOT NULL,
  group_n INTEGER NOT NULL, group_index INTEGER NOT NULL, entry TEXT NOT NULL) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS receipts_id ON receipts (id);
CREATE UNIQUE INDEX IF NOT EXISTS receipts_lane ON receipts (payer, signer, seq);
CREATE INDEX IF NOT EXISTS receipts_group ON receipts (group_n, group_index);
CREATE TABLE IF NOT EXISTS lanes (payer TEXT, signer TEXT, seq INTEGER NOT NULL, cumulative TEXT NOT NULL, PRIMARY KEY (payer, signer)) STRICT;
CREATE TABLE IF NOT EXISTS vouchers (payer TEXT, signer TEXT, ceiling TEXT NOT NULL, signature TEXT NOT NULL, PRIMARY KEY (payer, signer)) STRICT;
CREATE TABLE IF NOT EXISTS daily_limits (scope TEXT PRIMARY KEY, units TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS spending (scope TEXT, day TEXT, units TEXT NOT NULL, PRIMARY KEY (scope, day)) STRICT;
CREATE TABLE IF NOT EXISTS answers (scope TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, at_ms INTEGER NOT NULL, outcome TEXT, body BLOB, file TEXT) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answers_at ON answers (at_ms);
CREATE TABLE IF NOT EXISTS deployments (name TEXT, provider TEXT, region TEXT, record TEXT NOT NULL, PRIMARY KEY (name, provider, region)) STRICT;
CREATE TABLE IF NOT EXISTS manifests (function_version TEXT PRIMARY KEY, manifest TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS secrets (function_id TEXT, name TEXT, revision INTEGER NOT NULL, at_ms INTEGER NOT NULL, sealed BLOB, PRIMARY KEY (function_id, name)) STRICT;
CREATE TABLE IF NOT EXISTS batches (n INTEGER PRIMARY KEY, state TEXT NOT NULL, record TEXT NOT NULL) STRICT;
`;

// Safe: this file only ever runs as the worker that sqlite.ts starts with the file's path.
const file = workerData as string;
mkdirSync(dirname(file), { recursive: true });
const db = new DatabaseSync(file);
db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;');
db.exec(SCHEMA);

const insertGroup = db.prepare('INSERT INTO groups (n, root, count) VALUES (?, ?, ?)');
const insertReceipt = db.prepare(
  'INSERT INTO receipts (id, payer, signer, seq, group_n, group_index, entry) VALUES (?, ?, ?, ?, ?, ?, ?)',
);
const upsertLane = db.prepare(
  'INSERT INTO lanes VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET seq = excluded.seq, cumulative = excluded.cumulative',
);
const signGroup = db.prepare('UPDATE groups SET key = ?, signature = ? WHERE n = ?');
const putAnswer = db.prepare('INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)');
const selectAnswer = db.prepare(
  'SELECT scope, fingerprint, at_ms AS atMs, outcome, body, file FROM answers WHERE scope = ?',
);
const selectSpending = db.prepare('SELECT units FROM spending WHERE scope = ? AND day = ?');
const upsertSpending = db.prepare(
  'INSERT INTO spending VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET units = excluded.units',
);
const entryColumns = 'entry AS text, group_n AS "group", group_index AS groupIndex';

const operations = {
  open: (): void => {},

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
    spentToday: dailyAmounts(rows('SELECT scope, units FROM spending WHERE day = ?', day)),
  }),

  commit: (
    group: Omit<GroupCommit, 'entries'> & { readonly entries: readonly CommitRow[] },
  ): void => {
    insertGroup.run(group.group, group.root, group.entries.length);
    const lanes = new Map<string, CommitRow>();
    group.entries.forEach((row, index) => {
      insertReceipt.run(row.id, row.payer, row.signer, row.seq, group.group, index, row.text);
      lanes.set(`${row.payer}:${row.signer}`, row);
    });
    for (const row of lanes.values())
      upsertLane.run(row.payer, row.signer, row.seq, row.cumulative);
    for (const { scope, day, units } of group.spending) {
      const spent = selectSpending.get(scope, day)?.units ?? '0';
      upsertSpending.run(scope, day, `${BigInt(String(spent)) + units}`);
    }
    for (const answer of group.answers) operations.putAnswer(answer);
    operations.putSignatures(group.signatures);
  },

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

  putVoucher: (voucher: StoredVoucher): void => {
    const known = operations.voucher(voucher.payer, voucher.signer);
    if (known !== undefined && known.ceiling >= voucher.ceiling) return;
    db.prepare('INSERT OR REPLACE INTO vouchers VALUES (?, ?, ?, ?)').run(
      voucher.payer,
      voucher.signer,
      voucher.ceiling.toString(),
      voucher.signature,
    );
  },

  putAnswer: (answer: StoredAnswer): void => {
    putAnswer.run(
      answer.scope,
      answer.fingerprint,
      answer.atMs,
      answer.outcome ?? null,
      answer.body ?? null,
      answer.file ?? null,
    );
  },

  answer: (scope: string): StoredAnswer | undefined => {
    const row = selectAnswer.get(scope);
    if (row === undefined) return undefined;
    return withoutNulls<StoredAnswer>(row);
  },

  dropAnswer: (scope: string): void => {
    db.prepare('DELETE FROM answers WHERE scope = ?').run(scope);
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

  entry: (id: Hex): EntryRow | undefined =>
    rows<EntryRow>(`SELECT ${entryColumns} FROM receipts WHERE id = ?`, id)[0],

  group: (n: number): { group: StoredGroup; ids: readonly Hex[] } | undefined => {
    const [row] = rows<GroupRow>(
      'SELECT n AS "group", root, count, key, signature FROM groups WHERE n = ?',
      n,
    );
    if (row === undefined) return undefined;
    const { key, signature, ...group } = row;
    return {
      group: key === null || signature === null ? group : { ...group, key, signature },
      ids: rows<{ id: Hex }>(
        'SELECT id FROM receipts WHERE group_n = ? ORDER BY group_index',
        n,
      ).map(({ id }) => id),
    };
  },

  laneEntries: (lane: {
    readonly payer: Address;
    readonly signer: Address;
    readonly afterSeq: number;
    readonly limit: number;
  }): readonly EntryRow[] =>
    rows(
      `SELECT ${entryColumns} FROM receipts WHERE payer = ? AND signer = ? AND seq > ? ORDER BY seq LIMIT ?`,
      lane.payer,
      lane.signer,
      lane.afterSeq,
      lane.limit,
    ),

  putBatch: (batch: BatchRecord): void => {
    db.prepare('INSERT OR REPLACE INTO batches VALUES (?, ?, ?)').run(
      batch.n,
      batch.state,
      JSON.stringify(batch),
    );
  },

  batches: (state?: BatchState): readonly BatchRecord[] =>
    rows<RecordRow>(
      'SELECT record FROM batches WHERE ? IS NULL OR state = ? ORDER BY n',
      state ?? null,
      state ?? null,
    ).map((row) => JSON.parse(row.record)),

  close: (): void => db.close(),
};

export type Operations = typeof operations;

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
    db.exec('BEGIN IMMEDIATE');
    const value = operation(...args);
    db.exec('COMMIT');
    parentPort?.postMessage({ id, value });
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK');
    parentPort?.postMessage({ id, error: error instanceof Error ? error.message : String(error) });
  }
});
