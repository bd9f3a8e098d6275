// What the command line remembers of one lane, in SQLite. Calls in flight of all its processes
// count together, and a lie of the gateway found by one process stops them all.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import type { DefaasClientError } from '../../broker/client/errors.ts';
import { formatEvidence } from '../../broker/client/evidence.ts';
import { evidenceName } from '../../broker/client/exhibits.ts';
import {
  countedFrom,
  countedSecOf,
  type HeldMandate,
  type LaneMemory,
  type LaneRecord,
  type OpenCall,
  type OpenUnits,
  type SeenCall,
  seenIn,
  seenTogether,
  utcDayOf,
} from '../../broker/client/lane-memory.ts';
import { mandateFromText, mandateToText } from '../../broker/client/mandate-text.ts';
import { parseReceipt, type ReceiptDocument } from '../../broker/client/receipts.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';

// Money is decimal text: it does not fit SQLite's 64 bits. `house` tells apart chains, contracts
// and gateways.
export const LANE_SCHEMA = `
  CREATE TABLE IF NOT EXISTS stopped_lanes (
    house TEXT NOT NULL, payer TEXT NOT NULL, signer TEXT NOT NULL, why TEXT NOT NULL, at_ms INTEGER NOT NULL,
    PRIMARY KEY (house, payer, signer)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS open_calls (
    house TEXT NOT NULL, payer TEXT NOT NULL, signer TEXT NOT NULL, id TEXT NOT NULL, call TEXT NOT NULL, max_units TEXT NOT NULL,
    expires_at_ms INTEGER NOT NULL, seq INTEGER, receipt TEXT, units TEXT, elapsed_ms REAL,
    PRIMARY KEY (house, payer, signer, id)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS seen_calls (
    house TEXT NOT NULL, payer TEXT NOT NULL, signer TEXT NOT NULL, call TEXT NOT NULL, elapsed_ms REAL, is_refused INTEGER NOT NULL,
    is_lost INTEGER NOT NULL,
    PRIMARY KEY (house, payer, signer, call)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS paid_calls (
    house TEXT NOT NULL, payer TEXT NOT NULL, signer TEXT NOT NULL, call TEXT NOT NULL, seq INTEGER NOT NULL, id TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (house, payer, signer, call)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS mandates (
    house TEXT NOT NULL, payer TEXT NOT NULL, signer TEXT NOT NULL, hash TEXT NOT NULL, mandate TEXT NOT NULL, revoked_at_ms INTEGER,
    PRIMARY KEY (house, payer, signer, hash)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS mandate_spending (
    house TEXT NOT NULL, payer TEXT NOT NULL, signer TEXT NOT NULL, hash TEXT NOT NULL, day TEXT NOT NULL, units TEXT NOT NULL,
    PRIMARY KEY (house, payer, signer, hash, day)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS mandate_floors (
    house TEXT NOT NULL, payer TEXT NOT NULL, signer TEXT NOT NULL, hash TEXT NOT NULL, counts_from_ms INTEGER NOT NULL,
    PRIMARY KEY (house, payer, signer, hash)
  ) STRICT;
`;

export interface LaneOf {
  /** Names chain, contracts and gateway. */
  readonly house: string;
  readonly payer: Address;
  readonly signer: Address;
  /** $DEFAAS_HOME, where evidence is kept. */
  readonly home: string;
}

type Row = Record<string, unknown>;

