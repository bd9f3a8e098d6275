// Calls through several gateways: if one does not answer, an idempotent call goes to the next. It
// costs one further price at most.

import type { Address } from '../../contracts/libraries/keccak.ts';
import type { ChainReader } from './chain-reader.ts';
import { type Connection, connect, setOf } from './connection.ts';
import { DefaasClientError } from './errors.ts';
import {
  type Caller,
  type CallerOptions,
  createCaller,
  fetchBy,
  type InvokeReply,
  SAY_NOTHING,
} from './invoke.ts';
import { type InvokeRequest, withKey } from './invoke-request.ts';
import { readUpTo } from './read-body.ts';
import { mismatch, type TrustRoot } from './trust-root.ts';

/**
 * How long a failed gateway is placed last, ms: the default, and the most that `Retry-After` can
 * ask for.
 */
const REST_MS = 5_000;
const MAX_REST_MS = 60_000;
/** Longest wait for a sign of life before a call is sent to the next gateway, ms. */
const SIGN_OF_LIFE_MS = 3_000;
/** How long the version behind an alias is cached, ms. */
const FRESH_MS = 120_000;
/**
 * Longest wait after a version's timeout, ms. A gateway ends its attempts 45 s after the timeout.
 */
const BEYOND_TIMEOUT_MS = 60_000;
/** Most gateways that may have run and charged one call: the agreed price, and one further. */
const MAX_UNANSWERED = 2;
/** Errors of a lane for which nothing more is signed. The call was not sent then. */
const NOT_SENT = new Set(['LANE_STOPPED', 'RECEIPTS_MISSING']);
/** Replies that have no body (Fetch standard, "null body status"). */
const BODYLESS = new Set([204, 205, 304]);

/** One of the gateways, and how it is paid. */
export interface GatewayOptions {
  readonly url: string;
  /** Its account, as `findLanes` returns it. By default the account that registered this URL. */
  readonly gateway?: Address;
  /** Opens the session with a lane at this gateway, and its memory. Called at the first use. */
  lane(connection: Connection): Promise<CallerOptions>;
}

export interface FailoverOptions {
  /** In order of preference. `findLanes` reads from the chain where a payer has open lanes. */
  readonly gateways: readonly GatewayOptions[];
  /** The chain and contracts to trust. A gateway with other contracts is skipped. */
  readonly trust: TrustRoot;
  /**
   * The chain, by an RPC of the caller's own. It tells which gateways belong to this house, where
   * lanes are open, and which versions are idempotent.
   */
  readonly chain: ChainReader;
  /** Called when a call leaves a gateway. */
  readonly onFailover?: (failover: Failover) => void;
}

/** A gateway that a call has left, and why. */
export interface Failover {
  /** Its origin, or the given URL if it never answered. */
  readonly gateway: string;
  readonly code: string;
  readonly message: string;
  /** The call may have run there; its receipt is checked when the gateway is back. */
  readonly mayBeCharged: boolean;
}

export interface FailoverReply extends InvokeReply {
  /** Origin of the gateway that answered. */
  readonly gateway: string;
  /** The gateways that were tried before it; empty if the first one answered. */
  readonly failovers: readonly Failover[];
}

export interface FailoverCaller extends Caller {
  /**
   * Like `invoke` of a caller of one gateway. If a gateway does not answer or cannot take the call
   * (502, 503, 504), the call moves to the next one, but only if its version is idempotent. A
   * gateway to which nothing was sent is skipped for any version.
   * @throws GATEWAYS_DOWN no gateway took it, or two may have; CHAIN_UNREACHABLE
   */
  invoke(request: InvokeRequest): Promise<FailoverReply>;
  /**
   * Checks the receipts of all gateways that were used, except of those that do not answer.
   * @throws RECEIPT_INVALID
   */
  acknowledge(): Promise<void>;
  /** Like `renew` of a caller of one gateway, at all gateways that were used. */
  renew(): Promise<void>;
}

/** A gateway as this client knows it. */
interface Peer {
  readonly options: GatewayOptions;
  opened: Promise<Opened> | undefined;
  /** It has failed and not answered since, so it must show a sign of life first. */
  isSuspect: boolean;
  restUntilMs: number;
}

interface Opened {
  readonly connection: Connection;
  readonly caller: Caller;
}

/**
 * Makes a caller that pays from a lane at each gateway. Each lane's vouchers depend on its own
 * receipts only, as with one gateway.
 * @example
 * const caller = createFailoverCaller({ gateways, chain });
 * const { response, gateway } = await caller.invoke({ function: '0xabc…/hello' });
 */
