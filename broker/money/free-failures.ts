// The budget of uncharged execution: failures are free of charge, so they must not become free compute. Each run reserves a part of the
// budget of its function and of its publisher before it begins, and settles at its end; calls at once therefore share one budget.
import type { Address } from '../../contracts/libraries/keccak.ts';
import { DefaasError } from '../errors.ts';
import type { Target } from '../routing/target.ts';

const HOUR_MS = 3_600_000;
/** Least share of its timeout that a run reserves: what is used up unseen is at most four times the budget. */
const LEAST_SHARE = 0.25;
/** Runs that a function is taken to have made, all but one well, before its first. */
const EARLIER_RUNS = 4;
/** Share of the charged time that may fail beside it. */
const OF_CHARGED = 0.1;
/** Longest time that a call waits for what others have reserved, ms. */
const WAIT_MS = 2_000;
/** Functions and publishers remembered, each; of those with nothing under way the oldest goes first. */
const MAX_ACCOUNTS = 10_000;
const LOOKED_AT = 16;

/** Whose budgets a run is on. */
export type Spender = Pick<Target, 'label'> & {
  readonly function: { readonly owner: Address };
  readonly version: Pick<Target['version'], 'functionId' | 'timeoutMs'>;
};

export interface FreeFailures {
  /** @throws DefaasError FUNCTION_FAILING  the function or its publisher has used its hour's budget */
  refuseFailing(of: Spender): void;
  /**
   * Reserves for a run, ms. Waits up to 2 s where others have reserved what is left of the budget.
   * @throws DefaasError FUNCTION_FAILING  the hour's budget is used
   * @throws DefaasError RATE_LIMITED      it is not used, and still all reserved by runs under way
   */
  reserve(of: Spender): Promise<number>;
  /** The same without waiting; undefined where there is no room. */
  tryReserve(of: Spender): number | undefined;
  /** A run has ended: gives back what it reserved, and counts the time that it has failed for. */
  settle(of: Spender, reservedMs: number, freeMs: number, isFailure: boolean): void;
  /** Counts the time of a run that answered and cost nothing: another one's answer counted, or it came too late. */
  spend(of: Spender, ms: number): void;
  /** Counts the time of a run that was paid: a tenth of it is added to the budget where that is more than the least one. */
  charge(of: Spender, ms: number): void;
  /** Whether half of a budget is used: from then on no second runs are begun that nobody pays for. */
  isHalfSpent(of: Spender): boolean;
}

interface FreeFailuresOptions {
  /** Least budget per hour, of a function and of a publisher, ms. */
  readonly leastMs: number;
  readonly nowMs: () => number;
  readonly waitMs?: number;
}

/** Of a function or of a publisher, since its hour began with its first run. */
interface Account {
  untilMs: number;
  calls: number;
  failed: number;
  reservedMs: number;
  spentMs: number;
  chargedMs: number;
  /** In the hour before. */
  chargedBeforeMs: number;
}

interface FunctionAccount extends Account {
  /** Runs that wait for room, in their order. */
  readonly waiting: Set<Waiting>;
}

interface PublisherAccount extends Account {
  /** Functions with runs that wait. */
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
  /** With a budget of 0 it is the first failure that ends it. */
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
      `${label} ${whose}has failed for ${Math.round(account.spentMs / 1000)} s within the hour, mend it; it is called again later`,
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
  /** Room has come, or the budget is used up: whoever waits goes on in turn, or is refused. */
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

/** The account as its current hour has it; what is under way stays from one hour to the next. */
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
  // Set anew, so that the map's order is that of their hours.
  accounts.delete(key);
  accounts.set(key, known);
  return known;
}

/** The oldest with nothing under way; where a few have, one more is remembered. */
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
    `${label} has as many calls under way as may fail free of charge here, try again shortly or give it a shorter timeout`,
    { retryAfterSec: 1 },
  );
}
