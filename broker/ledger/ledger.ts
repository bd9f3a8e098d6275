// The gateway's durable memory: receipts in journal order, vouchers, deployments, batches. One interface, `sqlite.ts` first.
import type { Deployment, ProviderName } from '../../adapters/provider.ts';
import type { SignedTransaction } from '../../contracts/chain/nonce-line.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import type { Call, Execution, Receipt } from '../../contracts/libraries/receipts.ts';
import type { Mandate } from '../../contracts/libraries/typed-data.ts';

/** A deployment of the drawn order that did not give the answer: tried without one, or passed over. */
export interface FailedAttempt {
  readonly deployment: number;
  /** The cloud, where it was tried. */
  readonly provider?: ProviderName;
  readonly code: string;
  readonly ran: 'no' | 'maybe';
  readonly measuredMs: number;
}

/** One receipt with everything it opens to; what is written once and never changed. */
export interface JournalEntry {
  /** The receipt's hash, its public id. */
  readonly id: Hex;
  readonly receipt: Receipt;
  readonly call: Call;
  /** Of the lane's key over the Call; only in signed lanes. */
  readonly callSignature?: Hex;
  readonly execution: Execution;
  /** 32 random bytes under `input` and `output`; shown to the payer only. */
  readonly salt: Hex;
  readonly cloud: ProviderName;
  /** `owner/name@number`, for people. */
  readonly functionName: string;
  readonly attempts: readonly FailedAttempt[];
  /** Of a mandated call: what its nonce is made of, 32 bytes; shown to the payer only. */
  readonly item?: Hex;
  /** Why status is 0. */
  readonly reason?: string;
}

/** A journal entry with its place in the signed group. */
export interface StoredEntry extends JournalEntry {
  readonly group: number;
  readonly groupIndex: number;
}

/** The receipts of one durable commit. `signature` and `key` follow once the group is durable. */
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

/** A mandate that a lane's key has signed; `revokedAtMs` once it is closed before its time. */
export interface StoredMandate {
  readonly hash: Hex;
  readonly mandate: Mandate;
  readonly signature: Hex;
  readonly revokedAtMs?: number;
}

/**
 * What a limit is of: `function:<id>:<owner>` of a sponsored function, `lane:<payer>:<signer>` of a
 * session key, `mandate:<hash>` of a mandate.
 */
export type SpendingScope =
  | `function:${string}:${Address}`
  | `lane:${Address}:${Address}`
  | `mandate:${Hex}`;

/** A price counted against a scope; goes into the ledger with the receipt. */
export interface Spending {
  readonly scope: SpendingScope;
  /** `2026-11-22`. */
  readonly day: string;
  readonly units: bigint;
}

/** What was charged under a mandate on a day. */
export interface MandateSpending {
  readonly hash: Hex;
  readonly day: string;
  readonly units: bigint;
}

/** `updating` is live with a change under way; `deploying`, `updating` and `removing` are driven on when the gateway starts. */
export type DeploymentState = 'deploying' | 'updating' | 'live' | 'failed' | 'removing' | 'gone';

/** What was done at a cloud, in order. */
export interface RecordedStep {
  readonly action: string;
  readonly resource: string;
  readonly atMs: number;
}

/** A version at a cloud, recorded before the first writing call there. */
export interface DeploymentRecord {
  readonly functionVersion: Hex;
  readonly provider: ProviderName;
  readonly region: string;
  /** Name at the cloud, `df-…`. */
  readonly name: string;
  readonly state: DeploymentState;
  /** Id in the FunctionRegistry once enrolled. */
  readonly chainId?: number;
  readonly deployment?: Deployment;
  /** Of the newest change, each written when it was done. */
  readonly steps?: readonly RecordedStep[];
  /** One line, when failed. */
  readonly error?: string;
}

/** A function's secret at rest. The revision rises with each change and is never used twice, so that a cloud's copy is known by it. */
export interface StoredSecret {
  /** Decimal. */
  readonly functionId: string;
  readonly name: string;
  readonly revision: number;
  readonly atMs: number;
  /** Sealed by `deployments/secrets.ts`; undefined once it is unset. */
  readonly sealed?: Uint8Array;
}

/** A service account: a key of its own that may ask for tokens of one lane. */
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
 * A settlement. It is kept before it is signed, and each transaction of it before a node gets it: after a crash in between it is given
 * out again, and is included once at most.
 */
export interface BatchRecord {
  readonly n: number;
  readonly state: BatchState;
  readonly cid: string;
  /** The claims as sent: payer, signer, amounts as decimal strings. */
  readonly claims: readonly BatchClaim[];
  readonly receipts: number;
  readonly totalUnits: string;
  /** What was signed for it, all with one nonce, the newest last; only until it is final. */
  readonly signed?: readonly SignedTransaction[];
  readonly tx?: Hex;
  readonly batch?: number;
  /** Where it was included. */
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
  /** Of the BatchRecord. */
  readonly n: number;
  readonly units: bigint;
  /** All that was ever owed to the payee up to and with this batch. */
  readonly cumulative: bigint;
  readonly key: Address;
  /** Over Payout(gateway, payee, cumulative), by `key`. */
  readonly signature: Hex;
}

