// A running function app: its unpacked code, its instances, and the calls from the front to them.

import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Child, Children } from '../../runtime/children.ts';
import { createPool, type Instance } from '../../runtime/pool.ts';
import { unzip } from '../../runtime/unzip.ts';
import type { FunctionRecord, SiteRecord } from './store.ts';

const HOST = fileURLToPath(new URL('./host.cjs', import.meta.url));

/** Memory of a Consumption instance, MiB. A Flex app has its own setting. */
const Y1_INSTANCE_MIB = 1536;
const MAX_UNPACKED_BYTES = 512 * 1024 * 1024;
/** Longest start of an instance. */
const START_MS = 30_000;
/**
 * Concurrent calls of an instance by its size, MiB, when the app does not set it (Azure Functions,
 * "Concurrency" in Flex Consumption).
 */
const FLEX_CONCURRENCY: Readonly<Record<number, number>> = { 512: 4, 2048: 16, 4096: 32 };
const Y1_CONCURRENCY = 100;

/** RpcHttp, the form in which the host gives a call to the programming model. */
export interface HttpCall {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, string>>;
  readonly params: Readonly<Record<string, string>>;
  readonly body: { readonly bytes: Uint8Array };
}

export interface HttpResult {
  readonly statusCode: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly cookies: readonly RpcCookie[];
  readonly body?: { readonly bytes?: Uint8Array; readonly string?: string } | null;
}

export interface RpcCookie {
  readonly name: string;
  readonly value: string;
  readonly path?: { readonly value: string };
  readonly domain?: { readonly value: string };
  readonly maxAge?: { readonly value: number };
  readonly secure?: { readonly value: boolean };
  readonly httpOnly?: { readonly value: boolean };
}

export type CallOutcome =
  | { readonly kind: 'answer'; readonly http: HttpResult }
  /** The function threw, its process ended, or it was too slow. */
  | { readonly kind: 'failed'; readonly why: string }
  /** No instance is free, or the app does not start. The function did not run. */
  | { readonly kind: 'busy' | 'not-started'; readonly why: string };

export interface App {
  readonly routePrefix: string;
  /**
   * The functions that the code registers. Starts an instance when there is none.
   * @throws Error  the app does not start
   */
  load(): Promise<readonly FunctionRecord[]>;
  call(of: FunctionRecord, http: HttpCall): Promise<CallOutcome>;
  instances(): number;
  /** Waits for running calls, ends the instances, and removes the folder of the code. */
  retire(): Promise<void>;
  close(): Promise<void>;
}

interface HostInstance extends Instance {
  readonly functions: readonly FunctionRecord[];
  call(of: FunctionRecord, http: HttpCall): Promise<CallOutcome>;
}

/** The supported members of host.json. */
interface HostJson {
  readonly version?: string;
  readonly functionTimeout?: string;
  readonly extensions?: {
    readonly http?: { readonly routePrefix?: string; readonly maxOutstandingRequests?: number };
  };
}

/**
 * Unpacks the zip into `codeDir`, a folder that only this app uses.
 * @throws UnzipError  not a zip
 * @throws Error  no usable host.json
 */
export function openApp(options: {
  readonly site: SiteRecord;
  readonly zip: Uint8Array;
  readonly codeDir: string;
  readonly children: Children;
  readonly idleMs: number;
  /** Gets what the app's processes write. */
  readonly onOutput: (chunk: Buffer) => void;
  /** Called when an execution begins in an instance. */
  readonly onExecution: () => void;
  /** Called with the time that an instance has executed without a pause, ms. */
  readonly onActive: (ms: number) => void;
}): App {
  const { site, zip, codeDir, children, onOutput } = options;
  rmSync(codeDir, { recursive: true, force: true });
  mkdirSync(codeDir, { recursive: true });
  unzip(zip, codeDir, MAX_UNPACKED_BYTES);
  const host = readHostJson(codeDir);

  const scale = site.functionAppConfig?.scaleAndConcurrency;
  const memoryMiB = scale?.instanceMemoryMB ?? Y1_INSTANCE_MIB;
  const concurrency =
    scale?.triggers?.http?.perInstanceConcurrency ??
    FLEX_CONCURRENCY[scale?.instanceMemoryMB ?? 0] ??
    Y1_CONCURRENCY;
  const timeoutMs = timeSpanMs(host.functionTimeout ?? (scale ? '00:30:00' : '00:05:00'));
  const most = host.extensions?.http?.maxOutstandingRequests;
  const pool = createPool<HostInstance>({
    start,
    concurrency: Math.min(concurrency, most ?? concurrency),
    maxInstances: scale?.maximumInstanceCount ?? 1,
    idleMs: options.idleMs,
  });

  async function start(): Promise<HostInstance> {
    const child = children.start({
      args: [
        `--max-old-space-size=${Math.floor(memoryMiB * 0.9)}`,
        '--max-semi-space-size=4',
        HOST,
      ],
      cwd: codeDir,
      env: environmentOf(site, codeDir),
      memoryMiB,
      ipc: true,
      onOutput,
    });
    const { functions, failed } = await firstWord(child);
    if (failed !== undefined) {
      child.kill();
      throw new Error(failed);
    }
    return hostInstance(child, functions, { ...options, timeoutMs });
  }

  async function call(of: FunctionRecord, http: HttpCall): Promise<CallOutcome> {
    const lease = pool.take();
    if (!lease) return { kind: 'busy', why: 'all places are taken' };
    try {
      const instance = await lease.instance;
      return await instance.call(of, http);
    } catch (error) {
      return { kind: 'not-started', why: error instanceof Error ? error.message : String(error) };
    } finally {
      lease.release();
    }
  }

  return {
    routePrefix: host.extensions?.http?.routePrefix ?? 'api',
    async load() {
      const lease = pool.take();
      if (!lease) throw new Error('no instance');
      try {
        return (await lease.instance).functions;
      } finally {
        lease.release();
      }
    },
    call,
    instances: () => pool.size(),
    async retire() {
      await pool.drain();
      rmSync(codeDir, { recursive: true, force: true });
    },
    close: () => pool.close(),
  };
}

