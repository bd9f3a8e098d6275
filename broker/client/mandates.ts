// Mandates from their signer's side: what may still be charged under one, and whether a receipt is.
import { type Hex, keccak256Hex } from '../../contracts/libraries/keccak.ts';
import { hashMandate, type Mandate } from '../../contracts/libraries/typed-data.ts';
import { Words } from '../../contracts/libraries/words.ts';
import type { Connection } from './connection.ts';
import type { KeySigner } from './key.ts';
import { countedSecOf, GRACE_SEC, type HeldMandate, utcDayOf } from './lane-memory.ts';
import type { ReceiptDocument } from './receipts.ts';
import type { LaneName } from './sign-in.ts';

/** `Mandate.kind`. */
export const TOKEN_KIND = 1;
export const SPONSOR_KIND = 2;
/** `Mandate.functionId` of a token's mandate for any function. */
export const ANY_FUNCTION = 0n;
/** `Mandate.subject` if none is named. */
export const NO_SUBJECT: Hex = `0x${'0'.repeat(64)}`;

/** How long before its end a renewing mandate is signed again, seconds. */
const RENEW_BEFORE_SEC = 6 * 3_600;
const DAY_SEC = 86_400;

/** `Call.nonce` of a mandated call: keccak256(abi.encode(authority, item)). */
export function mandatedNonce(authority: Hex, item: Hex): Hex {
  const words = new Words(2);
  words.bytes32(0, authority);
  words.bytes32(1, item);
  return keccak256Hex(words.bytes);
}

/**
 * `Mandate.subject` of a token: keccak256 of its key's thumbprint (jkt), else its account's id,
 * else its own id (jti).
 */
export function tokenSubject(name: string): Hex {
  return keccak256Hex(new TextEncoder().encode(name));
}

/**
 * The most that a ceiling may cover now under a lane's mandates, base units: of each, the rest of
 * the UTC day's amount, bounded by the rest of the total. Later days are not covered: each day
 * needs another voucher. A mandate that is revoked or over allows nothing. Mandates with the same
 * kind, subject and function share one daily amount, the largest of the open ones. So neither a
 * mandate that replaces another nor two programs that sign one each grant a day's amount twice.
 */
export function allowanceOfAll(mandates: readonly HeldMandate[], nowMs: number): bigint {
  let sum = 0n;
  for (const alike of alikeIn(mandates)) {
    const open = alike.filter((held) => isOpenAt(held, nowMs));
    const ofDay = mostOf(open) - spentBy(alike, nowMs);
    const left = sumOf(open.map((held) => leftOf(held)));
    sum += atLeastNothing(ofDay < left ? ofDay : left);
  }
  return sum;
}

/**
 * What was spent today beyond the shared daily amounts of mandates, base units. Only the step left
 * room for it, so it is subtracted from the next step; otherwise each step would grant more beyond
 * the daily amount.
 */
export function overdrawnOfAll(mandates: readonly HeldMandate[], nowMs: number): bigint {
  const beyond = alikeIn(mandates).map((alike) => {
    const ofToday = alike.filter((held) => isOpenAt(held, nowMs) || spentFrom(held, nowMs) > 0n);
    return atLeastNothing(spentBy(ofToday, nowMs) - mostOf(ofToday));
  });
  return sumOf(beyond);
}

/** Whether calls may begin under it. */
export function isOpenAt({ mandate, revokedAtMs }: HeldMandate, nowMs: number): boolean {
  return revokedAtMs === undefined && Math.floor(nowMs / 1000) < mandate.untilSec;
}

/**
 * Whether another mandate must replace it: it is over, ends within 6 hours, or its total had less
 * than a full daily amount left when the UTC day began.
 */
export function isExhausted(held: HeldMandate, nowMs: number): boolean {
  const { total, perDay, untilSec } = held.mandate;
  if (!isOpenAt(held, nowMs) || untilSec - nowMs / 1000 < RENEW_BEFORE_SEC) return true;
  const before = sumOf(held.spent.values()) - spentFrom(held, nowMs);
  return total - before < perDay;
}

/** What is left of its total, base units. */
function leftOf({ mandate, spent }: HeldMandate): bigint {
  return atLeastNothing(mandate.total - sumOf(spent.values()));
}

/** The largest of their daily amounts, base units. */
function mostOf(mandates: readonly HeldMandate[]): bigint {
  let most = 0n;
  for (const { mandate } of mandates) if (mandate.perDay > most) most = mandate.perDay;
  return most;
}

function spentBy(mandates: readonly HeldMandate[], nowMs: number): bigint {
  return sumOf(mandates.map((held) => spentFrom(held, nowMs)));
}

function alikeIn(mandates: readonly HeldMandate[]): HeldMandate[][] {
  const nameOf = ({ mandate: { kind, subject, functionId } }: HeldMandate) =>
    `${kind} ${subject} ${functionId}`;
  return [...Map.groupBy(mandates, nameOf).values()];
}

