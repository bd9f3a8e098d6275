// Starts and calls one anvil process that does not mine by itself: the EVM behind the local chain's
// front.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { arch, platform } from 'node:os';
import { dirname, join } from 'node:path';
import { Pool } from 'undici';

/** States of past blocks kept for `eth_call`; more of them cost time in every block. */
const KEPT_STATES = 128;
const START_MS = 10_000;

export interface Anvil {
  readonly pid: number;
  /** Port of its JSON-RPC on 127.0.0.1. */
  readonly port: number;
  /** @throws RpcError what the node refuses */
  call(method: string, params?: readonly unknown[]): Promise<unknown>;
  /** Forwards a request's bytes and returns the reply's bytes. */
  forward(body: string): Promise<string>;
  /** Resolves when the process has ended, for any reason. */
  readonly ended: Promise<void>;
  close(): Promise<void>;
}

/** A refusal in JSON-RPC's own form. */
export class RpcError extends Error {
  readonly code: number;
  readonly data: unknown;

  constructor(code: number, message: string, data?: unknown) {
    super(message);
    this.code = code;
    this.data = data;
  }
}

/**
 * Path of the anvil program of this platform.
 * @throws Error CHAIN_BINARY  where npm has none
 */
export function findAnvil(): string {
  const cpu = arch() === 'x64' ? 'amd64' : arch();
  const name = `@foundry-rs/anvil-${platform()}-${cpu}`;
  try {
    const folder = dirname(createRequire(import.meta.url).resolve(`${name}/package.json`));
    const program = join(folder, 'bin', platform() === 'win32' ? 'anvil.exe' : 'anvil');
    if (existsSync(program)) return program;
  } catch (cause) {
    throw new Error(chainBinary(name), { cause });
  }
  throw new Error(chainBinary(name));
}

function chainBinary(name: string): string {
  return `CHAIN_BINARY: no local chain for ${platform()} ${arch()} (package ${name}); set DEFAAS_CHAIN_RPC_URL to a chain of yours`;
}

/**
 * Starts it with a fixed genesis, so that the same transactions give the same block hashes again.
 */
export async function startAnvil(options: {
  readonly chainId: number;
  readonly genesisSec: number;
  /** Folder for states that do not fit into memory. */
  readonly cacheDir: string;
  readonly onSpawn?: ((pid: number) => void) | undefined;
}): Promise<Anvil> {
  const args = ['--host', '127.0.0.1', '--port', '0', '--no-mining', '--order', 'fifo'];
  args.push('--chain-id', String(options.chainId), '--timestamp', String(options.genesisSec));
  args.push('--accounts', '0', '--prune-history', String(KEPT_STATES));
  args.push('--no-request-size-limit', '--cache-path', options.cacheDir);
  const child = spawn(findAnvil(), args, { stdio: ['ignore', 'pipe', 'ignore'], env: {} });
  if (child.pid !== undefined) options.onSpawn?.(child.pid);
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
  });
  const port = await listeningPort(child, ended);
  const pool = new Pool(`http://127.0.0.1:${port}`, { connections: 16, bodyTimeout: 0 });

  async function forward(body: string): Promise<string> {
    const reply = await pool.request({ path: '/', method: 'POST', headers: JSON_HEADERS, body });
    return reply.body.text();
  }

  async function call(method: string, params: readonly unknown[] = []): Promise<unknown> {
    const reply = JSON.parse(
      await forward(JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })),
    );
    if (reply.error) throw new RpcError(reply.error.code, reply.error.message, reply.error.data);
    return reply.result;
  }

  await call('anvil_setLoggingEnabled', [false]);
  return {
    pid: child.pid ?? 0,
    port,
    call,
    forward,
    ended,
    async close() {
      child.kill('SIGKILL');
      await ended;
      await pool.destroy();
    },
  };
}

const JSON_HEADERS = { 'content-type': 'application/json' };

/** Reads the port from anvil's output at start, then discards the output. */
async function listeningPort(child: ChildProcess, ended: Promise<void>): Promise<number> {
  let output = '';
  const port = new Promise<number>((resolve) => {
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      if (output === '') child.stdout?.resume();
      output = (output + text).slice(-4096);
      const found = /Listening on 127\.0\.0\.1:(\d+)/.exec(output)?.[1];
      if (found !== undefined) resolve(Number(found));
    });
  });
  const failed = ended.then(() => {
    throw new Error('CHAIN_BINARY: anvil ended at its start; set DEFAAS_CHAIN_RPC_URL');
  });
  const late = AbortSignal.timeout(START_MS);
  const timeout = new Promise<never>((_resolve, reject) => {
    late.addEventListener('abort', () => reject(new Error(`anvil not up after ${START_MS} ms`)));
  });
  return Promise.race([port, failed, timeout]);
}
