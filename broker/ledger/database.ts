// The database file of the embedded ledger: its tables, and the check that a file has just these.
// Runs in the worker thread of `sqlite.ts`.
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { DefaasError } from '../errors.ts';

/**
 * `PRAGMA user_version` of the tables below and of the journal's records. It rises with each change
 * of either. SQLite's default is 0, which ledgers had before they were numbered.
 */
const FORMAT = 2;

const SCHEMA = `
CREATE TABLE journal (indexed_to INTEGER NOT NULL) STRICT;
CREATE TABLE groups (n INTEGER PRIMARY KEY, root TEXT NOT NULL, count INTEGER NOT NULL, at INTEGER NOT NULL, key TEXT, signature TEXT) STRICT;
CREATE INDEX groups_unsigned ON groups (n) WHERE signature IS NULL;
CREATE TABLE lanes (n INTEGER PRIMARY KEY, payer TEXT NOT NULL, signer TEXT NOT NULL, seq INTEGER NOT NULL, cumulative TEXT NOT NULL, UNIQUE (payer, signer)) STRICT;
CREATE TABLE lane_runs (lane INTEGER, seq INTEGER, at INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (lane, seq)) STRICT, WITHOUT ROWID;
CREATE TABLE vouchers (payer TEXT, signer TEXT, ceiling TEXT NOT NULL, signature TEXT NOT NULL, PRIMARY KEY (payer, signer)) STRICT;
CREATE TABLE daily_limits (scope TEXT PRIMARY KEY, units TEXT NOT NULL) STRICT;
CREATE TABLE spending (scope TEXT, day TEXT, units TEXT NOT NULL, PRIMARY KEY (scope, day)) STRICT;
CREATE TABLE mandates (hash TEXT PRIMARY KEY, mandate TEXT NOT NULL, signature TEXT NOT NULL, revoked_at_ms INTEGER) STRICT, WITHOUT ROWID;
CREATE TABLE answers (scope TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, at_ms INTEGER NOT NULL, outcome TEXT, body BLOB, file TEXT) STRICT, WITHOUT ROWID;
CREATE INDEX answers_at ON answers (at_ms);
CREATE TABLE deployments (name TEXT, provider TEXT, region TEXT, record TEXT NOT NULL, PRIMARY KEY (name, provider, region)) STRICT;
CREATE TABLE manifests (function_version TEXT PRIMARY KEY, manifest TEXT NOT NULL) STRICT;
CREATE TABLE secrets (function_id TEXT, name TEXT, revision INTEGER NOT NULL, at_ms INTEGER NOT NULL, sealed BLOB, PRIMARY KEY (function_id, name)) STRICT;
CREATE TABLE clients (payer TEXT, id TEXT, record TEXT NOT NULL, PRIMARY KEY (payer, id)) STRICT;
CREATE TABLE batches (n INTEGER PRIMARY KEY, state TEXT NOT NULL, record TEXT NOT NULL) STRICT;
CREATE TABLE top_ups (nonce INTEGER PRIMARY KEY, signed TEXT NOT NULL) STRICT;
CREATE TABLE payouts (payee TEXT, n INTEGER, units TEXT NOT NULL, cumulative TEXT NOT NULL, key TEXT NOT NULL, signature TEXT NOT NULL, PRIMARY KEY (payee, n)) STRICT, WITHOUT ROWID;
`;

/**
 * Opens the database in `file`, or makes one.
 * @throws Error  the file cannot be opened, or another process has it open
 * @throws DefaasError LEDGER_FAILED  the file has another format
 */
export function openDatabase(file: string): DatabaseSync {
  mkdirSync(dirname(file), { recursive: true });
  const db = new DatabaseSync(file);
  try {
    // One process at a time: a second one would truncate the journal that the first one writes.
    db.exec('PRAGMA busy_timeout = 5000; PRAGMA locking_mode = EXCLUSIVE;');
    db.exec('PRAGMA journal_mode = WAL;');
    // Idempotency keys are hashes, so each batch of answers touches other pages: 32 MiB of them
    // stay in memory, and 64 MiB of changes gather before a checkpoint writes them back.
    db.exec('PRAGMA cache_size = -32768; PRAGMA wal_autocheckpoint = 16384;');
    if (isEmpty(db)) {
      db.exec(`BEGIN IMMEDIATE; ${SCHEMA} PRAGMA user_version = ${FORMAT}; COMMIT`);
    }
    refuseOtherFormat(db, file);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

function isEmpty(db: DatabaseSync): boolean {
  return rows(db, 'SELECT 1 FROM sqlite_schema LIMIT 1').length === 0;
}

function refuseOtherFormat(db: DatabaseSync, file: string): void {
  const [found] = rows<{ user_version: number }>(db, 'PRAGMA user_version');
  if (found?.user_version === FORMAT) return;
  throw new DefaasError(
    'LEDGER_FAILED',
    `ledger ${file} has format ${found?.user_version}, this version reads format ${FORMAT}: ` +
      'run the version that wrote it, or begin anew with other keys in another DEFAAS_HOME',
  );
}

/** Rows as plain objects of the columns named in the statement. */
export function rows<Row>(
  db: DatabaseSync,
  sql: string,
  ...parameters: (string | number | Uint8Array | null)[]
): Row[] {
  // Safe: the ledger alone writes these columns, and STRICT tables keep their types.
  return db
    .prepare(sql)
    .all(...parameters)
    .map((row) => ({ ...row }) as Row);
}
