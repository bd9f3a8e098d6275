// Types of the local view of the chain: functions, lines, lanes, gateways, batches, demands.
// Everything that reads or writes the chain imports this file; it imports none of that.
import type { Result } from 'ethers';
import type { Address, Hex } from '../libraries/keccak.ts';
import type { Call, Execution, Receipt } from '../libraries/receipts.ts';
import type { PriceTerms } from '../libraries/tariffs.ts';
import type { ContractName } from './abi.ts';

/** Addresses of a deployed set. Its state is the logs since `deployedAtBlock`. */
export interface ContractAddresses {
  readonly registry: Address;
  readonly identity: Address;
  readonly billing: Address;
  readonly disputes: Address;
  readonly beacon: Address;
  readonly token: Address;
  readonly deployedAtBlock: number;
}

/**
 * Calls a view function of a contract at the newest block.
 * @throws ChainError CHAIN_REVERTED, CHAIN_UNREACHABLE
 */
export type ReadContract = (
  contract: ContractName,
  method: string,
  args: readonly unknown[],
) => Promise<Result>;

/** Constants that the contracts were deployed with. Amounts in base units of the token. */
export interface ChainConstants {
  /** Blocks per epoch of the Beacon. */
  readonly beaconK: number;
  readonly minBond: bigint;
  readonly lineThawSec: number;
}

/** The newest block the view contains. */
export interface Head {
  readonly number: number;
  readonly hash: Hex;
  readonly timestampSec: number;
  /** When an RPC last confirmed this head, local clock, ms. */
  readonly seenAtMs: number;
}

/**
 * State from the logs, read from memory without a request. "Now" is the later of the head's time
 * and the local clock. Addresses and hashes are lower-case.
 */
export interface ChainView {
  readonly head: Head;
  /** Resolves a namespace's label to its address; an address resolves to itself. */
  resolveNamespace(labelOrAddress: string): Address | undefined;
  /** The label that a namespace has claimed. */
  labelOf(namespace: Address): string | undefined;
  functions(): RegisteredFunction[];
  functionOf(namespace: Address, name: string): RegisteredFunction | undefined;
  functionById(id: bigint): RegisteredFunction | undefined;
  /** The functions of an owner's namespace, in the order in which they were registered. */
  functionsOf(namespace: Address): RegisteredFunction[];
  /** By number, also as a text, or by alias; `latest` by default. */
  versionOf(fn: RegisteredFunction, reference?: number | string): FunctionVersion | undefined;
  versionByHash(functionVersion: Hex): FunctionVersion | undefined;
  /** Who owned the function's ERC-721 at the end of this block. */
  ownerAt(functionId: bigint, blockNumber: number): Address | undefined;
  /** All deployments ever enrolled, retired and barred ones included. */
  deployments(functionVersion: Hex): Enrolment[];
  deploymentById(id: number): Enrolment | undefined;
  /** The gateway's last set with fromEpoch <= epoch; without an epoch its newest. */
  candidates(functionVersion: Hex, gateway: Address, epoch?: number): CandidateSet | undefined;
  /** Undefined until the lane is opened. */
  lane(payer: Address, gateway: Address, signer: Address): Lane | undefined;
  /** A payer's open lanes at a gateway. */
  lanes(payer: Address, gateway: Address): (Lane & { readonly signer: Address })[];
  /** A line; undefined until something is allotted. */
  line(payer: Address, gateway: Address): Line | undefined;
  /** A payer's lines with the gateways they are for. */
  lines(payer: Address): (Line & { readonly gateway: Address })[];
  /** Free money: base units deposited and neither allotted nor pledged. */
  free(account: Address): bigint;
  /** The limit up to which the gateway may top the line up from free money. */
  limit(payer: Address, gateway: Address): bigint;
  due(gateway: Address, payee: Address): Due;
  /** Sums over all payers of a gateway's lines, and the slashes of its bond. */
  exposure(gateway: Address): Exposure;
  /** Undefined for an account that neither registered as a gateway nor has a bond. */
  gateway(address: Address): GatewayStanding | undefined;
  gateways(): GatewayStanding[];
  party(address: Address): Party | undefined;
  operatorKeys(party: Address): readonly OperatorKey[];
  /**
   * Whether clients accept the key's signature for the party now, in a role (1 gateway, 2 provider;
   * 1 by default).
   */
  isKeyInForce(key: Address, party: Address, role?: number): boolean;
  readonly latestEpoch: Epoch | undefined;
  /** The newest epoch that was recorded in that block or before. */
  latestEpochAt(blockNumber: number): Epoch | undefined;
  epochOf(epoch: number): Epoch | undefined;
  /**
   * Whether the payer may use a version now, for all bits of `scopes` (1 invoke, 2 subscribe, 4
   * logs). Undefined where a policy contract decides: ask `chain.isAllowed`.
   */
  isAllowed(functionVersion: Hex, subject: Address, scopes: number): boolean | undefined;
  grant(functionId: bigint, subject: Address): Grant | undefined;
  /** All grants of a function that are in force now. */
  grants(functionId: bigint): ReadonlyMap<Address, Grant>;
  /** All batches of a gateway, or of all, in the order of the chain. */
  batches(gateway?: Address): SettledBatch[];
  /** A gateway's batch by its number, found without a search: anybody may ask for one. */
  batch(gateway: Address, number: number): SettledBatch | undefined;
  /** Proven frauds, of one gateway or of all. */
  frauds(gateway?: Address): Fraud[];
  /** Demands for withheld receipts, the answered and expired ones too. */
  demands(gateway?: Address): Demand[];
  /** Money that belongs to no account: pledges of open demands, and burned slashes. */
  readonly totals: { readonly pledged: bigint; readonly burned: bigint };
  readonly isPaused: boolean;
}

