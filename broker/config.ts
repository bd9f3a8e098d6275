// Reads and checks the gateway's environment variables; nothing else of the gateway reads them.
// `.env.example` lists every variable, and `npm run check` compares the two.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { ProviderSettings } from '../adapters/providers.ts';
import { refuseExposed } from '../adapters/runtime/whole-file.ts';
import { CHAIN_KINDS, type ChainKind } from '../contracts/chain/chains.ts';
import { emulatedClouds, realClouds } from './clouds.ts';
import { DefaasError } from './errors.ts';
import { createPeers, FORWARDED_HEADERS, type ForwardedHeader } from './peers.ts';

/** A value that must not be in logs, errors or replies: it prints as `[secret]`. */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return '[secret]';
  }

  toJSON(): string {
    return '[secret]';
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return '[secret]';
  }
}

export interface Config {
  /** Folder of all state. */
  readonly home: string;
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /**
   * Origins of this gateway besides the one that it listens on. A sign-in must name one of its
   * origins.
   */
  readonly publicOrigins: readonly string[];
  readonly logLevel: string;
  /** May hold a key: never shown. */
  readonly chainRpcUrls: readonly string[];
  /** The RPC URL in the gateway's document; undefined: none. */
  readonly chainPublicRpcUrl: string | undefined;
  /** JSON file with the contracts' addresses, as `contracts/deploy.ts` returns them. */
  readonly contractsFile: string;
  /** Another set of contracts on the same chain, served at its own port while payers move. */
  readonly second:
    | {
        readonly contractsFile: string;
        readonly port: number;
        /** Its public origin; undefined: the address where it listens. */
        readonly origin: string | undefined;
      }
    | undefined;
  /** Selects the defaults that differ between chains; undefined: by the chain's id. */
  readonly chainKind: ChainKind | undefined;
  /**
   * Number of blocks after which deposits, new lanes and other credits count. Undefined: the
   * chain's default.
   */
  readonly chainConfirmations: number | undefined;
  /** The chain's head is stale when no RPC node has answered for this long. */
  readonly chainStaleMs: number;
  /**
   * For a local chain only: it mines on demand, and its block hashes are trusted from this block
   * on.
   */
  readonly chainLocalFromBlock: number | undefined;
  /** The gateway's account, which is also the provider account of its deployments. */
  readonly gatewayKey: Secret;
  /** Signs receipt groups and payouts. */
  readonly operatorKey: Secret;
  /** File of the operator key; read again after the operator has changed the key. */
  readonly operatorKeyFile: string;
  /** Sends the settlement transactions. */
  readonly settlerKey: Secret;
  /**
   * The clouds that this gateway deploys to: the emulators in DEFAAS_EMULATORS_FILE if that is set,
   * else the real ones, and this machine if that is enabled.
   */
  readonly clouds: Partial<ProviderSettings>;
  /** Who may deploy on this gateway's cloud accounts: `any`, or lower-case addresses. */
  readonly publishers: 'any' | readonly string[];
  /** Limits of one publisher: number of concurrent deployments, and memory of one version. */
  readonly publisherDeploymentsMax: number;
  readonly publisherMemoryMaxMiB: number;
  /** Instances kept warm for all deployments of one publisher together. */
  readonly publisherWarmMax: number;
  /** How often the gateway calls instances to keep them warm. */
  readonly warmEverySec: number;
  /**
   * How often the gateway calls its own probe function in each cloud and region, to learn the
   * overhead that metering subtracts. 0: never.
   */
  readonly probeEverySec: number;
  /**
   * A publisher is stopped for this long when a cloud counted more execution of its functions than
   * was billed. 0: only the operator is alerted.
   */
  readonly meteringStopSec: number;
  /** Serves plain calls straight from the socket; off: Node's HTTP server reads all requests. */
  readonly fastPath: boolean;
  /**
   * A second origin of this gateway, for functions only. There, functions may set cookies and their
   * pages are not sandboxed.
   */
  readonly functionsOrigin: string | undefined;
  /** Addresses and networks of proxies in front of the gateway, which name their clients. */
  readonly trustedProxies: readonly string[];
  /** The header in which they do. */
  readonly forwardedHeader: ForwardedHeader;
  /** Open connections of all clients, and of one client's address. */
  readonly connectionsMax: number;
  readonly peerConnectionsMax: number;
  readonly bodyMaxBytes: number;
  /**
   * A client that takes longer to send its request, or reads nothing of its reply for this long, is
   * disconnected.
   */
  readonly requestTimeoutMs: number;
  /**
   * Memory of all unfinished request bodies and unread replies. Above it, the oldest connection is
   * closed.
   */
  readonly waitingMaxBytes: number;
  readonly artifactMaxBytes: number;
  /** Maximum number of concurrent calls; more are refused with OVERLOADED. */
  readonly invocationsMax: number;
  /** Disk space for answers of calls with an idempotency key that are too large for the ledger. */
  readonly answersMaxMiB: number;
  /**
   * Calls per second of one payer (0: no limit), then concurrent calls of one payer and of one
   * function.
   */
  readonly payerRatePerSec: number;
  readonly payerConcurrency: number;
  readonly functionConcurrency: number;
  /** The most that one payer may owe unsettled, running calls included, base units. */
  readonly exposureMaxUnits: bigint;
  /**
   * Execution time per hour that may always fail free of charge, per function and per publisher.
   */
  readonly freeFailureMsPerHour: number;
  /**
   * Default of what sponsored calls of a function may cost per UTC day, base units; its publisher
   * can set another.
   */
  readonly sponsorDailyUnits: bigint;
  /** Share of other gateways' batches that this gateway checks for fraud; 0: none. */
  readonly watchSamplePercent: number;
  /** Time between settlements. A lane is served only while it stays open for two of them. */
  readonly settlementCycleSec: number;
  /** Longest signed transaction of a settlement; undefined: the default of the chain. */
  readonly settlementMaxBytes: number | undefined;
  /** A lane is settled when it owes this many times the gas of settling it. */
  readonly settlementWorthFactor: number;
  /** Value of 1e18 wei of the chain's native coin, base units of the token; 0: gas is free. */
  readonly nativePriceUnits: bigint;
  /**
   * The most of the gateway's free deposit that it reserves for all payees together, base units.
   */
  readonly floatMaxUnits: bigint;
  /** Nothing is reserved for a payee who earns less per settlement cycle, base units. */
  readonly floatLeastUnits: bigint;
}

