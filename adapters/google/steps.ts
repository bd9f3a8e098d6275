// Compares the function that Google has with the one that is wanted, and says what to do next.

import { type PlanStep, ProviderError } from '../provider.ts';
import { about } from './errors.ts';
import { type CloudFunction, isSettling, stateOf } from './found.ts';
import { labelValue } from './function.ts';
import type { Wanted } from './wanted.ts';

/**
 * Sends nothing. Each step leads closer to `keep`, from every state that an interrupted deploy can
 * leave.
 * @throws ProviderError PROVIDER_CONFLICT  the function belongs to another gateway
 */
export function nextStep(
  { spec, hash }: Wanted,
  found: CloudFunction | undefined,
  gateway: string,
): PlanStep {
  const { name } = spec;
  const step = (action: PlanStep['action'], why: string): PlanStep => {
    return { action, resource: 'function', name, why };
  };
  if (!found) return step('create', 'not there yet');
  if (found.labels?.['defaas-gateway'] !== labelValue(gateway)) {
    const message = `${name} belongs to another gateway`;
    throw new ProviderError('PROVIDER_CONFLICT', message, about('GetFunction', name));
  }
  const state = stateOf(found);
  if (isSettling(found)) return step('wait', `is ${state.toLowerCase()}`);
  if (state !== 'ACTIVE') return step('update', `is ${state.toLowerCase()}`);
  if (found.labels?.['defaas-spec'] !== hash) {
    return step('update', 'deployed from another specification');
  }
  return step('keep', 'is as wanted');
}
