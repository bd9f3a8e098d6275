// All control-plane operations that the emulator offers, by the names of the API. `Invoke` is not
// among them: it is the call itself, in front.ts.

import { createAliasOperations } from './alias-operations.ts';
import { createConcurrencyOperations, createTagOperations } from './attribute-operations.ts';
import type { OperationParts } from './changes.ts';
import { createEventOperations } from './events.ts';
import { createFunctionOperations } from './function-operations.ts';
import { createUrlOperations } from './function-urls.ts';
import type { Operations } from './operation.ts';

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
