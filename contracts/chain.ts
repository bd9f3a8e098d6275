// The chain as the house sees it: a local view rebuilt from logs alone, typed writes, several RPC URLs. A call never asks the chain,
// it reads the view.
import type { JsonRpcProvider, Result } from 'ethers';
import { type ContractName, createAbi } from './chain/abi.ts';
import { ChainError, chainErrorOf } from './chain/chain-error.ts';
import {
  type BlockTag,
  CHAINS,
  type ChainKind,
  type ChainTraits,
  chainKindOf,
} from './chain/chains.ts';
import { createFollower, type Follower } from './chain/follow.ts';
import { RpcProvider, readChainId } from './chain/rpc.ts';
import { createView } from './chain/view.ts';
import { type ChainWriter, createWriters } from './chain/writer.ts';
import type { ContractAddresses } from './deploy.ts';
import type { Key } from './keystore.ts';
import type { Address, Hex } from './libraries/keccak.ts';
import type { Call, Execution, Receipt } from './libraries/receipts.ts';
import type { PriceTerms } from './libraries/tariffs.ts';
import { billingDomain, type Eip712Domain } from './libraries/typed-data.ts';

/** What the contracts were deployed with and never changes. Amounts in base units of the token. */
export interface ChainConstants {
  /** Blocks per epoch of the Beacon. */
  readonly beaconK: number;
  readonly minBond: bigint;
  readonly lineThawSec: number;
}

export interface Chain {
  readonly chainId: number;
  /** What differs on this chain: which block counts, what a transaction may weigh. */
  readonly traits: ChainTraits;
  readonly contracts: ContractAddresses;
  readonly constants: ChainConstants;
  readonly provider: JsonRpcProvider;
  /** Billing's EIP-712 domain. */
  readonly domain: Eip712Domain;
  /** As of the newest block: what takes something away from a position counts from there on. */
  readonly view: ChainView;
  /**
   * As of the newest block that no reorganisation takes back: what adds to a position counts from there on, and what a receipt says
   * can be proven wrong by nobody. The same as `view` on a chain whose blocks are final at once.
   */
  readonly final: ChainView;
  /**
   * Catches the view up with the chain, then follows it until `close`.
   * @throws ChainError CHAIN_UNREACHABLE  no RPC answers during the first catch-up
   */
  start(): Promise<void>;
  /**
   * Resolves when the view contains that block, or without an argument the block that is the newest now.
   * @throws ChainError CHAIN_STALE  not within 30 s
   */
  synced(atLeastBlock?: number): Promise<void>;
  /** No RPC has answered for `staleMs`, or the view has fallen behind the chain's block time: gated functions fail closed. */
  isStale(): boolean;
  /** Called after each block (or run of blocks) the view has taken in, until the returned function is called. */
  onBlock(listener: (head: Head) => void): () => void;
  /** Asks the chain itself; for policy functions, which the view cannot decide. @throws ChainError  as `read` */
  isAllowed(functionVersion: Hex, subject: Address, scopes: number): Promise<boolean>;
  /** A view function of a contract at the newest block. @throws ChainError CHAIN_REVERTED, CHAIN_UNREACHABLE */
  read(contract: ContractName, method: string, args: readonly unknown[]): Promise<Result>;
  /** The data of a call, as a multicall takes it. */
  encode(contract: ContractName, method: string, args: readonly unknown[]): Hex;
  /** Sends transactions from this account. One writer per account: its nonces are given out in one place. */
  connect(key: Pick<Key, 'privateKey'>): ChainWriter;
  close(): void;
}

/** The newest block the view contains. */
export interface Head {
  readonly number: number;
  readonly hash: Hex;
  readonly timestampSec: number;
  /** When an RPC last said that this is the head, by the local clock, ms. */
  readonly seenAtMs: number;
}

/**
 * What the logs say, answered at once and without asking anybody. "Now" is the later of the head's time and the local clock.
 * Addresses and hashes are lower-case.
 */
