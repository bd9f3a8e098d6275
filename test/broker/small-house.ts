// A gateway with everything it needs in one process: Hardhat's chain, the AWS emulator, helia,
// SQLite. For tests of the gateway.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pino from 'pino';
import { type AwsLambda, startAwsLambda } from '../../adapters/aws/emulator/emulator.ts';
import { uploadArtifact } from '../../broker/client/artifacts.ts';
import { createChainReader } from '../../broker/client/chain-reader.ts';
import { type Connection, type ConnectOptions, connect } from '../../broker/client/connection.ts';
import { deploy } from '../../broker/client/deployments.ts';
import { createCaller } from '../../broker/client/invoke.ts';
import { fetchLane, putVoucher, signVoucher } from '../../broker/client/lane.ts';
import { createLaneMemory, type LaneMemory } from '../../broker/client/lane-memory.ts';
import {
  ANY_FUNCTION,
  type MandateTerms,
  NO_SUBJECT,
  putMandate,
  SPONSOR_KIND,
  signMandate,
} from '../../broker/client/mandates.ts';
import { ownCallsKey, ownNonce } from '../../broker/client/own-calls.ts';
import { createSession, type Session } from '../../broker/client/session.ts';
import type { TrustRoot } from '../../broker/client/trust-root.ts';
import { type Config, readConfig } from '../../broker/config.ts';
import { createGateway, type Gateway } from '../../broker/gateway.ts';
import { createServer } from '../../broker/server.ts';
import type { Chain } from '../../contracts/chain.ts';
import type { Key } from '../../contracts/keystore.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { functionIdOf } from '../../contracts/libraries/names.ts';
import { bundle } from '../../ipfs/bundle.ts';
import { filesToCar, rawCid } from '../../ipfs/car.ts';
import { type HardhatChain, startHardhatChain, testKey } from '../contracts/hardhat-chain.ts';

const TOKEN = 1_000_000n;
const NO_THUMBPRINT: Hex = `0x${'00'.repeat(32)}`;
const ROLE_GATEWAY = 1;
const ROLES_BOTH = 3;
const MODES = { prepaid: 1, signed: 2 } as const;

/** The well-known test accounts of the house's parties. */
export const KEYS = {
  gateway: testKey(1),
  operator: testKey(2),
  settler: testKey(3),
  publisher: testKey(4),
  user: testKey(5),
};

/** Keys of a second gateway; all other parties are the same. */
const OTHER_KEYS: typeof KEYS = {
  ...KEYS,
  gateway: testKey(6),
  operator: testKey(7),
  settler: testKey(8),
};

type LaneMode = 'prepaid' | 'signed';