export function createStoredMemory(database: DatabaseSync, of: LaneOf): LaneMemory {
  const lane = [of.house, of.payer, of.signer] as const;
  const where = 'house = ? AND payer = ? AND signer = ?';
  const get = (sql: string, ...more: (string | number)[]): Row | undefined =>
    database.prepare(sql).get(...lane, ...more);
  const all = (sql: string, ...more: (string | number)[]): Row[] =>
    database.prepare(sql).all(...lane, ...more);
  const run = (sql: string, ...more: (string | number | null)[]): void => {
    database.prepare(sql).run(...lane, ...more);
  };
  const atomic = <T>(act: () => T): T => {
    database.exec('BEGIN IMMEDIATE');
    try {
      const result = act();
      database.exec('COMMIT');
      return result;
    } catch (error) {
      database.exec('ROLLBACK');
      throw error;
    }
  };
  const read = (): LaneRecord => {
    const row = get(`SELECT ceiling, verified_seq, verified_units FROM lanes WHERE ${where}`);
    const stopped = get(`SELECT why FROM stopped_lanes WHERE ${where}`);
    return {
      ceilingUnits: BigInt(String(row?.ceiling ?? '0')),
      verifiedSeq: Number(row?.verified_seq ?? 0),
      verifiedUnits: BigInt(String(row?.verified_units ?? '0')),
      ...(stopped && { stopped: String(stopped.why) }),
    };
  };
  const write = ({ ceilingUnits, verifiedSeq, verifiedUnits }: LaneRecord): void => {
    database
      .prepare(`UPDATE lanes SET ceiling = ?, verified_seq = ?, verified_units = ? WHERE ${where}`)
      .run(`${ceilingUnits}`, verifiedSeq, `${verifiedUnits}`, ...lane);
  };
  const openUnits = (): OpenUnits => {
    let maxUnits = 0n;
    let expectedUnits = 0n;
    let answered = 0;
    const sql = `SELECT max_units, units FROM open_calls WHERE ${where} AND (seq IS NOT NULL OR expires_at_ms >= ?)`;
    for (const { max_units, units } of all(sql, Date.now())) {
      const most = BigInt(String(max_units));
      maxUnits += most;
      expectedUnits += units === null ? most : BigInt(String(units));
      answered += units === null ? 0 : 1;
    }
    return { maxUnits, expectedUnits, answered };
  };
  const countsFrom = (hash: Hex): number =>
    Number(
      get(`SELECT counts_from_ms FROM mandate_floors WHERE ${where} AND hash = ?`, hash)
        ?.counts_from_ms ?? 0,
    );
  const spentUnder = (hash: Hex): Map<string, bigint> =>
    new Map(
      all(`SELECT day, units FROM mandate_spending WHERE ${where} AND hash = ?`, hash).map(
        ({ day, units }) => [String(day), BigInt(String(units))],
      ),
    );

  const seenOf = (call: string): SeenCall | undefined => {
    const row = get(`SELECT * FROM seen_calls WHERE ${where} AND call = ?`, call);
    return (
      row && {
        ...(row.elapsed_ms !== null && { elapsedMs: Number(row.elapsed_ms) }),
        ...(row.is_refused === 1 && { isRefused: true }),
        ...(row.is_lost === 1 && { isLost: true }),
      }
    );
  };
  /** Ends a try and keeps what it revealed about its call. */
  const endCall = ({ id, call }: OpenCall, outcome: SeenCall | undefined): void => {
    run(`DELETE FROM open_calls WHERE ${where} AND id = ?`, id);
    if (outcome === undefined) return;
    const { elapsedMs, isRefused = false, isLost = false } = seenTogether(seenOf(call), outcome);
    run(
      'INSERT OR REPLACE INTO seen_calls VALUES (?, ?, ?, ?, ?, ?, ?)',
      call,
      elapsedMs ?? null,
      Number(isRefused),
      Number(isLost),
    );
  };
  const openCalls = (and: string, ...more: (string | number)[]): OpenCall[] =>
    all(`SELECT * FROM open_calls WHERE ${where} AND ${and}`, ...more).map(openCallOf);

  return {
    read,
    openUnits,
    seenOf,
    update: (change) =>
      atomic(() => {
        const lost = openCalls('seq IS NULL AND expires_at_ms < ?', Date.now());
        for (const one of lost) endCall(one, { isLost: true });
        const next = change(read(), openUnits());
        write(next);
        return next;
      }),
    putCall: ({ id, call, maxPriceUnits, expiresAtMs, answer }) => {
      if (!answer) run(`DELETE FROM seen_calls WHERE ${where} AND call = ?`, call);
      run(
        'INSERT OR REPLACE INTO open_calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
        id,
        call,
        `${maxPriceUnits}`,
        expiresAtMs,
        answer?.seq ?? null,
        answer?.id ?? null,
        answer ? `${answer.priceUnits}` : null,
        answer?.elapsedMs ?? null,
      );
    },
    dropCall: (id, outcome) =>
      atomic(() => {
        for (const one of openCalls('id = ?', id)) endCall(one, outcome);
      }),
    triesOf: (call) => openCalls('call = ?', call),
    answered: () =>
      new Map(
        all(`SELECT seq, receipt FROM open_calls WHERE ${where} AND seq IS NOT NULL`).map(
          ({ seq, receipt }) => [Number(seq), asHex(receipt)],
        ),
      ),
    paid: (call) => {
      const row = get(`SELECT seq, id, at_ms FROM paid_calls WHERE ${where} AND call = ?`, call);
      return row && { seq: Number(row.seq), id: asHex(row.id), atMs: Number(row.at_ms) };
    },
    forgetPaid: (call) => run(`DELETE FROM paid_calls WHERE ${where} AND call = ?`, call),
    acknowledge: ({ document, call, atMs }) =>
      atomic(() => {
        const record = read();
        const { id, receipt, execution } = document;
        const { seq, cumulative, price } = receipt;
        if (seq !== record.verifiedSeq + 1) return;
        write({ ...record, verifiedSeq: seq, verifiedUnits: cumulative });
        // A reply may have named the receipt of another call, or a free one; the call's own receipt
        // may follow.
        for (const one of openCalls('seq <= ?', seq)) endCall(one, seenIn(one));
        if (price === 0n) return;
        run(`DELETE FROM open_calls WHERE ${where} AND call = ?`, call);
        run(`DELETE FROM seen_calls WHERE ${where} AND call = ?`, call);
        run(
          'INSERT OR REPLACE INTO paid_calls VALUES (?, ?, ?, ?, ?, ?, ?)',
          call,
          seq,
          id,
          Date.now(),
        );
        const { authority } = document.call;
        if (!get(`SELECT 1 FROM mandates WHERE ${where} AND hash = ?`, authority)) return;
        const held = { countsFromMs: countsFrom(authority) };
        const day = utcDayOf(countedSecOf(held, execution.finishedAtSec, atMs));
        const units = (spentUnder(authority).get(day) ?? 0n) + price;
        run(
          'INSERT OR REPLACE INTO mandate_spending VALUES (?, ?, ?, ?, ?, ?)',
          authority,
          day,
          `${units}`,
        );
      }),
    mandates: () =>
      all(`SELECT hash, mandate, revoked_at_ms FROM mandates WHERE ${where}`).map(
        ({ hash, mandate, revoked_at_ms }): HeldMandate => ({
          hash: asHex(hash),
          mandate: mandateFromText(String(mandate)),
          ...(revoked_at_ms !== null && { revokedAtMs: Number(revoked_at_ms) }),
          countsFromMs: countsFrom(asHex(hash)),
          spent: spentUnder(asHex(hash)),
        }),
      ),
    putMandate: ({ hash, mandate, signedAtMs }) =>
      atomic(() => {
        run(
          'INSERT INTO mandates VALUES (?, ?, ?, ?, ?, NULL) ON CONFLICT DO NOTHING',
          hash,
          mandateToText(mandate),
        );
        run(
          'INSERT INTO mandate_floors VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING',
          hash,
          signedAtMs,
        );
      }),
    revokeMandate: (hash, atMs) =>
      database
        .prepare(
          `UPDATE mandates SET revoked_at_ms = ? WHERE ${where} AND hash = ? AND revoked_at_ms IS NULL`,
        )
        .run(atMs, ...lane, hash) && undefined,
    looked: (atMs) =>
      atomic(() => {
        for (const { hash } of all(`SELECT hash FROM mandates WHERE ${where}`)) {
          run(
            `INSERT INTO mandate_floors VALUES (?, ?, ?, ?, ?)
              ON CONFLICT DO UPDATE SET counts_from_ms = max(counts_from_ms, excluded.counts_from_ms)`,
            asHex(hash),
            countedFrom(atMs),
          );
        }
      }),
    stop: (found) => {
      const file = writeEvidence(of, found);
      run(
        'INSERT INTO stopped_lanes VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING',
        `${found.message}, the evidence is in ${file}`,
        Date.now(),
      );
    },
  };
}

