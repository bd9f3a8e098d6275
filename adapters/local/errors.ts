// The ProviderErrors of this machine.

import { ProviderError, type ProviderErrorCode } from '../provider.ts';

export const PROVIDER = 'local';

/** Makes an error of one operation on one function. */
export type Fail = (
  code: ProviderErrorCode,
  ran: 'no' | 'maybe',
  what: string,
  cause?: unknown,
) => ProviderError;

/** @returns a maker of errors whose message is `<what>, on local <target>` */
export function createFail(operation: string, target: string): Fail {
  return (code, ran, what, cause) =>
    new ProviderError(code, `${what}, on ${PROVIDER} ${target}`, {
      provider: PROVIDER,
      operation,
      target,
      ran,
      cause,
    });
}