export interface ChainView {
  readonly head: Head;
  /** The address behind a label; an address is its own answer. */
  resolveNamespace(labelOrAddress: string): Address | undefined;
  /** The label that a namespace has claimed. */
  labelOf(namespace: Address): string | undefined;
  functions(): RegisteredFunction[];
  functionOf(namespace: Address, name: string): RegisteredFunction | undefined;
  functionById(id: bigint): RegisteredFunction | undefined;
  /** By number or alias; `latest` by default. */
  versionOf(fn: RegisteredFunction, reference?: number | string): FunctionVersion | undefined;
  versionByHash(functionVersion: Hex): FunctionVersion | undefined;
  /** Who owned the function's ERC-721 at the end of this block. */
  ownerAt(functionId: bigint, blockNumber: number): Address | undefined;
  /** All that were ever enrolled, also retired and barred ones. */
  deployments(functionVersion: Hex): Deployment[];
  deploymentById(id: number): Deployment | undefined;
  /** The gateway's last set with fromEpoch <= epoch; without an epoch its newest. */
  candidates(functionVersion: Hex, gateway: Address, epoch?: number): CandidateSet | undefined;
  /** Undefined until the lane is opened. */
  lane(payer: Address, gateway: Address, signer: Address): Lane | undefined;
  /** A payer's open lanes at a gateway. */
  lanes(payer: Address, gateway: Address): (Lane & { readonly signer: Address })[];
  /** Undefined until something is allotted. */
  line(payer: Address, gateway: Address): Line | undefined;
  /** A payer's lines with the gateways they are for. */
  lines(payer: Address): (Line & { readonly gateway: Address })[];
  /** Base units deposited and promised to nobody. */
  free(account: Address): bigint;
  /** The standing order up to which the gateway may top the line up. */
  limit(payer: Address, gateway: Address): bigint;
  due(gateway: Address, payee: Address): Due;
  /** What all payers have set aside at a gateway, and what its bond was slashed. */
  exposure(gateway: Address): Exposure;
  /** Undefined for an account that neither registered as a gateway nor has a bond. */
  gateway(address: Address): GatewayStanding | undefined;
  gateways(): GatewayStanding[];
  party(address: Address): Party | undefined;
  operatorKeys(party: Address): readonly OperatorKey[];
  /** Whether clients accept the key's signature for the party now, in a role (1 gateway, 2 provider; 1 by default). */
  isKeyInForce(key: Address, party: Address, role?: number): boolean;
  readonly latestEpoch: Epoch | undefined;
  /** The newest of those that were recorded in that block or before it. */
  latestEpochAt(blockNumber: number): Epoch | undefined;
  epochOf(epoch: number): Epoch | undefined;
  /**
   * Whether the payer may use a version now, for all bits of `scopes` (1 invoke, 2 subscribe, 4 logs). Undefined where a policy
   * contract decides: ask `chain.isAllowed`.
   */
  isAllowed(functionVersion: Hex, subject: Address, scopes: number): boolean | undefined;
  grant(functionId: bigint, subject: Address): Grant | undefined;
  /** All batches of a gateway, or of all, in the order of the chain. */
  batches(gateway?: Address): SettledBatch[];
  /** Proven frauds, of one gateway or of all. */
  frauds(gateway?: Address): Fraud[];
  /** Demands for withheld receipts, the answered and expired ones too. */
  demands(gateway?: Address): Demand[];
  /** Money that is no account's: pledges of open demands, and what slashes have burned. */
  readonly totals: { readonly pledged: bigint; readonly burned: bigint };
  readonly isPaused: boolean;
}

export interface RegisteredFunction {
  readonly id: bigint;
  readonly namespace: Address;
  readonly name: string;
  /** Of the ERC-721 now; accounts it approved are not listed here. */
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
  /** Where it was published. */
  readonly blockNumber: number;
}

export interface Deployment {
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
  /** What was on it after the payer last put money on or took money off; settlements since have lowered `allotted`. */
  readonly filled: bigint;
  /** May exceed `allotted` after a settlement. */
  readonly thawing: bigint;
  /** 0 when nothing thaws. */
  readonly thawEndSec: number;
}