export function createFailoverCaller(options: FailoverOptions): FailoverCaller {
  const { chain, trust } = options;
  const peers = options.gateways.map(
    (one): Peer => ({ options: one, opened: undefined, isSuspect: false, restUntilMs: 0 }),
  );
  const versionOf = createVersions(chain);

  const invoke: FailoverCaller['invoke'] = async (given) => {
    const request = withKey(given);
    const version = await versionOf(request.function);
    const timeoutMs = request.timeoutMs ?? version.timeoutMs + BEYOND_TIMEOUT_MS;
    const failovers: Failover[] = [];
    const causes: DefaasClientError[] = [];
    for (const peer of inOrder(peers)) {
      const failure = await callAt(peer, causes.length > 0, { ...request, timeoutMs });
      if ('reply' in failure) return { ...failure.reply, failovers };
      const { error, wasSent, gateway } = failure;
      given.signal?.throwIfAborted();
      const mayBeCharged = wasSent && SAY_NOTHING.has(error.code);
      if (error.code === 'RECEIPT_INVALID') throw error;
      if (wasSent && !version.isIdempotent) throw notTriedElsewhere(error, request);
      // A refusal of the first gateway is about the call, so it ends the call. After a failover a
      // refusal only moves the call on to the next gateway.
      if (wasSent && !mayBeCharged && causes.length === 0 && !isGatewaysOwn(error)) throw error;
      // The alias may have moved since it was looked up, so another version may have run here.
      if (wasSent && !(await isStillIdempotent(request.function))) {
        throw notTriedElsewhere(error, request);
      }
      const failover = { gateway, code: error.code, message: error.message, mayBeCharged };
      rest(peer, error);
      causes.push(error);
      failovers.push(failover);
      options.onFailover?.(failover);
      if (failovers.filter((one) => one.mayBeCharged).length === MAX_UNANSWERED) break;
    }
    throw gatewaysDown(request, failovers, causes[0]);
  };

  /** Reads the chain as it is now. If the chain does not answer, the call must not run twice. */
  const isStillIdempotent = async (name: string) => {
    try {
      return (await versionOf(name, 0)).isIdempotent;
    } catch {
      return false;
    }
  };

  /** One gateway's answer, or why there is none and whether the call was sent there at all. */
  const callAt = async (
    peer: Peer,
    isNext: boolean,
    request: InvokeRequest,
  ): Promise<
    | { reply: Omit<FailoverReply, 'failovers'> }
    | { error: DefaasClientError; wasSent: boolean; gateway: string }
  > => {
    let wasSent = false;
    let gateway = peer.options.url;
    try {
      const { connection, caller } = await open(peer);
      gateway = connection.origin;
      if (isNext || peer.isSuspect) await awaitSignOfLife(connection, request.signal);
      wasSent = true;
      const reply = await caller.invoke(request);
      const response = await readWhole(reply.response, gateway);
      peer.isSuspect = false;
      return { reply: { ...reply, response, gateway } };
    } catch (error) {
      if (error instanceof DefaasClientError) {
        return { error, wasSent: wasSent && !NOT_SENT.has(error.code), gateway };
      }
      throw error;
    }
  };

  const open = (peer: Peer): Promise<Opened> => {
    peer.opened ??= openGateway(peer.options, chain, trust).catch((error) => {
      peer.opened = undefined;
      throw error;
    });
    return peer.opened;
  };

  const each = async (act: (caller: Caller) => Promise<void>) => {
    for (const peer of peers) {
      const opened = await peer.opened?.catch(() => undefined);
      if (!opened) continue;
      await act(opened.caller).catch((error) => {
        if (!(error instanceof DefaasClientError) || !SAY_NOTHING.has(error.code)) throw error;
      });
    }
  };
  const acknowledge = () => each((caller) => caller.acknowledge());
  const renew = () => each((caller) => caller.renew());
  return { invoke, acknowledge, renew, fetch: fetchBy(invoke) };
}

/**
 * Connects to the gateway at the URL and opens the lane that pays it.
 * @throws GATEWAY_UNREACHABLE; DEPLOYMENT_MISMATCH it belongs to another house; LANE_UNKNOWN the
 *   lane is not open there by the chain
 */
async function openGateway(
  options: GatewayOptions,
  chain: ChainReader,
  trust: TrustRoot,
): Promise<Opened> {
  const { url, gateway: account } = options;
  const connection = await connect(url, {
    trust,
    // The gateway may serve payers of older contracts too.
    chooseSet: (choice) => setOf(chain.contracts.billing)(choice) ?? choice.named,
    ...(account && { gateway: account }),
  });
  const { chainId, contracts, gateway } = connection.document;
  if (chainId !== chain.chainId || contracts.billing !== chain.contracts.billing) {
    throw mismatch(
      connection.origin,
      `bills on ${contracts.billing} of chain ${chainId}, not on ${chain.contracts.billing} of chain ${chain.chainId}`,
    );
  }
  const callerOptions = await options.lane(connection);
  const { lane } = callerOptions.session;
  const state = lane && (await chain.lane(lane.payer, gateway, lane.signer));
  if (!state || state.mode === 0 || state.expirySec <= Date.now() / 1000) {
    throw new DefaasClientError(
      'LANE_UNKNOWN',
      `no open lane at gateway ${gateway}, ${connection.origin}, run defaas deposit`,
    );
  }
  return { connection, caller: createCaller(callerOptions) };
}