export interface SmallHouse {
  readonly chain: HardhatChain;
  /** The tests' own view of the chain. */
  readonly view: Chain;
  /** The trust root of the house's clients. */
  readonly trust: TrustRoot;
  /** The gateway's account. */
  readonly account: Address;
  readonly aws: AwsLambda;
  readonly dir: string;
  gateway(): Gateway;
  url(): string;
  /** Ends the gateway and opens it again on the same state, changed `meanwhile`. */
  restart(overrides?: Partial<Config>, meanwhile?: () => void): Promise<void>;
  /** Ends the gateway; its folder stays, for a process of its own. */
  stop(): Promise<void>;
  /** Disconnects the gateway from the network, whatever it is doing. */
  cutOff(): void;
  /** Open connections of its clients. */
  connections(): Promise<number>;
  /** Connects the gateway to the network again, at the same address. */
  comeBack(): Promise<void>;
  /** Connects as a client that knows the gateway's account. */
  connect(options?: Partial<ConnectOptions>): Promise<Connection>;
  /** Signs in; with a lane where one is given. */
  session(key: Key, lane?: { readonly payer: Key; readonly signer: Key }): Promise<Session>;
  /** Publishes a handler's source, a further version where there is one. @returns its number */
  register(
    name: string,
    handler: string,
    manifest?: Readonly<Record<string, unknown>>,
  ): Promise<number>;
  /** Publishes a handler's source and deploys it on AWS. @returns `owner/name` */
  publish(
    name: string,
    handler: string,
    manifest?: Readonly<Record<string, unknown>>,
  ): Promise<string>;
  /** Deploys on AWS what another house has published. */
  adopt(published: string, from: SmallHouse): Promise<void>;
  /** Deposits, allots and opens a lane, prepaid by default. @returns the lane's fresh key */
  openLane(payer: Key, units?: bigint, mode?: LaneMode): Promise<Key>;
  /**
   * Signs a mandate for a lane and a voucher over what it allows: by default a million units, for a
   * day. @returns its hash
   */
  mandate(of: {
    readonly payer: Key;
    readonly signer: Key;
    readonly terms: Pick<MandateTerms, 'kind'> & Partial<MandateTerms>;
  }): Promise<Hex>;
  /**
   * A lane that pays the callers of a function, with a mandate over `units`. @returns the lane's
   * fresh key
   */
  sponsor(fn: string, payer?: Key, units?: bigint, signer?: Key): Promise<Key>;
  caller(
    payer: Key,
    signer: Key,
    memory?: LaneMemory,
    mode?: LaneMode,
  ): Promise<ReturnType<typeof createCaller>>;
  close(): Promise<void>;
}

/**
 * Starts the house in about 5 s. With `beside` it is a second gateway on that house's chain, to be
 * closed before it.
 */
