// `npm start`: the whole house on this machine. Supervises three processes, the chain, the clouds'
// emulators and the gateway, and on the first start deploys the contracts and the example. A start
// resumes what `kill -9` interrupted.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, globSync, mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { writeWhole } from '../adapters/runtime/whole-file.ts';
import type { ContractAddresses } from '../contracts/chain/types.ts';
import type { Deployments } from '../contracts/deployments.ts';
import { CliError, errorLine } from './cli/cli-error.ts';
import { findHome, houseFile, PACKAGE_ROOT } from './cli/house.ts';
import { runSteps } from './cli/progress.ts';
import { showError, typedForm } from './cli/typed.ts';
import { type HouseChild, startChild } from './house/child.ts';
import { requireLoopback } from './house/loopback.ts';
import { openPidBook, type PidBook } from './house/pid-book.ts';

/** Longest waits for a part to be ready, ms. */
const CHAIN_MS = 60_000;
const EMULATORS_MS = 30_000;
const GATEWAY_MS = 60_000;
const FURNISH_MS = 120_000;
const RPC_MS = 5_000;
/** Grace period of each part at a stop, ms; their sum is below the 10 s of a clean stop. */
const GATEWAY_GRACE_MS = 7_000;
const PART_GRACE_MS = 1_500;

const EXAMPLE = join(PACKAGE_ROOT, 'scripts/examples/hello');

interface ChainReady {
  readonly rpcUrl: string;
  /** BLOCKHASH is right in contracts from this block on; undefined on a foreign chain. */
  readonly trustedFromBlock?: number;
}

interface EmulatorsReady {
  readonly aws: string;
  readonly google: string;
  readonly azure: string;
  readonly faults?: { readonly aws: string; readonly google: string; readonly azure: string };
}

interface GatewayReady {
  readonly url: string;
  readonly ipfs: { readonly multiaddrs: readonly string[] };
}

/** The state for which the setup was last completed. */
interface Furnished {
  readonly mark: string;
  /** Of the gateway. */
  readonly url: string;
}

/** Content of `$DEFAAS_HOME/up.json` (docs/architecture.md, "The house on one machine"). */
interface UpFile {
  readonly pid: number;
  readonly gateway: string;
  readonly chain: { readonly rpcUrl: string; readonly contracts: ContractAddresses };
  readonly emulators: EmulatorsReady;
  /** Always null: the dashboard is not served yet. */
  readonly dashboard: null;
  readonly example: string;
  readonly ipfs: { readonly multiaddrs: readonly string[] };
}

/** The parts of a house in their start order. */
class House {
  readonly home: string;
  readonly #book: PidBook;
  readonly #hasFaults: boolean;
  readonly #parts: HouseChild<unknown>[] = [];
  #stopping: Promise<void> | undefined;

  /** @throws CliError HOUSE_RUNNING */
  constructor(options: { readonly home: string; readonly hasFaults: boolean }) {
    this.home = options.home;
    this.#hasFaults = options.hasFaults;
    mkdirSync(this.home, { recursive: true, mode: 0o700 });
    this.#book = openPidBook(this.home);
    rmSync(join(this.home, 'up.json'), { force: true });
  }

  get furnishedFile(): string {
    return join(this.home, 'furnished.json');
  }

  get isStopping(): boolean {
    return this.#stopping !== undefined;
  }

  /**
   * Resolves when a supervised part ends by itself, with its name and cause. Never settles while
   * all run.
   */
  get broken(): Promise<string> {
    return Promise.race(
      this.#parts.map(async ({ name, ended }) => `the ${name} ${await ended} by itself`),
    );
  }

