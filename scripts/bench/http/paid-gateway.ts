// The target under test: one gateway process on a local chain, with a function deployed at the stub
// and a prepaid lane. The whole hot path is real: the Azure adapter, with its key cached, calls the
// stub.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Connection, connect } from '../../../broker/client/connection.ts';
import { createKeySigner, type KeySigner } from '../../../broker/client/key.ts';
import { fetchLane, putVoucher, signVoucher } from '../../../broker/client/lane.ts';
import { ownCallsKey } from '../../../broker/client/own-calls.ts';
import { fetchReceipts, type ReceiptDocument } from '../../../broker/client/receipts.ts';
import { createSession, type Session } from '../../../broker/client/session.ts';
import { settle } from '../../../broker/client/settlement.ts';
import { type LaneName, signIn } from '../../../broker/client/sign-in.ts';
import { createTrustRoot } from '../../../broker/client/trust-root.ts';
import type { EmulatorsFile } from '../../../broker/clouds.ts';
import type { DeploymentRecord } from '../../../broker/ledger/ledger.ts';
import { openSqliteLedger } from '../../../broker/ledger/sqlite.ts';
import { type Chain, createChain } from '../../../contracts/chain.ts';
import { parseDeployments } from '../../../contracts/deployments.ts';
import { createKey } from '../../../contracts/keystore.ts';
import type { Address, Hex } from '../../../contracts/libraries/keccak.ts';
import { CODECS, cidOf, functionIdOf } from '../../../contracts/libraries/names.ts';
import { readAccount } from '../../cli/account.ts';
import { houseFile, PACKAGE_ROOT } from '../../cli/house.ts';
import { startLocalChain } from '../../local-chain.ts';
import type { Target } from './load.ts';

const PROVIDER = 'azure-functions';
const REGION = 'westeurope';
const MEMORY_MIB = 128;
const TIMEOUT_MS = 10_000;
/** As the versions' tariff has it. */
const MAX_PRICE_UNITS = 100_000n;
/** Enough for any number of calls, base units; the line holds one of each mode. */
const LANE_UNITS = 1_000_000_000_000n;
const BOND_UNITS = 10_000_000_000n;
const LANE_LIFE_SEC = 30 * 86_400;
const ROLES_BOTH = 3;
const PREPAID = 1;
const SIGNED = 2;
const NO_THUMBPRINT: Hex = `0x${'00'.repeat(32)}`;
const END_MS = 15_000;

export interface PaidGateway {
  readonly origin: string;
  readonly pid: number;
  readonly process: ChildProcess;
  /** The gateway's folder. */
  readonly home: string;
  readonly connection: Connection;
  /** The publisher of the functions. */
  readonly owner: Address;
  /** The two lanes of one payer, with a voucher for each. */
  readonly lanes: { readonly prepaid: PaidLane; readonly signed: PaidLane };
  /** A paid call of a function, the first by default: a fresh bearer token in its headers. */
  target(body: string, name?: string): Promise<Target>;
  /** Receipts in both lanes so far. */
  receipts(): Promise<number>;
  /** The prepaid lane's receipts in order, as the gateway shows them. */
  documents(): AsyncIterable<ReceiptDocument>;
  /** Settles all served calls, as the operator. */
  settle(): Promise<void>;
  /**
   * Kills the gateway with SIGKILL and restarts it on the same state and port; resolves when it
   * answers.
   */
  killAndRestart(): Promise<void>;
  close(): Promise<void>;
}

export interface PaidLane extends LaneName {
  readonly key: KeySigner;
  readonly privateKey: Hex;
}

/** A function whose deployments lie at stubs. */
export interface PaidFunction {
  readonly name: string;
  readonly idempotent: boolean;
  /** `http://host:port` of each stub: one deployment each. */
  readonly upstreams: readonly string[];
}

export interface PaidGatewayOptions {
  readonly functions: readonly PaidFunction[];
  /** Arguments of node for the gateway's process. */
  readonly execArgv?: readonly string[];
  /** Puts something between the gateway and the chain's RPC; returns its URL. */
  readonly before?: (rpcUrl: string) => Promise<string>;
}

/**
 * Sets up a chain, the contracts, the parties, a version, its deployment and money, then starts the
 * gateway. Takes about 5 s.
 */
