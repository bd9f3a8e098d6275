// The errors of the Lambda API: status, type header and body as the real service sends them.

import type { OutgoingHttpHeaders } from 'node:http';

/** An operation throws it, the server answers it. `Message` or `message`, as the real body has. */
export class AwsError extends Error {
  override readonly name = 'AwsError';
  readonly status: number;
  readonly type: string;
  readonly body: Readonly<Record<string, unknown>>;
  readonly headers: OutgoingHttpHeaders;

  constructor(
    status: number,
    type: string,
    body: Readonly<Record<string, unknown>>,
    headers: OutgoingHttpHeaders = {},
  ) {
    super(`${status} ${type}`);
    this.status = status;
    this.type = type;
    this.body = body;
    this.headers = headers;
  }
}

export function notFound(message: string): AwsError {
  return new AwsError(404, 'ResourceNotFoundException', { Message: message, Type: 'User' });
}

export function conflict(message: string): AwsError {
  return new AwsError(409, 'ResourceConflictException', { Type: 'User', message });
}

export function invalidParameter(message: string): AwsError {
  return new AwsError(400, 'InvalidParameterValueException', { Type: 'User', message });
}

/** A broken constraint of the API's model, in the API's own words. */
export function violation(value: unknown, field: string, constraint: string): string {
  const shown = value === null || value === undefined ? 'null' : `'${value}'`;
  return `Value ${shown} at '${field}' failed to satisfy constraint: ${constraint}`;
}

/** One or more broken constraints, as `violation` words them. */
export function invalidFields(violations: readonly string[]): AwsError {
  const noun = violations.length === 1 ? 'error' : 'errors';
  const message = `${violations.length} validation ${noun} detected: ${violations.join('; ')}`;
  return new AwsError(400, 'ValidationException', { message });
}

/** A constraint of the API's model is broken by `value` at `field`. */
export function invalidField(value: unknown, field: string, constraint: string): AwsError {
  return invalidFields([violation(value, field, constraint)]);
}

/** @throws AwsError 400 given, and not one of the values */
export function checkEnum(value: unknown, field: string, values: readonly string[]): void {
  if (value === undefined || value === null || values.includes(String(value))) return;
  const constraint = `Member must satisfy enum value set: [${values.join(', ')}]`;
  throw invalidField(value, field, constraint);
}

/** The caller may not do it. The API sends an empty message for another account's resources. */
export function accessDenied(message: string | null = null): AwsError {
  return new AwsError(403, 'AccessDeniedException', { Message: message });
}

export function tooLarge(message: string): AwsError {
  return new AwsError(413, 'RequestEntityTooLargeException', { message });
}

/** The account has reached its quota of code storage. */
export function storageFull(): AwsError {
  const message = 'Code storage limit exceeded.';
  return new AwsError(400, 'CodeStorageExceededException', { Type: 'User', message });
}

export function throttled(reason: string, message: string, retryAfterMs?: number): AwsError {
  const headers =
    retryAfterMs === undefined ? {} : { 'retry-after': String(Math.ceil(retryAfterMs / 1000)) };
  const body = { Reason: reason, Type: 'User', message };
  return new AwsError(429, 'TooManyRequestsException', body, headers);
}

/** `where` is the operation that tells the present one. */
export function wrongRevision(where = 'GetFunction/GetAlias'): AwsError {
  return new AwsError(412, 'PreconditionFailedException', {
    Type: 'User',
    message: `The Revision Id provided does not match the latest Revision Id. Call the ${where} API to retrieve the latest Revision Id`,
  });
}

/** A failure of the platform. The function did not run. */
export function platformError(status: 500 | 502 | 503): AwsError {
  const type = status === 503 ? 'ServiceUnavailableException' : 'ServiceException';
  return new AwsError(status, type, { Type: 'Service', message: 'An internal error occurred' });
}