  /** Starts the house's own chain, or connects to DEFAAS_CHAIN_RPC_URL. */
  async startChain(): Promise<ChainReady> {
    const given = process.env.DEFAAS_CHAIN_RPC_URL?.split(',')[0];
    if (given) {
      await askRpc(given, 'eth_chainId');
      return { rpcUrl: given };
    }
    const dir = join(this.home, 'chain');
    const before = readJson<{ port: number }>(join(dir, 'port.json'))?.port ?? 0;
    const args = ['--dir', dir, '--port', String((await isFree(before)) ? before : 0)];
    const ready = await this.#start<ChainReady>('chain', 'scripts/local-chain.ts', CHAIN_MS, {
      args,
    });
    await writeWhole(
      join(dir, 'port.json'),
      JSON.stringify({ port: Number(new URL(ready.rpcUrl).port) }),
    );
    return ready;
  }

  startEmulators(): Promise<EmulatorsReady> {
    const args = ['--dir', join(this.home, 'emulators'), ...(this.#hasFaults ? ['--faults'] : [])];
    return this.#start('emulators', 'scripts/emulators.ts', EMULATORS_MS, { args });
  }

  /**
   * Starts the gateway, configured by its environment; variables that the user has set keep their
   * value. Reuses the former port if any port is allowed.
   */
  async startGateway({ rpcUrl, trustedFromBlock }: ChainReady): Promise<GatewayReady> {
    const before = Number(new URL(readJson<Furnished>(this.furnishedFile)?.url ?? 'http://x').port);
    const isAnyPort = process.env.DEFAAS_PORT === '0';
    const key = (role: string): string => join(this.home, 'keys', `${role}.json`);
    const env = {
      DEFAAS_CHAIN_RPC_URL: process.env.DEFAAS_CHAIN_RPC_URL ?? rpcUrl,
      // The house's own chain has no secret in its URL.
      ...(!process.env.DEFAAS_CHAIN_RPC_URL && {
        DEFAAS_CHAIN_PUBLIC_RPC_URL: process.env.DEFAAS_CHAIN_PUBLIC_RPC_URL ?? rpcUrl,
      }),
      DEFAAS_CHAIN_CONTRACTS_FILE: join(this.home, 'contracts.json'),
      ...(trustedFromBlock !== undefined && {
        DEFAAS_CHAIN_LOCAL_FROM_BLOCK: String(trustedFromBlock),
      }),
      ...(isAnyPort && (await isFree(before)) && { DEFAAS_PORT: String(before) }),
      DEFAAS_KEYS_GATEWAY_FILE: key('gateway'),
      DEFAAS_KEYS_OPERATOR_FILE: key('operator'),
      DEFAAS_KEYS_SETTLER_FILE: key('settler'),
      DEFAAS_EMULATORS_FILE: join(this.home, 'emulators', 'emulators.json'),
      DEFAAS_PUBLISHERS: process.env.DEFAAS_PUBLISHERS ?? 'any',
      DEFAAS_PUBLISHER_WARM_MAX_COUNT: process.env.DEFAAS_PUBLISHER_WARM_MAX_COUNT ?? '10',
      // The emulators end idle instances after a minute.
      DEFAAS_WARM_EVERY_SEC: process.env.DEFAAS_WARM_EVERY_SEC ?? '45',
      DEFAAS_PROBE_EVERY_SEC: process.env.DEFAAS_PROBE_EVERY_SEC ?? '45',
      DEFAAS_LOCAL_ENABLED: process.env.DEFAAS_LOCAL_ENABLED ?? '1',
      // Without a sandbox, only code of the house's own accounts runs on this machine.
      DEFAAS_LOCAL_TRUSTED_PUBLISHERS:
        process.env.DEFAAS_LOCAL_TRUSTED_PUBLISHERS ??
        ['publisher', 'user'].map((role) => addressIn(key(role))).join(','),
    };
    return this.#start('gateway', 'broker/main.ts', GATEWAY_MS, { env });
  }

  /** Runs a program that ends when its work is done. */
  async furnish(
    program: string,
    args: readonly string[],
    onStep: (line: string) => void,
  ): Promise<void> {
    await this.#start('furnishing', program, FURNISH_MS, { args, onStep });
  }

  async #start<Ready>(
    name: string,
    program: string,
    readyMs: number,
    more: Pick<Parameters<typeof startChild>[0], 'args' | 'env' | 'onStep'>,
  ): Promise<Ready> {
    if (this.isStopping) throw new Error('the house is stopping');
    const child = startChild<Ready>({
      name,
      program: join(PACKAGE_ROOT, program),
      home: this.home,
      book: this.#book,
      readyMs,
      ...more,
      env: { ...more.env, DEFAAS_HOME: this.home },
    });
    this.#parts.push(child);
    const ready = await child.ready;
    if (name === 'furnishing') {
      await child.ended;
      this.#parts.splice(this.#parts.indexOf(child), 1);
    }
    return ready;
  }

  /**
   * Stops the gateway first, because it still writes to the chain and the clouds. Repeated calls
   * await the first.
   */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    rmSync(join(this.home, 'up.json'), { force: true });
    const named = (name: string) => this.#parts.filter((part) => part.name === name);
    for (const part of named('furnishing')) await part.stop(0);
    for (const part of named('gateway')) await part.stop(GATEWAY_GRACE_MS);
    const others = [...named('emulators'), ...named('chain')];
    await Promise.all(others.map((part) => part.stop(PART_GRACE_MS)));
    this.#book.close();
  }
}

async function bringUp(house: House): Promise<UpFile> {
  const { home } = house;
  await requireLoopback();
  let chain: ChainReady | undefined;
  let emulators: EmulatorsReady | undefined;
  let gateway: GatewayReady | undefined;
  await runSteps({ json: false }, [
    {
      title: 'starting the chain and the emulators of the clouds',
      run: async () => {
        [chain, emulators] = await Promise.all([house.startChain(), house.startEmulators()]);
      },
    },
    {
      title: 'accounts and contracts',
      run: async (report) => {
        const { rpcUrl } = known(chain);
        if (await isFounded(home, rpcUrl)) return;
        await house.furnish('scripts/house/found.ts', [home, rpcUrl], report);
      },
    },
    {
      title: 'starting the gateway',
      run: async () => {
        gateway = await house.startGateway(known(chain));
      },
    },
    {
      title: 'its standing on the chain, and the example hello',
      run: async (report) => {
        const { url } = known(gateway);
        const mark = markOf(home, url);
        if (readJson<Furnished>(house.furnishedFile)?.mark === mark) return;
        const args = [home, url, known(chain).rpcUrl, EXAMPLE];
        await house.furnish('scripts/house/settle-in.ts', args, report);
        await writeWhole(house.furnishedFile, JSON.stringify({ mark, url }));
      },
    },
  ]);
  const publisher = readJson<{ address: string }>(join(home, 'keys', 'publisher.json'));
  const { url, ipfs } = known(gateway);
  return {
    pid: process.pid,
    gateway: url,
    // Safe: what the founding has written, as `deployContracts` returned it.
    chain: {
      rpcUrl: known(chain).rpcUrl,
      contracts: known(readJson<ContractAddresses>(join(home, 'contracts.json'))),
    },
    emulators: known(emulators),
    dashboard: null,
    example: `${url}/functions/${publisher?.address}/hello`,
    ipfs,
  };
}

