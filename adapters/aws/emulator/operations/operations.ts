// All control-plane operations that the emulator offers, by the names of the API. The calls
// themselves are not among them: they are in front.ts.

import type { Operations } from '../model/operation.ts';
import { createAliasOperations } from './aliases.ts';
import {
  createConcurrencyOperations,
  createRecursionOperations,
  createTagOperations,
} from './attributes.ts';
import type { OperationParts } from './changes.ts';
import { createEventOperations } from './event-invoke-configs.ts';
import { createFunctionOperations } from './functions.ts';
import { createLayerOperations } from './layers.ts';
import { createPermissionOperations } from './permissions.ts';
import { createUrlOperations } from './url-configs.ts';

export function createOperations(parts: OperationParts): Operations {
  return {
    ...createFunctionOperations(parts),
    ...createAliasOperations(parts.functions),
    ...createPermissionOperations(parts.functions),
    ...createConcurrencyOperations(parts),
    ...createTagOperations(parts),
    ...createRecursionOperations(parts),
    ...createEventOperations(parts),
    ...createUrlOperations(parts),
    ...createLayerOperations(parts),
  };
}
