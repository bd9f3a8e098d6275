// Turns an error into a reply: a problem document (RFC 9457) and the headers that its status
// requires.
import { type DefaasError, problemOf } from '../errors.ts';
import { PROOF_ALGORITHMS } from '../identity/public-jwk.ts';

/** RFC 6750 section 3.1 error codes, for errors that carry none. */
const OAUTH_WORDS: ReadonlyMap<string, string> = new Map([
  ['TOKEN_INVALID', 'invalid_token'],
  ['TOKEN_SCOPE', 'insufficient_scope'],
]);

export interface ProblemReply {
  readonly status: number;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: string;
}

/**
 * `id` names the request in the logs. `authorization` is the request's header; a 401 reply answers
 * in the same scheme.
 */
export function problemReply(
  error: DefaasError,
  request: {
    readonly id: string;
    readonly authorization: string | undefined;
    /** Path of the document that says how to sign in and pay; named in each 401 and 402. */
    readonly describedBy?: string | undefined;
  },
): ProblemReply {
  const headers: [string, string][] = [
    ['content-type', 'application/problem+json'],
    ['cache-control', 'no-store'],
  ];
  if (error.retryAfterSec !== undefined) headers.push(['retry-after', `${error.retryAfterSec}`]);
  if (error.allow !== undefined) headers.push(['allow', error.allow.join(', ')]);
  if (error.status === 401 || error.code === 'TOKEN_SCOPE') {
    for (const challenge of challengesOf(error, request.authorization ?? '')) {
      headers.push(['www-authenticate', challenge]);
    }
  }
  const { describedBy } = request;
  const isTold = describedBy !== undefined && (error.status === 401 || error.status === 402);
  if (isTold) headers.push(['link', `<${describedBy}>; rel="describedby"`]);
  const problem = { ...problemOf(error, request.id), ...(isTold && { describedBy }) };
  return { status: error.status, headers, body: JSON.stringify(problem) };
}

/**
 * The challenges of both accepted schemes (RFC 6750 section 3, RFC 9449 section 7.1). Only the
 * scheme that the request used carries an error.
 */
function challengesOf(error: DefaasError, authorization: string): readonly [string, string] {
  const scheme = /^(bearer|dpop)(?: |$)/i.exec(authorization)?.[1]?.toLowerCase();
  const word = error.members.error ?? OAUTH_WORDS.get(error.code);
  const why = word === undefined ? '' : `error="${word}"`;
  const algorithms = `algs="${PROOF_ALGORITHMS.join(' ')}"`;
  return [
    scheme === 'bearer' && why ? `Bearer ${why}` : 'Bearer',
    scheme === 'dpop' && why ? `DPoP ${algorithms}, ${why}` : `DPoP ${algorithms}`,
  ];
}
