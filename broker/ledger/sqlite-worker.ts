// The worker thread of `sqlite.ts`, which alone touches the database file. Each message names an
// operation and is one transaction. Receipts are in the journal's file; the database says where
// they begin.
import { closeSync, fdatasyncSync, fsyncSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { parentPort, workerData } from 'node:worker_threads';
import { DefaasError } from '../errors.ts';
import { openDatabase } from './database.ts';
import { createIndexer } from './indexer.ts';
import { createOperations, type Operations } from './operations.ts';

/** What `sqlite.ts` sends: `open` first, then operations, `close` last. */
export type WorkerOperations = Operations & {
  /** Indexes what a crash left unindexed. @returns where the journal's last whole record ends */
  open(): number;
  close(): void;
};

/** Answered by a message with the same `id` and a `value`, or an `error` in one line. */
interface Message {
  readonly id: number;
  readonly name: keyof WorkerOperations;
  readonly args: readonly unknown[];
}

// Safe: this file only ever runs as the worker that sqlite.ts starts with the two files' paths.
const { file, journalFile } = workerData as { file: string; journalFile: string };

parentPort?.once('message', ({ id }: Message) => {
  answer(id, () => {
    const { run, end } = open();
    parentPort?.on('message', (message: Message) => answer(message.id, () => run(message)));
    return end;
  });
});

function answer(id: number, work: () => unknown): void {
  try {
    parentPort?.postMessage({ id, value: work() });
  } catch (error) {
    parentPort?.postMessage({ id, error: messageOf(error) });
  }
}

function messageOf(error: unknown): string {
  if (error instanceof DefaasError) return error.message;
  const what = error instanceof Error ? error.message : String(error);
  return `ledger ${file}: ${what}, look at the disk`;
}

/** @throws Error  a file cannot be opened   @throws DefaasError LEDGER_FAILED  another format */
function open() {
  const db = openDatabase(file);
  const journal = openSync(journalFile, 'a+');
  // A crash may leave whole records that are not on disk. What is indexed must be on disk.
  fdatasyncSync(journal);
  syncFolder(dirname(journalFile));
  const indexer = createIndexer(db, journal);
  const operations = createOperations({ db, journal, indexer });
  const run = ({ name, args }: Message): unknown => {
    if (name === 'close') {
      closeSync(journal);
      return db.close();
    }
    // Safe: sqlite.ts sends the names and arguments of `Operations` only.
    const operation = operations[name as keyof Operations] as (...args: unknown[]) => unknown;
    // Records of the journal can be indexed again; all else is durable by this transaction.
    return inTransaction(db, name === 'index' ? 'NORMAL' : 'FULL', () => operation(...args));
  };
  const end = inTransaction(db, 'FULL', () => indexer.index(Number.MAX_SAFE_INTEGER));
  return { run, end };
}

function inTransaction<Value>(
  db: DatabaseSync,
  synchronous: 'NORMAL' | 'FULL',
  work: () => Value,
): Value {
  db.exec(`PRAGMA synchronous = ${synchronous}`);
  db.exec('BEGIN IMMEDIATE');
  try {
    const value = work();
    db.exec('COMMIT');
    return value;
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK');
    throw error;
  }
}

/** Makes a new file survive a power cut. Windows does that by itself. */
function syncFolder(folder: string): void {
  if (process.platform === 'win32') return;
  const descriptor = openSync(folder, 'r');
  fsyncSync(descriptor);
  closeSync(descriptor);
}
