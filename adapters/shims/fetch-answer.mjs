// What a publisher's module may export, and what its handler may return: the default export becomes
// a function, the returned value becomes status, headers and body. Every cloud has this file beside
// its shim.

import { brotliDecompressSync, inflateRawSync, inflateSync } from 'node:zlib';

// Captured before the publisher's module loads: a polyfill may replace them.
const { Headers, Response } = globalThis;

/**
 * Headers of the connection, and the length, which the server sets (RFC 9110 section 7.6.1). A
 * response of `fetch` still has those of its own connection.
 */
const OF_CONNECTION = new Set(['connection', 'content-length', 'keep-alive', 'transfer-encoding']);
/** Statuses without a body (Fetch standard, "null body status"). */
const BODYLESS = new Set([204, 205, 304]);
/** Bytes of output after which a body surely is compressed. */
const MAX_TRIED_BYTES = 64 * 1024;

/**
 * The handler that a module exports by default: a function, an object or app with a method `fetch`,
 * or either as the `default` of what TypeScript compiles to CommonJS.
 * @param {{default?: unknown}} module
 * @returns {(request: Request, context: object) => unknown}
 * @throws Error  named NoHandler: there is none
 */
export function handlerOf(module) {
  let exported = module.default;
  if (!hasFetch(exported) && typeof exported !== 'function' && exported?.default !== undefined) {
    exported = exported.default;
  }
  if (hasFetch(exported)) return (request, context) => exported.fetch(request, context);
  if (exported === undefined) throw noHandler('the module has no default export');
  if (typeof exported !== 'function') {
    throw noHandler(`the default export is ${kindOf(exported)}, without a method fetch`);
  }
  if (typeof exported.listen === 'function') {
    throw noHandler('the default export is an app for a server of Node, without a method fetch');
  }
  if (/^class\b/.test(Function.prototype.toString.call(exported))) {
    throw noHandler('the default export is a class, export an instance with a method fetch');
  }
  return exported;
}

/**
 * What the handler returned, as an answer. Accepts a `Response` of any realm or library, a body as
 * `Response` takes it, a stream of Node or of the Web, and a value that JSON can show.
 * @param {unknown} value
 * @param {string} method  the request's: HEAD has no body (RFC 9110 section 9.3.2)
 * @returns {Promise<{status: number, headers: [string, string][], body: Uint8Array}>}
 * @throws TypeError  it has no form that a caller could read
 */
export async function answerOf(value, method) {
  const { status, headers, read } = partsOf(value);
  // A status of 0 is a network error (`Response.error()`).
  if (!Number.isInteger(status) || status < 200 || status > 599) {
    throw new TypeError(`The handler returned a response with the status ${status}`);
  }
  // Not every server in front of the shim removes a body that may not be there.
  const isBodyless = method === 'HEAD' || BODYLESS.has(status);
  const body = isBodyless ? new Uint8Array() : await read();
  const isPassed = ([name, text]) =>
    !OF_CONNECTION.has(name) &&
    (name !== 'content-encoding' || isBodyless || !isDecoded(text, body));
  return { status, headers: [...headers].filter(isPassed), body };
}

function partsOf(value) {
  if (value instanceof Response || isResponse(value)) {
    const { status, headers } = value;
    return {
      status,
      headers: headers instanceof Headers ? headers : copyOf(headers),
      read: async () => new Uint8Array(await value.arrayBuffer()),
    };
  }
  const chunks = chunksOf(value);
  if (chunks !== undefined) return { status: 200, headers: [], read: () => join(chunks) };
  return partsOf(isBody(value) ? new Response(value) : toJson(value ?? null));
}

/** Whether it has what we read of a response: one of another realm, of a library or a polyfill. */
function isResponse(value) {
  return (
    typeof value?.status === 'number' &&
    typeof value.arrayBuffer === 'function' &&
    typeof value.headers?.forEach === 'function'
  );
}

/** Checks names and values, and keeps each cookie a header of its own. */
function copyOf(foreign) {
  const headers = new Headers();
  foreign.forEach((value, name) => {
    if (name.toLowerCase() !== 'set-cookie') headers.append(name, value);
  });
  // `raw` is node-fetch's.
  const cookies = foreign.getSetCookie?.() ?? foreign.raw?.()['set-cookie'] ?? [];
  for (const cookie of cookies) headers.append('set-cookie', cookie);
  return headers;
}

/** The chunks of a stream of Node or of the Web, or of an async generator. */
function chunksOf(value) {
  if (typeof value?.[Symbol.asyncIterator] === 'function') return value;
  return typeof value?.getReader === 'function' ? readAll(value.getReader()) : undefined;
}

async function* readAll(reader) {
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

async function join(chunks) {
  const parts = [];
  for await (const chunk of chunks) {
    // Buffer.from refuses what is neither text nor bytes.
    parts.push(ArrayBuffer.isView(chunk) ? viewOf(chunk) : Buffer.from(chunk));
  }
  return Buffer.concat(parts);
}

function viewOf({ buffer, byteOffset, byteLength }) {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** A body as `Response` takes it, apart from text, which is a value of JSON. */
function isBody(value) {
  return (
    value instanceof ArrayBuffer ||
    ArrayBuffer.isView(value) ||
    value instanceof Blob ||
    value instanceof FormData ||
    value instanceof URLSearchParams
  );
}

/** @throws TypeError  an Error, a Map, a function and the like, which JSON shows as `{}` or not */
function toJson(value) {
  const text = JSON.stringify(value);
  if (text === undefined || (text === '{}' && !isEmptyObject(value))) {
    throw new TypeError(`The handler returned ${kindOf(value)}, return a Response or JSON`);
  }
  return new Response(text, { headers: { 'content-type': 'application/json' } });
}

/** A plain object of any realm, whose prototype has none, and which loses no function. */
function isEmptyObject(value) {
  const parent = Object.getPrototypeOf(value);
  const isPlain = parent === null || Object.getPrototypeOf(parent) === null;
  return isPlain && !Object.values(value).some((each) => typeof each === 'function');
}

/**
 * Whether the body is no longer in the coding that its header names: `fetch` decodes a body and
 * keeps the header. The bytes tell, also when the handler has copied body and headers into a
 * response of its own.
 */
function isDecoded(codings, body) {
  const last = codings.split(',').at(-1)?.trim().toLowerCase();
  switch (last) {
    case 'gzip':
    case 'x-gzip':
      return !startsWith(body, [0x1f, 0x8b]);
    case 'zstd':
      return !startsWith(body, [0x28, 0xb5, 0x2f, 0xfd]);
    case 'deflate':
      return !isIn(inflateSync, body) && !isIn(inflateRawSync, body);
    case 'br':
      return !isIn(brotliDecompressSync, body);
    default:
      return false;
  }
}

function startsWith(body, bytes) {
  return bytes.every((byte, at) => body[at] === byte);
}

function isIn(decompress, body) {
  try {
    const { engine } = decompress(body, { info: true, maxOutputLength: MAX_TRIED_BYTES });
    return engine.bytesWritten === body.length;
  } catch (error) {
    return error.code === 'ERR_BUFFER_TOO_LARGE';
  }
}

function noHandler(why) {
  const error = new Error(why);
  error.name = 'NoHandler';
  return error;
}

function hasFetch(value) {
  return typeof value?.fetch === 'function';
}

function kindOf(value) {
  if (typeof value === 'function') return 'a function';
  if (typeof value !== 'object' || value === null) return String(value);
  return `an object of ${value.constructor?.name ?? 'no class'}`;
}
