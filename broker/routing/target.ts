// The target of a call.
import type { FunctionVersion, RegisteredFunction } from '../../contracts/chain/types.ts';

/** The function version that a name resolves to. */
export interface Target {
  readonly function: RegisteredFunction;
  readonly version: FunctionVersion;
  /** `owner/name@number`, owner as an address. */
  readonly label: string;
}
