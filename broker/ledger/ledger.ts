// The gateway's durable state: receipts in the order of the journal, vouchers, mandates,
// deployments, batches. `sqlite.ts` implements it.
import type { Deployment, ProviderName } from '../../adapters/provider.ts';
import type { SignedTransaction } from '../../contracts/chain/nonce-line.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import type { Call, Execution, Receipt } from '../../contracts/libraries/receipts.ts';
import type { Mandate } from '../../contracts/libraries/typed-data.ts';

/** A deployment of the drawn order that did not answer the call: it failed, or was passed over. */
export interface FailedAttempt {
  readonly deployment: number;
  /** The cloud; undefined when the deployment was passed over. */
  readonly provider?: ProviderName;
  readonly code: string;
  readonly ran: 'no' | 'maybe';
  readonly measuredMs: number;
}

/** A receipt with everything that its hashes commit to. It is written once and never changes. */
export interface JournalEntry {
  /** The receipt's hash, its public id. */
  readonly id: Hex;
  readonly receipt: Receipt;
  readonly call: Call;
  /** Signature of the lane's key over the Call; only in signed lanes. */
  readonly callSignature?: Hex;
  readonly execution: Execution;
  /** 32 random bytes that salt `input` and `output`; shown to the payer only. */
  readonly salt: Hex;
  readonly cloud: ProviderName;
  /** `owner/name@number`, for display. */
  readonly functionName: string;
  readonly attempts: readonly FailedAttempt[];
  /**
   * For a call under a mandate: 32 bytes from which its nonce is derived; shown to the payer only.
   */
  readonly item?: Hex;
  /** Why the execution's status is 0. */
  readonly reason?: string;
}

/** A journal entry with its place in the signed group. */
export interface StoredEntry extends JournalEntry {
  readonly group: number;
  readonly groupIndex: number;
}

/** The receipts of one commit. `signature` and `key` are stored with a later commit. */
export interface StoredGroup {
  readonly group: number;
  readonly root: Hex;
  readonly count: number;
  readonly key?: Address;
  readonly signature?: Hex;
}

export interface GroupSignature {
  readonly group: number;
  readonly key: Address;
  readonly signature: Hex;
}

export interface LaneTotals {
  readonly payer: Address;
  readonly signer: Address;
  readonly seq: number;
  readonly cumulative: bigint;
}

export interface StoredVoucher {
  readonly payer: Address;
  readonly signer: Address;
  readonly ceiling: bigint;
  readonly signature: Hex;
}

/** A mandate that a lane's key has signed; `revokedAtMs` is set when it is revoked early. */
export interface StoredMandate {
  readonly hash: Hex;
  readonly mandate: Mandate;
  readonly signature: Hex;
  readonly revokedAtMs?: number;
}

/**
 * What a limit applies to: `function:<id>:<owner>` for a sponsored function,
 * `lane:<payer>:<signer>` for a session key, `mandate:<hash>` for a mandate.
 */
export type SpendingScope =
  | `function:${string}:${Address}`
  | `lane:${Address}:${Address}`
  | `mandate:${Hex}`;

/** A price that counts against a limit; committed together with its receipt. */
export interface Spending {
  readonly scope: SpendingScope;
  /** UTC day, as in `2026-11-22`. */
  readonly day: string;
  readonly units: bigint;
}

/** The sum charged under a mandate on one day, base units. */
export interface MandateSpending {
  readonly hash: Hex;
  readonly day: string;
  readonly units: bigint;
}

/**
 * `updating` serves calls while a change is under way. The gateway resumes `deploying`, `updating`
 * and `removing` when it starts.
 */
export type DeploymentState = 'deploying' | 'updating' | 'live' | 'failed' | 'removing' | 'gone';

/** One step that was done at a cloud. */
export interface RecordedStep {
  readonly action: string;
  readonly resource: string;
  readonly atMs: number;
}

/** A function's version at a cloud, recorded before the gateway first changes anything there. */
export interface DeploymentRecord {
  readonly functionVersion: Hex;
  readonly provider: ProviderName;
  readonly region: string;
  /** Name at the cloud, `df-…`. */
  readonly name: string;
  readonly state: DeploymentState;
  /** Its id in the FunctionRegistry, once it is enrolled. */
  readonly chainId?: number;
  readonly deployment?: Deployment;
  /** Steps of the newest change, each recorded when it was done. */
  readonly steps?: readonly RecordedStep[];
  /** Why it failed, one line. */
  readonly error?: string;
}

