// A connection to one gateway: its address, its document, and the function that sends requests.
import type { ContractAddresses } from '../../contracts/chain/types.ts';
import { addressesOf, type ContractSet } from '../../contracts/deployments.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { billingDomain, type Eip712Domain } from '../../contracts/libraries/typed-data.ts';
import { DefaasClientError, readProblem } from './errors.ts';
import {
  type Json,
  readAddress,
  readArray,
  readCount,
  readJson,
  readObject,
  readText,
} from './parse.ts';
import { mismatch, revoked, type TrustRoot, trustedSet } from './trust-root.ts';

/** Longest wait for an answer unless a request says otherwise, ms. */
const TIMEOUT_MS = 30_000;

/**
 * The document that a gateway serves at `/.well-known/defaas`. In a connection, chain and contracts
 * come from the trust root and equal the gateway's.
 */
export interface GatewayDocument {
  readonly gateway: Address;
  readonly chainId: number;
  readonly contracts: ContractAddresses;
  readonly feeBps: number;
  readonly providers: readonly string[];
  /**
   * Present where the gateway runs functions on its own machine: in a sandbox, or only for
   * publishers whom it trusts.
   */
  readonly isolation?: 'sandbox' | 'trusted';
  /**
   * Where the gateway says that it serves payers of other contracts. `connect` does not trust this:
   * it fetches the document there and checks all of it.
   */
  readonly otherSets?: readonly SetPointer[];
}

/** Another set of contracts that a gateway serves, by its Billing, and the URL there. */
export interface SetPointer {
  readonly billing: Address;
  readonly url: string;
}

export interface RequestOptions extends RequestInit {
  /** ms; 30 s when left out. */
  readonly timeoutMs?: number;
}

export interface Connection {
  /** `http://127.0.0.1:8080`, without a path. */
  readonly origin: string;
  readonly document: GatewayDocument;
  /** The contracts in use, of those that the trust root has. */
  readonly set: ContractSet;
  /** The RPC and contracts of the trust root, for `createChainReader`. */
  readonly chain: {
    readonly chainId: number;
    readonly contracts: ContractAddresses;
    readonly rpcUrl: string;
  };
  /** Domain of vouchers, calls and receipt groups. */
  readonly domain: Eip712Domain;
  /** Resolves for any status. @throws GATEWAY_UNREACHABLE there was none */
  send(path: string, options?: RequestOptions): Promise<Response>;
  /** Resolves for 2xx only. @throws GATEWAY_UNREACHABLE; the problem's code otherwise */
  request(path: string, options?: RequestOptions): Promise<Response>;
}

/** The trust root's sets that a gateway says it serves. */
export interface SetChoice {
  readonly gateway: Address;
  /** The set that its own document names. */
  readonly named: ContractSet;
  /** The sets that it serves under other URLs. */
  readonly others: readonly ContractSet[];
}

/** An unproven claim: the gateway at `origin` says that it is the account `gateway`. */
export interface GatewayClaim {
  readonly origin: string;
  readonly gateway: Address;
  /**
   * The URL that this account has registered on the chain.
   * @throws DEPLOYMENT_MISMATCH the account is no gateway there
   */
  registeredUri(): Promise<string>;
}

export interface ConnectOptions {
  /** Which chain and contracts to believe. */
  readonly trust: TrustRoot;
  /**
   * The gateway's account, if known, for example from `findLanes`. A gateway with another account
   * is refused.
   */
  readonly gateway?: Address;
  /**
   * Decides whether to accept an account that is not known beforehand. Left out: the account must
   * have registered exactly this origin.
   */
  readonly accept?: (claim: GatewayClaim) => boolean | Promise<boolean>;
  /**
   * Chooses the set when a gateway serves several. Left out: the set at `url`. Returning undefined
   * rejects all of them with DEPLOYMENT_MISMATCH.
   */
  readonly chooseSet?: (choice: SetChoice) => ContractSet | undefined;
  /** Accepts revoked contracts too, for commands that only take money out. */
  readonly allowRevoked?: boolean;
  readonly fetch?: typeof fetch;
  readonly signal?: AbortSignal;
}

