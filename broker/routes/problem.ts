// An error as a reply: a problem document (RFC 9457) and the headers that its status asks for.
import { type DefaasError, problemOf } from '../errors.ts';
import { PROOF_ALGORITHMS } from '../public-jwk.ts';

export interface ProblemReply {
  readonly status: number;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: string;
}

/** `id` names the request in the logs; `authorization` is its header, to answer a 401 in the scheme that was tried. */
export function problemReply(
  error: DefaasError,
  request: { readonly id: string; readonly authorization: string | undefined },
): ProblemReply {
  const headers: [string, string][] = [
    ['content-type', 'application/problem+json'],
    ['cache-control', 'no-store'],
  ];
  if (error.retryAfterSec !== undefined) headers.push(['retry-after', `${error.retryAfterSec}`]);
  if (error.status === 401) {
    // RFC 6750 section 3 and RFC 9449 section 7.1: both schemes are taken, and the one that was tried says what was wrong.
    const why = error.members.error === undefined ? '' : ` error="${error.members.error}"`;
    const isDpop = /^DPoP /i.test(request.authorization ?? '');
    const algorithms = `algs="${PROOF_ALGORITHMS.join(' ')}"`;
    headers.push(['www-authenticate', `Bearer${isDpop ? '' : why}`]);
    headers.push(['www-authenticate', `DPoP ${algorithms}${isDpop && why ? `,${why}` : ''}`]);
  }
  return { status: error.status, headers, body: JSON.stringify(problemOf(error, request.id)) };
}
