// Turns failures of AWS into ProviderErrors: what the SDK throws, and what the sender of signed
// requests throws.

import { SendError } from '../http/send.ts';
import { codeOfStatus } from '../http/status.ts';
import { ProviderError, type ProviderErrorCode, type ProviderErrorOptions } from '../provider.ts';
import { MAX_ANSWER_BYTES } from './invocation.ts';

export const PROVIDER = 'aws-lambda';

/** Makes an error of one operation on one target. */
export type Fail = (
  code: ProviderErrorCode,
  ran: 'no' | 'maybe',
  what: string,
  more?: Pick<ProviderErrorOptions, 'status' | 'retryAfterMs' | 'cause'>,
) => ProviderError;

/** @returns a maker of errors whose message is `<what>, on aws-lambda <region> <target>` */
export function createFail(region: string, operation: string, target: string): Fail {
  return (code, ran, what, more = {}) =>
    new ProviderError(code, `${what}, on ${PROVIDER} ${region} ${target}`, {
      provider: PROVIDER,
      operation,
      target,
      ran,
      ...more,
    });
}

/** An error of a control-plane operation. `ran` is `no`: these operations run no function. */
export function controlError(error: unknown, fail: Fail, signal: AbortSignal): ProviderError {
  if (error instanceof ProviderError) return error;
  if (signal.aborted) return fail('PROVIDER_DEADLINE', 'no', 'not done in time', { cause: error });
  const { code, what, status } = classify(error);
  return fail(code, 'no', what, { cause: error, status });
}

/** An error of a signed request. Returns what is not a SendError unchanged. */
export function sendFailure(error: unknown, fail: Fail): unknown {
  if (!(error instanceof SendError)) return error;
  const ran = error.began ? 'maybe' : 'no';
  const more = { cause: error };
  switch (error.reason) {
    case 'aborted':
      return fail('PROVIDER_DEADLINE', ran, 'no answer in time', more);
    case 'connection':
      return fail('PROVIDER_CONNECTION', ran, 'the connection failed', more);
    case 'too-large':
      return fail('PROVIDER_PROTOCOL', ran, `the answer is above ${MAX_ANSWER_BYTES} bytes`, more);
    default:
      return error.reason satisfies never;
  }
}

/** Errors of the API and of the SDK whose HTTP status does not tell what they mean. */
const CODES: Readonly<Record<string, ProviderErrorCode>> = {
  CredentialsProviderError: 'PROVIDER_UNAUTHENTICATED',
  AccessDeniedException: 'PROVIDER_FORBIDDEN',
  CodeStorageExceededException: 'PROVIDER_QUOTA',
  RequestEntityTooLargeException: 'PROVIDER_TOO_LARGE',
};

function classify(error: unknown): {
  code: ProviderErrorCode;
  what: string;
  status: number | undefined;
} {
  if (!(error instanceof Error))
    return { code: 'PROVIDER_PROTOCOL', what: String(error), status: undefined };
  const metadata = '$metadata' in error ? error.$metadata : undefined;
  const status =
    typeof metadata === 'object' && metadata !== null && 'httpStatusCode' in metadata
      ? Number(metadata.httpStatusCode)
      : undefined;
  const what = `${error.name}: ${error.message}`.slice(0, 256);
  return { code: CODES[error.name] ?? codeOf(status), what, status };
}

function codeOf(status: number | undefined): ProviderErrorCode {
  if (status === undefined) return 'PROVIDER_CONNECTION';
  if (status === 412) return 'PROVIDER_INVALID';
  // AccessDeniedException is in CODES. Any other 403 means that the signature was refused.
  return status === 403 ? 'PROVIDER_UNAUTHENTICATED' : codeOfStatus(status);
}
