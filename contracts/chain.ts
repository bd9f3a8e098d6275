// The chain as the house sees it: a local view rebuilt from logs alone, typed writes, several RPC
// URLs. A call never asks the chain, it reads the view.
import type { JsonRpcProvider } from 'ethers';
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
import type { NonceLine } from './chain/nonce-line.ts';
import { RpcProvider, readChainId } from './chain/rpc.ts';
import type {
  ChainConstants,
  ChainView,
  ContractAddresses,
  Head,
  ReadContract,
} from './chain/types.ts';
import { createView } from './chain/view.ts';
import { type ChainWriter, createWriters } from './chain/writer.ts';
import type { Key } from './keystore.ts';
import type { Address, Hex } from './libraries/keccak.ts';
import { billingDomain, type Eip712Domain } from './libraries/typed-data.ts';

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
   * As of the newest block that no reorganisation takes back: what adds to a position counts from
   * there on, and what a receipt says can be proven wrong by nobody. The same as `view` on a chain
   * whose blocks are final at once.
   */
  readonly final: ChainView;
  /**
   * Catches the view up with the chain, then follows it until `close`.
   * @throws ChainError CHAIN_UNREACHABLE  no RPC answers during the first catch-up
   */
  start(): Promise<void>;
  /**
   * Resolves when the view contains that block, or without an argument the block that is the newest
   * now.
   * @throws ChainError CHAIN_STALE  not within 30 s
   */
  synced(atLeastBlock?: number): Promise<void>;
  /**
   * No RPC has answered for `staleMs`, or the view has fallen behind the chain's block time: gated
   * functions fail closed.
   */
  isStale(): boolean;
  /**
   * Called after each block (or run of blocks) the view has taken in, until the returned function
   * is called.
   */
  onBlock(listener: (head: Head) => void): () => void;
  /**
   * Asks the chain itself; for policy functions, which the view cannot decide.
   * @throws ChainError  as `read`
   */
  isAllowed(functionVersion: Hex, subject: Address, scopes: number): Promise<boolean>;
  readonly read: ReadContract;
  /** The data of a call, as a multicall takes it. */
  encode(contract: ContractName, method: string, args: readonly unknown[]): Hex;
  /**
   * Sends transactions from this account. One writer per account: its nonces are given out in one
   * place.
   */
  connect(key: Pick<Key, 'privateKey'>): ChainWriter;
  /** Where the nonces of its accounts are given out; for `beside`. */
  readonly lines: Map<Address, NonceLine>;
  close(): void;
}

export interface ChainOptions {
  /** At least one; the others are asked when one does not answer. */
  readonly rpcUrls: readonly string[];
  readonly contracts: ContractAddresses;
  /** When given, any other chain is refused. */
  readonly chainId?: number;
  /**
   * The same chain with other contracts, closed after this one: both send from the same accounts.
   */
  readonly beside?: Pick<Chain, 'lines'>;
  /**
   * By default what the table of chains has for the id; a chain that it does not know is taken for
   * Ethereum.
   */
  readonly kind?: ChainKind;
  /**
   * Which block `final` follows: a tag, or so many blocks behind the head; `latest` by default, and
   * then it is `view` itself.
   */
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
 * @throws ChainError CHAIN_MISMATCH  another chain than `chainId`, or no contracts at these
 *   addresses
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
  const read: ReadContract = async (contract, method, args) => {
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
  const lines: Chain['lines'] = options.beside?.lines ?? new Map();
  const connect = createWriters({ abi, contracts, provider, chainId, read, lines, ...sending });
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
    lines,
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
