// Follows the chain: logs of our contracts in bounded pages, the head by polling, reorganisations
// by block hash.
import type { JsonRpcProvider } from 'ethers';
import type { Address, Hex } from '../libraries/keccak.ts';
import { ChainError } from './chain-error.ts';
import type { BlockTag } from './chains.ts';
import type { LogPlace } from './replay.ts';
import type { Head } from './types.ts';

/** A log as the node gives it, with its block's time. */
export interface FollowedLog extends LogPlace {
  readonly address: string;
  readonly topics: readonly string[];
  readonly data: string;
}

export interface Follower {
  start(): Promise<void>;
  synced(atLeastBlock?: number): Promise<void>;
  onBlock(listener: (head: Head) => void): () => void;
  close(): void;
}

export interface FollowerOptions {
  readonly provider: Pick<JsonRpcProvider, 'send'>;
  readonly addresses: readonly Address[];
  readonly fromBlock: number;
  /** The block to follow: a tag, or a number of blocks behind the newest. */
  readonly target: BlockTag | number;
  readonly pageBlocks: number;
  readonly pollMs: number;
  readonly waitMs: number;
  /**
   * True with one node only: then a lower head means that the chain was reset, not that a node
   * lags.
   */
  readonly isAlone: boolean;
  readonly nowMs: () => number;
  apply(logs: readonly FollowedLog[], head: Head): void;
  /** False if the reorganisation is deeper than the undo history. */
  rewind(head: Head): boolean;
}

/** Number of heads kept to find a common ancestor. */
const TRAIL_BLOCKS = 2_000;
/** Blocks per batch of requests where logs lack their block's time. */
const BLOCKS_AT_ONCE = 16;

interface Block {
  readonly number: number;
  readonly hash: Hex;
  readonly parentHash: Hex;
  readonly timestampSec: number;
}

/** A pending call of `synced`. */
interface Waiter {
  /**
   * Called after each step with the step's number; a step takes in what was the newest when it
   * began.
   */
  check(step: number): void;
  fail(): void;
}

interface RpcBlock {
  readonly number: Hex;
  readonly hash: Hex;
  readonly parentHash: Hex;
  readonly timestamp: Hex;
}

interface RpcLog {
  readonly address: string;
  readonly topics: readonly string[];
  readonly data: string;
  readonly blockNumber: Hex;
  readonly blockTimestamp?: Hex;
  readonly transactionHash: Hex;
  readonly logIndex: Hex;
}

