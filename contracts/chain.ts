// The chain as the house sees it: a local view rebuilt from logs alone, typed writes, several RPC
// URLs. An invocation reads the view and never queries the chain.
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
import { type Exclusively, notExclusive } from './chain/exclusively.ts';
import { createFollower, type Follower } from './chain/follow.ts';
import type { NonceLine } from './chain/nonce-line.ts';
import { createPerBlock } from './chain/per-block.ts';
import { RpcProvider, readChainId } from './chain/rpc.ts';
import { readTimeSec } from './chain/time.ts';
import type {
  ChainConstants,
  ChainView,
  ContractAddresses,
  Head,
  ReadContract,
} from './chain/types.ts';
import { createView } from './chain/view/view.ts';
import { type ChainWriter, createWriters } from './chain/writer.ts';
import type { Key } from './keystore.ts';
import type { Address, Hex } from './libraries/keccak.ts';
import { billingDomain, type Eip712Domain } from './libraries/typed-data.ts';

export interface Chain {
  readonly chainId: number;
  /** This chain's differences: its finality tag and its limits for a transaction. */
  readonly traits: ChainTraits;
  readonly contracts: ContractAddresses;
  readonly constants: ChainConstants;
  readonly provider: JsonRpcProvider;
  /** Billing's EIP-712 domain. */
  readonly domain: Eip712Domain;
  /** The view at the newest block. Events that lower a position count from here on. */
  readonly view: ChainView;
  /**
   * The view at the newest final block. Events that raise a position count from here on, and
   * receipts refer to this state, because no reorganisation can change it. The same object as
   * `view` on a chain whose blocks are final at once.
   */
  readonly final: ChainView;
  /**
   * Catches the view up with the chain, then follows it until `close`.
   * @throws ChainError CHAIN_UNREACHABLE  no RPC answers during the first catch-up
   */
  start(): Promise<void>;
  /**
   * Resolves when the view contains that block; the default is the newest block at the time of the
   * call.
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
   * Queries the chain, at most once per block and question. Needed for functions with a policy
   * contract, which the view cannot decide.
   * @throws ChainError  as `read`
   */
  isAllowed(functionVersion: Hex, subject: Address, scopes: number): Promise<boolean>;
  /** Whether the account is a contract, asked at most once per block. */
  hasCode(account: Address): Promise<boolean>;
  readonly read: ReadContract;
  /**
   * The chain's time, Unix seconds. Deadlines that a contract checks are counted from it, never
   * from the local clock.
   */
  nowSec(): Promise<number>;
  /** ABI-encoded call data, for a multicall. */
  encode(contract: ContractName, method: string, args: readonly unknown[]): Hex;
  /**
   * Sends transactions from this account. There is one writer per account, which hands out its
   * nonces.
   */
  connect(key: Pick<Key, 'privateKey'>): ChainWriter;
  /** Runs `act` while nobody else who takes turns sends from the account. */
  readonly exclusively: Exclusively;
  /** The nonce queue of each account; another chain shares them through `beside`. */
  readonly lines: Map<Address, NonceLine>;
  close(): void;
}

export interface ChainOptions {
  /** At least one; the others are asked when one does not answer. */
  readonly rpcUrls: readonly string[];
  readonly contracts: ContractAddresses;
  /** If set, a node of any other chain is refused. */
  readonly chainId?: number;
  /**
   * A client of the same chain with other contracts that sends from the same accounts. Close it
   * after this one.
   */
  readonly beside?: Pick<Chain, 'lines'>;
  /** How senders of one account take turns, also in other processes. Default: they do not. */
  readonly exclusively?: Exclusively;
  /**
   * Defaults to the kind that the table of chains has for the id; an unknown id counts as Ethereum.
   */
  readonly kind?: ChainKind;
  /**
   * Which block `final` follows: a tag, or a number of blocks behind the head. With `latest`, the
   * default, `final` is `view` itself.
   */
  readonly finality?: BlockTag | number | 'by-chain';
  /** Interval of polls for the head, ms. Default 250 for a chain on this machine, else 2000. */
  readonly pollMs?: number;
  /** The head is stale after this long without an answer, ms. */
  readonly staleMs?: number;
  /**
   * The chain's block time, seconds, if it has one: a head older than three block times is stale.
   */
  readonly blockTimeSec?: number;
  /**
   * Longest wait of a writer for inclusion of its transaction, and the time after which it raises
   * the fee, ms.
   */
  readonly inclusionMs?: number;
  readonly bumpMs?: number;
  /** Blocks per page of logs. */
  readonly pageBlocks?: number;
  /** A node that has not answered after this long counts as down, ms. */
  readonly timeoutMs?: number;
  readonly nowMs?: () => number;
}

/** How long `synced` waits for a block, and a writer for its transaction's inclusion, ms. */
const WAIT_MS = 30_000;
const INCLUSION_MS = 60_000;
/** Two block times of Ethereum. */
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
  const perBlock = createPerBlock<boolean>(() => view.head.hash);
  const isFinalAtOnce = target === 'latest' || target === 0;
  const final = isFinalAtOnce ? { view, follower } : follow(target);
  const sending = {
    pollMs,
    waitMs: options.inclusionMs ?? INCLUSION_MS,
    bumpMs: options.bumpMs ?? BUMP_MS,
    gasCap: traits.transactionGasCap,
  };
  const lines: Chain['lines'] = options.beside?.lines ?? new Map();
  const { exclusively = notExclusive } = options;
  const writing = { abi, contracts, provider, chainId, read, lines, exclusively };
  const connect = createWriters({ ...writing, ...sending });
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
    isAllowed: (functionVersion, subject, scopes) =>
      perBlock(`${functionVersion} ${subject} ${scopes}`, async () => {
        const [allowed] = await read('identity', 'isAllowed', [functionVersion, subject, scopes]);
        return allowed === true;
      }),
    hasCode: (account) => perBlock(account, async () => (await provider.getCode(account)) !== '0x'),
    read,
    nowSec: () => readTimeSec(provider, chainId),
    encode: abi.encode,
    connect,
    exclusively,
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
