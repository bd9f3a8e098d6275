// The connections of a sender: one undici dispatcher per origin, through the proxy that the
// environment names, if any. HTTP/1.1 only: it is not proven what `ran` is after GOAWAY in HTTP/2.

import { LRUCache } from 'lru-cache';
import { Agent, buildConnector, type Dispatcher, EnvHttpProxyAgent, Pool } from 'undici';

export interface ConnectionOptions {
  /** Most sockets per origin; further calls wait their turn. Default 256. */
  readonly connections?: number;
  /** How long an idle socket is kept, less than the cloud keeps it. 0: not at all. Default 4000. */
  readonly keepAliveMs?: number;
  /** The only certificate authority to trust, PEM. Left out: the system's. */
  readonly ca?: string;
}

export interface Dispatchers {
  /** @throws TypeError  no http(s) origin, or the environment names a proxy that is no URL */
  of(origin: string): Dispatcher;
  /** Waits for the requests under way, then closes the sockets. */
  close(): Promise<void>;
}

/** Most origins in the cache. The sockets of the least recently used one are closed beyond it. */
const MAX_ORIGINS = 1024;
const CONNECT_MS = 10_000;
/** An idle socket is closed this long before the time that the other side announces. */
const KEEP_ALIVE_MARGIN_MS = 1_000;
/** An emulator on this machine: a proxy elsewhere cannot reach it, whatever NO_PROXY says. */
const LOOPBACK = /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/;

export function createDispatchers(options: ConnectionOptions): Dispatchers {
  const { agent, proxied } = agentOptions(options);
  /** Dispatchers that were evicted and still have requests under way. */
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
 * Passes a connection to undici one event-loop turn after it opened, and not at all if it closed at
 * once: a request on it would count as begun. The error then is not one of undici's own: on those
 * undici connects again without end (nodejs/undici#3897).
 */
function connectWith(connect: buildConnector.connector): buildConnector.connector {
  return (options, callback) =>
    connect(options, (error, socket) => {
      if (error) return callback(error, null);
      socket.on('error', (fault) => {
        // With this code undici sends requests that wait for a broken idle connection on another
        // one, and does not take a reset for the end of an answer. A request under way still fails.
        Object.assign(fault, { code: 'UND_ERR_SOCKET' });
        // Node leaves the socket open after a TLS error.
        socket.destroy();
      });
      setImmediate(() => {
        if (!socket.destroyed) return callback(null, socket);
        callback(new Error('closed as soon as it was open'), null);
      });
    });
}
