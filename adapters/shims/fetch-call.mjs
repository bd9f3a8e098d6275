// Calls the publisher's fetch-style handler once. Takes the parts of a request, returns the parts
// of an answer and the mark of the outcome. Every cloud has this file beside its shim. It runs
// inside the instance, in the process of the publisher's code.

import { inspect, types } from 'node:util';
import { answerOf, handlerOf } from './fetch-answer.mjs';

// The publisher's module shares this process and may replace any global. This file captures clocks,
// timers and number formatting before that module loads, so that a later replacement changes no
// mark. A module that writes to the connection itself can still forge a mark. The gateway therefore
// bounds each mark by its own clock.
const { setTimeout, clearTimeout, Headers, Request, URL } = globalThis;
const toFixed = Function.prototype.call.bind(Number.prototype.toFixed);
const { ceil, max, min } = Math;
const { stringify } = JSON;
const { byteLength } = Buffer;
const resourceUsage = process.resourceUsage.bind(process);

/** Monotonic, ms. */
export const clockMs = performance.now.bind(performance);
/** Unix time, ms. */
export const unixMs = Date.now;

/** Longest type and longest message of a failure, characters. */
const MAX_TEXT_LENGTH = 256;
/** Most headers of an answer, bytes of their JSON. */
const MAX_HEADER_BYTES = 8_192;

/** Longest time that a probe may occupy the instance, ms. */
const MAX_HOLD_MS = 100;

