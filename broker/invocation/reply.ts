// Step 9 of a call: what the caller gets, an answer or a refusal, and which headers pass in and
// out.

import { memoize } from '../../adapters/http/memoize.ts';
import { HEADER_NAME, HEADER_VALUE } from '../../adapters/http/message.ts';
import { DefaasError } from '../errors.ts';
import type { CallLimits } from '../routing/call-limits.ts';
import type { Choices } from '../routing/choose.ts';
import type { Target } from '../routing/target.ts';
import type { Outcome } from './attempt.ts';
import type { Headers, Invocation, Reply } from './invocation.ts';
import type { Ran } from './price.ts';

/** Longest text of a function's own error that is passed on, characters. */
const MAX_FOREIGN_TEXT = 256;

/** Most names in `Connection`; a client needs two or three. */
const MAX_NAMED = 32;

/**
 * Request headers that are never passed to a function: hop-by-hop ones (RFC 9110 section 7.6.1) and
 * those that the gateway itself reads.
 */
const NOT_FORWARDED = new Set([
  'authorization',
  'connection',
  'content-length',
  'dpop',
  'expect',
  'forwarded',
  'host',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'x-real-ip',
]);

/**
 * Headers of a function's answer that are dropped: hop-by-hop ones, and those that the gateway sets
 * itself.
 */
const NOT_REPLIED = new Set([
  'connection',
  'content-length',
  'content-security-policy',
  'date',
  'idempotent-replayed',
  'keep-alive',
  'proxy-authenticate',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'x-content-type-options',
]);

/**
 * A function is a stranger's code on the gateway's origin: it may not change what the browser
 * stores for that origin.
 */
const OF_THE_ORIGIN = new Set([
  'accept-ch',
  'alt-svc',
  'clear-site-data',
  'critical-ch',
  'nel',
  'origin-agent-cluster',
  'report-to',
  'reporting-endpoints',
  'service-worker-allowed',
  'set-cookie',
  'set-login',
  'strict-transport-security',
]);

/**
 * The headers that a function sees: the caller's, in lower case, without credentials, `Defaas-*`,
 * headers that `Connection` names (RFC 9110 section 7.6.1), and `X-Forwarded-*`, which only a proxy
 * could know and the caller could forge. The gateway adds its own (`placeHeaders`).
 * @throws DefaasError REQUEST_INVALID  `Connection` names too many headers
 */
export function forwardedHeaders(headers: Headers): Headers {
  const ofConnection = namedByConnection(headers);
  return headers.filter(
    ([name]) =>
      !NOT_FORWARDED.has(name) &&
      !name.startsWith('defaas-') &&
      !name.startsWith('x-forwarded-') &&
      !ofConnection.has(name),
  );
}

/** Reads all lines of the header: a list may come in several (RFC 9110 section 5.3). */
function namedByConnection(headers: Headers): ReadonlySet<string> {
  const names = new Set<string>();
  let left = MAX_NAMED;
  for (const [header, value] of headers) {
    if (header !== 'connection') continue;
    const some = value.split(',', left + 1);
    left -= some.length;
    if (left < 0) {
      throw new DefaasError(
        'REQUEST_INVALID',
        `Connection names more than ${MAX_NAMED} headers, name fewer`,
      );
    }
    for (const one of some) names.add(one.trim().toLowerCase());
  }
  return names;
}

/**
 * The headers of a function's answer that the caller sees. CORS headers are the gateway's. Invalid
 * headers (RFC 9110 section 5) are dropped: a function can forge what its shim writes.
 */
export function replyHeaders(headers: Headers): Headers {
  const passed: [string, string][] = [];
  for (const [written, value] of headers) {
    const name = repliedName(written);
    if (name !== undefined && HEADER_VALUE.test(value)) passed.push([name, value]);
  }
  return passed;
}

/** The name in lower case; undefined when the header is dropped. */
const repliedName = memoize(1_000, (written) => {
  const name = written.toLowerCase();
  const isPassed =
    HEADER_NAME.test(name) &&
    !NOT_REPLIED.has(name) &&
    !name.startsWith('defaas-') &&
    !name.startsWith('access-control-');
  return isPassed ? name : undefined;
});

/**
 * The headers as sent on the gateway's own origin: a page is sandboxed into an opaque origin and
 * stores nothing.
 */
export function confined(headers: Headers): Headers {
  return [
    ...headers.filter(([name]) => !OF_THE_ORIGIN.has(name)),
    ['content-security-policy', 'sandbox allow-scripts allow-forms'],
    ['x-content-type-options', 'nosniff'],
  ];
}

/** The answer that the caller gets, without its receipt. */
export function replyOf(outcome: Ran, { label }: Target): Reply {
  if (outcome.kind === 'unknown') {
    const message = `${label} may have run, its answer was lost, nothing was charged; retry if that is safe`;
    return { ok: false, code: 'INVOCATION_UNKNOWN', message };
  }
  const { result } = outcome;
  if (result.ok) {
    const headers = replyHeaders(result.headers);
    return { ok: true, status: result.status, headers, body: result.body };
  }
  const { kind, type, message } = result.error;
  return {
    ok: false,
    code: kind === 'timeout' ? 'FUNCTION_TIMEOUT' : 'FUNCTION_FAILED',
    message: `${label} failed: ${type}: ${message.slice(0, MAX_FOREIGN_TEXT)}, nothing was charged`,
  };
}

/**
 * @throws DefaasError ROUTING_EXCLUDES_ALL  the version is live, though nowhere where this call may
 *   run
 */
export function refuseExcluded({ label }: Target, { inTurn, behind }: Choices): void {
  if (inTurn.length > 0 || !behind.includes('POLICY')) return;
  throw new DefaasError(
    'ROUTING_EXCLUDES_ALL',
    `the routing leaves none of the clouds of ${label}, nothing was charged, widen Defaas-Routing or deploy it there`,
  );
}

/** @throws DefaasError BODY_TOO_LARGE  on whichever cloud the call would run */
export function refuseTooLarge(
  invocation: Invocation,
  { requestBytes: limit }: Pick<CallLimits, 'requestBytes'>,
): void {
  if (invocation.body.length <= limit) return;
  throw new DefaasError(
    'BODY_TOO_LARGE',
    `the body has ${invocation.body.length} bytes, the clouds of this version take ${limit}, send less`,
  );
}

/** Every attempt failed before anything ran. */
export function providersDown(
  { label }: Target,
  { behind }: Choices,
  { failed, retryAfterMs = 1000 }: Extract<Outcome, { kind: 'none' }>,
): DefaasError {
  const why = failed.map((one) => `${one.provider}: ${one.code}`).join(', ') || 'none is reachable';
  const others = behind.includes('POLICY') ? '; its routing allows no other' : '';
  return new DefaasError(
    'PROVIDERS_DOWN',
    `no cloud could take ${label} (${why}${others}), try again shortly`,
    {
      retryAfterSec: Math.ceil(retryAfterMs / 1000),
    },
  );
}