/**
 * Reads and checks all variables.
 * @throws DefaasError CONFIG_INVALID naming every variable that is wrong, and its form
 */
export function readConfig(
  env: Readonly<Record<string, string | undefined>> = process.env,
): Config {
  const faults: string[] = [];
  const text = (name: string, fallback?: string): string => {
    const value = env[name] ?? fallback;
    if (value === undefined || value === '') faults.push(`${name} is required`);
    return value ?? '';
  };
  const whole = (name: string, fallback: number, least = 0): number => {
    const value = Number(env[name] ?? fallback);
    if (!Number.isSafeInteger(value) || value < least) {
      faults.push(`${name} must be a whole number of at least ${least}`);
    }
    return value;
  };
  const optional = (name: string, least = 0): number | undefined =>
    env[name] === undefined ? undefined : whole(name, 0, least);
  const keyFrom = (name: string): Secret => {
    const file = text(name);
    try {
      return new Secret(readPrivateKey(file));
    } catch (error) {
      const why =
        error instanceof SyntaxError ? 'no JSON' : error instanceof Error && error.message;
      if (file !== '')
        faults.push(`${name} must name a JSON file with a privateKey: ${file} (${why})`);
      return new Secret('');
    }
  };
  const home = resolve(env.DEFAAS_HOME ?? '.defaas');
  const config: Config = {
    home,
    host: env.DEFAAS_LISTEN_HOST ?? '127.0.0.1',
    port: whole('DEFAAS_PORT', 8080),
    publicOrigins: originsFrom(env, 'DEFAAS_PUBLIC_ORIGINS', faults),
    logLevel: env.DEFAAS_LOG_LEVEL ?? 'info',
    chainRpcUrls: rpcUrlsFrom(text('DEFAAS_CHAIN_RPC_URL'), 'DEFAAS_CHAIN_RPC_URL', faults),
    chainPublicRpcUrl: rpcUrlsFrom(
      env.DEFAAS_CHAIN_PUBLIC_RPC_URL ?? '',
      'DEFAAS_CHAIN_PUBLIC_RPC_URL',
      faults,
    )[0],
    contractsFile: env.DEFAAS_CHAIN_CONTRACTS_FILE ?? `${home}/contracts.json`,
    second: env.DEFAAS_SECOND_CONTRACTS_FILE
      ? {
          contractsFile: env.DEFAAS_SECOND_CONTRACTS_FILE,
          port: whole('DEFAAS_SECOND_PORT', 8081),
          origin: originsFrom(env, 'DEFAAS_SECOND_ORIGIN', faults)[0],
        }
      : undefined,
    chainKind: kindFrom(env, faults),
    chainConfirmations: optional('DEFAAS_CHAIN_CONFIRMATIONS_BLOCKS'),
    chainStaleMs: whole('DEFAAS_CHAIN_STALE_MS', 15_000, 1),
    chainLocalFromBlock: optional('DEFAAS_CHAIN_LOCAL_FROM_BLOCK'),
    gatewayKey: keyFrom('DEFAAS_KEYS_GATEWAY_FILE'),
    operatorKey: keyFrom('DEFAAS_KEYS_OPERATOR_FILE'),
    operatorKeyFile: env.DEFAAS_KEYS_OPERATOR_FILE ?? '',
    settlerKey: keyFrom('DEFAAS_KEYS_SETTLER_FILE'),
    clouds: {
      ...cloudsFrom(env, faults),
      ...(env.DEFAAS_LOCAL_ENABLED === '1' && {
        local: {
          dir: `${home}/local`,
          trustedPublishers: publishersFrom(env, 'DEFAAS_LOCAL_TRUSTED_PUBLISHERS', faults),
          ...(env.DEFAAS_LOCAL_MEMORY_MIB && {
            totalMemoryMiB: whole('DEFAAS_LOCAL_MEMORY_MIB', 0, 128),
          }),
        },
      }),
    },
    publishers: publishersFrom(env, 'DEFAAS_PUBLISHERS', faults),
    publisherDeploymentsMax: whole('DEFAAS_PUBLISHER_DEPLOYMENTS_MAX_COUNT', 1000),
    publisherMemoryMaxMiB: whole('DEFAAS_PUBLISHER_MEMORY_MAX_MIB', 10_240, 1),
    publisherWarmMax: whole('DEFAAS_PUBLISHER_WARM_MAX_COUNT', 0),
    warmEverySec: whole('DEFAAS_WARM_EVERY_SEC', 240, 1),
    probeEverySec: whole('DEFAAS_PROBE_EVERY_SEC', 60),
    meteringStopSec: whole('DEFAAS_METERING_STOP_SEC', 86_400),
    functionsOrigin: originsFrom(env, 'DEFAAS_FUNCTIONS_ORIGIN', faults)[0],
    fastPath: switchFrom(env, 'DEFAAS_FAST_PATH', faults),
    ...proxiesFrom(env, faults),
    connectionsMax: whole('DEFAAS_CONNECTIONS_MAX_COUNT', 8192, 1),
    peerConnectionsMax: whole('DEFAAS_PEER_CONNECTIONS_MAX_COUNT', 1024, 1),
    bodyMaxBytes: whole('DEFAAS_BODY_MAX_BYTES', 6 * 1024 * 1024, 65_536),
    requestTimeoutMs: whole('DEFAAS_REQUEST_TIMEOUT_MS', 120_000, 1),
    waitingMaxBytes: whole('DEFAAS_WAITING_MAX_BYTES', 512 * 1024 * 1024, 16 * 1024 * 1024),
    artifactMaxBytes: whole('DEFAAS_ARTIFACT_MAX_BYTES', 64 * 1024 * 1024, 65_536),
    invocationsMax: whole('DEFAAS_INVOCATIONS_MAX_COUNT', 1024, 1),
    answersMaxMiB: whole('DEFAAS_ANSWERS_MAX_MIB', 1024),
    payerRatePerSec: whole('DEFAAS_PAYER_RATE_PER_SEC', 0),
    payerConcurrency: whole('DEFAAS_PAYER_CONCURRENCY_COUNT', 512, 1),
    functionConcurrency: whole('DEFAAS_FUNCTION_CONCURRENCY_COUNT', 512, 1),
    exposureMaxUnits: BigInt(whole('DEFAAS_EXPOSURE_MAX_UNITS', 1_000_000_000)),
    freeFailureMsPerHour: whole('DEFAAS_FREE_FAILURE_MS_PER_HOUR', 600_000),
    sponsorDailyUnits: BigInt(whole('DEFAAS_SPONSOR_DAILY_UNITS', 1_000_000)),
    watchSamplePercent: whole('DEFAAS_WATCH_SAMPLE_PERCENT', 1),
    settlementCycleSec: whole('DEFAAS_SETTLEMENT_CYCLE_SEC', 21_600, 1),
    settlementMaxBytes: optional('DEFAAS_SETTLEMENT_MAX_BYTES', 2048),
    settlementWorthFactor: whole('DEFAAS_SETTLEMENT_WORTH_FACTOR', 100, 1),
    nativePriceUnits: BigInt(whole('DEFAAS_CHAIN_NATIVE_PRICE_UNITS', 0)),
    floatMaxUnits: BigInt(whole('DEFAAS_FLOAT_MAX_UNITS', 100_000_000)),
    floatLeastUnits: BigInt(whole('DEFAAS_FLOAT_LEAST_UNITS', 10_000)),
  };
  if (faults.length > 0) {
    throw new DefaasError('CONFIG_INVALID', `${faults.join('; ')}, see .env.example`);
  }
  return Object.freeze(config);
}

