// The budget of uncharged execution: failures are free, so they must not become free compute. Each
// run reserves part of the budget of its function and of its publisher before it begins, and
// settles the reservation at its end. Concurrent calls therefore share one budget.
import type { Address } from '../../contracts/libraries/keccak.ts';
import { DefaasError } from '../errors.ts';
import type { Target } from '../routing/target.ts';

const HOUR_MS = 3_600_000;
/**
 * Least share of its timeout that a run reserves. Concurrent runs can therefore use at most four
 * times the budget before their failures are counted.
 */
const LEAST_SHARE = 0.25;
/** Runs that a function is assumed to have made before its first, all but one successful. */
const EARLIER_RUNS = 4;
/** Free failure time allowed as a share of charged time. */
const OF_CHARGED = 0.1;
/** Longest time that a call waits for reservations of other runs to be released, ms. */
const WAIT_MS = 2_000;
/**
 * Maximum number of functions, and of publishers, remembered. Above it, the oldest without running
 * calls is forgotten.
 */
const MAX_ACCOUNTS = 10_000;
const LOOKED_AT = 16;

/** Identifies the two budgets that a run uses: its function's and its publisher's. */
export type Spender = Pick<Target, 'label'> & {
  readonly function: { readonly owner: Address };
  readonly version: Pick<Target['version'], 'functionId' | 'timeoutMs'>;
};

export interface FreeFailures {
  /**
   * @throws DefaasError FUNCTION_FAILING  the function or its publisher has used its hour's budget
   */
  refuseFailing(of: Spender): void;
  /**
   * Reserves budget for a run, ms. Waits up to 2 s while other runs have reserved what is left.
   * @throws DefaasError FUNCTION_FAILING  the hour's budget is used up
   * @throws DefaasError RATE_LIMITED      the budget is not used up, but still reserved by running
   *   calls
   */
  reserve(of: Spender): Promise<number>;
  /** Like `reserve` without waiting; undefined if there is no room. */
  tryReserve(of: Spender): number | undefined;
  /** Ends a run: releases its reservation and counts its uncharged time. */
  settle(of: Spender, reservedMs: number, freeMs: number, isFailure: boolean): void;
  /**
   * Counts the time of a run that answered but is not charged: another run's answer was used, or it
   * came too late.
   */
  spend(of: Spender, ms: number): void;
  /**
   * Counts the time of a charged run. The budget is a tenth of the charged time if that is more
   * than the minimum.
   */
  charge(of: Spender, ms: number): void;
  /**
   * Whether half of a budget is used. From then on no second runs are started that nobody pays for.
   */
  isHalfSpent(of: Spender): boolean;
}

interface FreeFailuresOptions {
  /** Minimum budget per hour, per function and per publisher, ms. */
  readonly leastMs: number;
  readonly nowMs: () => number;
  readonly waitMs?: number;
}

/** Account of a function or a publisher, for an hour that begins with its first run. */
interface Account {
  untilMs: number;
  calls: number;
  failed: number;
  reservedMs: number;
  spentMs: number;
  chargedMs: number;
  /** Charged time of the previous hour, ms. */
  chargedBeforeMs: number;
}

interface FunctionAccount extends Account {
  /** Runs that wait for room, in order of arrival. */
  readonly waiting: Set<Waiting>;
}

interface PublisherAccount extends Account {
  /** Functions with waiting runs. */
  readonly waiting: Set<FunctionAccount>;
}

interface Waiting {
  readonly of: Spender;
  readonly resolve: (reservedMs: number) => void;
  readonly reject: (error: DefaasError) => void;
  readonly timer: NodeJS.Timeout;
}