/**
 * A function's secret at rest. Each change has a new, higher revision, which identifies a cloud's
 * copy.
 */
export interface StoredSecret {
  /** Decimal digits. */
  readonly functionId: string;
  readonly name: string;
  readonly revision: number;
  readonly atMs: number;
  /** Encrypted by `deployments/secrets.ts`; undefined once it is unset. */
  readonly sealed?: Uint8Array;
}

/** A service account: a key that can request tokens for one lane. */
export interface ServiceClient {
  readonly payer: Address;
  /** Chosen by the payer, unique among its own. */
  readonly id: string;
  /** The lane's key. */
  readonly signer: Address;
  readonly jwk: PublicJwk;
  readonly createdAtMs: number;
}

/** A P-256 or Ed25519 public key (RFC 7518 section 6.2, RFC 8037). */
export interface PublicJwk {
  readonly kty: string;
  readonly crv: string;
  readonly x: string;
  readonly y?: string;
}

export type BatchState = 'prepared' | 'settled' | 'void';

/**
 * A settlement. It is stored before it is signed, and each of its transactions before a node gets
 * it. After a crash the gateway sends the stored transactions again; one of them at most is
 * included, as they share a nonce.
 */
export interface BatchRecord {
  readonly n: number;
  readonly state: BatchState;
  readonly cid: string;
  /** The claims as sent: payer, signer, amounts as decimal strings. */
  readonly claims: readonly BatchClaim[];
  readonly receipts: number;
  readonly totalUnits: string;
  /** Its signed transactions, all with one nonce, the newest last; dropped once it is final. */
  readonly signed?: readonly SignedTransaction[];
  readonly tx?: Hex;
  readonly batch?: number;
  /** The block that includes it. */
  readonly blockNumber?: number;
}

export interface BatchClaim {
  readonly payer: Address;
  readonly signer: Address;
  readonly seqFrom: number;
  readonly seqTo: number;
  readonly settledFrom: string;
  readonly settledTo: string;
  readonly receipts: Hex;
}

/** What a batch owes one payee, signed before the batch was sent. Amounts in base units. */
export interface StoredPayout {
  readonly payee: Address;
  /** `n` of the BatchRecord. */
  readonly n: number;
  readonly units: bigint;
  /** Sum owed to the payee by all batches up to and with this one. */
  readonly cumulative: bigint;
  readonly key: Address;
  /** Signature of `key` over Payout(gateway, payee, cumulative). */
  readonly signature: Hex;
}

/** A payout with the state of its batch. */
export interface ListedPayout extends StoredPayout, Pick<BatchRecord, 'state' | 'tx' | 'batch'> {}

/** A limit, or a sum spent, of one scope on one day, base units. */
export interface DailyAmount {
  readonly scope: SpendingScope;
  readonly units: bigint;
}

export interface LedgerState {
  readonly lanes: readonly LaneTotals[];
  readonly vouchers: readonly StoredVoucher[];
  readonly deployments: readonly DeploymentRecord[];
  /** functionVersion -> manifest as JSON text. */
  readonly manifests: readonly { readonly functionVersion: Hex; readonly manifest: string }[];
  readonly lastGroup: number;
  readonly unsignedGroups: readonly StoredGroup[];
  /** Limits per UTC day, and what was spent on the requested day. */
  readonly dailyLimits: readonly DailyAmount[];
  readonly spentToday: readonly DailyAmount[];
  readonly mandates: readonly StoredMandate[];
  /** Spending of every mandate, for each day on which it was charged. */
  readonly mandateSpending: readonly MandateSpending[];
}

/**
 * The outcome of a call with an idempotency key: a retry with the same key gets the same answer
 * (docs/architecture.md, "The way of one call").
 */
export interface StoredAnswer {
  /** Hash over payer, caller, function and key. */
  readonly scope: string;
  /** Hash over method, path, query and body. */
  readonly fingerprint: string;
  readonly atMs: number;
  /** JSON of the answer without its body; undefined while only the claim is stored. */
  readonly outcome?: string;
  readonly body?: Uint8Array;
  /** Name of the file with the body, when the body is too large for the ledger. */
  readonly file?: string;
}