export interface RegisteredFunction {
  readonly id: bigint;
  readonly namespace: Address;
  readonly name: string;
  /** Current owner of the ERC-721; approved accounts are not listed. */
  readonly owner: Address;
  /** Number of the version that `latest` points at; 0 before the first is published. */
  readonly latest: number;
  readonly aliases: ReadonlyMap<string, number>;
  /** Hashes of the versions 1, 2, 3 ... */
  readonly versions: readonly Hex[];
}

export interface FunctionVersion extends PriceTerms {
  readonly functionVersion: Hex;
  readonly functionId: bigint;
  readonly number: number;
  readonly manifestCid: string;
  readonly artifactCid: string;
  /** 0 public, 1 granted, 2 policy. */
  readonly accessMode: 0 | 1 | 2;
  readonly idempotent: boolean;
  readonly deterministic: boolean;
  readonly deprecated: boolean;
  /** The block in which it was published. */
  readonly blockNumber: number;
}

export interface Enrolment {
  readonly id: number;
  readonly functionVersion: Hex;
  readonly provider: Address;
  /** Name of the cloud, such as `aws-lambda`. */
  readonly cloud: string;
  readonly region: string;
  readonly retired: boolean;
  readonly barred: boolean;
}

export interface CandidateSet {
  readonly setNo: number;
  readonly fromEpoch: number;
  /** Ascending. */
  readonly ids: readonly number[];
}

export interface Line {
  readonly allotted: bigint;
  /**
   * Amount on the line after the payer's last allotment or release; settlements since then have
   * lowered `allotted`.
   */
  readonly filled: bigint;
  /** May exceed `allotted` after a settlement. */
  readonly thawing: bigint;
  /** 0 when nothing thaws. */
  readonly thawEndSec: number;
  /** Sum of what was settled on all lanes of the line, since the first. */
  readonly settled: bigint;
}

export interface Lane {
  readonly settled: bigint;
  readonly cap: bigint;
  readonly seq: number;
  readonly expirySec: number;
  /** The payer has closed it: no longer trust the key. */
  readonly isClosing?: boolean;
  /** 1 prepaid, 2 signed; 0 only in the contract, for a lane that was never opened. */
  readonly mode: 0 | 1 | 2;
}

export interface Due {
  readonly credited: bigint;
  readonly withdrawn: bigint;
  /**
   * The part of `credited` that came from the gateway's float and that no batch has paid back yet.
   */
  readonly advanced: bigint;
}

export interface Exposure {
  /** Sum of all lines, base units. */
  readonly lines: bigint;
  /** Number of slashes, and their sum in base units. */
  readonly slashes: number;
  readonly slashed: bigint;
}