/** `Forwarded` as the gateway writes it (RFC 7239 section 4). */
const FORWARDED = /^for="[^"]*";host="([^"]*)";proto=(https?)$/;
const HOST = /^[^\s/?#@\\]+$/;

/** True until the first call of this process. */
let cold = true;

/**
 * Waits in a probe. When an instance serves one call at a time, the next probe goes to another
 * instance. This instance is warm from then on.
 * @param {unknown} ms
 */
export async function hold(ms) {
  cold = false;
  await new Promise((resolve) => setTimeout(resolve, min(Number(ms) || 0, MAX_HOLD_MS)));
}

/**
 * @typedef {object} Incoming
 * @property {string} method
 * @property {string} path  begins with `/`, percent-encoded
 * @property {string} query  without `?`, may be empty
 * @property {Iterable<readonly [string, string]>} headers
 * @property {Uint8Array | undefined} body
 *
 * @typedef {object} Circumstances
 * @property {string} provider  `aws-lambda`, `google-cloud-functions`, ...
 * @property {string} requestId  the cloud's own id of this call
 * @property {number} deadlineMs  Unix time at which the cloud ends the call
 * @property {(...values: unknown[]) => void} [log]  default `console.log`
 * @property {boolean} [holdsExit]  `process.exit` ends the calls in flight, not the process
 * @property {number} [answerBeforeMs]  answer a late call this long before its deadline; default:
 *   the cloud ends it
 * @property {boolean} [isLoadOnly]  answer 204 when the module has a handler, without calling it
 * @property {() => number | undefined} [initMs]  load time of the module, when it was loaded before
 *   the call
 *
 * @typedef {object} Outgoing
 * @property {'ok' | 'error' | 'timeout'} outcome
 * @property {number} status  the Response's; 500 for an error, 504 for a timeout
 * @property {[string, string][]} headers  lower-case, one pair for each `set-cookie`, with the
 *   marks `x-defaas-*`
 * @property {Uint8Array} body  the Response's; for an error or timeout JSON of
 *   `{kind: 'thrown' | 'init' | 'timeout', type, message}`
 * @property {string} [error]  what the handler threw, with its stack, for the logs
 */

/**
 * Calls the handler that `load` imports. Never rejects: a throw is an outcome.
 * @param {() => Promise<{default?: unknown}>} load
 * @param {Incoming} incoming
 * @param {Circumstances} circumstances
 * @returns {Promise<Outgoing>}
 */
export async function fetchCall(load, incoming, circumstances) {
  const startedMs = clockMs();
  const wasCold = cold;
  cold = false;
  let loadedMs;
  const timedLoad = async () => {
    try {
      return await load();
    } finally {
      loadedMs = clockMs() - startedMs;
    }
  };

  if (circumstances.holdsExit && endings.size === 0) holdExit();
  const answer = bounded(await settle(timedLoad, incoming, circumstances));

  const headers = answer.headers.filter(([name]) => !name.startsWith('x-defaas-'));
  headers.push(
    ['x-defaas-outcome', answer.outcome],
    ['x-defaas-duration-ms', toFixed(clockMs() - startedMs, 3)],
    ['x-defaas-memory-mib', `${ceil(resourceUsage().maxRSS / 1024)}`],
    ['x-defaas-cold', wasCold ? '1' : '0'],
  );
  const initMs = wasCold ? (circumstances.initMs?.() ?? loadedMs) : undefined;
  if (initMs !== undefined) headers.push(['x-defaas-init-ms', toFixed(initMs, 3)]);
  return { ...answer, headers };
}

/**
 * Some clouds and clients in between take no more headers than that. The sum is of the JSON, in
 * which one shim carries them.
 */
function bounded(answer) {
  const bytes = byteLength(stringify(answer.headers));
  if (bytes <= MAX_HEADER_BYTES) return answer;
  return answerJson('error', 500, {
    kind: 'thrown',
    type: 'ResponseHeadersTooLarge',
    message: `The answer has ${bytes} bytes of headers, at most ${MAX_HEADER_BYTES} are sent`,
  });
}

/** Ends each call in flight, with what `process.exit` was called with. */
const endings = new Set();

/**
 * Makes `process.exit` end the calls in flight with a failure, in place of the process: some clouds
 * cannot tell a process that has ended from a call that may have run. The instance stays.
 */
function holdExit() {
  const exit = process.exit.bind(process);
  process.exit = (code) => {
    // The runtime's own shutdown.
    if (endings.size === 0) exit(code);
    const error = new Error(`exit status ${Number(code ?? process.exitCode) || 0}`);
    for (const end of endings) end(error);
    throw error;
  };
}

async function settle(load, incoming, circumstances) {
  const remainingMs = () => max(0, circumstances.deadlineMs - unixMs());
  const stop = new AbortController();
  let timer;
  const late = new Promise((resolve) => {
    const waitMs = remainingMs() - (circumstances.answerBeforeMs ?? 0);
    timer = setTimeout(() => {
      stop.abort(new DOMException('The call reached its deadline', 'TimeoutError'));
      if (circumstances.answerBeforeMs !== undefined) resolve(timeout());
    }, waitMs);
    // The timer must not keep a process alive that waits for nothing else.
    timer.unref();
  });

  let ending;
  const exited = new Promise((resolve) => {
    ending = ({ message }) =>
      resolve(answerJson('error', 500, { kind: 'exit', type: 'Exit', message }));
  });
  endings.add(ending);

  try {
    const ran = run(load, incoming, circumstances, stop.signal, remainingMs);
    // In this order: what `process.exit` throws makes the handler fail too.
    return await Promise.race([exited, late, ran]);
  } finally {
    clearTimeout(timer);
    endings.delete(ending);
  }
}

async function run(load, incoming, circumstances, signal, remainingMs) {
  let handler;
  try {
    handler = handlerOf(await load());
  } catch (error) {
    return failure('init', error);
  }

  if (circumstances.isLoadOnly) {
    return { outcome: 'ok', status: 204, headers: [], body: new Uint8Array() };
  }
  try {
    const { request, url, headers } = toRequest(incoming, signal);
    let event;
    const context = {
      provider: circumstances.provider,
      requestId: circumstances.requestId,
      functionName: process.env.DEFAAS_FUNCTION ?? '',
      version: Number(process.env.DEFAAS_VERSION ?? 0),
      url,
      remainingMs,
      signal,
      log: circumstances.log ?? console.log,
      // Most calls are no events, and most handlers read none: parse it when it is asked for.
      get event() {
        event ??= { value: attempt(() => eventIn(headers, incoming.body)) };
        return event.value;
      },
    };
    const value = await handler(request, context);
    // A handler may also return an app.
    const isApp = typeof value?.fetch === 'function';
    const answer = isApp ? await value.fetch(request, context) : value;
    return { outcome: 'ok', ...(await answerOf(answer, incoming.method)) };
  } catch (error) {
    return failure('thrown', error);
  }
}

function toRequest({ method, path, query, headers, body }, signal) {
  const all = new Headers();
  for (const [name, value] of headers) all.append(name, value);
  const origin = originIn(all);
  const target = `${path}${query ? `?${query}` : ''}`;
  const hasBody = body !== undefined && body.length > 0 && method !== 'GET' && method !== 'HEAD';
  return {
    request: new Request(`${origin}${target}`, {
      method,
      headers: all,
      signal,
      ...(hasBody && { body }),
    }),
    url: `${origin}${all.get('x-forwarded-prefix') ?? ''}${target}`,
    headers: all,
  };
}

/**
 * The call's CloudEvent (1.0.2, HTTP binding): attributes as texts, and `data`, in one form whether
 * the event came binary or structured. JSON data is its value, other data is bytes. The gateway has
 * checked the event (docs/events.md).
 * @returns {Record<string, unknown> | undefined}  undefined when the call is no event
 */
function eventIn(headers, body = new Uint8Array()) {
  const type = headers.get('content-type') ?? undefined;
  if (/^application\/cloudevents\+json\s*(;|$)/i.test(type ?? '')) return structuredEvent(body);
  if (!headers.has('ce-specversion')) return undefined;
  const event = {};
  for (const [name, value] of headers) {
    if (!name.startsWith('ce-')) continue;
    const [, quoted] = /^"((?:[^"\\]|\\.)*)"$/s.exec(value) ?? [];
    event[name.slice(3)] = decodeURIComponent(quoted?.replace(/\\(.)/gs, '$1') ?? value);
  }
  return withData(event, type, body.length > 0 ? body : undefined);
}