/** Waits for `ready` or `failed`. A process that ends or hangs before that has failed too. */
async function firstWord(
  child: Child,
): Promise<{ functions: readonly FunctionRecord[]; failed?: string }> {
  return new Promise((resolve) => {
    const fail = (failed: string) => settle({ functions: [], failed });
    const timer = setTimeout(() => fail(`no start within ${START_MS} ms`), START_MS);
    const onMessage = (message: { type: string; functions: FunctionRecord[]; message: string }) => {
      if (message.type === 'ready') settle({ functions: message.functions });
      else fail(message.message);
    };
    function settle(word: { functions: readonly FunctionRecord[]; failed?: string }) {
      clearTimeout(timer);
      child.process.off('message', onMessage);
      resolve(word);
    }
    child.process.on('message', onMessage);
    void child.exited.then(({ code, signal }) => fail(`the host ended: ${code ?? signal}`));
  });
}

function hostInstance(
  child: Child,
  functions: readonly FunctionRecord[],
  {
    timeoutMs,
    onExecution,
    onActive,
  }: {
    readonly timeoutMs: number;
    readonly onExecution: () => void;
    readonly onActive: (ms: number) => void;
  },
): HostInstance {
  const waiting = new Map<string, (outcome: CallOutcome) => void>();
  let activeFromMs = 0;

  child.process.on('message', (message: { type: string; id: string; http: HttpResult }) => {
    const settle = waiting.get(message.id);
    if (message.type === 'answer') settle?.({ kind: 'answer', http: message.http });
    else settle?.({ kind: 'failed', why: 'the function threw' });
  });
  void child.exited.then(({ code, signal, isOverMemory }) => {
    const why = isOverMemory ? 'out of memory' : `the process ended: ${code ?? signal}`;
    for (const settle of waiting.values()) settle({ kind: 'failed', why });
  });

  return {
    functions,
    exited: child.exited,
    stop: () => child.kill(),
    call(of, http) {
      return new Promise((resolve) => {
        const id = randomUUID();
        // As the real host does: only the end of the worker stops a busy loop.
        const timer = setTimeout(() => child.kill(), timeoutMs);
        onExecution();
        // Measured outside of the worker, where the function cannot change it.
        if (waiting.size === 0) activeFromMs = performance.now();
        waiting.set(id, (outcome) => {
          clearTimeout(timer);
          waiting.delete(id);
          if (waiting.size === 0) onActive(performance.now() - activeFromMs);
          resolve(outcome);
        });
        const { name, triggerName } = of;
        child.process.send({ id, name, triggerName, http }, (error) => {
          if (error) waiting.get(id)?.({ kind: 'failed', why: error.message });
        });
      });
    },
  };
}

function environmentOf(site: SiteRecord, codeDir: string): Record<string, string> {
  const { NODE_OPTIONS: _, NODE_EXTRA_CA_CERTS: __, ...settings } = site.settings;
  return {
    ...settings,
    PATH: '/usr/local/bin:/usr/bin:/bin',
    HOME: '/home',
    LANG: 'C.UTF-8',
    AzureWebJobsScriptRoot: codeDir,
    FUNCTIONS_WORKER_RUNTIME: 'node',
    FUNCTIONS_EXTENSION_VERSION: '~4',
    WEBSITE_SITE_NAME: site.name,
    WEBSITE_HOSTNAME: `127.0.0.1:${site.sitePort}`,
    WEBSITE_INSTANCE_ID: randomUUID(),
    WEBSITE_SKU: site.functionAppConfig ? 'FlexConsumption' : 'Dynamic',
    REGION_NAME: site.location,
  };
}

function readHostJson(dir: string): HostJson {
  const host: HostJson = JSON.parse(readFileSync(join(dir, 'host.json'), 'utf8'));
  if (host.version !== '2.0') throw new Error(`host.json version ${host.version} is not 2.0`);
  return host;
}

/** Reads `hh:mm:ss`. `-1` means no limit. */
function timeSpanMs(text: string): number {
  if (text === '-1') return 2 ** 31 - 1;
  const [hours = 0, minutes = 0, seconds = 0] = text.split(':').map(Number);
  return ((hours * 60 + minutes) * 60 + seconds) * 1000;
}