/**
 * Checks that the gateway answers before the call is sent: a call without an answer may cost its
 * price.
 * @throws GATEWAY_UNREACHABLE
 */
async function awaitSignOfLife(connection: Connection, signal?: AbortSignal): Promise<void> {
  await connection.request('/healthz', {
    timeoutMs: SIGN_OF_LIFE_MS,
    ...(signal && { signal }),
  });
}

/** More than any cloud lets a function answer, bytes. */
const MAX_ANSWER_BYTES = 256 * 1024 * 1024;

/**
 * Reads the whole answer, so that a truncated one counts as no answer.
 * @throws GATEWAY_UNREACHABLE
 */
async function readWhole(response: Response, gateway: string): Promise<Response> {
  const { status, statusText, headers } = response;
  try {
    const { bytes, isWhole } = await readUpTo(response, MAX_ANSWER_BYTES);
    if (!isWhole) throw new Error(`larger than ${MAX_ANSWER_BYTES} bytes`);
    return new Response(BODYLESS.has(status) ? null : bytes, { status, statusText, headers });
  } catch (cause) {
    throw new DefaasClientError('GATEWAY_UNREACHABLE', `the answer of ${gateway} broke off`, {
      cause,
    });
  }
}

/** Resting gateways come last, the one that is ready soonest first. */
function inOrder(peers: readonly Peer[]): Peer[] {
  const nowMs = Date.now();
  const waitMs = (peer: Peer) => Math.max(0, peer.restUntilMs - nowMs);
  return peers.toSorted((a, b) => waitMs(a) - waitMs(b));
}

function rest(peer: Peer, { retryAfterSec }: DefaasClientError): void {
  const forMs = retryAfterSec === undefined ? REST_MS : retryAfterSec * 1000;
  peer.restUntilMs = Date.now() + Math.min(forMs, MAX_REST_MS);
  peer.isSuspect = true;
}

/**
 * The gateway cannot take the call now, and another might. A function that fails too often would
 * fail there too.
 */
function isGatewaysOwn({ status, code }: DefaasClientError): boolean {
  return [502, 503, 504].includes(status ?? 0) && code !== 'FUNCTION_FAILING';
}

interface Version {
  readonly isIdempotent: boolean;
  readonly timeoutMs: number;
}

/**
 * A function's version by the chain, at most `freshMs` old.
 * @throws FUNCTION_UNKNOWN
 */
function createVersions(chain: ChainReader): (name: string, freshMs?: number) => Promise<Version> {
  const known = new Map<string, { readonly version: Version; readonly atMs: number }>();
  return async (name, freshMs = FRESH_MS) => {
    const found = known.get(name);
    if (found && Date.now() - found.atMs < freshMs) return found.version;
    const functionVersion = await chain.functionVersion(name);
    const terms = await chain.priceTerms(functionVersion);
    if (!terms) {
      throw new DefaasClientError('FUNCTION_UNKNOWN', `no function ${name} on this chain`);
    }
    const isIdempotent = await chain.isIdempotent(functionVersion);
    const version = { isIdempotent, timeoutMs: terms.timeoutMs };
    known.set(name, { version, atMs: Date.now() });
    return version;
  };
}

function notTriedElsewhere(
  error: DefaasClientError,
  request: ReturnType<typeof withKey>,
): DefaasClientError {
  const { code, message, status, problem, retryAfterSec } = error;
  if (!isGatewaysOwn(error) && !SAY_NOTHING.has(code)) return error;
  return new DefaasClientError(
    code,
    `${message}; ${request.function} is not idempotent, so no other gateway was asked; ask the same again under Idempotency-Key ${request.idempotencyKey}`,
    {
      cause: error,
      ...(status !== undefined && { status }),
      ...(problem && { problem }),
      ...(retryAfterSec !== undefined && { retryAfterSec }),
    },
  );
}

function gatewaysDown(
  request: InvokeRequest,
  failovers: readonly Failover[],
  cause: unknown,
): DefaasClientError {
  const why = failovers.map(({ gateway, code }) => `${gateway}: ${code}`).join(', ');
  const charged = failovers.filter(({ mayBeCharged }) => mayBeCharged).length;
  return new DefaasClientError(
    'GATEWAYS_DOWN',
    `no gateway has answered the call of ${request.function} (${why || 'none is given'}), ${charged} of them may have run it, try again shortly`,
    { cause },
  );
}