/** A payout with what has become of its batch. */
export interface ListedPayout extends StoredPayout, Pick<BatchRecord, 'state' | 'tx' | 'batch'> {}

/** Base units of a scope on a day. */
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
  /** Limits per UTC day, and what was spent of them on the day that was asked for. */
  readonly dailyLimits: readonly DailyAmount[];
  readonly spentToday: readonly DailyAmount[];
  readonly mandates: readonly StoredMandate[];
  /** Of all their days. */
  readonly mandateSpending: readonly MandateSpending[];
}

/**
 * The outcome of a keyed call, kept so that the same key answers the same
 * (docs/architecture.md, "The way of one call").
 */
export interface StoredAnswer {
  /** Hash over payer, function and key. */
  readonly scope: string;
  /** Hash over method, path, query and body. */
  readonly fingerprint: string;
  readonly atMs: number;
  /** JSON of the answer without its body; undefined while the call is claimed and nothing more is known. */
  readonly outcome?: string;
  readonly body?: Uint8Array;
  /** Name of the file that has the body, when it is too large for the ledger. */
  readonly file?: string;
}

export interface GroupCommit {
  readonly group: number;
  readonly root: Hex;
  readonly entries: readonly JournalEntry[];
  /** Prices of this group that count against limits per day. */
  readonly spending: readonly Spending[];
  /** Outcomes of the group's keyed calls. */
  readonly answers: readonly StoredAnswer[];
  /** Signatures of earlier groups, stored along. */
  readonly signatures: readonly GroupSignature[];
}

/** Every method that writes resolves when what it says is on disk, or rejects with LEDGER_FAILED; every one that reads sees it. */
export interface Ledger {
  load(day: string): Promise<LedgerState>;
  commit(group: GroupCommit): Promise<void>;
  putSignatures(signatures: readonly GroupSignature[]): Promise<void>;
  /** Sets a limit per UTC day; undefined removes it. */
  putDailyLimit(scope: SpendingScope, units: bigint | undefined): Promise<void>;
  /** Keeps the higher of this one and what is there. */
  putVoucher(voucher: StoredVoucher): Promise<void>;
  voucher(payer: Address, signer: Address): Promise<StoredVoucher | undefined>;
  /** One that is there stays as it is. */
  putMandate(mandate: StoredMandate): Promise<void>;
  /** The first time counts. */
  revokeMandate(hash: Hex, atMs: number): Promise<void>;
  /** Claims a key before the first attempt, or writes an outcome over the claim. */
  putAnswer(answer: StoredAnswer): Promise<void>;
  answer(scope: string): Promise<StoredAnswer | undefined>;
  /** Forgets a key: nothing ran under it. */
  dropAnswer(scope: string): Promise<void>;
  /** Forgets what is older, and names the files that are needed no more. */
  expireAnswers(beforeMs: number): Promise<readonly string[]>;
  putDeployment(record: DeploymentRecord): Promise<void>;
  putManifest(functionVersion: Hex, manifest: string): Promise<void>;
  /** Over what was there. @returns the new revision */
  putSecret(secret: Omit<StoredSecret, 'revision'>): Promise<number>;
  /** By name. */
  secrets(functionId: string): Promise<readonly StoredSecret[]>;
  /** Over what was there. */
  putClient(client: ServiceClient): Promise<void>;
  client(payer: Address, id: string): Promise<ServiceClient | undefined>;
  /** By id. */
  clients(payer: Address): Promise<readonly ServiceClient[]>;
  dropClient(payer: Address, id: string): Promise<void>;
  entry(id: Hex): Promise<StoredEntry | undefined>;
  /** Signed groups, from `from` on in their order, that another key than `key` has signed. */
  groupsOfOtherKeys(of: {
    readonly key: Address;
    readonly from: number;
    readonly limit: number;
  }): Promise<readonly StoredGroup[]>;
  group(group: number): Promise<{ group: StoredGroup; ids: readonly Hex[] } | undefined>;
  /** Entries of one lane in `seq` order, `afterSeq` exclusive. */
  laneEntries(lane: {
    readonly payer: Address;
    readonly signer: Address;
    readonly afterSeq: number;
    readonly limit: number;
  }): Promise<readonly StoredEntry[]>;
  /** With what it owes its payees, where that is given: both are durable or neither is. */
  putBatch(batch: BatchRecord, payouts?: readonly Omit<StoredPayout, 'n'>[]): Promise<void>;
  /** Newest first, `before` exclusive; `isOwed` passes over batches that never reached the chain. */
  payouts(of: {
    readonly payee: Address;
    readonly before: number;
    readonly limit: number;
    readonly isOwed: boolean;
  }): Promise<readonly ListedPayout[]>;
  /** The newest cumulative of each payee that has one, without batches that never landed. */
  owed(payees: readonly Address[]): Promise<ReadonlyMap<Address, bigint>>;
  batches(state?: BatchState): Promise<readonly BatchRecord[]>;
  close(): Promise<void>;
}
