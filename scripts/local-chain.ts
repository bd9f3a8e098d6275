// The house's chain: anvil behind a JSON-RPC front that writes every operation to disk before it
// executes it. After `kill -9` at any moment a restart restores the same blocks, hashes, nonces and
// logs. As a program it serves one folder.
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { readState, writeWhole } from '../adapters/runtime/whole-file.ts';
import { type Anvil, RpcError, startAnvil } from './local-chain/anvil.ts';
import { type History, type Operation, openHistory } from './local-chain/history.ts';
import { createSequencer, DivergedError, type Sequencer } from './local-chain/sequencer.ts';

const GENESIS = {
  what: 'the time of the first block, timestampSec',
  isWhole: (value: unknown) =>
    typeof value === 'object' &&
    value !== null &&
    'timestampSec' in value &&
    Number.isInteger(value.timestampSec),
  remedy: 'restore it: the hashes of all blocks depend on it',
};

const CHAIN_ID = 31_337;
/**
 * Blocks after which a state is saved, so that a restore replays few: about 0.6 s on a chain of 3
 * 000 blocks.
 */
const KEEP_AFTER_BLOCKS = 100;
/**
 * A state is saved after this long without requests, ms: saving stops the chain for 160 ms at 3 000
 * blocks.
 */
const IDLE_MS = 1_000;
/** After this many blocks a state is saved even if the chain is busy. */
const KEEP_BUSY_AFTER_BLOCKS = 1_000;
const MAX_BODY_BYTES = 32 * 1024 * 1024;
const READABLE = /^(eth|net|web3|txpool|debug|trace)_(?!sendTransaction$|sign)/;

export interface LocalChain {
  readonly rpcUrl: string;
  readonly port: number;
  /**
   * BLOCKHASH is right in contracts only from this block on, because anvil forgets earlier hashes
   * when it loads a state.
   */
  readonly trustedFromBlock: number;
  /** Settles when the EVM process has ended. */
  readonly ended: Promise<void>;
  close(): Promise<void>;
}

export interface LocalChainOptions {
  /** Folder of the chain's history. */
  readonly dir: string;
  /** 0 or undefined: any free port. @throws Error EADDRINUSE */
  readonly port?: number;
  /** Receives the pid of each process it starts. */
  readonly onSpawn?: (pid: number) => void;
}

/** Opens or creates the chain of a folder. @throws Error CHAIN_BINARY no anvil for this platform */
export async function startLocalChain(options: LocalChainOptions): Promise<LocalChain> {
  mkdirSync(options.dir, { recursive: true });
  const genesisSec = await readGenesis(join(options.dir, 'genesis.json'));
  const history = await openHistory(options.dir);
  const { anvil, sequencer, trustedFromBlock } = await restore(history, genesisSec, options);
  const line = createSendLine(history, sequencer, trustedFromBlock - 1);
  const server = createServer((request, response) => {
    void answer(request, response, (body) => dispatch(body, anvil, line));
  });
  server.listen(options.port ?? 0, '127.0.0.1');
  await once(server, 'listening').catch(async (error: unknown) => {
    await anvil.close();
    throw error;
  });
  // A server that listens on a port has an address object.
  const { port } = server.address() as AddressInfo;
  let closing: Promise<void> | undefined;

  async function close(): Promise<void> {
    server.close();
    server.closeAllConnections();
    await line.close();
    history.close();
    await anvil.close();
  }

  return {
    rpcUrl: `http://127.0.0.1:${port}`,
    port,
    trustedFromBlock,
    ended: anvil.ended,
    close() {
      closing ??= close();
      return closing;
    },
  };
}

/**
 * Restores from the newest base whose replay gives the recorded hashes; the genesis always does.
 */
async function restore(history: History, genesisSec: number, options: LocalChainOptions) {
  for (const base of history.bases) {
    const anvil = await startAnvil({
      chainId: CHAIN_ID,
      genesisSec,
      cacheDir: join(options.dir, 'cache'),
      onSpawn: options.onSpawn,
    });
    try {
      const state = base === undefined ? undefined : await history.readState(base);
      const sequencer = await createSequencer(anvil, state);
      await sequencer.replay(await history.read(base));
      return {
        anvil,
        sequencer,
        trustedFromBlock: state === undefined ? 0 : state.head.number + 1,
      };
    } catch (error) {
      await anvil.close();
      // The state is truncated, or a block used a hash from before its base (see trustedFromBlock):
      // use an older base.
      const isBaseAtFault = error instanceof DivergedError || error instanceof SyntaxError;
      if (base === undefined || !(isBaseAtFault || error instanceof RpcError)) throw error;
    }
  }
  throw new Error('a history has at least its genesis');
}

