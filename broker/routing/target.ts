// What a call is for.
import type { FunctionVersion, RegisteredFunction } from '../../contracts/chain/types.ts';

/** A version of a function, as a name resolves to it. */
export interface Target {
  readonly function: RegisteredFunction;
  readonly version: FunctionVersion;
  /** `owner/name@number`, owner as an address. */
  readonly label: string;
}