/**
 * What was spent today, or tomorrow by a gateway whose clock is ahead. Later days were recorded
 * while this machine's clock was wrong.
 */
function spentFrom({ spent }: HeldMandate, nowMs: number): bigint {
  const sec = Math.floor(nowMs / 1000);
  const [today, tomorrow] = [utcDayOf(sec), utcDayOf(sec + DAY_SEC)];
  const isCounted = (day: string) => day >= today && day <= tomorrow;
  return sumOf([...spent].flatMap(([day, units]) => (isCounted(day) ? [units] : [])));
}

/**
 * Why a receipt is not covered by the mandate; undefined if it is. It counts on the UTC day on
 * which it ended, but on no day before the last check, so that past unused days cannot be used
 * later.
 */
export function faultUnder(
  held: HeldMandate,
  { call, receipt, execution, item }: ReceiptDocument,
  functionId: bigint,
  nowMs: number,
): string | undefined {
  const { mandate, hash, spent, revokedAtMs } = held;
  const { price } = receipt;
  const { finishedAtSec } = execution;
  const countedSec = countedSecOf(held, finishedAtSec, nowMs);
  const day = utcDayOf(countedSec);
  const endsSec = Math.min(mandate.untilSec, (revokedAtMs ?? Number.POSITIVE_INFINITY) / 1000);
  if (item === undefined || mandatedNonce(hash, item) !== call.nonce) {
    return 'has a nonce that its mandate’s item does not give';
  }
  if (mandate.functionId !== ANY_FUNCTION && mandate.functionId !== functionId) {
    return 'is for a function that its mandate is not for';
  }
  if (price === 0n) return undefined;
  if (price > mandate.maxPrice) return `costs ${price}, its mandate allows ${mandate.maxPrice}`;
  if (countedSec > endsSec + GRACE_SEC) return 'is under a mandate that is closed';
  if (finishedAtSec > nowMs / 1000 + GRACE_SEC) return 'is of a day that has not come';
  if ((spent.get(day) ?? 0n) + price > mandate.perDay)
    return 'is above what its mandate allows a day';
  if (sumOf(spent.values()) + price > mandate.total)
    return 'is above what its mandate allows in all';
  return undefined;
}

function sumOf(amounts: Iterable<bigint>): bigint {
  let sum = 0n;
  for (const units of amounts) sum += units;
  return sum;
}

function atLeastNothing(units: bigint): bigint {
  return units > 0n ? units : 0n;
}

/** The terms of a mandate, without its lane. */
export type MandateTerms = Omit<Mandate, 'payer' | 'gateway' | 'signer'>;

/** A mandate as the lane's key has signed it. */
export interface SignedMandate {
  readonly hash: Hex;
  readonly mandate: Mandate;
  readonly signature: Hex;
  /** Unix ms; for the lane's memory, not sent to the gateway. */
  readonly signedAtMs: number;
}

/** Signs a mandate for the lane of `key`. The gateway learns of it by `putMandate`. */
export async function signMandate(
  connection: Pick<Connection, 'document' | 'domain'>,
  key: KeySigner,
  payer: LaneName['payer'],
  terms: MandateTerms,
  signedAtMs = Date.now(),
): Promise<SignedMandate> {
  const mandate = { payer, gateway: connection.document.gateway, signer: key.address, ...terms };
  const signature = await key.sign(connection.domain, 'Mandate', mandate);
  return { hash: hashMandate(connection.domain, mandate), mandate, signature, signedAtMs };
}

/**
 * Puts a signed mandate at its gateway; its signature names the signer, so no session is needed.
 * @throws MANDATE_INVALID, LANE_UNKNOWN
 */
export async function putMandate(
  connection: Pick<Connection, 'request'>,
  { hash, mandate, signature }: Omit<SignedMandate, 'signedAtMs'>,
): Promise<void> {
  const { payer, signer, gateway: _gateway, ...terms } = mandate;
  const body = {
    ...terms,
    functionId: `${terms.functionId}`,
    maxPrice: `${terms.maxPrice}`,
    perDay: `${terms.perDay}`,
    total: `${terms.total}`,
    serial: `${terms.serial}`,
    signature,
  };
  await connection.request(pathOf({ payer, signer }, hash), {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
}

/**
 * Revokes a mandate. Needs a session of the lane's payer or key. After the answer no call begins
 * under it.
 * @throws MANDATE_UNKNOWN
 */
export async function revokeMandate(
  session: Pick<Connection, 'request'>,
  lane: LaneName,
  hash: Hex,
): Promise<void> {
  await session.request(pathOf(lane, hash), { method: 'DELETE' });
}

function pathOf({ payer, signer }: LaneName, hash: Hex): string {
  return `/lanes/${payer}/${signer}/mandates/${hash}`;
}
