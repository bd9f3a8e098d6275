// The connections of a sender: one undici dispatcher per origin, through the environment's proxy
// where it names one. HTTP/1.1 only: for HTTP/2 it is open what `ran` is after GOAWAY.

import { LRUCache } from 'lru-cache';
import { Agent, buildConnector, type Dispatcher, EnvHttpProxyAgent, Pool } from 'undici';

export interface ConnectionOptions {
  /** Most sockets per origin; further calls wait their turn. Default 256. */
  readonly connections?: number;
  /** How long an idle socket is kept, less than the cloud keeps it. 0: not at all. Default 4000. */
  readonly keepAliveMs?: number;
  /** Certificate authority beside which no other is trusted, PEM. */
  readonly ca?: string;
}

export interface Dispatchers {
  /** @throws TypeError  no http(s) origin, or the environment names a proxy that is no URL */
  of(origin: string): Dispatcher;
  /** Waits for the requests under way, then closes the sockets. */
  close(): Promise<void>;
}

/** Most origins whose sockets are kept. Beyond it the least recently used one loses them. */
const MAX_ORIGINS = 1024;
const CONNECT_MS = 10_000;
/** An idle socket is closed so long before the other side says that it closes it. */
const KEEP_ALIVE_MARGIN_MS = 1_000;
/** An emulator on this machine: a proxy elsewhere cannot reach it, whatever NO_PROXY says. */
const LOOPBACK = /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/;

export function createDispatchers(options: ConnectionOptions): Dispatchers {
  const { agent, proxied } = agentOptions(options);
  /** Evicted while requests were under way. */
  const leaving = new Set<Promise<void>>();
  const origins = new LRUCache<string, Dispatcher>({
    max: MAX_ORIGINS,
    dispose(dispatcher) {
      const gone = dispatcher.close().then(() => void leaving.delete(gone));
      leaving.add(gone);
    },
  });
  return {
    of(origin) {
      const known = origins.get(origin);
      if (known) return known;
      const { protocol, hostname } = new URL(origin);
      if (protocol !== 'http:' && protocol !== 'https:') {
        throw new TypeError(`no http(s) origin: ${origin}`);
      }
      const made = LOOPBACK.test(hostname) ? new Agent(agent) : new EnvHttpProxyAgent(proxied);
      origins.set(origin, made);
      return made;
    },
    async close() {
      origins.clear();
      await Promise.all(leaving);
    },
  };
}

function agentOptions({ connections = 256, keepAliveMs = 4000, ca }: ConnectionOptions): {
  readonly agent: Agent.Options;
  readonly proxied: EnvHttpProxyAgent.Options;
} {
  const tls = { allowH2: false, timeout: CONNECT_MS, ...(ca !== undefined && { ca }) };
  const agent: Agent.Options = {
    allowH2: false,
    connect: connectWith(buildConnector(tls)),
    connections,
    // A pool also for one connection: undici checks an idle socket only when its queue is empty,
    // and a bare client queues in itself.
    factory: (origin, of) => new Pool(origin, of),
    ...(keepAliveMs > 0 && { keepAliveTimeout: keepAliveMs, keepAliveMaxTimeout: keepAliveMs }),
    ...(keepAliveMs <= 0 && { pipelining: 0 }),
    keepAliveTimeoutThreshold: KEEP_ALIVE_MARGIN_MS,
    // The caller's signal is the deadline.
    headersTimeout: 0,
    bodyTimeout: 0,
  };
  const proxied: EnvHttpProxyAgent.Options = {
    ...agent,
    proxyTunnel: true,
    requestTls: tls,
    proxyTls: { allowH2: false, timeout: CONNECT_MS },
    // A proxy that does not answer CONNECT fails the attempt as one that does not accept does.
    clientFactory: (origin, of) => new Pool(origin, { ...of, headersTimeout: CONNECT_MS }),
  };
  return { agent, proxied };
}

/**
 * Hands out a connection one turn of the event loop after it opened, unless it closed in the same
 * moment: a request on that would count as begun. The error is none of undici's own, with which
 * undici would connect again without end (nodejs/undici#3897).
 */
function connectWith(connect: buildConnector.connector): buildConnector.connector {
  return (options, callback) =>
    connect(options, (error, socket) => {
      if (error) return callback(error, null);
      socket.on('error', (fault) => {
        // With this code undici sends what waits for a broken idle connection on another one, and
        // never takes a reset as the end of an answer. A request under way fails all the same.
        Object.assign(fault, { code: 'UND_ERR_SOCKET' });
        // After a fault of TLS Node leaves the socket open.
        socket.destroy();
      });
      setImmediate(() => {
        if (!socket.destroyed) return callback(null, socket);
        callback(new Error('closed as soon as it was open'), null);
      });
    });
}
