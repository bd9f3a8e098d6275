// Publishers whose functions ran longer, by a cloud's count, than was billed. The operator would
// pay for the difference, so this gateway refuses calls of all their functions until the stop ends.
// Stops survive a restart.
import { readState, writeWholeSync } from '../../adapters/runtime/whole-file.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import type { Alarms } from '../alarms.ts';
import { DefaasError } from '../errors.ts';
import type { Target } from '../routing/target.ts';

/** Duration of the alarm if the operator has disabled stops, ms. */
const ALARM_MS = 86_400_000;

export interface StoppedPublishers {
  /** @throws DefaasError METERING_DRIFT */
  refuse(of: Pick<Target, 'label'> & { readonly function: { readonly owner: Address } }): void;
  isStopped(publisher: Address): boolean;
  /**
   * Stops the publisher from now on. `why` names the function and says what was counted and billed.
   */
  stop(publisher: Address, why: string): void;
  /** Ends the stops that have expired. */
  endOver(): void;
}

export interface StoppedPublishersOptions {
  /** JSON file of the current stops. */
  readonly file: string;
  /** Duration of a stop, ms; 0: no function is stopped, only the operator is alerted. */
  readonly stopMs: number;
  readonly alarms: Pick<Alarms, 'raise' | 'clear'>;
  readonly nowMs: () => number;
}

interface Stop {
  readonly sinceMs: number;
  readonly why: string;
}

/** Loads the stops of the file; each lasts for the currently configured `stopMs`. */
export function createStoppedPublishers(options: StoppedPublishersOptions): StoppedPublishers {
  const { file, stopMs, alarms, nowMs } = options;
  const stops = new Map(readStops(file));
  const lastsMs = stopMs || ALARM_MS;
  const untilMs = ({ sinceMs }: Stop): number => sinceMs + lastsMs;
  const write = (): void => {
    writeWholeSync(file, `${JSON.stringify([...stops])}\n`);
  };
  const alarm = (publisher: Address, stop: Stop): void => {
    const until = new Date(untilMs(stop)).toISOString();
    const done =
      stopMs === 0
        ? 'its functions keep running, because DEFAAS_METERING_STOP_SEC is 0'
        : `all functions of the publisher are stopped here until ${until}, set DEFAAS_METERING_STOP_SEC=0 and restart to lift that`;
    alarms.raise('METERING_DRIFT', publisher, `${stop.why}; ${done}`);
  };
  const endOver = (): void => {
    let isChanged = false;
    for (const [publisher, stop] of stops) {
      if (nowMs() < untilMs(stop)) {
        alarm(publisher, stop);
        continue;
      }
      stops.delete(publisher);
      alarms.clear('METERING_DRIFT', publisher);
      isChanged = true;
    }
    if (isChanged) write();
  };
  const standing = (publisher: Address): Stop | undefined => {
    if (stopMs === 0 || stops.size === 0) return undefined;
    const stop = stops.get(publisher);
    return stop !== undefined && nowMs() < untilMs(stop) ? stop : undefined;
  };
  endOver();

  return {
    isStopped: (publisher) => standing(publisher) !== undefined,
    refuse: ({ label, function: { owner } }) => {
      const stop = standing(owner);
      if (stop === undefined) return;
      throw new DefaasError(
        'METERING_DRIFT',
        `${label} receives no calls on this gateway, because ${stop.why}; use another gateway, or ask the operator of this one`,
        { retryAfterSec: Math.max(1, Math.ceil((untilMs(stop) - nowMs()) / 1000)) },
      );
    },
    stop: (publisher, why) => {
      const stop = { sinceMs: nowMs(), why };
      stops.set(publisher, stop);
      write();
      alarm(publisher, stop);
    },
    endOver,
  };
}

/** Only this module writes the file. A missing file means no stops. */
function readStops(file: string): [Address, Stop][] {
  return readState<[Address, Stop][]>(file, STOPS) ?? [];
}

const STOPS = {
  what: 'the list of stopped publishers',
  isWhole: Array.isArray,
  remedy: 'restore it; if it is removed, no publisher is stopped any more',
};