/**
 * Writes the gateway's signed receipts that show the lie, one file each, in the format of `defaas
 * prove`.
 * @returns the folder and the files' names
 */
function writeEvidence({ home, house }: LaneOf, found: DefaasClientError): string {
  const [chainId, billing = '', gateway = ''] = house.split(':');
  const folder = join(home, 'evidence');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const files = (found.evidence ?? []).map((one) => {
    const { receipt, call, execution, group, callSignature } = receiptOf(one);
    const { index, count, path, signature } = group;
    const signed = { receipt, index, count, path, signature };
    const exhibit = {
      kind: 'receipt',
      signed,
      call,
      execution,
      ...(callSignature !== undefined && { callSignature }),
    } as const;
    const text = formatEvidence({
      chainId: Number(chainId),
      billing: asHex(billing),
      gateway: asHex(gateway),
      message: found.message,
      exhibit,
    });
    const file = join(folder, `${evidenceName(exhibit)}.json`);
    writeFileSync(file, text, { mode: 0o600, flush: true });
    return file;
  });
  return files.join(' and ');
}

/** Also accepts a document stored as JSON, with money as decimal text. */
function receiptOf(document: object): ReceiptDocument {
  const text = JSON.stringify(document, (_, value) =>
    typeof value === 'bigint' ? `${value}` : value,
  );
  return parseReceipt(JSON.parse(text));
}

function openCallOf(row: Row): OpenCall {
  const { seq, elapsed_ms } = row;
  return {
    id: String(row.id),
    call: String(row.call),
    maxPriceUnits: BigInt(String(row.max_units)),
    expiresAtMs: Number(row.expires_at_ms),
    ...(seq !== null && {
      answer: {
        seq: Number(seq),
        id: asHex(row.receipt),
        priceUnits: BigInt(String(row.units)),
        ...(elapsed_ms !== null && { elapsedMs: Number(elapsed_ms) }),
      },
    }),
  };
}

function asHex(value: unknown): Hex {
  // Safe: only this file writes the tables, from values of that type.
  return String(value) as Hex;
}
