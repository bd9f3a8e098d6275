// The one error class of the client library: a gateway's refusal (RFC 9457 problem), or a reply or
// request that the client itself rejects.

import { readUpTo } from './read-body.ts';

/**
 * A problem document (RFC 9457) with the stable `code` of the gateway's catalogue and members of
 * its own, such as those of a 402.
 */
export interface Problem {
  readonly type?: string;
  readonly title?: string;
  readonly status?: number;
  readonly code: string;
  readonly detail?: string;
  readonly instance?: string;
  readonly [member: string]: unknown;
}

interface DefaasClientErrorOptions {
  readonly cause?: unknown;
  readonly status?: number;
  readonly problem?: Problem;
  readonly retryAfterSec?: number;
  readonly evidence?: readonly object[];
}

/**
 * `code` is the gateway's when it answered with a problem, else one of the client's own
 * (`GATEWAY_...`, `BATCH_...`, `RECEIPT_INVALID`).
 */
export class DefaasClientError extends Error {
  override readonly name = 'DefaasClientError';
  readonly code: string;
  /** HTTP status, when the gateway answered. */
  readonly status: number | undefined;
  readonly problem: Problem | undefined;
  /** Seconds until the gateway takes requests again, from its `Retry-After`. */
  readonly retryAfterSec: number | undefined;
  /**
   * Receipt documents that the gateway has signed and that contradict what was agreed. They show
   * that it lies.
   */
  readonly evidence: readonly object[] | undefined;

  constructor(code: string, message: string, options: DefaasClientErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.status = options.status;
    this.problem = options.problem;
    this.retryAfterSec = options.retryAfterSec;
    this.evidence = options.evidence;
  }
}

/** Bytes of a problem document that are read; the gateway's have a few hundred. */
const MAX_PROBLEM_BYTES = 64 * 1024;

/**
 * Makes the error of a failed reply from its problem document, or from its status if it has none.
 */
export async function readProblem(reply: Response, doing: string): Promise<DefaasClientError> {
  const { bytes } = await readUpTo(reply, MAX_PROBLEM_BYTES);
  const text = new TextDecoder().decode(bytes);
  const problem = parseProblem(text);
  const wait = Number(reply.headers.get('retry-after') ?? Number.NaN);
  const answer = { status: reply.status, ...(wait >= 0 && { retryAfterSec: wait }) };
  if (problem) {
    const message = problem.detail ?? problem.title ?? `${doing} failed with ${reply.status}`;
    return new DefaasClientError(problem.code, message, { ...answer, problem });
  }
  return new DefaasClientError(
    'GATEWAY_PROTOCOL',
    `${doing} was answered ${reply.status} without a problem document: ${text.slice(0, 256)}`,
    answer,
  );
}

function parseProblem(text: string): Problem | undefined {
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed !== 'object' || parsed === null || !('code' in parsed)) return undefined;
    // Safe: `code` is checked here, every other member is optional and read with a check by whoever
    // uses it.
    return typeof parsed.code === 'string' ? (parsed as Problem) : undefined;
  } catch {
    return undefined;
  }
}
