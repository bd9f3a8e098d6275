// All control-plane operations that the emulator offers, by the names of the API. `Invoke` is not
// among them: it is the call itself, in front.ts.

import type { Operations } from '../model/operation.ts';
import { createAliasOperations } from './aliases.ts';
import { createConcurrencyOperations, createTagOperations } from './attributes.ts';
import type { OperationParts } from './changes.ts';
import { createEventOperations } from './event-invoke-configs.ts';
import { createFunctionOperations } from './functions.ts';
import { createUrlOperations } from './url-configs.ts';

/** `port` gives the emulator's own, for function URLs. */
export function createOperations(
  parts: OperationParts & { readonly port: () => number },
): Operations {
  const { functions } = parts;
  return {
    ...createFunctionOperations(parts),
    ...createAliasOperations(functions),
    ...createConcurrencyOperations(functions),
    ...createTagOperations(functions),
    ...createEventOperations(parts),
    ...createUrlOperations(parts),
  };
}