export function createFollower(options: FollowerOptions): Follower {
  const { provider, fromBlock, nowMs, waitMs } = options;
  /** Last block of each page taken in, oldest first. */
  const trail: Block[] = [];
  const listeners = new Set<(head: Head) => void>();
  const waiting = new Set<Waiter>();
  let steps = 0;
  let pageBlocks = options.pageBlocks;
  let isClosed = false;
  let isWanted = false;
  let wake: (() => void) | undefined;
  let failure: unknown;
  let started: Promise<void> | undefined;

  const taken = (): number => trail.at(-1)?.number ?? fromBlock - 1;

  const readBlock = async (at: number | 'latest' | 'safe' | 'finalized') => {
    const tag = typeof at === 'number' ? hexOf(at) : at;
    const block: RpcBlock | null = await provider.send('eth_getBlockByNumber', [tag, false]);
    return block === null ? undefined : blockOf(block);
  };

  /** The block that the view should reach now. */
  const readTarget = async (): Promise<Block | undefined> => {
    const { target } = options;
    if (target === 'latest') return readBlock(target);
    // A young chain, or one without finality so far, answers with an error.
    if (typeof target === 'string') return readBlock(target).catch(absentOr);
    const latest = await readBlock('latest');
    if (target === 0 || latest === undefined) return latest;
    return latest.number < target ? undefined : readBlock(latest.number - target);
  };

  /** Whether the last block taken in is still on the chain that leads to `target`. */
  const isOnChain = async (last: Block, target: Block): Promise<boolean> => {
    if (target.number === last.number) return target.hash === last.hash;
    if (target.number === last.number + 1) return target.parentHash === last.hash;
    if (target.number > last.number) return (await readBlock(last.number))?.hash === last.hash;
    const known = trail.findLast(({ number }) => number === target.number);
    return known === undefined ? !options.isAlone : known.hash === target.hash && !options.isAlone;
  };

  /** Undoes the blocks that are no longer on the chain. */
  const rewind = async (target: Block): Promise<void> => {
    for (let last = trail.at(-1); last !== undefined; last = trail.at(-1)) {
      const isKept =
        last.number <= target.number && (await readBlock(last.number))?.hash === last.hash;
      if (isKept) break;
      trail.pop();
    }
    const ancestor = trail.at(-1);
    const head = { number: fromBlock - 1, hash: '0x', timestampSec: 0 } as const;
    if (!options.rewind({ ...head, ...ancestor, seenAtMs: nowMs() })) {
      const message = `the chain was replaced below block ${target.number}; start again`;
      throw new ChainError('CHAIN_MISMATCH', message);
    }
  };

  const readLogs = async (filter: object): Promise<FollowedLog[]> => {
    const address = options.addresses;
    const logs: RpcLog[] = await provider.send('eth_getLogs', [{ address, ...filter }]);
    const times = await readTimes(logs, readBlock);
    return logs
      .map((log) => ({ ...log, number: Number(log.blockNumber), index: Number(log.logIndex) }))
      .sort((a, b) => a.number - b.number || a.index - b.index)
      .map(({ address: at, topics, data, number, transactionHash }) => ({
        address: at,
        topics,
        data,
        blockNumber: number,
        timestampSec: times.get(number) ?? 0,
        tx: transactionHash,
      }));
  };

  /**
   * Reads the next page: one block by its hash, which is exact, or a range whose last block must
   * have the same hash before and after.
   */
  const takePage = async (target: Block): Promise<void> => {
    const from = taken() + 1;
    if (from === target.number) {
      takeIn(await readLogs({ blockHash: target.hash }), target);
      return;
    }
    const to = Math.min(from + pageBlocks - 1, target.number);
    const end = to === target.number ? target : await readBlock(to);
    const logs = await readLogs({ fromBlock: hexOf(from), toBlock: hexOf(to) }).catch((error) => {
      // Nodes limit answers in many ways with many messages; a smaller page satisfies each limit.
      if (pageBlocks === 1 || error instanceof ChainError) throw error;
      pageBlocks = Math.ceil(pageBlocks / 4);
      return undefined;
    });
    if (logs === undefined || end === undefined) return;
    const check = await readBlock(to);
    if (check?.hash === end.hash) takeIn(logs, end);
  };

  const takeIn = (logs: readonly FollowedLog[], block: Block): void => {
    const { number, hash, timestampSec } = block;
    const head = { number, hash, timestampSec, seenAtMs: nowMs() };
    options.apply(logs, head);
    if (trail.at(-1)?.hash !== hash) trail.push(block);
    if (trail.length > TRAIL_BLOCKS) trail.shift();
    for (const listener of listeners) listener(head);
  };

  const step = async (): Promise<void> => {
    steps += 1;
    const number = steps;
    await catchUp();
    failure = undefined;
    for (const { check } of waiting) check(number);
  };

  const catchUp = async (): Promise<void> => {
    const target = await readTarget();
    if (target === undefined || target.number < fromBlock) return;
    const last = trail.at(-1);
    if (last !== undefined && !(await isOnChain(last, target))) await rewind(target);
    while (!isClosed && taken() < target.number) await takePage(target);
    // The head is unchanged, but a node has just confirmed it.
    const now = trail.at(-1);
    if (now?.hash === target.hash) {
      const { number, hash, timestampSec } = now;
      options.apply([], { number, hash, timestampSec, seenAtMs: nowMs() });
    }
  };

  const pause = (): Promise<void> =>
    new Promise((resolve) => {
      if (isWanted || isClosed) return resolve();
      const timer = setTimeout(resolve, options.pollMs);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });

  const follow = async (): Promise<void> => {
    while (!isClosed) {
      await pause();
      if (isClosed) return;
      isWanted = false;
      try {
        await step();
      } catch (error) {
        // Nobody awaits this error: the head becomes stale, and `synced` reports the cause.
        failure = error;
      }
    }
  };

  const hurry = (): void => {
    isWanted = true;
    wake?.();
  };

  return {
    start: () => {
      started ??= step().then(
        () => {
          follow();
        },
        (error) => {
          started = undefined;
          throw error;
        },
      );
      return started;
    },
    synced: async (atLeastBlock) => {
      if (atLeastBlock !== undefined && taken() >= atLeastBlock) return;
      const arrived = Promise.withResolvers<void>();
      const before = steps;
      const check = (number: number): void => {
        const isThere = atLeastBlock === undefined ? number > before : taken() >= atLeastBlock;
        if (isThere) arrived.resolve();
      };
      const fail = (): void => {
        const block = atLeastBlock === undefined ? 'the newest block' : `block ${atLeastBlock}`;
        const until = isClosed ? 'before the chain was closed' : `within ${waitMs} ms`;
        const message = `${block} did not come ${until}, the view is at ${taken()}; check the RPC URL`;
        arrived.reject(new ChainError('CHAIN_STALE', message, { cause: failure }));
      };
      const timer = setTimeout(fail, waitMs);
      const waiter = { check, fail };
      waiting.add(waiter);
      hurry();
      try {
        await arrived.promise;
      } finally {
        clearTimeout(timer);
        waiting.delete(waiter);
      }
    },
    onBlock: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close: () => {
      isClosed = true;
      wake?.();
      for (const { fail } of waiting) fail();
    },
  };
}

/** Block times for `logs`, Unix seconds; most nodes include them in the log. */
async function readTimes(
  logs: readonly RpcLog[],
  readBlock: (at: number) => Promise<Block | undefined>,
): Promise<Map<number, number>> {
  const times = new Map<number, number>();
  const missing = new Set<number>();
  for (const { blockNumber, blockTimestamp } of logs) {
    if (blockTimestamp === undefined) missing.add(Number(blockNumber));
    else times.set(Number(blockNumber), Number(blockTimestamp));
  }
  const wanted = [...missing];
  for (let i = 0; i < wanted.length; i += BLOCKS_AT_ONCE) {
    const blocks = await Promise.all(wanted.slice(i, i + BLOCKS_AT_ONCE).map(readBlock));
    for (const block of blocks) if (block) times.set(block.number, block.timestampSec);
  }
  return times;
}

/** Undefined if the node has no such block; rethrows if the node did not answer. */
function absentOr(error: unknown): undefined {
  if (error instanceof ChainError) throw error;
}

function blockOf({ number, hash, parentHash, timestamp }: RpcBlock): Block {
  return { number: Number(number), hash, parentHash, timestampSec: Number(timestamp) };
}

function hexOf(value: number): Hex {
  return `0x${value.toString(16)}`;
}