/** The configuration of the second set's gateway; undefined if there is none. */
export function secondConfig(config: Config): Config | undefined {
  const { second } = config;
  if (second === undefined) return undefined;
  const { contractsFile, port, origin } = second;
  const publicOrigins = origin === undefined ? [] : [origin];
  const place = { contractsFile, port, publicOrigins, functionsOrigin: undefined };
  return Object.freeze({ ...config, ...place, second: undefined });
}

/** `on` or `off`; `on` by default. */
function switchFrom(env: NodeJS.ProcessEnv, name: string, faults: string[]): boolean {
  const value = env[name] ?? 'on';
  if (value !== 'on' && value !== 'off') faults.push(`${name} must be on or off`);
  return value === 'on';
}

function originsFrom(
  env: Readonly<Record<string, string | undefined>>,
  name: string,
  faults: string[],
): readonly string[] {
  const origins = (env[name] ?? '').split(',').filter(Boolean);
  if (origins.some((origin) => !URL.canParse(origin) || new URL(origin).origin !== origin)) {
    faults.push(`${name} must be origins such as https://gateway.example, with commas between`);
  }
  return origins;
}

/** The value is not in the message: it may hold a key. */
function rpcUrlsFrom(text: string, name: string, faults: string[]): readonly string[] {
  const urls = text.split(',').filter(Boolean);
  const isRpc = (url: string): boolean =>
    URL.canParse(url) && /^https?:$/.test(new URL(url).protocol) && new URL(url).username === '';
  if (!urls.every(isRpc)) {
    faults.push(`${name} must be http or https URLs without a user name, with commas between`);
  }
  return urls;
}

