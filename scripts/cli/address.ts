// Where a function is called.
import type { Connection } from '../../broker/client/connection.ts';
import type { RegisteredFunction } from '../../contracts/chain/types.ts';

/** The function's URL at the gateway in use; its version is `latest`. */
export function functionUrl(
  { origin }: Pick<Connection, 'origin'>,
  { namespace, name }: Pick<RegisteredFunction, 'namespace' | 'name'>,
): string {
  return `${origin}/functions/${namespace}/${name}`;
}
