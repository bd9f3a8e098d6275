// One gateway as the client speaks to it: where it is, what it says of itself, and one way to send a request.
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

/** Longest wait for an answer unless a request says otherwise, ms. */
const TIMEOUT_MS = 30_000;

/** What a gateway says at `/.well-known/defaas`: what a client needs to begin. All of it but the origin can be checked on the chain. */
export interface GatewayDocument {
  readonly gateway: Address;
  readonly chainId: number;
  readonly rpcUrl: string;
  readonly contracts: {
    readonly registry: Address;
    readonly identity: Address;
    readonly billing: Address;
    readonly disputes: Address;
    readonly beacon: Address;
    readonly token: Address;
    readonly deployedAtBlock: number;
  };
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
  /** Domain of vouchers, calls and receipt groups. */
  readonly domain: Eip712Domain;
  /** Any status is an answer. @throws GATEWAY_UNREACHABLE there was none */
  send(path: string, options?: RequestOptions): Promise<Response>;
  /** Only 2xx is an answer. @throws GATEWAY_UNREACHABLE; the problem's code otherwise */
  request(path: string, options?: RequestOptions): Promise<Response>;
}

export interface ConnectOptions {
  readonly fetch?: typeof fetch;
  readonly signal?: AbortSignal;
}

/**
 * Reads the gateway's document and makes a connection of it. `url` may have a path, it is dropped.
 * @throws GATEWAY_UNREACHABLE, GATEWAY_PROTOCOL
 */
export async function connect(url: string, options: ConnectOptions = {}): Promise<Connection> {
  const origin = originOf(url);
  const send = createSend(origin, options.fetch ?? fetch);
  const request = async (path: string, init?: RequestOptions) => {
    const reply = await send(path, init);
    if (reply.ok) return reply;
    throw await readProblem(reply, `${init?.method ?? 'GET'} ${path}`);
  };
  const signal = options.signal ? { signal: options.signal } : {};
  const reply = await request('/.well-known/defaas', signal);
  const document = parseDocument(await readJson(reply, 'the gateway document'));
  const domain = billingDomain(document.chainId, document.contracts.billing);
  return { origin, document, domain, send, request };
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
    rpcUrl: readText(value.rpcUrl, 'rpcUrl'),
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