function proxiesFrom(
  env: Readonly<Record<string, string | undefined>>,
  faults: string[],
): Pick<Config, 'trustedProxies' | 'forwardedHeader'> {
  const trustedProxies = (env.DEFAAS_TRUSTED_PROXIES ?? '').split(',').filter(Boolean);
  const named = env.DEFAAS_FORWARDED_HEADER ?? 'x-forwarded-for';
  const forwardedHeader = FORWARDED_HEADERS.find((one) => one === named.toLowerCase());
  if (forwardedHeader === undefined) {
    faults.push(`DEFAAS_FORWARDED_HEADER must be one of ${FORWARDED_HEADERS.join(', ')}`);
  }
  const settings = { trustedProxies, forwardedHeader: forwardedHeader ?? 'x-forwarded-for' };
  try {
    createPeers(settings);
  } catch {
    faults.push(
      'DEFAAS_TRUSTED_PROXIES must be addresses or networks such as 10.0.0.0/8, with commas between',
    );
  }
  return settings;
}

function cloudsFrom(
  env: Readonly<Record<string, string | undefined>>,
  faults: string[],
): Partial<ProviderSettings> {
  const file = env.DEFAAS_EMULATORS_FILE;
  if (file === undefined) return realClouds(env, (line) => faults.push(line));
  try {
    return emulatedClouds(file, env);
  } catch {
    faults.push('DEFAAS_EMULATORS_FILE must name the file that npm run emulators writes');
    return {};
  }
}

function kindFrom(
  env: Readonly<Record<string, string | undefined>>,
  faults: string[],
): ChainKind | undefined {
  const value = env.DEFAAS_CHAIN_KIND;
  const kind = CHAIN_KINDS.find((one) => one === value);
  if (value !== undefined && kind === undefined) {
    faults.push(`DEFAAS_CHAIN_KIND must be one of ${CHAIN_KINDS.join(', ')}`);
  }
  return kind;
}

function publishersFrom(
  env: Readonly<Record<string, string | undefined>>,
  name: string,
  faults: string[],
): 'any' | readonly string[] {
  const value = env[name] ?? 'none';
  if (value === 'any') return 'any';
  if (value === 'none') return [];
  const addresses = value.toLowerCase().split(',');
  if (addresses.some((address) => !/^0x[0-9a-f]{40}$/.test(address))) {
    faults.push(`${name} must be any, none, or addresses with commas between`);
  }
  return addresses;
}

/**
 * @throws ExposedKeyError  others can read the file
 * @throws Error  no JSON with a `privateKey` of 32 bytes of hex
 */
export function readPrivateKey(file: string): string {
  const parsed: unknown = JSON.parse(readFileSync(file, 'utf8'));
  refuseExposed(file);
  if (typeof parsed === 'object' && parsed !== null && 'privateKey' in parsed) {
    const { privateKey } = parsed;
    if (typeof privateKey === 'string' && /^0x[0-9a-f]{64}$/i.test(privateKey)) return privateKey;
  }
  throw new Error('no privateKey');
}