/**
 * Reads the gateway's document, checks it against the trust root, and returns a connection. A path
 * in `url` is dropped. If another set is chosen, the gateway's pointer to it is followed once: the
 * same gateway must answer there, with that set.
 * @example const connection = await connect('http://127.0.0.1:8080', { trust });
 * @throws GATEWAY_UNREACHABLE, GATEWAY_PROTOCOL, DEPLOYMENT_MISMATCH, DEPLOYMENT_REVOKED;
 *   ChainError DEPLOYMENT_CODE, CHAIN_...
 */
export async function connect(url: string, options: ConnectOptions): Promise<Connection> {
  const { trust, allowRevoked = false } = options;
  const first = await readDocument(originOf(url), options);
  const named = trustedSet(trust, first.origin, first.said);
  const set = choose(options, first, named);
  if (set.status === 'revoked' && !allowRevoked) throw revoked(first.origin, set);
  await trust.check(set);
  await checkAccount(options, set, { origin: first.origin, gateway: first.said.gateway });
  const { origin, said, send, request } = set === named ? first : await follow(options, first, set);
  const { chainId, rpcUrl } = trust;
  const contracts = addressesOf(set);
  const document = { ...said, chainId, contracts };
  const domain = billingDomain(chainId, contracts.billing);
  const chain = { chainId, contracts, rpcUrl };
  return { origin, document, set, chain, domain, send, request };
}

/** A `chooseSet` that accepts only the set with that Billing. */
export function setOf(billing: Address): NonNullable<ConnectOptions['chooseSet']> {
  return ({ named, others }) => [named, ...others].find((set) => set.contracts.billing === billing);
}

/** A gateway's unchecked document, and how to reach the gateway. */
interface Said extends Pick<Connection, 'origin' | 'send' | 'request'> {
  readonly said: GatewayDocument;
}

async function readDocument(
  origin: string,
  options: Pick<ConnectOptions, 'fetch' | 'signal'>,
  init: RequestOptions = {},
): Promise<Said> {
  const send = createSend(origin, options.fetch ?? fetch);
  const request = async (path: string, given?: RequestOptions) => {
    const reply = await send(path, given);
    if (reply.ok) return reply;
    throw await readProblem(reply, `${given?.method ?? 'GET'} ${path}`);
  };
  const signal = options.signal ? { signal: options.signal } : {};
  const reply = await request('/.well-known/defaas', { ...init, ...signal });
  const said = parseDocument(await readJson(reply, 'the gateway document'));
  return { origin, said, send, request };
}

/** @throws DEPLOYMENT_MISMATCH the gateway serves no set that is to be used */
function choose(
  { trust, chooseSet }: ConnectOptions,
  { origin, said }: Said,
  named: ContractSet,
): ContractSet {
  if (chooseSet === undefined) return named;
  const others = trust.sets.filter(
    ({ contracts }) =>
      contracts.billing !== named.contracts.billing && pointerTo(said, contracts.billing),
  );
  const set = chooseSet({ gateway: said.gateway, named, others });
  if (set === named || (set && others.includes(set))) return set;
  const served = [named, ...others].map(({ id }) => id).join(', ');
  throw mismatch(origin, `serves ${served}, and not ${set?.id ?? 'the set that is to be used'}`);
}

function pointerTo({ otherSets }: GatewayDocument, billing: Address): SetPointer | undefined {
  return otherSets?.find((pointer) => pointer.billing === billing);
}

/**
 * Fetches the same gateway's document of another set, from the URL of its pointer. A further
 * pointer is not followed.
 * @throws DEPLOYMENT_MISMATCH the place is no https, or what answers there is another gateway,
 *   chain or set; GATEWAY_...
 */
async function follow(
  options: ConnectOptions,
  { origin, said }: Said,
  set: ContractSet,
): Promise<Said> {
  const url = pointerTo(said, set.contracts.billing)?.url ?? '';
  // A redirect would lead to a URL that `placeOf` has not checked.
  const next = await readDocument(placeOf(url, origin), options, { redirect: 'error' });
  if (trustedSet(options.trust, next.origin, next.said) !== set) {
    throw mismatch(next.origin, `should be of set ${set.id} and is not`);
  }
  if (next.said.gateway === said.gateway) return next;
  throw mismatch(next.origin, `is account ${next.said.gateway}, it should be ${said.gateway}`);
}

/**
 * Returns the pointer's URL. The gateway's own host keeps its scheme; any other host needs https.
 * @throws DEPLOYMENT_MISMATCH
 */