/** What Billing and Identity know of a gateway. */
export interface GatewayStanding {
  readonly address: Address;
  /** Balance in Billing, including `unbonding` until `leave` withdraws it, base units. */
  readonly bond: bigint;
  /** The unbonding part: at stake until `unbondEndSec`, the gateway's own from then on. */
  readonly unbonding: bigint;
  /** The amount that a slash can take now, as Billing's `standing` computes it. */
  readonly atStake: bigint;
  /** `bond` less `unbonding`: at least MIN_BOND of it must stand for new lanes and settlements. */
  readonly standing: bigint;
  /** 0 = nothing is unbonding. */
  readonly unbondEndSec: number;
  /** While `standing` is below MIN_BOND: the last second in which it may settle; 0 = never. */
  readonly settleUntilSec: number;
  /** In force now. */
  readonly feeBps: number;
  /** In force from `feeFromSec` on. */
  readonly nextFeeBps: number;
  readonly feeFromSec: number;
  readonly settler: Address | undefined;
  /** Number of batches settled, which is also the number of the next. */
  readonly batches: number;
  readonly uri: string;
  /** RFC 7638 thumbprint of the key that signs its access tokens, 32 bytes. */
  readonly jwksThumbprint: Hex;
}

export interface Party {
  readonly address: Address;
  /** Bits: 1 gateway, 2 provider. */
  readonly roles: number;
  readonly uri: string;
  readonly jwksThumbprint: Hex;
  readonly sinceSec: number;
}

export interface OperatorKey {
  readonly key: Address;
  readonly role: number;
  readonly fromSec: number;
  /** 0 while it is not retired. */
  readonly untilSec: number;
}

export interface Epoch {
  readonly epoch: number;
  /** The uint192 as 24 bytes of hex. */
  readonly value: Hex;
  readonly timeSec: number;
}

export interface Grant {
  readonly expirySec: number;
  readonly scopes: number;
  /** The function's grant epoch at the time of the grant; a later epoch ends the grant. */
  readonly epoch: number;
}

/**
 * One lane's row, with the lane before and after: `hashClaim` of it is its leaf in the batch tree.
 */
export interface ClaimedLog {
  readonly payer: Address;
  readonly signer: Address;
  readonly settledFrom: bigint;
  readonly settled: bigint;
  readonly seqFrom: number;
  readonly seq: number;
  /** Root of the lane tree. */
  readonly receipts: Hex;
}

export interface SettledBatch {
  readonly gateway: Address;
  readonly batch: number;
  readonly root: Hex;
  /** sha2-256 of the batch's root block on IPFS, dag-cbor. */
  readonly cidDigest: Hex;
  /** Taken from lines, base units. */
  readonly total: bigint;
  /** The part that went to the gateway's bond, base units. */
  readonly fee: bigint;
  /** The fee rate in force at that time. */
  readonly feeBps: number;
  readonly blockNumber: number;
  readonly timestampSec: number;
  readonly tx: Hex;
  readonly claims: readonly ClaimedLog[];
  readonly payouts: readonly { readonly payee: Address; readonly amount: bigint }[];
}

export interface Fraud {
  readonly id: Hex;
  /** 2 to 6: D2 to D6; 9: an unanswered demand, D9. */
  readonly kind: number;
  readonly gateway: Address;
  readonly payer: Address;
  readonly reporter: Address;
  /** The claim in question: its batch and its index there. */
  readonly batch: number;
  readonly claim: number;
  /** Base units; `paid` is the part of the damage that this proof paid to the payer. */
  readonly damage: bigint;
  readonly paid: bigint;
  readonly slashed: bigint;
  readonly blockNumber: number;
  readonly timestampSec: number;
}

export interface Demand {
  readonly id: Hex;
  readonly gateway: Address;
  readonly demander: Address;
  readonly batch: number;
  /** Place of the claim in the batch, and of the receipt in its lane tree. */
  readonly claim: number;
  readonly index: number;
  readonly deadlineSec: number;
  readonly state: 'open' | 'answered' | 'expired';
  /** What the answer disclosed: all that D4, D5 and D6 need besides the claim's place. */
  readonly answer?: DemandAnswer;
}

export interface DemandAnswer {
  readonly blockNumber: number;
  readonly receipt: Receipt;
  /** From the receipt to the root of its lane tree. */
  readonly path: readonly Hex[];
  readonly call: Call;
  readonly execution: Execution;
  /** Over the Call, by the lane's key; only in signed lanes. */
  readonly callSignature?: Hex;
}
