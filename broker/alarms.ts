// Alarms for the operator. Each is logged when it begins and once an hour while it lasts; `defaas
// doctor` lists them.
import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';

/**
 * DEMAND_OPEN: a demand has been unanswered for an hour. DEMAND_UNANSWERABLE: neither ledger nor
 * pages hold what is demanded. BOND_SLASHED: the bond was slashed. BOND_LOW: the bond is below 1.34
 * x MIN_BOND. KEY_STOLEN: somebody else signs with the operator key. BATCH_UNKNOWN: somebody else
 * settles for this gateway. FRAUD_FOUND: another gateway, which this one watches, has committed
 * fraud. METERING_DRIFT: a cloud counted more execution of a publisher's function than was billed.
 * METERING_UNREAD: a cloud's count could not be read for a day.
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
  /** Distinguishes alarms of one kind, for example a demand's id. */
  readonly about: string;
  /** What is wrong and what to do, in one line. */
  readonly message: string;
  readonly sinceMs: number;
}

export interface Alarms {
  raise(kind: AlarmKind, about: string, message: string): void;
  /** Clears the alarm; without `about`, all alarms of the kind. */
  clear(kind: AlarmKind, about?: string): void;
  list(): readonly Alarm[];
}

/** An alarm that lasts is logged again after this long, ms. */
const REPEAT_MS = 3_600_000;
/** Maximum number of listed alarms; every alarm is logged. */
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
    // The cache iterates from newest to oldest.
    list: () => [...standing].map(([, { loggedMs: _, ...alarm }]) => alarm).reverse(),
  };
}
