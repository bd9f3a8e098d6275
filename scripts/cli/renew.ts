// What `defaas watch` does for lanes that others spend from: signs the daily voucher of open
// mandates, and the next mandate if the user asked for renewal.
import type { HeldMandate } from '../../broker/client/lane-memory.ts';
import {
  allowanceOfAll,
  isExhausted,
  isOpenAt,
  type MandateTerms,
} from '../../broker/client/mandates.ts';
import type { Chain } from '../../contracts/chain.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { CliError } from './cli-error.ts';
import type { Flags } from './context.ts';
import {
  extendOwnLane,
  isClosedEarly,
  type LaneParts,
  renewLane,
  revokeAllOf,
  signOwnMandate,
  termsOf,
} from './own-lane.ts';
import type { StoredLane } from './store.ts';

const DAY_SEC = 86_400;
/** Longest life of a mandate that the gateway accepts, days. */
const MAX_DAYS = 365;

export interface Renewed {
  readonly lane: StoredLane;
  readonly message: string;
}

/**
 * Lanes at a gateway to check: those with a mandate that is open, was revoked before its end, or is
 * to be renewed.
 */
export function lanesToRenew(
  { account, store }: Pick<LaneParts, 'account' | 'store'>,
  nowMs = Date.now(),
): StoredLane[] {
  return store.mandatedLanes(account.address).filter((lane) => {
    const mandates = store.laneMemory(lane).mandates();
    const isFollowed = store.renewalDays(lane) !== undefined;
    const isNews = (held: HeldMandate) => isOpenAt(held, nowMs) || isClosedEarly(held, nowMs);
    return isFollowed || mandates.some(isNews);
  });
}

/** What a check would sign, as far as this machine knows; undefined: nothing. */
export function renewalOf(
  { store }: Pick<LaneParts, 'store'>,
  lane: StoredLane,
  nowMs = Date.now(),
): string | undefined {
  const memory = store.laneMemory(lane);
  const { ceilingUnits, verifiedUnits } = memory.read();
  if (nextTerms(store, lane, nowMs)) return `lane ${lane.signer}: its mandate is to be signed anew`;
  const neededUnits = verifiedUnits + allowanceOfAll(memory.mandates(), nowMs);
  if (neededUnits <= ceilingUnits) return undefined;
  return `lane ${lane.signer}: a voucher for ${formatTokens(neededUnits)} tokens in all is to be signed`;
}

/**
 * Checks the lane's receipts, signs today's voucher, and signs the next mandate if it is due.
 * @returns undefined where nothing was due
 * @throws DefaasClientError RECEIPT_INVALID, RECEIPTS_MISSING, LANE_STOPPED, GATEWAY_...; CliError
 * KEY_MISSING
 */
export async function renewOne(
  flags: Flags,
  opened: LaneParts,
  chain: Chain,
  lane: StoredLane,
): Promise<Renewed | undefined> {
  const { store } = opened;
  const memory = store.laneMemory(lane);
  const before = memory.read().ceilingUnits;
  const next = nextTerms(store, lane);
  if (!next) {
    await renewLane(opened, lane);
    const { ceilingUnits } = memory.read();
    if (ceilingUnits === before) return undefined;
    return { lane, message: `lane ${lane.signer}: ${signedText(ceilingUnits)}` };
  }
  await revokeAllOf(opened, lane);
  await extendOwnLane(flags, opened, chain, lane, { capUnits: next.total });
  const { ceilingUnits } = await signOwnMandate(opened, chain, lane, next);
  const until = new Date(next.untilSec * 1000).toISOString();
  return {
    lane,
    message: `lane ${lane.signer}: its mandate goes on until ${until}, ${signedText(ceilingUnits)}`,
  };
}

function signedText(ceilingUnits: bigint): string {
  return `a voucher for ${formatTokens(ceilingUnits)} tokens in all is signed`;
}

/** Terms of the mandate that follows the lane's newest one, if it is due. */
function nextTerms(
  store: LaneParts['store'],
  lane: StoredLane,
  nowMs = Date.now(),
): MandateTerms | undefined {
  const days = store.renewalDays(lane);
  const newest = newestOf(store.laneMemory(lane).mandates());
  if (days === undefined || newest === undefined || !isExhausted(newest, nowMs)) return undefined;
  const terms = termsOf(newest);
  return {
    ...terms,
    total: terms.perDay * BigInt(days),
    untilSec: Math.floor(nowMs / 1000) + days * DAY_SEC,
    serial: BigInt(nowMs),
  };
}

function newestOf(mandates: readonly HeldMandate[]): HeldMandate | undefined {
  return mandates.toSorted((a, b) => Number(b.mandate.serial - a.mandate.serial))[0];
}

/** Parses the number of days of a mandate. @throws CliError USAGE */
export function parseDays(text: string): number {
  const days = /^\d{1,3}$/.test(text) ? Number(text) : 0;
  if (days >= 1 && days <= MAX_DAYS) return days;
  throw new CliError('USAGE', `--days must be a whole number from 1 to ${MAX_DAYS}`);
}