export interface Lane {
  readonly settled: bigint;
  readonly cap: bigint;
  readonly seq: number;
  readonly expirySec: number;
  /** Its payer has closed it: the key is to be trusted no more. */
  readonly isClosing?: boolean;
  /** 1 prepaid, 2 signed; 0 only in the contract, for a lane that was never opened. */
  readonly mode: 0 | 1 | 2;
}

export interface Due {
  readonly credited: bigint;
  readonly withdrawn: bigint;
  /** Of what was credited: what came from the gateway's float and no batch has paid back yet. */
  readonly advanced: bigint;
}

export interface Exposure {
  /** Sum of all lines, base units. */
  readonly lines: bigint;
  /** How often, and by how much in all, base units. */
  readonly slashes: number;
  readonly slashed: bigint;
}

/** What Billing and Identity know of a gateway. */
export interface GatewayStanding {
  readonly address: Address;
  /** Held by Billing: from `unbondEndSec` on also `unbonding`, which waits for `leave`. */
  readonly bond: bigint;
  /** On its way out: at stake until `unbondEndSec`, the gateway's own from then on. */
  readonly unbonding: bigint;
  /** What a slash can take now, as Billing's `standing` has it. */
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
  /** How many it has settled, which is the number of the next. */
  readonly batches: number;
  readonly uri: string;
  /** Of the key that signs its access tokens (RFC 7638), 32 bytes. */
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
  /** The function's epoch when it was granted; a later one ends it. */
  readonly epoch: number;
}

/** One lane's row, with the lane before and after: `hashClaim` of it is its leaf in the batch tree. */
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
  /** What of it went to the gateway's bond. */
  readonly fee: bigint;
  /** The rate in force then. */
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
  /** The claim that it is about: its batch, and its place in it. */
  readonly batch: number;
  readonly claim: number;
  /** Base units; `paid` is what of the damage the payer got this time. */
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
  /** What the answer showed: all that D4, D5 and D6 need besides the place. */
  readonly answer?: DemandAnswer;
}

export interface DemandAnswer {
  readonly blockNumber: number;
  readonly receipt: Receipt;
  readonly call: Call;
  readonly execution: Execution;
  /** Over the Call, by the lane's key; only in signed lanes. */
  readonly callSignature?: Hex;
}

export interface ChainOptions {
  /** At least one; the others are asked when one does not answer. */
  readonly rpcUrls: readonly string[];
  readonly contracts: ContractAddresses;
  /** When given, any other chain is refused. */
  readonly chainId?: number;
  /** By default what the table of chains has for the id; a chain that it does not know is taken for Ethereum. */
  readonly kind?: ChainKind;
  /** Which block `final` follows: a tag, or so many blocks behind the head; `latest` by default, and then it is `view` itself. */
  readonly finality?: BlockTag | number | 'by-chain';
  /** How often the head is asked for, ms. 250 for a chain on this machine, else 2000. */
  readonly pollMs?: number;
  /** Without an answer for so long the head is stale, ms. */
  readonly staleMs?: number;
  /** Of chains with one: a head older than three of them is stale, seconds. */
  readonly blockTimeSec?: number;
  /** Longest wait of a writer for its transaction's inclusion, and when it raises the fee, ms. */
  readonly inclusionMs?: number;
  readonly bumpMs?: number;
  /** Blocks asked for in one page of logs. */
  readonly pageBlocks?: number;
  /** A node that has not answered after this long counts as down, ms. */
  readonly timeoutMs?: number;
  readonly nowMs?: () => number;
}

/** How long `synced` waits for a block, and a writer for its transaction's inclusion, ms. */
const WAIT_MS = 30_000;
const INCLUSION_MS = 60_000;
/** Two blocks of Ethereum. */
const BUMP_MS = 24_000;
const LOCAL_POLL_MS = 250;
const REMOTE_POLL_MS = 2_000;

/**
 * @throws ChainError CHAIN_UNREACHABLE  no RPC answers
 * @throws ChainError CHAIN_MISMATCH  another chain than `chainId`, or no contracts at these addresses
 */
