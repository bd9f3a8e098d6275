// The committed figures of gas, which the gas test compares exactly; `npm run gas -- --update`
// writes them.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

type Figures = Readonly<Record<string, number>>;

export const SNAPSHOT = join(import.meta.dirname, '../../../test/contracts/gas-snapshot.json');

/** Empty where there is none yet. */
export function readSnapshot(): Figures {
  return existsSync(SNAPSHOT) ? JSON.parse(readFileSync(SNAPSHOT, 'utf8')) : {};
}

export interface GasChange {
  readonly figure: string;
  /** Absent: new, or gone. */
  readonly was?: number | undefined;
  readonly is?: number | undefined;
}

export function changesOf(before: Figures, after: Figures): GasChange[] {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])]
    .map((figure) => ({ figure, was: before[figure], is: after[figure] }))
    .filter(({ was, is }) => was !== is);
}
