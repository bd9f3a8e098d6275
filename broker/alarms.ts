// What the operator must see to: each alarm is logged when it begins and once an hour while it
// stands, and shown by `defaas doctor`.
import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';

/**
 * DEMAND_OPEN a demand is unanswered for an hour; DEMAND_UNANSWERABLE neither ledger nor pages have
 * what is demanded; BOND_SLASHED the bond fell; BOND_LOW it is less than 1.34 x MIN_BOND;
 * KEY_STOLEN somebody else signs with the operator key; BATCH_UNKNOWN somebody else settles for
 * this gateway; FRAUD_FOUND another gateway, which this one watches, has lied; METERING_DRIFT a
 * cloud has counted more execution of a publisher's function than was billed; METERING_UNREAD a
 * cloud's count could not be read for a day.
 */
export type AlarmKind =
  | 'DEMAND_OPEN'
  | 'DEMAND_UNANSWERABLE'
  | 'BOND_SLASHED'
  | 'BOND_LOW'
  | 'KEY_STOLEN'
  | 'BATCH_UNKNOWN'
  | 'FRAUD_FOUND'
  | 'METERING_DRIFT'
  | 'METERING_UNREAD';

export interface Alarm {
  readonly kind: AlarmKind;
  /** Tells alarms of one kind apart, such as a demand's id. */
  readonly about: string;
  /** What is wrong and what to do, one line. */
  readonly message: string;
  readonly sinceMs: number;
}

export interface Alarms {
  raise(kind: AlarmKind, about: string, message: string): void;
  /** What it was about is in order again; all of the kind, without `about`. */
  clear(kind: AlarmKind, about?: string): void;
  list(): readonly Alarm[];
}

/** An alarm that stands is logged again after this long, ms. */
const REPEAT_MS = 3_600_000;
/** Most that are listed; each is logged. */
const MAX_ALARMS = 1_000;

export function createAlarms({
  log,
  nowMs,
}: {
  readonly log: Pick<Logger, 'error' | 'info'>;
  readonly nowMs: () => number;
}): Alarms {
  const standing = new LRUCache<string, Alarm & { loggedMs: number }>({ max: MAX_ALARMS });
  const nameOf = (kind: AlarmKind, about: string): string => `${kind} ${about}`;

  return {
    raise: (kind, about, message) => {
      const name = nameOf(kind, about);
      const known = standing.peek(name);
      const now = nowMs();
      if (known !== undefined && now - known.loggedMs < REPEAT_MS) return;
      log.error({ alarm: kind, about, reason: message }, 'alarm');
      standing.set(name, { kind, about, message, sinceMs: known?.sinceMs ?? now, loggedMs: now });
    },
    clear: (kind, about) => {
      const names = about === undefined ? [...standing.keys()] : [nameOf(kind, about)];
      for (const name of names) {
        const alarm = standing.get(name);
        if (alarm?.kind !== kind) continue;
        standing.delete(name);
        log.info({ alarm: kind, about: alarm.about }, 'alarm ended');
      }
    },
    // The cache lists its newest entry first.
    list: () => [...standing].map(([, { loggedMs: _, ...alarm }]) => alarm).reverse(),
  };
}
