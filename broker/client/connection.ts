// One gateway as the client speaks to it: where it is, what it says of itself, and one way to send a request.
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
import { mismatch, type TrustRoot, trustedSet } from './trust-root.ts';

/** Longest wait for an answer unless a request says otherwise, ms. */
const TIMEOUT_MS = 30_000;

/** What a gateway says at `/.well-known/defaas`. Of a connection, chain and contracts are the trust root's: the gateway's were equal. */
export interface GatewayDocument {
  readonly gateway: Address;
  readonly chainId: number;
  readonly contracts: ContractAddresses;
  readonly feeBps: number;
  readonly providers: readonly string[];
  /** Of a gateway that runs functions on its own machine: in a sandbox, or only for publishers whom it trusts. */
  readonly isolation?: 'sandbox' | 'trusted';
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
  /** Where the chain is asked, by the trust root alone: for `createChainReader`. */
  readonly chain: {
    readonly chainId: number;
    readonly contracts: ContractAddresses;
    readonly rpcUrl: string;
  };
  /** Domain of vouchers, calls and receipt groups. */
  readonly domain: Eip712Domain;
  /** Any status is an answer. @throws GATEWAY_UNREACHABLE there was none */
  send(path: string, options?: RequestOptions): Promise<Response>;
  /** Only 2xx is an answer. @throws GATEWAY_UNREACHABLE; the problem's code otherwise */
  request(path: string, options?: RequestOptions): Promise<Response>;
}

/** That the gateway at `origin` is the account `gateway`: only the gateway says so. */
export interface GatewayClaim {
  readonly origin: string;
  readonly gateway: Address;
  /** The URL that this account has registered on the chain. @throws DEPLOYMENT_MISMATCH the account is no gateway there */
  registeredUri(): Promise<string>;
}

export interface ConnectOptions {
  /** Which chain and contracts to believe. */
  readonly trust: TrustRoot;
  /** The gateway's account, where it is known, as from `findLanes`: the gateway must be that one. */
  readonly gateway?: Address;
  /** Decides on the gateway's account where it is not known; left out: the account must have registered this very origin. */
  readonly accept?: (claim: GatewayClaim) => boolean | Promise<boolean>;
  /** Contracts that are revoked are good enough, to take money out. */
  readonly allowRevoked?: boolean;
  readonly fetch?: typeof fetch;
  readonly signal?: AbortSignal;
}

/**
 * Reads the gateway's document, holds it against the trust root, and makes a connection of it. `url` may have a path, it is dropped.
 * @example const connection = await connect('http://127.0.0.1:8080', { trust });
 * @throws GATEWAY_UNREACHABLE, GATEWAY_PROTOCOL, DEPLOYMENT_MISMATCH, DEPLOYMENT_REVOKED; ChainError DEPLOYMENT_CODE, CHAIN_...
 */
export async function connect(url: string, options: ConnectOptions): Promise<Connection> {
  const { trust, allowRevoked } = options;
  const origin = originOf(url);
  const send = createSend(origin, options.fetch ?? fetch);
  const request = async (path: string, init?: RequestOptions) => {
    const reply = await send(path, init);
    if (reply.ok) return reply;
    throw await readProblem(reply, `${init?.method ?? 'GET'} ${path}`);
  };
  const signal = options.signal ? { signal: options.signal } : {};
  const reply = await request('/.well-known/defaas', signal);
  const said = parseDocument(await readJson(reply, 'the gateway document'));
  const set = trustedSet(trust, origin, said, allowRevoked);
  await trust.check(set);
  await checkAccount(options, set, { origin, gateway: said.gateway });
  const { chainId, rpcUrl } = trust;
  const contracts = addressesOf(set);
  const document = { ...said, chainId, contracts };
  const domain = billingDomain(chainId, contracts.billing);
  const chain = { chainId, contracts, rpcUrl };
  return { origin, document, set, chain, domain, send, request };
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

/** Whether the account has registered the origin that was asked. */
export async function hasRegistered({ origin, registeredUri }: GatewayClaim): Promise<boolean> {
  const uri = await registeredUri();
  return URL.canParse(uri) && new URL(uri).origin === origin;
}

function originOf(url: string): string {
  if (!URL.canParse(url)) {
    throw new DefaasClientError('GATEWAY_UNREACHABLE', `"${url}" is no URL of a gateway`);
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

/** fetch says "fetch failed"; why stands in the cause. */
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
    ...((isolation === 'sandbox' || isolation === 'trusted') && { isolation }),
  };
}
