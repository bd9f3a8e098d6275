// Operations on the ledger's database, one method per operation of `sqlite.ts`. Runs in its worker
// thread, each operation in a transaction.
import type { DatabaseSync } from 'node:sqlite';
import type { SignedTransaction } from '../../contracts/chain/nonce-line.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { NO_AUTHORITY } from '../../contracts/libraries/receipts.ts';
import { mandateFromText, mandateToText } from '../client/mandate-text.ts';
import { rows } from './database.ts';
import type { Indexer } from './indexer.ts';
import { readRecords } from './journal-file.ts';
import { entryFromText, headFromText } from './journal-record.ts';
import type {
  BatchRecord,
  BatchState,
  DailyAmount,
  DeploymentRecord,
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

export type Operations = ReturnType<typeof createOperations>;

export interface OperationParts {
  readonly db: DatabaseSync;
  /** File descriptor of the journal. */
  readonly journal: number;
  readonly indexer: Indexer;
}

interface RecordRow {
  readonly record: string;
}

type VoucherRow = Omit<StoredVoucher, 'ceiling'> & { readonly ceiling: string };

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

/** Receipts of one lane in consecutive lines of the journal; the first line begins at byte `at`. */
interface RunPlace {
  readonly at: number;
  readonly count: number;
}

/** Names and arguments are those of the methods of `Ledger` that call them. */
export function createOperations(parts: OperationParts) {
  const { db, indexer } = parts;
  return {
    index: indexer.index,
    load: (day: string): LedgerState => load(db, day),
    ...receiptOperations(parts),
    ...limitOperations(db),
    ...voucherOperations(db),
    ...mandateOperations(db),
    ...answerOperations(db),
    ...deploymentOperations(db),
    ...clientOperations(db),
    ...batchOperations(db),
    ...topUpOperations(db),
  };
}

function load(db: DatabaseSync, day: string): LedgerState {
  const [newest] = rows<{ n: number }>(db, 'SELECT coalesce(max(n), 0) AS n FROM groups');
  const today = "SELECT scope, units FROM spending WHERE day = ? AND scope NOT LIKE 'mandate:%'";
  return {
    lanes: rows<Omit<LaneTotals, 'cumulative'> & { readonly cumulative: string }>(
      db,
      'SELECT payer, signer, seq, cumulative FROM lanes',
    ).map((row) => ({ ...row, cumulative: BigInt(row.cumulative) })),
    vouchers: rows<VoucherRow>(db, 'SELECT payer, signer, ceiling, signature FROM vouchers').map(
      voucherOf,
    ),
    deployments: rows<RecordRow>(db, 'SELECT record FROM deployments').map(parsed),
    manifests: rows(db, 'SELECT function_version AS functionVersion, manifest FROM manifests'),
    lastGroup: newest?.n ?? 0,
    unsignedGroups: rows(
      db,
      'SELECT n AS "group", root, count FROM groups WHERE signature IS NULL',
    ),
    dailyLimits: dailyAmounts(rows(db, 'SELECT scope, units FROM daily_limits')),
    // A mandate's spending counts for all days, so it is loaded separately.
    spentToday: dailyAmounts(rows(db, today, day)),
    mandates: rows<MandateRow>(
      db,
      'SELECT hash, mandate, signature, revoked_at_ms AS revokedAtMs FROM mandates',
    ).map((row) => ({
      ...withoutNulls<StoredMandate>(row),
      mandate: mandateFromText(row.mandate),
    })),
    mandateSpending: rows<{ hash: Hex; day: string; units: string }>(
      db,
      "SELECT substr(scope, 9) AS hash, day, units FROM spending WHERE scope LIKE 'mandate:%'",
    ).map((row) => ({ ...row, units: BigInt(row.units) })),
  };
}

function receiptOperations({ db, journal, indexer }: OperationParts) {
  return {
    entryPlaces: indexer.placesOf,
    putSignatures: indexer.putSignatures,

    groupsOfOtherKeys: (of: {
      readonly key: Address;
      readonly from: number;
      readonly limit: number;
    }): readonly StoredGroup[] =>
      rows(
        db,
        `SELECT n AS "group", root, count, key, signature FROM groups
          WHERE n >= ? AND key <> ? ORDER BY n LIMIT ?`,
        of.from,
        of.key,
        of.limit,
      ),

    group: (n: number): { group: StoredGroup; ids: readonly Hex[] } | undefined => {
      const [row] = rows<GroupRow>(
        db,
        'SELECT n AS "group", root, count, at, key, signature FROM groups WHERE n = ?',
        n,
      );
      if (row === undefined) return undefined;
      const { at, ...group } = row;
      const { value: record } = readRecords(journal, at).next();
      const head = headFromText(record?.lines[0]?.bytes.toString() ?? '');
      return { group: withoutNulls<StoredGroup>(group), ids: head.group?.ids ?? [] };
    },

    lastNonces: (limit: number): readonly Hex[] => {
      const nonces: Hex[] = [];
      const newest = db.prepare('SELECT at FROM groups ORDER BY n DESC LIMIT ?');
      for (const { at } of newest.iterate(limit)) {
        if (nonces.length >= limit) break;
        const { value: record } = readRecords(journal, Number(at)).next();
        for (const { bytes } of record?.lines.slice(1).reverse() ?? []) {
          const { receipt, call } = entryFromText(bytes.toString());
          if (receipt.price > 0n && call.authority === NO_AUTHORITY) nonces.push(call.nonce);
        }
      }
      return nonces.slice(0, limit);
    },

    /** Runs of a lane by `seq`, enough to hold `limit` receipts above `afterSeq`. */
    laneRuns: (lane: {
      readonly payer: Address;
      readonly signer: Address;
      readonly afterSeq: number;
      readonly limit: number;
    }): readonly RunPlace[] => {
      // The first run may begin at or below `afterSeq`, and may end below it.
      const [first, ...others] = rows<RunPlace>(
        db,
        `WITH lane AS (SELECT n FROM lanes WHERE payer = ?1 AND signer = ?2)
          SELECT at, count FROM lane_runs WHERE lane = (SELECT n FROM lane) AND seq >= coalesce(
            (SELECT max(seq) FROM lane_runs WHERE lane = (SELECT n FROM lane) AND seq <= ?3), 0)
          ORDER BY seq LIMIT ?4`,
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
  };
}

function limitOperations(db: DatabaseSync) {
  return {
    putDailyLimit: (scope: SpendingScope, units: bigint | undefined): void => {
      if (units === undefined) db.prepare('DELETE FROM daily_limits WHERE scope = ?').run(scope);
      else db.prepare('INSERT OR REPLACE INTO daily_limits VALUES (?, ?)').run(scope, `${units}`);
    },
  };
}

function voucherOperations(db: DatabaseSync) {
  const voucher = (payer: Address, signer: Address): StoredVoucher | undefined =>
    rows<VoucherRow>(
      db,
      'SELECT payer, signer, ceiling, signature FROM vouchers WHERE payer = ? AND signer = ?',
      payer,
      signer,
    ).map(voucherOf)[0];
  return {
    voucher,
    putVouchers: (vouchers: readonly StoredVoucher[]): void => {
      const put = db.prepare('INSERT OR REPLACE INTO vouchers VALUES (?, ?, ?, ?)');
      for (const { payer, signer, ceiling, signature } of vouchers) {
        const known = voucher(payer, signer);
        if (known !== undefined && known.ceiling >= ceiling) continue;
        put.run(payer, signer, ceiling.toString(), signature);
      }
    },
  };
}

function mandateOperations(db: DatabaseSync) {
  return {
    putMandate: ({ hash, mandate, signature, revokedAtMs }: StoredMandate): void => {
      db.prepare('INSERT INTO mandates VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING').run(
        hash,
        mandateToText(mandate),
        signature,
        revokedAtMs ?? null,
      );
    },
    revokeMandate: (hash: Hex, atMs: number): void => {
      db.prepare(
        'UPDATE mandates SET revoked_at_ms = ? WHERE hash = ? AND revoked_at_ms IS NULL',
      ).run(atMs, hash);
    },
  };
}

function answerOperations(db: DatabaseSync) {
  const selectAnswer = db.prepare(
    'SELECT scope, fingerprint, at_ms AS atMs, outcome, body, file FROM answers WHERE scope = ?',
  );
  return {
    answer: (scope: string): StoredAnswer | undefined => {
      const row = selectAnswer.get(scope);
      return row && withoutNulls<StoredAnswer>(row);
    },
    expireAnswers: (beforeMs: number): readonly string[] =>
      rows<{ file: string | null }>(
        db,
        'DELETE FROM answers WHERE at_ms < ? RETURNING file',
        beforeMs,
      ).flatMap(({ file }) => file ?? []),
    /** The filter of `seen-keys.ts`, with all keys that have an answer. */
    seenKeys: (): Uint8Array => {
      const seen = createSeenKeys();
      for (const { scope } of db.prepare('SELECT scope FROM answers').iterate()) {
        seen.add(String(scope));
      }
      return seen.bits;
    },
  };
}

function deploymentOperations(db: DatabaseSync) {
  return {
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
        db,
        `INSERT INTO secrets VALUES (?, ?, 1, ?, ?) ON CONFLICT DO UPDATE
          SET revision = revision + 1, at_ms = excluded.at_ms, sealed = excluded.sealed
          RETURNING revision`,
        functionId,
        name,
        atMs,
        sealed ?? null,
      )[0]?.revision ?? 0,
    secrets: (functionId: string): readonly StoredSecret[] =>
      rows<object>(
        db,
        `SELECT function_id AS functionId, name, revision, at_ms AS atMs, sealed FROM secrets
          WHERE function_id = ? ORDER BY name`,
        functionId,
      ).map((row) => withoutNulls<StoredSecret>(row)),
  };
}

function clientOperations(db: DatabaseSync) {
  return {
    putClient: (client: ServiceClient): void => {
      db.prepare('INSERT OR REPLACE INTO clients VALUES (?, ?, ?)').run(
        client.payer,
        client.id,
        JSON.stringify(client),
      );
    },
    client: (payer: Address, id: string): ServiceClient | undefined => {
      const sql = 'SELECT record FROM clients WHERE payer = ? AND id = ?';
      return rows<RecordRow>(db, sql, payer, id).map(parsed)[0];
    },
    clients: (payer: Address): readonly ServiceClient[] => {
      const sql = 'SELECT record FROM clients WHERE payer = ? ORDER BY id';
      return rows<RecordRow>(db, sql, payer).map(parsed);
    },
    dropClient: (payer: Address, id: string): void => {
      db.prepare('DELETE FROM clients WHERE payer = ? AND id = ?').run(payer, id);
    },
  };
}

function batchOperations(db: DatabaseSync) {
  const payouts = (of: {
    readonly payee: Address;
    readonly before: number;
    readonly limit: number;
    readonly isOwed: boolean;
  }): readonly ListedPayout[] =>
    rows<PayoutRow>(
      db,
      `SELECT payee, payouts.n AS n, units, cumulative, key, signature, state,
        json_extract(record, '$.tx') AS tx, json_extract(record, '$.batch') AS batch
        FROM payouts JOIN batches ON batches.n = payouts.n
        WHERE payee = ? AND payouts.n < ? AND (? = 0 OR state <> 'void')
        ORDER BY payouts.n DESC LIMIT ?`,
      of.payee,
      of.before,
      of.isOwed ? 1 : 0,
      of.limit,
    ).map(payoutOf);
  return {
    putBatch: (batch: BatchRecord, owed: readonly Omit<StoredPayout, 'n'>[]): void => {
      const { n, state } = batch;
      const put = db.prepare('INSERT OR REPLACE INTO batches VALUES (?, ?, ?)');
      put.run(n, state, JSON.stringify(batch));
      const putPayout = db.prepare('INSERT OR REPLACE INTO payouts VALUES (?, ?, ?, ?, ?, ?)');
      for (const { payee, units, cumulative, key, signature } of owed) {
        putPayout.run(payee, n, `${units}`, `${cumulative}`, key, signature);
      }
    },
    payouts,
    owed: (payees: readonly Address[]): ReadonlyMap<Address, bigint> => {
      const newest = { before: Number.MAX_SAFE_INTEGER, limit: 1, isOwed: true };
      const found = payees.flatMap((payee) => payouts({ payee, ...newest }));
      return new Map(found.map(({ payee, cumulative }) => [payee, cumulative]));
    },
    batches: (state?: BatchState): readonly BatchRecord[] =>
      rows<RecordRow>(
        db,
        'SELECT record FROM batches WHERE ? IS NULL OR state = ? ORDER BY n',
        state ?? null,
        state ?? null,
      ).map(parsed),
  };
}

function topUpOperations(db: DatabaseSync) {
  return {
    putTopUp: (nonce: number, signed: readonly SignedTransaction[]): void => {
      if (signed.length === 0) db.prepare('DELETE FROM top_ups WHERE nonce = ?').run(nonce);
      else {
        const put = db.prepare('INSERT OR REPLACE INTO top_ups VALUES (?, ?)');
        put.run(nonce, JSON.stringify(signed));
      }
    },
    topUps: (): readonly (readonly SignedTransaction[])[] =>
      rows<RecordRow>(db, 'SELECT signed AS record FROM top_ups ORDER BY nonce').map(parsed),
  };
}

function parsed({ record }: RecordRow) {
  return JSON.parse(record);
}

function voucherOf(row: VoucherRow): StoredVoucher {
  return { ...row, ceiling: BigInt(row.ceiling) };
}

function payoutOf({ units, cumulative, ...row }: PayoutRow): ListedPayout {
  const payout = { ...row, units: BigInt(units), cumulative: BigInt(cumulative) };
  return withoutNulls<ListedPayout>(payout);
}

function dailyAmounts(
  found: readonly { readonly scope: SpendingScope; readonly units: string }[],
): DailyAmount[] {
  return found.map(({ scope, units }) => ({ scope, units: BigInt(units) }));
}

function withoutNulls<Row>(row: object): Row {
  // Safe: as in `rows`; a column that may be NULL is optional in `Row`.
  return Object.fromEntries(Object.entries(row).filter(([, value]) => value !== null)) as Row;
}