function structuredEvent(body) {
  const { data, data_base64: base64, ...members } = JSON.parse(Buffer.from(body).toString());
  const event = {};
  for (const [name, value] of Object.entries(members)) {
    if (value !== null) event[name] = String(value);
  }
  const type = event.datacontenttype;
  if (typeof base64 === 'string') return withData(event, type, Buffer.from(base64, 'base64'));
  if (data === undefined) return withData(event, type, undefined);
  if (type !== undefined && !isJson(type)) {
    return withData(event, type, data === null ? undefined : Buffer.from(String(data)));
  }
  return { ...event, datacontenttype: type ?? 'application/json', data };
}

function withData(event, type, bytes) {
  const known = { ...event, ...(type !== undefined && { datacontenttype: type }) };
  if (bytes === undefined) return known;
  const plain = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  const parse = () => ({ value: JSON.parse(Buffer.from(bytes).toString()) });
  const parsed = isJson(type ?? '') ? attempt(parse) : undefined;
  return { ...known, data: parsed ? parsed.value : plain };
}

function isJson(type) {
  return /^[^/;]+\/(?:[^+;]*\+)?json\s*(;|$)/i.test(type);
}

/**
 * The origin that the caller used: of the gateway, which tells it in `Forwarded`, else of a server
 * in front of this one, or of this one.
 */
function originIn(headers) {
  const [, told, by] = FORWARDED.exec(headers.get('forwarded') ?? '') ?? [];
  const proto = by ?? (headers.get('x-forwarded-proto') === 'http' ? 'http' : 'https');
  const host = told ?? headers.get('x-forwarded-host') ?? headers.get('host');
  const origin = `${proto}://${host}`;
  const isOrigin = host !== null && HOST.test(host) && URL.canParse(origin);
  return isOrigin ? origin : 'https://function.invalid';
}

function timeout() {
  return answerJson('timeout', 504, {
    kind: 'timeout',
    type: 'Timeout',
    message: 'The function did not answer before its deadline',
  });
}

/** Anything can be thrown, also what has no text, or whose getters throw. */
function failure(kind, error) {
  const isError = attempt(() => types.isNativeError(error) || error instanceof Error);
  const type = isError ? textOf(() => error.name, 'Error') : typeof error;
  const message = textOf(() => (isError ? error.message : error), `${typeof error} without a text`);
  return { ...answerJson('error', 500, { kind, type, message }), error: stackOf(error) };
}

/** What was thrown, with stack and causes, as a text for the logs. Never throws. */
export function stackOf(error) {
  return attempt(() => inspect(error)) ?? 'a value without a text';
}

/** `read` as a text, which may be cut; `otherwise` when that fails. */
function textOf(read, otherwise) {
  return attempt(() => String(read()).slice(0, MAX_TEXT_LENGTH)) ?? otherwise;
}

function attempt(read) {
  try {
    return read();
  } catch {
    return undefined;
  }
}

function answerJson(outcome, status, value) {
  const headers = [['content-type', 'application/json']];
  return { outcome, status, headers, body: new TextEncoder().encode(JSON.stringify(value)) };
}