async function isFree(port: number): Promise<boolean> {
  if (port === 0) return false;
  const probe = createServer().listen(port, '127.0.0.1');
  try {
    await once(probe, 'listening');
    return true;
  } catch {
    return false;
  } finally {
    probe.close();
  }
}

/**
 * Whether the keys exist, the contracts are on this chain, and the command line's deployments name
 * them.
 */
async function isFounded(home: string, rpcUrl: string): Promise<boolean> {
  const contracts = readJson<ContractAddresses>(join(home, 'contracts.json'));
  if (contracts === undefined || !existsSync(join(home, 'keys', 'user.json'))) return false;
  const believed = readJson<Deployments>(houseFile(home))?.sets[0]?.contracts.billing;
  if (believed !== contracts.billing) return false;
  return (await askRpc(rpcUrl, 'eth_getCode', contracts.billing, 'latest')) !== '0x';
}

/** @throws CliError CHAIN_UNREACHABLE */
async function askRpc(rpcUrl: string, method: string, ...params: unknown[]): Promise<unknown> {
  try {
    const reply = await fetch(rpcUrl, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
      signal: AbortSignal.timeout(RPC_MS),
    });
    return (await reply.json()).result;
  } catch (cause) {
    throw new CliError(
      'CHAIN_UNREACHABLE',
      `no answer to ${method}, on ${new URL(rpcUrl).origin}, start that chain or unset DEFAAS_CHAIN_RPC_URL`,
      { cause },
    );
  }
}

/** Fingerprint of the setup; changes with the contracts, the URL or the example. */
function markOf(home: string, url: string): string {
  const hash = createHash('sha256')
    .update(readFileSync(join(home, 'contracts.json')))
    .update(url);
  for (const file of globSync('**/*', { cwd: EXAMPLE }).sort()) {
    const path = join(EXAMPLE, file);
    if (statSync(path).isFile()) hash.update(file).update(readFileSync(path));
  }
  return hash.digest('hex');
}

/**
 * This house has emulators. Settings of real clouds would be ignored, and somebody would take the
 * emulators for the cloud.
 * @throws CliError CONFIG_INVALID
 */
function refuseRealClouds(env: NodeJS.ProcessEnv): void {
  const set = Object.keys(env).filter(
    (name) =>
      /^DEFAAS_(?:AWS|GOOGLE|AZURE)_/.test(name) && name !== 'DEFAAS_AZURE_PLAN' && env[name],
  );
  if (set.length === 0) return;
  throw new CliError(
    'CONFIG_INVALID',
    `npm start runs emulators of the clouds, and ${set.join(', ')} would be ignored, unset it, or start a gateway on real clouds as docs/operating.md says`,
  );
}

function addressIn(file: string): string {
  return known(readJson<{ address: string }>(file)).address;
}

function known<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('a step before has not run');
  return value;
}

function readJson<T>(file: string): T | undefined {
  try {
    // Safe: files of this house, written whole.
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return undefined;
  }
}

function printSummary({ gateway, chain, emulators, example }: UpFile, home: string): void {
  console.log(`gateway    ${gateway}
chain      ${chain.rpcUrl}
emulators  ${emulators.aws} (aws)  ${emulators.google} (google)  ${emulators.azure} (azure)
state      ${home}
try        curl -i ${example}
Ctrl-C stops it; in a second terminal: ${typedForm(process.env)} --help`);
}

const { values } = parseArgs({ options: { faults: { type: 'boolean' } } });
let house: House | undefined;
try {
  refuseRealClouds(process.env);
  house = new House({
    home: findHome(),
    hasFaults: values.faults ?? process.env.DEFAAS_EMULATORS_FAULTS === '1',
  });
  const { home } = house;
  const stop = async (): Promise<void> => {
    await house?.stop();
    process.exit(0);
  };
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, stop);
  const up = await bringUp(house);
  await writeWhole(join(home, 'up.json'), `${JSON.stringify(up, null, 2)}\n`);
  printSummary(up, home);
  const why = await house.broken;
  if (!house.isStopping) {
    throw new CliError('HOUSE_DOWN', `${why}, see ${join(home, 'logs')}, then run npm start again`);
  }
} catch (error) {
  if (!house?.isStopping) {
    showError(errorLine(error));
    await house?.stop();
    process.exit(1);
  }
}