/** Serialises all operations: each is written to disk, executed, then answered. */
function createSendLine(history: History, sequencer: Sequencer, baseBlock: number) {
  interface Waiting {
    /** No operation: only sets the time of the next block, which the node does not keep. */
    readonly operation?: Operation;
    readonly resolve: (result: unknown) => void;
    readonly reject: (error: unknown) => void;
  }
  let waiting: Waiting[] = [];
  let working: Promise<void> | undefined;
  let keptAtBlock = baseBlock;
  let lastAtMs = Date.now();

  const nowSec = (): number => Math.floor(Date.now() / 1000) + sequencer.offsetSec;
  const blocksSinceKept = (): number => sequencer.head.number - keptAtBlock;

  async function work(): Promise<void> {
    while (waiting.length > 0) {
      const batch = waiting;
      waiting = [];
      const operations = batch.flatMap(({ operation }) => operation ?? []);
      let number = operations.length > 0 ? await history.append(operations) : history.next;
      for (const { operation, resolve, reject } of batch) {
        await perform(operation, number).then(resolve, reject);
        if (operation !== undefined) number += 1;
      }
      lastAtMs = Date.now();
      if (blocksSinceKept() >= KEEP_BUSY_AFTER_BLOCKS) await keep();
    }
  }

  async function perform(operation: Operation | undefined, number: number): Promise<unknown> {
    if (operation === undefined) return sequencer.setNextTime(nowSec());
    const result = await sequencer.apply(operation);
    history.noteHead(number, sequencer.head);
    return result;
  }

  async function keep(): Promise<void> {
    const state = await sequencer.dump();
    if (state === undefined) return;
    await history.keep(state);
    keptAtBlock = state.head.number;
  }

  function start(task: () => Promise<void>): void {
    working = task().finally(() => {
      working = undefined;
      if (waiting.length > 0) start(work);
    });
  }

  const idle = setInterval(() => {
    const isIdle = working === undefined && Date.now() - lastAtMs >= IDLE_MS;
    if (isIdle && blocksSinceKept() >= KEEP_AFTER_BLOCKS) start(keep);
  }, IDLE_MS);

  function add(operation?: Operation): Promise<unknown> {
    return new Promise((resolve, reject) => {
      waiting.push({ resolve, reject, ...(operation && { operation }) });
      if (working === undefined) start(work);
    });
  }

  return {
    add,
    /** The chain's clock: this machine's clock plus what `evm_increaseTime` has added. */
    nowSec,
    get offsetSec() {
      return sequencer.offsetSec;
    },
    async close(): Promise<void> {
      clearInterval(idle);
      while (working !== undefined) await working;
    },
  };
}

type SendLine = ReturnType<typeof createSendLine>;

/** Handles a request or a batch (JSON-RPC 2.0). Reads are passed to the node unchanged. */
async function dispatch(body: string, anvil: Anvil, line: SendLine): Promise<string> {
  const parsed: unknown = JSON.parse(body);
  if (!Array.isArray(parsed)) {
    const { method, params } = requestOf(parsed);
    if (READABLE.test(method) && method !== 'eth_sendRawTransaction') {
      if (seesPending(method, params)) await line.add();
      return anvil.forward(body);
    }
    return JSON.stringify(await reply(parsed, anvil, line));
  }
  return JSON.stringify(await Promise.all(parsed.map((request) => reply(request, anvil, line))));
}

async function reply(request: unknown, anvil: Anvil, line: SendLine): Promise<object> {
  const { id, method, params } = requestOf(request);
  try {
    return { jsonrpc: '2.0', id, result: await perform(method, params, anvil, line) };
  } catch (error) {
    if (!(error instanceof RpcError)) throw error;
    return {
      jsonrpc: '2.0',
      id,
      error: { code: error.code, message: error.message, data: error.data },
    };
  }
}

/**
 * Requests that change the chain become operations. Other state-changing methods of anvil are
 * refused, because a restart would lose their effect.
 */
