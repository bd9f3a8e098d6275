// The command line's own memory in SQLite: lanes and their ceilings, tokens, receipts. Calls in
// parallel wait for each other's writes.
import { chmodSync, closeSync, mkdirSync, openSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { DefaasClientError } from '../../broker/client/errors.ts';
import type { LaneMemory } from '../../broker/client/lane-memory.ts';
import type { PayoutVoucher } from '../../broker/client/payouts.ts';
import type { ReceiptDocument } from '../../broker/client/receipts.ts';
import type { Token } from '../../broker/client/sign-in.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { CliError } from './cli-error.ts';
import { createStoredMemory, LANE_SCHEMA } from './lane-store.ts';

/** How long one call waits for another's write, ms. */
const BUSY_TIMEOUT_MS = 10_000;
/** Most vouchers kept per gateway. */
const KEPT_PAYOUTS = 100;

// Money is decimal text: it does not fit SQLite's 64 bits. `house` tells apart chains, contracts
// and gateways.
const SCHEMA = `
  CREATE TABLE IF NOT EXISTS lanes (
    house TEXT NOT NULL, payer TEXT NOT NULL, signer TEXT NOT NULL, opened_at_ms INTEGER NOT NULL,
    ceiling TEXT NOT NULL DEFAULT '0', verified_seq INTEGER NOT NULL DEFAULT 0, verified_units TEXT NOT NULL DEFAULT '0',
    PRIMARY KEY (house, payer, signer)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS tokens (
    house TEXT NOT NULL, signer TEXT NOT NULL, lane TEXT NOT NULL, token TEXT NOT NULL, expires_at_ms INTEGER NOT NULL,
    PRIMARY KEY (house, signer, lane)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS receipts (
    house TEXT NOT NULL, payer TEXT NOT NULL, signer TEXT NOT NULL, seq INTEGER NOT NULL, id TEXT NOT NULL,
    PRIMARY KEY (house, payer, signer, seq)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS payouts (
    house TEXT NOT NULL, payee TEXT NOT NULL, cumulative TEXT NOT NULL, signature TEXT NOT NULL,
    PRIMARY KEY (house, payee, cumulative)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS confirmed (what TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS lane_purposes (
    house TEXT NOT NULL, payer TEXT NOT NULL, signer TEXT NOT NULL, purpose TEXT NOT NULL,
    PRIMARY KEY (house, payer, signer)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS renewals (
    house TEXT NOT NULL, payer TEXT NOT NULL, signer TEXT NOT NULL, days INTEGER NOT NULL,
    PRIMARY KEY (house, payer, signer)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS receipt_documents (
    house TEXT NOT NULL, id TEXT NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (house, id)
  ) STRICT;
`;

export interface StoredLane {
  readonly payer: Address;
  readonly signer: Address;
}

export interface Store {
  /** The payer's lanes at this gateway for its own calls, newest first. */
  lanes(payer: Address): readonly StoredLane[];
  /** The payer's lanes for another purpose, such as a token that was handed on, newest first. */
  lanesFor(payer: Address, purpose: string): readonly StoredLane[];
  /** Whether the payer has any lane at this gateway, for any purpose. */
  hasLanes(payer: Address): boolean;
  addLane(lane: StoredLane, purpose?: string): void;
  /** The payer's lanes for which mandates were signed, newest first. */
  mandatedLanes(payer: Address): readonly StoredLane[];
  /**
   * For how many days the lane's mandate is renewed before it ends; undefined: it is not renewed.
   */
  renewalDays(lane: StoredLane): number | undefined;
  putRenewalDays(lane: StoredLane, days: number | undefined): void;
  /** The memory of a lane, safe between processes. */
  laneMemory(lane: StoredLane): LaneMemory;
  token(signer: Address, lane?: StoredLane): Token | undefined;
  putToken(signer: Address, lane: StoredLane | undefined, token: Token): void;
  /**
   * Keeps a receipt.
   * @throws DefaasClientError RECEIPT_INVALID with both as evidence: another one is known at this
   *   place
   */
  putReceipt(document: ReceiptDocument): void;
  /** Receipts of a lane, seq -> id. */
  receipts(lane: StoredLane): ReadonlyMap<number, Hex>;
  /** Stores the vouchers that the gateway signed for a payee; keeps the highest ones. */
  putPayouts(payee: Address, vouchers: readonly PayoutVoucher[]): void;
  /** Highest first. */
  payouts(payee: Address): readonly PayoutVoucher[];
  /**
   * The receipts as JSON, as the gateway has shown them. They prove its fraud if it settles others.
   */
  receiptDocuments(lane: StoredLane): readonly string[];
  close(): void;
}

/**
 * Opens `$DEFAAS_HOME/cli.sqlite` for one gateway on one chain; `house` is any text that names
 * both.
 */
export function openStore(home: string, house: string): Store {
  const database = openDatabase(home);
  const statement = (sql: string) => database.prepare(sql);

  return {
    lanes: (payer) =>
      statement(
        `SELECT payer, signer FROM lanes WHERE house = ?1 AND payer = ?2 AND signer NOT IN
          (SELECT signer FROM lane_purposes WHERE house = ?1 AND payer = ?2) ORDER BY opened_at_ms DESC, rowid DESC`,
      )
        .all(house, payer)
        .map(laneOfRow),
    lanesFor: (payer, purpose) =>
      statement(
        `SELECT payer, signer FROM lanes WHERE house = ?1 AND payer = ?2 AND signer IN
          (SELECT signer FROM lane_purposes WHERE house = ?1 AND payer = ?2 AND purpose = ?3) ORDER BY opened_at_ms DESC, rowid DESC`,
      )
        .all(house, payer, purpose)
        .map(laneOfRow),
    hasLanes: (payer) =>
      statement('SELECT 1 FROM lanes WHERE house = ? AND payer = ? LIMIT 1').get(house, payer) !==
      undefined,
    addLane: ({ payer, signer }, purpose) => {
      if (purpose !== undefined) {
        statement('INSERT INTO lane_purposes VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING').run(
          house,
          payer,
          signer,
          purpose,
        );
      }
      statement(
        'INSERT INTO lanes (house, payer, signer, opened_at_ms) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING',
      ).run(house, payer, signer, Date.now());
    },
    mandatedLanes: (payer) =>
      statement(
        `SELECT payer, signer FROM lanes WHERE house = ?1 AND payer = ?2 AND signer IN
          (SELECT signer FROM mandates WHERE house = ?1 AND payer = ?2) ORDER BY opened_at_ms DESC, rowid DESC`,
      )
        .all(house, payer)
        .map(laneOfRow),
    renewalDays: ({ payer, signer }) => {
      const row = statement(
        'SELECT days FROM renewals WHERE house = ? AND payer = ? AND signer = ?',
      ).get(house, payer, signer);
      return row && Number(row.days);
    },
    putRenewalDays: ({ payer, signer }, days) => {
      if (days === undefined) {
        statement('DELETE FROM renewals WHERE house = ? AND payer = ? AND signer = ?').run(
          house,
          payer,
          signer,
        );
        return;
      }
      statement('INSERT OR REPLACE INTO renewals VALUES (?, ?, ?, ?)').run(
        house,
        payer,
        signer,
        days,
      );
    },
    laneMemory: (lane) => createStoredMemory(database, { ...lane, house, home }),
    token: (signer, lane) => {
      const row = statement(
        'SELECT token, expires_at_ms FROM tokens WHERE house = ? AND signer = ? AND lane = ?',
      ).get(house, signer, laneText(lane));
      if (!row) return undefined;
      return { accessToken: String(row.token), expiresAtMs: Number(row.expires_at_ms) };
    },
    putToken: (signer, lane, token) => {
      statement('INSERT OR REPLACE INTO tokens VALUES (?, ?, ?, ?, ?)').run(
        house,
        signer,
        laneText(lane),
        token.accessToken,
        token.expiresAtMs,
      );
    },
    putReceipt: (document) => {
      const { id, receipt } = document;
      const { payer, signer, seq } = receipt;
      statement('INSERT INTO receipts VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING').run(
        house,
        payer,
        signer,
        seq,
        id,
      );
      statement('INSERT INTO receipt_documents VALUES (?, ?, ?) ON CONFLICT DO NOTHING').run(
        house,
        id,
        JSON.stringify(document, (_, value) => (typeof value === 'bigint' ? `${value}` : value)),
      );
      const known = statement(
        'SELECT id FROM receipts WHERE house = ? AND payer = ? AND signer = ? AND seq = ?',
      ).get(house, payer, signer, seq);
      if (known?.id === id) return;
      const before = statement(
        'SELECT document FROM receipt_documents WHERE house = ? AND id = ?',
      ).get(house, String(known?.id));
      throw new DefaasClientError(
        'RECEIPT_INVALID',
        `the gateway shows receipt ${id} where it showed ${String(known?.id)} before, on seq ${seq} of lane ${signer}; nothing more is signed for this gateway`,
        { evidence: [document, ...(before ? [JSON.parse(String(before.document))] : [])] },
      );
    },
    receipts: ({ payer, signer }) =>
      new Map(
        statement('SELECT seq, id FROM receipts WHERE house = ? AND payer = ? AND signer = ?')
          .all(house, payer, signer)
          .map((row) => [Number(row.seq), asAddress(row.id)]),
      ),
    putPayouts: (payee, vouchers) => {
      const put = statement(
        'INSERT INTO payouts VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET signature = excluded.signature',
      );
      for (const { cumulativeUnits, signature } of vouchers) {
        put.run(house, payee, `${cumulativeUnits}`, signature);
      }
      const drop = statement(
        'DELETE FROM payouts WHERE house = ? AND payee = ? AND cumulative = ?',
      );
      for (const { cumulativeUnits } of payoutsOf(database, house, payee).slice(KEPT_PAYOUTS)) {
        drop.run(house, payee, `${cumulativeUnits}`);
      }
    },
    payouts: (payee) => payoutsOf(database, house, payee),
    receiptDocuments: ({ payer, signer }) =>
      statement(
        'SELECT document FROM receipt_documents JOIN receipts USING (house, id) WHERE house = ? AND payer = ? AND signer = ?',
      )
        .all(house, payer, signer)
        .map((row) => String(row.document)),
    close: () => database.close(),
  };
}

/** Sorts highest first here, because SQLite cannot compare numbers of that length. */
function payoutsOf(database: DatabaseSync, house: string, payee: Address): PayoutVoucher[] {
  return database
    .prepare('SELECT cumulative, signature FROM payouts WHERE house = ? AND payee = ?')
    .all(house, payee)
    .map((row) => ({
      cumulativeUnits: BigInt(String(row.cumulative)),
      signature: asAddress(row.signature),
    }))
    .sort((a, b) => (a.cumulativeUnits < b.cumulativeUnits ? 1 : -1));
}

/**
 * Gateways for whose lanes the payer has signed mandates, of the contracts that `house` begins
 * with.
 */
export function mandatedGateways(home: string, contracts: string, payer: Address): Address[] {
  const database = openDatabase(home);
  try {
    return database
      .prepare('SELECT DISTINCT house FROM mandates WHERE payer = ?')
      .all(payer)
      .map(({ house }) => String(house))
      .filter((house) => house.startsWith(`${contracts}:`))
      .map((house) => asAddress(house.slice(contracts.length + 1)));
  } finally {
    database.close();
  }
}

/**
 * What a user has confirmed, and values that were seen once and must not change. Stored per folder,
 * for all gateways.
 */
export interface Confirmed {
  get(what: string): string | undefined;
  put(what: string, value: string): void;
  drop(what: string): void;
  /** Names that begin with this. */
  names(start: string): readonly string[];
  close(): void;
}

/** Opens the confirmations in a folder that belongs to the user. */
export function openConfirmed(folder: string): Confirmed {
  const database = openDatabase(folder);
  return {
    get: (what) => {
      const row = database.prepare('SELECT value FROM confirmed WHERE what = ?').get(what);
      return row && String(row.value);
    },
    put: (what, value) => {
      database.prepare('INSERT OR REPLACE INTO confirmed VALUES (?, ?)').run(what, value);
    },
    drop: (what) => {
      database.prepare('DELETE FROM confirmed WHERE what = ?').run(what);
    },
    names: (start) =>
      database
        .prepare('SELECT what FROM confirmed WHERE substr(what, 1, ?) = ? ORDER BY rowid')
        .all(start.length, start)
        .map(({ what }) => String(what)),
    close: () => database.close(),
  };
}

function openDatabase(folder: string): DatabaseSync {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const [file] = storeFiles(folder);
  keepPrivate(folder);
  try {
    const database = new DatabaseSync(file, { timeout: BUSY_TIMEOUT_MS });
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;');
    database.exec(SCHEMA + LANE_SCHEMA);
    return database;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new CliError(
      'FILE_UNREADABLE',
      `${file} cannot be opened (${why}), it holds lanes, ceilings and receipts: restore it from a backup; without it money set aside can still be withdrawn`,
      { cause },
    );
  }
}

/** The database, and the files that SQLite writes next to it. */
export function storeFiles(home: string): readonly [string, string, string] {
  const file = join(home, 'cli.sqlite');
  return [file, `${file}-wal`, `${file}-shm`];
}

/**
 * Makes the database readable by its owner only: it holds bearer tokens. The file is created before
 * SQLite would create it, and SQLite gives its other files the same mode.
 */
function keepPrivate(home: string): void {
  const files = storeFiles(home);
  closeSync(openSync(files[0], 'a', 0o600));
  for (const file of files) {
    const mode = statSync(file, { throwIfNoEntry: false })?.mode ?? 0;
    if ((mode & 0o077) !== 0) chmodSync(file, 0o600);
  }
}

function laneText(lane: StoredLane | undefined): string {
  return lane ? `${lane.payer}:${lane.signer}` : '';
}

function laneOfRow(row: Record<string, unknown>): StoredLane {
  return { payer: asAddress(row.payer), signer: asAddress(row.signer) };
}

function asAddress(value: unknown): Hex {
  // Safe: only this file writes the table, from values of that type.
  return String(value) as Hex;
}