export async function startSmallHouse(
  overrides: Partial<Config> = {},
  beside?: SmallHouse,
): Promise<SmallHouse> {
  const dir = mkdtempSync(join(tmpdir(), 'defaas-house-'));
  const chain = beside?.chain ?? (await startHardhatChain());
  const view = beside?.view ?? (await chain.open());
  const keys = beside ? OTHER_KEYS : KEYS;
  const { trust } = chain;
  await registerGateway(view, keys);
  const credentials = { accessKeyId: 'emulator', secretAccessKey: 'well-known-test-key' };
  const aws = await startAwsLambda({ dir: join(dir, 'aws'), credentials });
  const config: Config = {
    ...readConfig(environmentOf(dir, chain, keys)),
    clouds: {
      'aws-lambda': { endpoint: aws.endpoint, region: 'us-east-1', credentials },
    },
    ...overrides,
  };

  let running = await startGateway(config);
  let laneKeys = 100;

  const house: SmallHouse = {
    chain,
    view,
    trust,
    account: keys.gateway.address,
    aws,
    dir,
    gateway: () => running.gateway,
    url: () => running.url,
    restart: async (changes = {}, meanwhile = () => {}) => {
      await running.close();
      meanwhile();
      running = await startGateway({ ...config, ...changes });
    },
    stop: async () => {
      await running.close();
      running = { ...running, close: async () => {} };
    },
    cutOff: () => running.cutOff(),
    comeBack: () => running.comeBack(),
    connections: () => running.connections(),
    connect: (options = {}) =>
      connect(running.url, { trust, gateway: keys.gateway.address, ...options }),
    session: async (key, lane) =>
      createSession({
        connection: await house.connect(),
        key: key.privateKey,
        ...(lane && { lane: { payer: lane.payer.address, signer: lane.signer.address } }),
      }),
    register: async (name, handler, manifest = {}) => {
      const session = await house.session(KEYS.publisher);
      return publishVersion({ view, session, dir }, { name, handler, manifest });
    },
    publish: async (name, handler, manifest) => {
      const number = await house.register(name, handler, manifest);
      await deployOnAws(await house.session(KEYS.publisher), name, number);
      return `${KEYS.publisher.address}/${name}`;
    },
    adopt: async (published, from) => {
      const name = published.slice(published.indexOf('/') + 1);
      const fn = view.view.functionOf(KEYS.publisher.address, name);
      const version = fn && view.view.versionOf(fn);
      if (version === undefined) throw new Error(`${published} was not published`);
      const { connection } = await from.session(KEYS.publisher);
      const car = await connection.request(`/ipfs/${version.artifactCid}?format=car`);
      const session = await house.session(KEYS.publisher);
      await uploadArtifact(session, new Uint8Array(await car.arrayBuffer()));
      await running.gateway.chain.synced(view.view.head.number);
      await deployOnAws(session, name, version.number);
    },
    openLane: async (payer, units = 5n * TOKEN, mode = 'prepaid') => {
      laneKeys += 1;
      const signer = testKey(laneKeys);
      const writer = view.connect(payer);
      await writer.mintMock(units);
      const block = await writer.depositAllotOpenLane({
        amount: units,
        gateway: keys.gateway.address,
        lane: {
          signer: signer.address,
          cap: units,
          expirySec: Math.floor(Date.now() / 1000) + 30 * 86_400,
          mode: MODES[mode],
        },
      });
      await running.gateway.chain.synced(block);
      return signer;
    },
    mandate: async ({ payer, signer, terms }) => {
      const { total = TOKEN } = terms;
      const session = await house.session(signer, { payer, signer });
      const { connection, key } = session;
      const signed = await signMandate(connection, key, payer.address, {
        subject: NO_SUBJECT,
        functionId: ANY_FUNCTION,
        maxPrice: total,
        perDay: total,
        total,
        untilSec: Math.floor(Date.now() / 1000) + 86_400,
        serial: BigInt(Date.now()),
        ...terms,
      });
      const lane = { payer: payer.address, signer: signer.address };
      const { ceilingUnits } = await fetchLane(session, lane);
      const ceiling = ceilingUnits + total;
      const signature = await signVoucher(connection, key, payer.address, ceiling);
      await putVoucher(session, lane, ceiling, signature);
      await putMandate(connection, signed);
      return signed.hash;
    },
    sponsor: async (fn, payer = KEYS.publisher, units = TOKEN, given) => {
      const signer = given ?? (await house.openLane(payer, units));
      const functionId = functionIdIn(fn);
      const terms = { kind: SPONSOR_KIND, functionId, total: units };
      await house.mandate({ payer, signer, terms });
      return signer;
    },
    caller: async (payer, signer, memory = createLaneMemory(), mode = 'prepaid') => {
      const session = await house.session(signer, { payer, signer });
      const chain = createChainReader(session.connection.chain);
      return createCaller({ session, memory, mode, chain });
    },
    close: async () => {
      await running.close();
      await aws.close();
      if (beside === undefined) await chain.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
  return house;
}

/**
 * Headers that mark a prepaid call as the lane's own, for requests that no caller of the library
 * makes.
 */
export function ownHeaders(
  signer: Key,
  fn: string,
  idempotencyKey?: string,
): Record<'defaas-nonce' | 'defaas-max-price', string> {
  const maxPriceUnits = 100_000n;
  const call = { functionId: functionIdIn(fn), maxPriceUnits };
  const nonce = ownNonce(ownCallsKey(signer.privateKey), call, idempotencyKey);
  return { 'defaas-nonce': nonce, 'defaas-max-price': `${maxPriceUnits}` };
}

/** Of `owner/name`, the owner an address. */
export function functionIdIn(fn: string): bigint {
  const [owner = '', name = ''] = fn.split('@')[0]?.split('/') ?? [];
  // Safe: functions of tests are named by their owner's address.
  return functionIdOf(owner as Address, name);
}

/** Gives a gateway its standing on the chain: both roles, an operator key, a bond, a settler. */
export async function registerGateway(view: Chain, keys = KEYS): Promise<void> {
  const account = view.connect(keys.gateway);
  await account.mintMock(1_000n * TOKEN);
  await account.registerParty({
    roles: ROLES_BOTH,
    uri: 'http://127.0.0.1',
    jwksThumbprint: NO_THUMBPRINT,
  });
  await account.addKey(keys.operator.privateKey, ROLE_GATEWAY);
  await account.bond(account.address, 1_000n * TOKEN);
  await account.setSettler(keys.settler.address);
}

/**
 * Bundles a handler's source, uploads it with the publisher's session, and publishes a version.
 * @returns its number
 */
export async function publishVersion(
  { view, session, dir }: { readonly view: Chain; readonly session: Session; readonly dir: string },
  {
    name,
    handler,
    manifest,
  }: { readonly name: string; readonly handler: string; readonly manifest: object },
): Promise<number> {
  const folder = join(dir, 'functions', name);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'handler.ts'), handler);
  writeFileSync(
    join(folder, 'defaas.json'),
    JSON.stringify({ name, entry: 'handler.ts', memoryMiB: 128, timeoutMs: 5000, ...manifest }),
  );
  const made = await bundle(folder);
  const { cid, car } = await filesToCar(made.files);
  await uploadArtifact(session, new Uint8Array(car));
  const writer = view.connect(KEYS.publisher);
  const known = view.view.functionOf(writer.address, name)?.id;
  const functionId = known ?? (await writer.register(name)).functionId;
  const access = { public: 0, granted: 1, policy: 2 } as const;
  const { number, blockNumber } = await writer.publish(
    functionId,
    {
      manifestCid: await rawCid(made.manifestBytes),
      artifactCid: cid,
      tariff: made.manifest.tariff,
      accessMode: access[made.manifest.access],
      memoryMiB: made.manifest.memoryMiB,
      timeoutMs: made.manifest.timeoutMs,
      idempotent: made.manifest.idempotent,
      deterministic: made.manifest.deterministic,
    },
    true,
  );
  await view.synced(blockNumber);
  return number;
}

