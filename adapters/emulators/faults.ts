// The fault switch of the emulators: rules say which calls fail and how. A fault reaches the client
// over the wire, as a failure of the real cloud does. All clouds have the same format of rules.

import { once } from 'node:events';
import {
  createServer,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';

/** A kind of failure. An emulator ignores a kind that has no meaning for an operation. */
export type Fault =
  /** The 429 of the cloud. */
  | { readonly kind: 'throttle'; readonly retryAfterMs?: number }
  | { readonly kind: 'delay'; readonly ms: number; readonly where: 'before' | 'after' | 'body' }
  /** Resets the connection. The function does not run. */
  | { readonly kind: 'drop-before' }
  /** Runs the function, then resets the connection. */
  | { readonly kind: 'drop-after' }
  /** Sends half the body, then closes. */
  | { readonly kind: 'truncate' }
  /** An error of the platform, without the shim's mark. The function does not run. */
  | { readonly kind: 'status'; readonly code: 500 | 502 | 503 }
  /** Multiplies the reported usage by this factor. */
  | { readonly kind: 'lie'; readonly billedMs?: number; readonly memoryMiB?: number }
  /** The port refuses connections until the rules change. Without `on`, `times`, `probability`. */
  | { readonly kind: 'outage'; readonly scope?: OutageScope }
  | { readonly kind: 'expire-credentials' }
  /** The quota of the account is used up: requests that create or enlarge are refused. */
  | { readonly kind: 'quota' }
  /** A long-running operation ends with an error, or never ends. */
  | { readonly kind: 'operation-fails' }
  | { readonly kind: 'stuck-operation' };

export type OutageScope = 'control' | 'invoke' | 'all';

/** A fault and its calls: all of them without `on`, at most `times` of them. */
export type FaultRule = Fault & {
  /** `operation` is the cloud's name, or `invoke` on every cloud. Case does not matter. */
  readonly on?: { readonly operation?: string; readonly function?: string };
  readonly times?: number;
  readonly probability?: number;
  /** Seed of the random numbers behind `probability`. The same seed gives the same choices. */
  readonly seed?: number;
};

export interface Faults {
  /**
   * Replaces all rules. Resolves when the ports have opened or closed accordingly.
   * @throws TypeError not a list of rules
   */
  set(rules: readonly FaultRule[]): Promise<void>;
  clear(): Promise<void>;
  /** How often each rule has applied, in the order of the rules. */
  hits(): readonly number[];
  /** The fault of this call, by the first matching rule. An emulator asks once per call. */
  take(operation: string, functionName?: string): Fault | undefined;
  /** Whether a rule refuses connections of this scope. */
  isOut(scope: 'control' | 'invoke'): boolean;
  /** Called and awaited after each change of the rules. */
  onChange(listener: () => Promise<void>): void;
}

const KINDS: ReadonlySet<string> = new Set<Fault['kind']>([
  'throttle',
  'delay',
  'drop-before',
  'drop-after',
  'truncate',
  'status',
  'lie',
  'outage',
  'expire-credentials',
  'quota',
  'operation-fails',
  'stuck-operation',
]);

/** Most bytes of a list of rules over HTTP. */
const MAX_RULES_BYTES = 1024 * 1024;

export function createFaults(): Faults {
  let armed: { rule: FaultRule; hits: number; random: () => number }[] = [];
  const listeners: (() => Promise<void>)[] = [];

  async function set(rules: readonly FaultRule[]): Promise<void> {
    checkRules(rules);
    armed = rules.map((rule) => ({ rule, hits: 0, random: randomFrom(rule.seed ?? 1) }));
    await Promise.all(listeners.map((listener) => listener()));
  }

  return {
    set,
    clear: () => set([]),
    hits: () => armed.map(({ hits }) => hits),

    take(operation, functionName) {
      for (const entry of armed) {
        const { rule } = entry;
        if (rule.kind === 'outage' || !matches(rule, operation, functionName)) continue;
        if (rule.times !== undefined && entry.hits >= rule.times) continue;
        if (rule.probability !== undefined && entry.random() >= rule.probability) continue;
        entry.hits += 1;
        return rule;
      }
      return undefined;
    },

    isOut: (scope) =>
      armed.some(
        ({ rule }) => rule.kind === 'outage' && [undefined, 'all', scope].includes(rule.scope),
      ),

    onChange: (listener) => void listeners.push(listener),
  };
}

/**
 * Sends the answer of an emulator, with the fault of the call: `delay` after or in the body,
 * `drop-after`, `truncate`. The emulator itself does `throttle`, `status`, `lie` and the like;
 * `spoilBefore` does the rest.
 */
export async function sendAnswer(
  response: ServerResponse,
  answer: {
    readonly status: number;
    readonly headers: OutgoingHttpHeaders;
    readonly body: Uint8Array;
  },
  fault?: Fault,
): Promise<void> {
  if (fault?.kind === 'drop-after') return drop(response);
  if (fault?.kind === 'delay' && fault.where === 'after') await wait(fault.ms);
  if (response.destroyed) return;

  const { status, body } = answer;
  const headers = { ...answer.headers };
  // A 204 has no content-length (RFC 9110 section 8.6).
  if (status !== 204 && status !== 304) headers['content-length'] ??= body.length;
  response.writeHead(status, headers);

  const half = body.subarray(0, body.length >> 1);
  if (fault?.kind === 'truncate') {
    await new Promise<void>((resolve) => response.write(half, () => resolve()));
    response.destroy();
    return;
  }
  if (fault?.kind === 'delay' && fault.where === 'body') {
    response.write(half);
    await wait(fault.ms);
    response.end(body.subarray(half.length));
    return;
  }
  response.end(body);
}

/** Does the faults that come before the function runs. @returns false: nothing may run any more */
export async function spoilBefore(
  response: ServerResponse,
  fault: Fault | undefined,
): Promise<boolean> {
  if (fault?.kind === 'drop-before') {
    drop(response);
    return false;
  }
  if (fault?.kind === 'delay' && fault.where === 'before') await wait(fault.ms);
  return true;
}

/**
 * Serves the switch over HTTP: `PUT`, `GET` and `DELETE /_faults`. It has a port of its own, so
 * that an outage can be ended.
 */
export async function serveFaults(
  faults: Faults,
  port = 0,
): Promise<{ url: string; close(): Promise<void> }> {
  const server = createServer((request, response) => void answerSwitch(faults, request, response));
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  // A server that listens on a port has an address object.
  const { port: chosen } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${chosen}`,
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

async function answerSwitch(faults: Faults, request: IncomingMessage, response: ServerResponse) {
  try {
    if (request.url !== '/_faults') return void response.writeHead(404).end();
    if (request.method === 'GET') return void response.end(JSON.stringify(faults.hits()));
    if (request.method === 'DELETE') await faults.clear();
    else if (request.method === 'PUT') await faults.set(JSON.parse(await readText(request)));
    else return void response.writeHead(405, { allow: 'GET, PUT, DELETE' }).end();
    response.writeHead(204).end();
  } catch (error) {
    response.writeHead(400, { 'content-type': 'text/plain' }).end(String(error));
  }
}

async function readText(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > MAX_RULES_BYTES) throw new RangeError(`rules above ${MAX_RULES_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

function checkRules(rules: readonly FaultRule[]): void {
  if (!Array.isArray(rules)) throw new TypeError('faults: expected a list of rules');
  for (const rule of rules) {
    if (!KINDS.has(rule?.kind)) throw new TypeError(`faults: unknown kind ${rule?.kind}`);
  }
}

function matches({ on }: FaultRule, operation: string, functionName?: string): boolean {
  if (on?.operation && on.operation.toLowerCase() !== operation.toLowerCase()) return false;
  return on?.function === undefined || on.function === functionName;
}

function drop(response: ServerResponse): void {
  // A reset, as a broken network causes it, not an orderly end.
  response.socket?.resetAndDestroy();
}

/** mulberry32: small and repeatable. Good enough to choose the calls that fail. */
function randomFrom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