export function createFreeFailures(options: FreeFailuresOptions): FreeFailures {
  const { leastMs, nowMs, waitMs = WAIT_MS } = options;
  const functions = new Map<bigint, FunctionAccount>();
  const publishers = new Map<Address, PublisherAccount>();

  const functionOf = ({ version: { functionId } }: Spender): FunctionAccount =>
    accountIn(functions, functionId, nowMs());
  const publisherOf = ({ function: { owner } }: Spender): PublisherAccount =>
    accountIn(publishers, owner, nowMs());
  const budgetOf = ({ chargedMs, chargedBeforeMs }: Account): number =>
    Math.max(leastMs, OF_CHARGED * Math.max(chargedMs, chargedBeforeMs));
  /** Even with a budget of 0 the first failure is allowed; it ends the budget. */
  const isSpent = (account: Account): boolean =>
    account.spentMs > 0 && account.spentMs >= budgetOf(account);
  const isHalfSpent = (account: Account): boolean =>
    account.spentMs > 0 && 2 * account.spentMs >= budgetOf(account);
  const hasRoom = (account: Account, ms: number): boolean => {
    const { spentMs, reservedMs } = account;
    const isOnly = reservedMs === 0 && !isSpent(account);
    return isOnly || spentMs + reservedMs + ms <= budgetOf(account);
  };
  const take = (own: FunctionAccount, all: PublisherAccount, timeoutMs: number): number => {
    const share = Math.max(LEAST_SHARE, (own.failed + 1) / (own.calls + EARLIER_RUNS));
    const ms = Math.min(1, share) * timeoutMs;
    if (!hasRoom(own, ms) || !hasRoom(all, ms)) return 0;
    own.calls += 1;
    own.reservedMs += ms;
    all.calls += 1;
    all.reservedMs += ms;
    return ms;
  };
  const failing = ({ label }: Spender, own: Account, all: Account): DefaasError => {
    const account = isSpent(own) ? own : all;
    const whose = account === own ? '' : 'with the other functions of its publisher ';
    return new DefaasError(
      'FUNCTION_FAILING',
      `${label} ${whose}has failed for ${Math.round(account.spentMs / 1000)} s within the hour, fix it; it is called again later`,
      { retryAfterSec: Math.max(1, Math.ceil((account.untilMs - nowMs()) / 1000)) },
    );
  };

  const leave = (one: Waiting, own: FunctionAccount, all: PublisherAccount): void => {
    clearTimeout(one.timer);
    own.waiting.delete(one);
    if (own.waiting.size === 0) all.waiting.delete(own);
  };
  const wait = (of: Spender, own: FunctionAccount, all: PublisherAccount): Promise<number> =>
    new Promise((resolve, reject) => {
      const onLate = (): void => {
        leave(one, own, all);
        reject(crowded(of));
      };
      const one: Waiting = { of, resolve, reject, timer: setTimeout(onLate, waitMs) };
      own.waiting.add(one);
      all.waiting.add(own);
    });
  /**
   * Room was released, or the budget is used up: let waiting runs continue in order, or refuse
   * them.
   */
  const wake = (all: PublisherAccount): void => {
    for (const own of all.waiting) {
      for (const one of own.waiting) {
        if (isSpent(own) || isSpent(all)) {
          leave(one, own, all);
          one.reject(failing(one.of, own, all));
          continue;
        }
        const ms = take(own, all, one.of.version.timeoutMs);
        if (ms === 0) break;
        leave(one, own, all);
        one.resolve(ms);
      }
    }
  };

  return {
    refuseFailing: (of) => {
      const own = functionOf(of);
      const all = publisherOf(of);
      if (isSpent(own) || isSpent(all)) throw failing(of, own, all);
    },
    reserve: async (of) => {
      const own = functionOf(of);
      const all = publisherOf(of);
      if (isSpent(own) || isSpent(all)) throw failing(of, own, all);
      const ms = own.waiting.size > 0 ? 0 : take(own, all, of.version.timeoutMs);
      return ms > 0 ? ms : wait(of, own, all);
    },
    tryReserve: (of) => {
      const ms = take(functionOf(of), publisherOf(of), of.version.timeoutMs);
      return ms > 0 ? ms : undefined;
    },
    settle: (of, reservedMs, freeMs, isFailure) => {
      const all = publisherOf(of);
      giveBack(functionOf(of), reservedMs, freeMs, isFailure);
      giveBack(all, reservedMs, freeMs, isFailure);
      if (all.waiting.size > 0) wake(all);
    },
    spend: (of, ms) => {
      functionOf(of).spentMs += ms;
      publisherOf(of).spentMs += ms;
    },
    charge: (of, ms) => {
      functionOf(of).chargedMs += ms;
      publisherOf(of).chargedMs += ms;
    },
    isHalfSpent: (of) => isHalfSpent(functionOf(of)) || isHalfSpent(publisherOf(of)),
  };
}

function giveBack(account: Account, reservedMs: number, freeMs: number, isFailure: boolean): void {
  account.reservedMs = Math.max(0, account.reservedMs - reservedMs);
  account.spentMs += freeMs;
  if (isFailure) account.failed += 1;
}

/**
 * The account for the current hour. Reservations of running calls carry over from one hour to the
 * next.
 */
function accountIn<Key, Waiter>(
  accounts: Map<Key, Account & { readonly waiting: Set<Waiter> }>,
  key: Key,
  nowMs: number,
): Account & { readonly waiting: Set<Waiter> } {
  const known = accounts.get(key);
  if (known === undefined) {
    const account = {
      untilMs: nowMs + HOUR_MS,
      calls: 0,
      failed: 0,
      reservedMs: 0,
      spentMs: 0,
      chargedMs: 0,
      chargedBeforeMs: 0,
      waiting: new Set<Waiter>(),
    };
    if (accounts.size >= MAX_ACCOUNTS) forgetOne(accounts);
    accounts.set(key, account);
    return account;
  }
  if (nowMs < known.untilMs) return known;
  known.chargedBeforeMs = nowMs < known.untilMs + HOUR_MS ? known.chargedMs : 0;
  known.untilMs = nowMs + HOUR_MS;
  known.calls = 0;
  known.failed = 0;
  known.spentMs = 0;
  known.chargedMs = 0;
  // Reinsert the entry, so that the map stays ordered by start of the hour.
  accounts.delete(key);
  accounts.set(key, known);
  return known;
}

/**
 * Forgets the oldest account without running calls. If the first few all have some, forgets none.
 */
function forgetOne<Key, Waiter>(
  accounts: Map<Key, Account & { readonly waiting: Set<Waiter> }>,
): void {
  let looked = 0;
  for (const [key, { reservedMs, waiting }] of accounts) {
    if (reservedMs === 0 && waiting.size === 0) {
      accounts.delete(key);
      return;
    }
    looked += 1;
    if (looked === LOOKED_AT) return;
  }
}

function crowded({ label }: Spender): DefaasError {
  return new DefaasError(
    'RATE_LIMITED',
    `${label} has as many running calls as may fail free of charge here, try again shortly or give it a shorter timeout`,
    { retryAfterSec: 1 },
  );
}