function placeOf(pointer: string, from: string): string {
  const url = URL.canParse(pointer) ? new URL(pointer) : undefined;
  const { protocol, hostname } = new URL(from);
  const isAsBefore = url?.protocol === protocol && url.hostname === hostname;
  if (url && (url.protocol === 'https:' || isAsBefore)) return url.origin;
  throw mismatch(from, `points to ${pointer.slice(0, 256)}, which is neither https nor its host`);
}

/** @throws DEPLOYMENT_MISMATCH the gateway is another account than it should be */
async function checkAccount(
  { trust, gateway: known, accept = hasRegistered }: ConnectOptions,
  set: ContractSet,
  { origin, gateway }: Pick<GatewayClaim, 'origin' | 'gateway'>,
): Promise<void> {
  if (known === gateway) return;
  if (known) throw mismatch(origin, `is account ${gateway}, it should be ${known}`);
  const registeredUri = async () => {
    const uri = await trust.gatewayUri(set, gateway);
    if (uri !== undefined) return uri;
    throw mismatch(origin, `is account ${gateway}, which is no gateway on the chain`);
  };
  if (await accept({ origin, gateway, registeredUri })) return;
  const uri = await registeredUri();
  throw mismatch(origin, `is account ${gateway}, which the chain has at ${uri.slice(0, 256)}`);
}

/** Whether the account has registered the origin of the connection. */
export async function hasRegistered({ origin, registeredUri }: GatewayClaim): Promise<boolean> {
  const uri = await registeredUri();
  return URL.canParse(uri) && new URL(uri).origin === origin;
}

function originOf(url: string): string {
  // `localhost:8080` parses as a URL of the scheme `localhost:`.
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    const message = `"${url}" is no URL of a gateway, it begins with http:// or https://`;
    throw new DefaasClientError('GATEWAY_UNREACHABLE', message);
  }
  return new URL(url).origin;
}

function createSend(origin: string, fetch: typeof globalThis.fetch): Connection['send'] {
  return async (path, { timeoutMs = TIMEOUT_MS, signal, ...init } = {}) => {
    const deadline = AbortSignal.timeout(timeoutMs);
    try {
      return await fetch(new URL(path, origin), {
        ...init,
        signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
      });
    } catch (cause) {
      if (signal?.aborted) throw cause;
      const why = deadline.aborted ? `no answer within ${timeoutMs} ms` : reasonOf(cause);
      throw new DefaasClientError('GATEWAY_UNREACHABLE', `no answer from ${origin}: ${why}`, {
        cause,
      });
    }
  };
}

/** fetch only says "fetch failed"; its cause holds the reason. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { cause } = error;
  if (cause instanceof Error) return 'code' in cause ? String(cause.code) : cause.message;
  return error.message;
}

function parseDocument(value: Json): GatewayDocument {
  const contracts = readObject(value.contracts, 'contracts');
  const { isolation } = value;
  return {
    gateway: readAddress(value.gateway, 'gateway'),
    chainId: readCount(value.chainId, 'chainId'),
    contracts: {
      registry: readAddress(contracts.registry, 'contracts.registry'),
      identity: readAddress(contracts.identity, 'contracts.identity'),
      billing: readAddress(contracts.billing, 'contracts.billing'),
      disputes: readAddress(contracts.disputes, 'contracts.disputes'),
      beacon: readAddress(contracts.beacon, 'contracts.beacon'),
      token: readAddress(contracts.token, 'contracts.token'),
      deployedAtBlock: readCount(contracts.deployedAtBlock, 'contracts.deployedAtBlock'),
    },
    feeBps: readCount(value.feeBps, 'feeBps'),
    providers: readArray(value.providers, 'providers').map((name) => readText(name, 'providers')),
    ...(value.otherSets !== undefined && { otherSets: parsePointers(value.otherSets) }),
    ...((isolation === 'sandbox' || isolation === 'trusted') && { isolation }),
  };
}

function parsePointers(value: unknown): readonly SetPointer[] {
  return readArray(value, 'otherSets').map((one) => {
    const { billing, url } = readObject(one, 'otherSets');
    return {
      billing: readAddress(billing, 'otherSets.billing'),
      url: readText(url, 'otherSets.url'),
    };
  });
}
