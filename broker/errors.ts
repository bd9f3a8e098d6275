// The broker's error type, and its problem document. The codes are in broker/error-codes.ts.
import { ERRORS, type ErrorCode } from './error-codes.ts';

export { ERRORS, type ErrorCode } from './error-codes.ts';

export interface DefaasErrorOptions {
  /** Additional members of the problem document, JSON-serialisable (RFC 9457 section 3.2). */
  readonly members?: Readonly<Record<string, unknown>>;
  readonly retryAfterSec?: number;
  /** The methods of the address, for a 405 (RFC 9110 section 15.5.6). */
  readonly allow?: readonly string[];
  readonly cause?: unknown;
}

/**
 * The broker's error type: a code of the catalogue and a one-line message `what, on what, what to
 * do`.
 */
export class DefaasError extends Error {
  override readonly name = 'DefaasError';
  readonly code: ErrorCode;
  readonly status: number;
  readonly members: Readonly<Record<string, unknown>>;
  readonly retryAfterSec: number | undefined;
  readonly allow: readonly string[] | undefined;

  constructor(code: ErrorCode, message: string, options: DefaasErrorOptions = {}) {
    super(message, { cause: options.cause });
    this.code = code;
    this.status = ERRORS[code].status || 500;
    this.members = options.members ?? {};
    this.retryAfterSec = options.retryAfterSec;
    this.allow = options.allow;
  }
}

/**
 * Converts any error: an error with a code of the catalogue keeps its code, everything else becomes
 * INTERNAL.
 */
export function toDefaasError(error: unknown): DefaasError {
  if (error instanceof DefaasError) return error;
  const code = codeOf(error);
  if (code === undefined) {
    return new DefaasError('INTERNAL', 'the gateway failed on this request, report the instance', {
      cause: error,
    });
  }
  return new DefaasError(code, error instanceof Error ? error.message : code, { cause: error });
}

const CHAIN_AWAY = 'the gateway cannot reach the chain, try again shortly';

/** The problem document of an error (RFC 9457); `instance` names the request in the logs. */
export function problemOf(error: DefaasError, instance: string): Record<string, unknown> {
  return {
    type: `urn:defaas:error:${error.code}`,
    title: ERRORS[error.code].title,
    status: error.status,
    code: error.code,
    // Its message names the operator's RPC, whose host name may hold a key.
    detail: error.code === 'CHAIN_UNREACHABLE' ? CHAIN_AWAY : error.message,
    remedy: ERRORS[error.code].remedy,
    instance: `urn:defaas:request:${instance}`,
    ...error.members,
  };
}

function codeOf(error: unknown): ErrorCode | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  const code = error.code;
  return typeof code === 'string' && Object.hasOwn(ERRORS, code) ? toErrorCode(code) : undefined;
}

function toErrorCode(code: string): ErrorCode {
  // Safe: the only caller has just checked that ERRORS has this key.
  return code as ErrorCode;
}
