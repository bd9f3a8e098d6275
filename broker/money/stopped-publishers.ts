// Publishers whose functions a cloud has executed for longer than was billed: the operator would pay for them, so none of
// their functions is called on this gateway until the stop ends, also after a restart.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Address } from '../../contracts/libraries/keccak.ts';
import type { Alarms } from '../alarms.ts';
import { DefaasError } from '../errors.ts';
import type { Target } from '../routing/target.ts';

/** How long the alarm stands where the operator wants no stop, ms. */
const ALARM_MS = 86_400_000;

export interface StoppedPublishers {
  /** @throws DefaasError METERING_DRIFT */
  refuse(of: Pick<Target, 'label'> & { readonly function: { readonly owner: Address } }): void;
  isStopped(publisher: Address): boolean;
  /** From now on; `why` says which function, and what was counted and billed. */
  stop(publisher: Address, why: string): void;
  /** Ends the stops whose time is over. */
  endOver(): void;
}

export interface StoppedPublishersOptions {
  /** JSON: the stops that stand. */
  readonly file: string;
  /** How long one lasts, ms; 0: no function is stopped, the operator is told alone. */
  readonly stopMs: number;
  readonly alarms: Pick<Alarms, 'raise' | 'clear'>;
  readonly nowMs: () => number;
}

interface Stop {
  readonly sinceMs: number;
  readonly why: string;
}

/** At the start the stops of the file stand as far as they last as long as `stopMs` says now. */
export function createStoppedPublishers(options: StoppedPublishersOptions): StoppedPublishers {
  const { file, stopMs, alarms, nowMs } = options;
  const stops = new Map(readStops(file));
  const lastsMs = stopMs || ALARM_MS;
  const untilMs = ({ sinceMs }: Stop): number => sinceMs + lastsMs;
  const write = (): void => {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `${JSON.stringify([...stops])}\n`, { mode: 0o600 });
  };
  const alarm = (publisher: Address, stop: Stop): void => {
    const until = new Date(untilMs(stop)).toISOString();
    const done =
      stopMs === 0
        ? 'its functions go on, as DEFAAS_METERING_STOP_SEC is 0'
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
        `${label} takes no call on this gateway, for ${stop.why}; use another gateway, or ask the operator of this one`,
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

/** Written by this file alone. A missing one says that there is none. */
function readStops(file: string): [Address, Stop][] {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}
