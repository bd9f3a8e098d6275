// Who may run code on this machine.

import type { Isolation } from '../runtime/isolation.ts';
import { createFail } from './errors.ts';
import type { LocalFunction } from './functions.ts';

export interface Trust {
  readonly isolation: Pick<Isolation, 'kind' | 'found'>;
  /** Owners, lower-case, whose code may run without a sandbox. */
  readonly trustedPublishers: 'any' | readonly string[];
}

/**
 * Checked at each call too, because the machine may have lost its sandbox since the deploy.
 * @throws ProviderError PROVIDER_FORBIDDEN  there is no sandbox, and the publisher is not trusted
 */
export function refuseUntrusted(
  { isolation, trustedPublishers }: Trust,
  { name, publisher }: Pick<LocalFunction, 'name' | 'publisher'>,
  operation: string,
): void {
  if (isolation.kind === 'sandbox' || trustedPublishers === 'any') return;
  if (trustedPublishers.includes(publisher)) return;
  throw createFail(operation, name)(
    'PROVIDER_FORBIDDEN',
    'no',
    `${publisher} is not a trusted publisher, and there is no sandbox here (${isolation.found})`,
  );
}