export interface GroupCommit {
  readonly group: number;
  readonly root: Hex;
  readonly entries: readonly JournalEntry[];
  /** Prices of this group that count against limits per day. */
  readonly spending: readonly Spending[];
  /** Outcomes of the group's calls that have an idempotency key. */
  readonly answers: readonly StoredAnswer[];
  /** Signatures of earlier groups, stored with this commit. */
  readonly signatures: readonly GroupSignature[];
}

/**
 * A method that writes resolves when its change is on disk, or rejects with LEDGER_FAILED. A read
 * sees every write that has resolved.
 */
export interface Ledger {
  load(day: string): Promise<LedgerState>;
  commit(group: GroupCommit): Promise<void>;
  putSignatures(signatures: readonly GroupSignature[]): Promise<void>;
  /** Sets a limit per UTC day; undefined removes it. */
  putDailyLimit(scope: SpendingScope, units: bigint | undefined): Promise<void>;
  /** Keeps the voucher with the higher ceiling, this one or the stored one. */
  putVoucher(voucher: StoredVoucher): Promise<void>;
  voucher(payer: Address, signer: Address): Promise<StoredVoucher | undefined>;
  /** Does nothing when the mandate is stored already. */
  putMandate(mandate: StoredMandate): Promise<void>;
  /** Keeps the time of the first revocation. */
  revokeMandate(hash: Hex, atMs: number): Promise<void>;
  /** Claims a key before the first attempt, or overwrites the claim with an outcome. */
  putAnswer(answer: StoredAnswer): Promise<void>;
  answer(scope: string): Promise<StoredAnswer | undefined>;
  /** Deletes a key under which nothing ran. */
  dropAnswer(scope: string): Promise<void>;
  /** Deletes older answers. @returns the names of their files, which can be deleted too */
  expireAnswers(beforeMs: number): Promise<readonly string[]>;
  putDeployment(record: DeploymentRecord): Promise<void>;
  putManifest(functionVersion: Hex, manifest: string): Promise<void>;
  /** Overwrites. @returns the new revision */
  putSecret(secret: Omit<StoredSecret, 'revision'>): Promise<number>;
  /** Ordered by name. */
  secrets(functionId: string): Promise<readonly StoredSecret[]>;
  /** Overwrites. */
  putClient(client: ServiceClient): Promise<void>;
  client(payer: Address, id: string): Promise<ServiceClient | undefined>;
  /** Ordered by id. */
  clients(payer: Address): Promise<readonly ServiceClient[]>;
  dropClient(payer: Address, id: string): Promise<void>;
  entry(id: Hex): Promise<StoredEntry | undefined>;
  /** Groups from number `from` on, in order, that a key other than `key` has signed. */
  groupsOfOtherKeys(of: {
    readonly key: Address;
    readonly from: number;
    readonly limit: number;
  }): Promise<readonly StoredGroup[]>;
  /** Nonces of the newest charged calls that no mandate allowed, at most `limit`, newest first. */
  lastNonces(limit: number): Promise<readonly Hex[]>;
  group(group: number): Promise<{ group: StoredGroup; ids: readonly Hex[] } | undefined>;
  /** Entries of one lane with `seq` above `afterSeq`, in order. */
  laneEntries(lane: {
    readonly payer: Address;
    readonly signer: Address;
    readonly afterSeq: number;
    readonly limit: number;
  }): Promise<readonly StoredEntry[]>;
  /** Stores the batch and the payouts that it owes in one transaction. Overwrites. */
  putBatch(batch: BatchRecord, payouts?: readonly Omit<StoredPayout, 'n'>[]): Promise<void>;
  /** Payouts with `n` below `before`, newest first. `isOwed` leaves out void batches. */
  payouts(of: {
    readonly payee: Address;
    readonly before: number;
    readonly limit: number;
    readonly isOwed: boolean;
  }): Promise<readonly ListedPayout[]>;
  /** The newest cumulative of each payee that has one; void batches do not count. */
  owed(payees: readonly Address[]): Promise<ReadonlyMap<Address, bigint>>;
  batches(state?: BatchState): Promise<readonly BatchRecord[]>;
  /**
   * Stores the signed transactions of a top-up, all with this nonce. Overwrites; an empty list
   * deletes them.
   */
  putTopUp(nonce: number, signed: readonly SignedTransaction[]): Promise<void>;
  /** The stored top-ups, ordered by nonce. */
  topUps(): Promise<readonly (readonly SignedTransaction[])[]>;
  close(): Promise<void>;
}