async function perform(
  method: string,
  params: readonly unknown[],
  anvil: Anvil,
  line: SendLine,
): Promise<unknown> {
  const [first, second] = params;
  switch (method) {
    case 'eth_sendRawTransaction':
      return line.add({ kind: 'transaction', atSec: line.nowSec(), raw: String(first) });
    case 'evm_mine':
      return line.add({ kind: 'mine', atSec: line.nowSec(), blocks: 1, everySec: 0 });
    case 'anvil_mine':
    case 'hardhat_mine': {
      const blocks = numberOf(first ?? 1);
      const everySec = numberOf(second ?? 0);
      await line.add({ kind: 'mine', atSec: line.nowSec(), blocks, everySec });
      return null;
    }
    case 'anvil_setBalance':
    case 'hardhat_setBalance':
      return line.add({ kind: 'balance', address: String(first), balance: String(second) });
    case 'evm_increaseTime':
      return line.add({ kind: 'clock', offsetSec: line.offsetSec + numberOf(first) });
    case 'evm_setNextBlockTimestamp':
      return line.add({
        kind: 'clock',
        offsetSec: line.offsetSec + numberOf(first) - line.nowSec(),
      });
    default:
      if (!READABLE.test(method)) {
        throw new RpcError(-32_601, `${method} is not a method of the local chain`);
      }
      if (seesPending(method, params)) await line.add();
      return anvil.call(method, params);
  }
}

/** Whether the node answers from the pending block, whose timestamp then matters. */
function seesPending(method: string, params: readonly unknown[]): boolean {
  return method === 'eth_estimateGas' || (method === 'eth_call' && params[1] === 'pending');
}

/** @throws RpcError -32600 not a request, -32602 not a number */
function requestOf(value: unknown): { id: unknown; method: string; params: readonly unknown[] } {
  if (typeof value !== 'object' || value === null || !('method' in value)) {
    throw new RpcError(-32_600, 'Invalid Request');
  }
  return {
    id: 'id' in value ? value.id : null,
    method: String(value.method),
    params: 'params' in value && Array.isArray(value.params) ? value.params : [],
  };
}

function numberOf(value: unknown): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number) || number < 0) throw new RpcError(-32_602, 'Invalid params');
  return number;
}

/** Reads and answers a request; an unreadable one gets a JSON-RPC error without an id. */
async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  handle: (body: string) => Promise<string>,
): Promise<void> {
  response.setHeader('content-type', 'application/json');
  try {
    response.end(await handle(await readBody(request)));
  } catch (error) {
    const { code, message } =
      error instanceof RpcError
        ? error
        : { code: error instanceof SyntaxError ? -32_700 : -32_603, message: String(error) };
    response.end(JSON.stringify({ jsonrpc: '2.0', id: null, error: { code, message } }));
  }
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) throw new RpcError(-32_600, `above ${MAX_BODY_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

/** Chooses the genesis' time once, because every hash depends on it. */
async function readGenesis(path: string): Promise<number> {
  const known = readState<{ readonly timestampSec: number }>(path, GENESIS);
  if (known) return known.timestampSec;
  const timestampSec = Math.floor(Date.now() / 1000);
  await writeWhole(path, JSON.stringify({ timestampSec }));
  return timestampSec;
}

/** Runs as the house's child process: reports its address to the parent and ends with it. */
async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { dir: { type: 'string', default: '.defaas/chain' }, port: { type: 'string' } },
  });
  const chain = await startLocalChain({
    dir: resolve(values.dir),
    port: Number(values.port ?? 0),
    onSpawn: (pid) => process.send?.({ spawned: pid }),
  });
  let isEnding = false;
  const end = async (): Promise<void> => {
    if (isEnding) return;
    isEnding = true;
    await chain.close();
    process.exit(0);
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, end);
  if (process.send === undefined) console.log(chain.rpcUrl);
  else process.on('disconnect', end);
  const { rpcUrl, trustedFromBlock } = chain;
  process.send?.({ ready: { rpcUrl, trustedFromBlock } });
  await chain.ended;
  if (!isEnding) {
    console.error('CHAIN_UNREACHABLE: the local chain ended by itself, run npm start again');
    process.exit(1);
  }
}

if (import.meta.main) {
  await main().catch((error: Error & { code?: string }) => {
    const line = error.code === 'EADDRINUSE' ? `PORT_TAKEN: ${error.message}` : error.message;
    console.error(/^[A-Z_]+: /.test(line) ? line : (error.stack ?? line));
    process.exit(1);
  });
}