export async function startPaidGateway(options: PaidGatewayOptions): Promise<PaidGateway> {
  const home = mkdtempSync(join(tmpdir(), 'bench-http-'));
  const local = await startLocalChain({ dir: join(home, 'chain') });
  let child: ChildProcess | undefined;
  const close = async (): Promise<void> => {
    if (child !== undefined && child.exitCode === null && child.signalCode === null) {
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      const kill = setTimeout(() => child?.kill('SIGKILL'), END_MS);
      await ended;
      clearTimeout(kill);
    }
    await local.close();
    rmSync(home, { recursive: true, force: true });
  };
  try {
    await found(home, local.rpcUrl);
    const { owner, lanes } = await furnish(home, local.rpcUrl, options.functions);
    const { prepaid } = lanes;
    const rpcUrl = (await options.before?.(local.rpcUrl)) ?? local.rpcUrl;
    const start = (port: string): ChildProcess =>
      fork(join(PACKAGE_ROOT, 'broker/main.ts'), {
        env: { ...process.env, ...environmentOf(home, { ...local, rpcUrl }), DEFAAS_PORT: port },
        execArgv: [...(options.execArgv ?? [])],
      });
    child = start('0');
    const origin = await readyUrl(child);
    const file = houseFile(home);
    const deployments = parseDeployments(readFileSync(file, 'utf8'), file);
    const trust = createTrustRoot({ deployments, rpcUrl: local.rpcUrl });
    const gateway = readAccount(home, 'gateway').address;
    const connection = await connect(origin, { trust, gateway });
    const sessions = new Map<PaidLane, Session>();
    for (const lane of Object.values(lanes)) {
      const session = await createSession({ connection, key: lane.privateKey, lane });
      const signature = await signVoucher(connection, session.key, lane.payer, LANE_UNITS);
      await putVoucher(session, lane, LANE_UNITS, signature);
      sessions.set(lane, session);
    }
    const session = await createSession({ connection, key: prepaid.privateKey, lane: prepaid });
    return {
      origin,
      pid: child.pid ?? 0,
      process: child,
      home,
      connection,
      owner,
      lanes,
      target: async (body, name = options.functions[0]?.name ?? '') => {
        const { accessToken } = await signIn(connection, prepaid.key, prepaid);
        return {
          origin,
          path: `/functions/${owner}/${name}`,
          headers: {
            authorization: `Bearer ${accessToken}`,
            'content-type': 'application/json',
            'defaas-max-price': `${MAX_PRICE_UNITS}`,
          },
          body,
          nonces: {
            key: ownCallsKey(prepaid.privateKey),
            functionId: `${functionIdOf(owner, name)}`,
            maxPriceUnits: `${MAX_PRICE_UNITS}`,
          },
        };
      },
      receipts: async () => {
        let receipts = 0;
        for (const [lane, session] of sessions) receipts += (await fetchLane(session, lane)).seq;
        return receipts;
      },
      documents: () => fetchReceipts(session, prepaid, 0),
      settle: async () => {
        const { privateKey } = readAccount(home, 'gateway');
        await settle(await createSession({ connection, key: privateKey }));
      },
      killAndRestart: async () => {
        const killed = child;
        if (killed === undefined) return;
        const ended = once(killed, 'exit');
        killed.kill('SIGKILL');
        await ended;
        child = start(new URL(origin).port);
        await readyUrl(child);
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Keys, their ether, and the contracts: the house's own first step. */
async function found(home: string, rpcUrl: string): Promise<void> {
  const child = fork(join(PACKAGE_ROOT, 'scripts/house/found.ts'), [home, rpcUrl]);
  const [code] = await once(child, 'exit');
  if (code !== 0) throw new Error(`the contracts were not deployed: found.ts ended with ${code}`);
}

/**
 * The parties, a public version, its deployment enrolled and drawn from, and lanes that the user
 * has paid for.
 */
async function furnish(home: string, rpcUrl: string, functions: readonly PaidFunction[]) {
  const { contracts } = await import(join(home, 'contracts.json'), { with: { type: 'json' } }).then(
    (file) => ({ contracts: file.default }),
  );
  const chain = await createChain({ rpcUrls: [rpcUrl], contracts });
  try {
    await chain.start();
    const gateway = chain.connect(readAccount(home, 'gateway'));
    await standUp(home, chain);
    const owner = readAccount(home, 'publisher');
    for (const one of functions) {
      const functionVersion = await publish(chain, owner, one);
      const ids: number[] = [];
      for (const [index, upstream] of one.upstreams.entries()) {
        const region = `${REGION}-${index}`;
        const chainId = await gateway.enrol(functionVersion, PROVIDER, region);
        await recordDeployment(home, {
          name: one.name,
          region,
          functionVersion,
          chainId,
          upstream,
        });
        ids.push(chainId);
      }
      await gateway.setCandidates(functionVersion, ids);
    }
    const payer = readAccount(home, 'user');
    const user = chain.connect(payer);
    await user.mintMock(2n * LANE_UNITS);
    await user.depositAllotOpenLane({ amount: 2n * LANE_UNITS, gateway: gateway.address });
    const openLane = async (mode: 1 | 2): Promise<PaidLane> => {
      const { address: signer, privateKey } = createKey();
      const expirySec = Math.floor(Date.now() / 1000) + LANE_LIFE_SEC;
      await user.openLane(gateway.address, { signer, cap: LANE_UNITS, expirySec, mode });
      return { payer: payer.address, signer, privateKey, key: await createKeySigner(privateKey) };
    };
    const lanes = { prepaid: await openLane(PREPAID), signed: await openLane(SIGNED) };
    return { owner: owner.address, lanes };
  } finally {
    chain.close();
  }
}

async function standUp(home: string, chain: Chain): Promise<void> {
  const gateway = chain.connect(readAccount(home, 'gateway'));
  await gateway.registerParty({
    roles: ROLES_BOTH,
    uri: 'http://127.0.0.1',
    jwksThumbprint: NO_THUMBPRINT,
  });
  await gateway.addKey(readAccount(home, 'operator').privateKey, ROLES_BOTH);
  await gateway.setSettler(readAccount(home, 'settler').address);
  await gateway.mintMock(BOND_UNITS);
  await gateway.bond(gateway.address, BOND_UNITS);
}

/** Terms with the template's tariff. There is no artifact: the stub runs instead. */
async function publish(
  chain: Chain,
  owner: ReturnType<typeof readAccount>,
  { name, idempotent }: PaidFunction,
): Promise<Hex> {
  const publisher = chain.connect(owner);
  const { functionId } = await publisher.register(name);
  const { functionVersion } = await publisher.publish(
    functionId,
    {
      manifestCid: cidOf(CODECS.raw, `0x${'aa'.repeat(32)}`),
      artifactCid: cidOf(CODECS.dagPb, `0x${'bb'.repeat(32)}`),
      tariff: {
        perCall: 20n,
        perGiBSecond: 40n,
        maxPrice: MAX_PRICE_UNITS,
        minBilledMs: 0,
        roundMs: 1,
        publisherBps: 1_500,
      },
      accessMode: 0,
      memoryMiB: MEMORY_MIB,
      timeoutMs: TIMEOUT_MS,
      idempotent,
      deterministic: false,
    },
    true,
  );
  return functionVersion;
}

/** Writes the record of a finished deployment, which the gateway reads at its start. */
async function recordDeployment(
  home: string,
  of: {
    readonly name: string;
    readonly region: string;
    readonly functionVersion: Hex;
    readonly chainId: number;
    readonly upstream: string;
  },
): Promise<void> {
  const { functionVersion, chainId, upstream } = of;
  const place = { provider: PROVIDER, name: `df-${of.name}`, region: of.region } as const;
  const record: DeploymentRecord = {
    ...place,
    functionVersion,
    state: 'live',
    chainId,
    deployment: {
      ...place,
      specHash: '',
      artifactCid: '',
      memoryMiB: MEMORY_MIB,
      timeoutMs: TIMEOUT_MS,
      url: upstream,
      key: 'a-host-key-of-the-function-app',
    },
  };
  const ledger = await openSqliteLedger(join(home, 'gateway', 'ledger.sqlite'));
  await ledger.putDeployment(record);
  await ledger.putManifest(
    functionVersion,
    JSON.stringify({ name: of.name, entry: 'handler.mjs', runtime: 'nodejs22' }),
  );
  await ledger.close();
}

function environmentOf(
  home: string,
  local: { readonly rpcUrl: string; readonly trustedFromBlock: number },
): Record<string, string> {
  const emulators = join(home, 'emulators.json');
  mkdirSync(home, { recursive: true });
  writeFileSync(emulators, JSON.stringify(NO_CONTROL_PLANES), { mode: 0o600 });
  return {
    DEFAAS_HOME: home,
    DEFAAS_PORT: '0',
    DEFAAS_LOG_LEVEL: 'warn',
    DEFAAS_CHAIN_RPC_URL: local.rpcUrl,
    DEFAAS_CHAIN_CONTRACTS_FILE: join(home, 'contracts.json'),
    DEFAAS_CHAIN_LOCAL_FROM_BLOCK: String(local.trustedFromBlock),
    DEFAAS_KEYS_GATEWAY_FILE: join(home, 'keys', 'gateway.json'),
    DEFAAS_KEYS_OPERATOR_FILE: join(home, 'keys', 'operator.json'),
    DEFAAS_KEYS_SETTLER_FILE: join(home, 'keys', 'settler.json'),
    DEFAAS_EMULATORS_FILE: emulators,
    DEFAAS_PROBE_EVERY_SEC: '0',
    // All load comes from this machine.
    DEFAAS_PEER_CONNECTIONS_MAX_COUNT: '8192',
  };
}

/** Nothing is deployed during a run, so no control plane is ever asked. */
const NO_CONTROL_PLANES: EmulatorsFile = {
  aws: {
    endpoint: 'http://127.0.0.1:9',
    region: 'us-east-1',
    credentials: { accessKeyId: 'none', secretAccessKey: 'none' },
    roleArn: '',
  },
  google: {
    endpoint: 'http://127.0.0.1:9',
    metadataHost: '127.0.0.1:9',
    projectId: 'none',
    region: 'us-central1',
  },
  azure: {
    endpoint: 'https://127.0.0.1:9',
    caPem: '',
    token: 'none',
    subscriptionId: 'none',
    resourceGroup: 'none',
    location: REGION,
    storage: { connectionString: '', containerUrl: '' },
    insightsConnectionString: '',
  },
};

function readyUrl(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the gateway has ended with ${code}`)));
    child.on('message', (message: { ready?: { url: string } }) => {
      if (message.ready !== undefined) resolve(message.ready.url);
    });
  });
}
