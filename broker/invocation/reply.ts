// Step 9 of a call: which headers reach the function, and which of its headers reach the caller.
import type { Headers } from './invocation.ts';

/** Hop-by-hop (RFC 9110 section 7.6.1) and what the gateway itself reads: never passed on to a function. */
const NOT_FORWARDED = new Set([
  'authorization',
  'connection',
  'content-length',
  'dpop',
  'expect',
  'host',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** What of a function's answer stays here: hop-by-hop, and what the gateway says itself. */
const NOT_REPLIED = new Set([
  'connection',
  'content-length',
  'content-security-policy',
  'date',
  'keep-alive',
  'proxy-authenticate',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'x-content-type-options',
]);

/** A function is a stranger's code on our origin: it may not touch what the browser keeps for the gateway. */
const OF_THE_ORIGIN = new Set(['set-cookie', 'service-worker-allowed', 'clear-site-data']);

/** The headers a function sees: the caller's, lower-case, without credentials and without `Defaas-*`. */
export function forwardedHeaders(headers: Headers): Headers {
  return headers.filter(([name]) => !NOT_FORWARDED.has(name) && !name.startsWith('defaas-'));
}

/** The headers a caller sees of a function's answer; CORS is the gateway's to say. */
export function replyHeaders(headers: Headers): Headers {
  return headers.filter(
    ([name]) =>
      !NOT_REPLIED.has(name) && !name.startsWith('defaas-') && !name.startsWith('access-control-'),
  );
}

/** What of them goes out on the gateway's own origin: a page gets an origin of its own there, and leaves nothing behind. */
export function confined(headers: Headers): Headers {
  return [
    ...headers.filter(([name]) => !OF_THE_ORIGIN.has(name)),
    ['content-security-policy', 'sandbox allow-scripts allow-forms'],
    ['x-content-type-options', 'nosniff'],
  ];
}
