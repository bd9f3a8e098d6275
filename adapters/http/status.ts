// What an HTTP answer of a cloud means where the cloud says nothing of its own: its status, and
// when to come again.

import type { ProviderErrorCode } from '../provider.ts';

/** Of a status that is no success. */
export function codeOfStatus(status: number): ProviderErrorCode {
  if (status >= 500) return 'PROVIDER_UNAVAILABLE';
  switch (status) {
    case 400:
      return 'PROVIDER_INVALID';
    case 401:
      return 'PROVIDER_UNAUTHENTICATED';
    case 403:
      return 'PROVIDER_FORBIDDEN';
    case 404:
      return 'PROVIDER_NOT_FOUND';
    case 409:
      return 'PROVIDER_CONFLICT';
    case 413:
      return 'PROVIDER_TOO_LARGE';
    case 429:
      return 'PROVIDER_THROTTLED';
    default:
      return 'PROVIDER_PROTOCOL';
  }
}

/** Seconds or an HTTP date (RFC 9110 section 10.2.3); undefined for neither. */
export function retryAfterMs(value: string | null | undefined, nowMs: number): number | undefined {
  if (!value) return undefined;
  const seconds = Number(value);
  const waitMs = Number.isNaN(seconds) ? Date.parse(value) - nowMs : seconds * 1000;
  return Number.isFinite(waitMs) ? Math.max(0, waitMs) : undefined;
}
