// What the routes of the Google emulator share.

import type { ExecutionSums } from '../../../emulators/executions.ts';
import type { Faults } from '../../../emulators/faults.ts';
import type { Issuer } from '../instances/issuer.ts';
import type { Logs } from '../instances/logs.ts';
import type { Functions } from '../model/functions.ts';

export interface ControlParts {
  readonly projectId: string;
  readonly locations: readonly string[];
  readonly functions: Functions;
  readonly logs: Pick<Logs, 'list'>;
  readonly sums: ExecutionSums;
  readonly issuer: Issuer;
  readonly faults: Faults;
  readonly nowMs: () => number;
  /** Origin of the control plane. */
  readonly endpoint: () => string;
  readonly log: (event: string, facts: object) => void;
}