export async function createChain(options: ChainOptions): Promise<Chain> {
  const { contracts, rpcUrls, nowMs = Date.now, staleMs = 15_000 } = options;
  const rpc = { urls: rpcUrls, timeoutMs: options.timeoutMs ?? 10_000 };
  const chainId = await readChainId(rpc);
  if (options.chainId !== undefined && options.chainId !== chainId) {
    const message = `the RPC is of chain ${chainId}, not ${options.chainId}; check the RPC URL`;
    throw new ChainError('CHAIN_MISMATCH', message);
  }
  const traits = CHAINS[options.kind ?? chainKindOf(chainId) ?? 'ethereum'];
  const provider = new RpcProvider(chainId, rpc);
  const abi = createAbi(contracts);
  const read: Chain['read'] = async (contract, method, args) => {
    const doing = `${contract}.${method}`;
    try {
      const data = abi.encode(contract, method, args);
      return abi.decode(contract, method, await provider.call({ to: contracts[contract], data }));
    } catch (error) {
      throw chainErrorOf(doing, error);
    }
  };
  const constants = await readConstants(read, contracts);
  const pollMs = options.pollMs ?? (rpcUrls.every(isLocal) ? LOCAL_POLL_MS : REMOTE_POLL_MS);
  const follow = (target: BlockTag | number): { view: ChainView; follower: Follower } => {
    const { view, apply, rewind } = createView({ abi, nowMs });
    const follower = createFollower({
      provider,
      addresses: abi.addresses,
      fromBlock: contracts.deployedAtBlock,
      target,
      pageBlocks: options.pageBlocks ?? 5_000,
      pollMs,
      waitMs: WAIT_MS,
      isAlone: rpcUrls.length === 1 && rpcUrls.every(isLocal),
      nowMs,
      apply,
      rewind,
    });
    return { view, follower };
  };
  const { finality = 'latest' } = options;
  const target = finality === 'by-chain' ? traits.blockTag : finality;
  const { view, follower } = follow('latest');
  const isFinalAtOnce = target === 'latest' || target === 0;
  const final = isFinalAtOnce ? { view, follower } : follow(target);
  const sending = {
    pollMs,
    waitMs: options.inclusionMs ?? INCLUSION_MS,
    bumpMs: options.bumpMs ?? BUMP_MS,
    gasCap: traits.transactionGasCap,
  };
  const connect = createWriters({ abi, contracts, provider, chainId, read, ...sending });
  const { blockTimeSec } = options;

  return {
    chainId,
    traits,
    contracts,
    constants,
    provider,
    domain: billingDomain(chainId, contracts.billing),
    view,
    final: final.view,
    start: async () => {
      await follower.start();
      if (!isFinalAtOnce) await final.follower.start();
    },
    synced: follower.synced,
    isStale: () => {
      const { seenAtMs, timestampSec } = view.head;
      if (nowMs() - seenAtMs > staleMs) return true;
      return blockTimeSec !== undefined && nowMs() / 1000 - timestampSec > 3 * blockTimeSec;
    },
    onBlock: follower.onBlock,
    isAllowed: async (functionVersion, subject, scopes) => {
      const [allowed] = await read('identity', 'isAllowed', [functionVersion, subject, scopes]);
      return allowed === true;
    },
    read,
    encode: abi.encode,
    connect,
    close: () => {
      follower.close();
      final.follower.close();
      provider.destroy();
    },
  };
}

async function readConstants(
  read: Chain['read'],
  contracts: ContractAddresses,
): Promise<ChainConstants> {
  try {
    const [[k], [minBond], [lineThaw]] = await Promise.all([
      read('beacon', 'K', []),
      read('billing', 'MIN_BOND', []),
      read('billing', 'LINE_THAW', []),
    ]);
    return { beaconK: Number(k), minBond, lineThawSec: Number(lineThaw) };
  } catch (error) {
    if (error instanceof ChainError && error.code === 'CHAIN_UNREACHABLE') throw error;
    const message = `no DeFaaS contracts at ${contracts.billing}; check the addresses and the RPC URL`;
    throw new ChainError('CHAIN_MISMATCH', message, { cause: error });
  }
}

function isLocal(url: string): boolean {
  return URL.canParse(url) && /^(localhost|127\.|\[::1\])/.test(new URL(url).hostname);
}