async function deployOnAws(session: Session, name: string, number: number): Promise<void> {
  const owner = KEYS.publisher.address;
  const version = `${number}`;
  const done = await deploy(session, { owner, name, version, providers: ['aws-lambda'] });
  if (done.state !== 'live') throw new Error(JSON.stringify(done));
}

async function startGateway(config: Config) {
  const gateway = await createGateway({
    config,
    log: pino({ level: 'silent' }),
    onBroken: () => {},
  });
  let server = createServer(gateway);
  const url = await server.listen({ host: '127.0.0.1', port: 0 });
  return {
    gateway,
    url,
    cutOff: () => {
      server.server.close();
      server.server.closeAllConnections();
    },
    connections: () => promisify(server.server.getConnections.bind(server.server))(),
    comeBack: async () => {
      server = createServer(gateway);
      await server.listen({ host: '127.0.0.1', port: Number(new URL(url).port) });
    },
    close: async () => {
      await server.close();
      await gateway.journal.flush();
      await gateway.close();
    },
  };
}

/** The environment of a gateway process in that folder; writes its keys and addresses there. */
export function environmentOf(
  dir: string,
  chain: HardhatChain,
  keys = KEYS,
): Record<string, string> {
  const put = (name: string, value: unknown): string => {
    writeFileSync(join(dir, name), JSON.stringify(value), { mode: 0o600 });
    return join(dir, name);
  };
  return {
    DEFAAS_HOME: dir,
    DEFAAS_PORT: '0',
    DEFAAS_CHAIN_RPC_URL: chain.url,
    DEFAAS_CHAIN_CONTRACTS_FILE: put('contracts.json', chain.contracts),
    DEFAAS_CHAIN_LOCAL_FROM_BLOCK: '0',
    DEFAAS_KEYS_GATEWAY_FILE: put('gateway.json', keys.gateway),
    DEFAAS_KEYS_OPERATOR_FILE: put('operator.json', keys.operator),
    DEFAAS_KEYS_SETTLER_FILE: put('settler.json', keys.settler),
    DEFAAS_PUBLISHERS: 'any',
  };
}
