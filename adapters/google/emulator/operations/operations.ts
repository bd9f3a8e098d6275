// The table of the control plane: the method and path of each operation, and what answers it.

import {
  createFunction,
  deleteFunction,
  getFunction,
  getOperation,
  listFunctions,
  listOperations,
  updateFunction,
} from './function-operations.ts';
import type { Operation } from './operation.ts';
import { generateUploadUrl } from './uploads.ts';

export interface Route {
  readonly operation: string;
  readonly method: string;
  readonly path: RegExp;
  readonly answer: Operation;
}

const PARENT = '(projects/[^/]+/locations/[^/:]+)';
export const ROUTES: readonly Route[] = [
  route('GenerateUploadUrl', 'POST', '/functions:generateUploadUrl', generateUploadUrl),
  route('CreateFunction', 'POST', '/functions', createFunction),
  route('ListFunctions', 'GET', '/functions', listFunctions),
  route('GetFunction', 'GET', '/functions/([^/:]+)', getFunction),
  route('UpdateFunction', 'PATCH', '/functions/([^/:]+)', updateFunction),
  route('DeleteFunction', 'DELETE', '/functions/([^/:]+)', deleteFunction),
  route('GetOperation', 'GET', '/operations/([^/:]+)', getOperation),
  route('ListOperations', 'GET', '/operations', listOperations),
];

/** The other operations of the service, which the emulator refuses. */
export const NOT_EMULATED = ['GenerateDownloadUrl', 'ListRuntimes'];
/** Parameters that are refused. */
export const NOT_EMULATED_QUERY = ['filter', 'orderBy', 'revision'];

/** The route of a request, the parent in its path, and the name of its function or operation. */
export function findRoute(
  method: string,
  url: URL,
): { readonly route: Route; readonly parent: string; readonly name: string } | undefined {
  const path = decodeURIComponent(url.pathname);
  for (const one of ROUTES) {
    const match = one.method === method ? one.path.exec(path) : null;
    if (!match) continue;
    const name = match[2] ?? url.searchParams.get('functionId') ?? '';
    return { route: one, parent: match[1] ?? '', name };
  }
  return undefined;
}

function route(operation: string, method: string, path: string, answer: Operation): Route {
  return { operation, method, path: new RegExp(`^/v2/${PARENT}${path}$`), answer };
}
