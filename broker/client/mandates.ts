// Mandates from their signer's side: what may still be charged under one, and whether a receipt is.
import { type Hex, keccak256Hex } from '../../contracts/libraries/keccak.ts';
import { hashMandate, type Mandate } from '../../contracts/libraries/typed-data.ts';
import { Words } from '../../contracts/libraries/words.ts';
import type { Connection } from './connection.ts';
import type { KeySigner } from './key.ts';
import { type HeldMandate, utcDayOf } from './lane-memory.ts';
import type { ReceiptDocument } from './receipts.ts';
import type { LaneName } from './sign-in.ts';

/** `Mandate.kind`. */
export const TOKEN_KIND = 1;
export const SPONSOR_KIND = 2;
/** `Mandate.functionId` of a token's mandate that is for any function. */
export const ANY_FUNCTION = 0n;
/** `Mandate.subject` where none is named. */
export const NO_SUBJECT: Hex = `0x${'0'.repeat(64)}`;

/** A call that began before its mandate ended may end so much later, seconds. */
const GRACE_SEC = 20 * 60;
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
 * The most that may still be charged under a mandate, base units: what is left in all, and of its
 * days. 0 once it is revoked or over: no ceiling is raised for it any more.
 */
export function allowanceOf({ mandate, spent, revokedAtMs }: HeldMandate, nowMs: number): bigint {
  const nowSec = Math.floor(nowMs / 1000);
  const { total, perDay, untilSec } = mandate;
  if (revokedAtMs !== undefined || nowSec >= untilSec) return 0n;
  const days = Math.floor(untilSec / DAY_SEC) - Math.floor(nowSec / DAY_SEC) + 1;
  const ofDays = perDay * BigInt(days) - (spent.get(utcDayOf(nowSec)) ?? 0n);
  const left = total - sumOf(spent);
  const least = ofDays < left ? ofDays : left;
  return least > 0n ? least : 0n;
}

/** Why a receipt is none of the mandate's; undefined where it is. */
export function faultUnder(
  { mandate, hash, spent, revokedAtMs }: HeldMandate,
  { call, receipt, execution, item }: ReceiptDocument,
  functionId: bigint,
  nowMs: number,
): string | undefined {
  const { price } = receipt;
  const { finishedAtSec } = execution;
  const day = utcDayOf(finishedAtSec);
  const endsSec = Math.min(mandate.untilSec, (revokedAtMs ?? Number.POSITIVE_INFINITY) / 1000);
  if (item === undefined || mandatedNonce(hash, item) !== call.nonce) {
    return 'has a nonce that its mandate’s item does not give';
  }
  if (mandate.functionId !== ANY_FUNCTION && mandate.functionId !== functionId) {
    return 'is for a function that its mandate is not for';
  }
  if (price === 0n) return undefined;
  if (price > mandate.maxPrice) return `costs ${price}, its mandate allows ${mandate.maxPrice}`;
  if (finishedAtSec > endsSec + GRACE_SEC) return 'is under a mandate that is closed';
  if (finishedAtSec > nowMs / 1000 + GRACE_SEC) return 'is of a day that has not come';
  if ((spent.get(day) ?? 0n) + price > mandate.perDay)
    return 'is above what its mandate allows a day';
  if (sumOf(spent) + price > mandate.total) return 'is above what its mandate allows in all';
  return undefined;
}

function sumOf(spent: HeldMandate['spent']): bigint {
  let sum = 0n;
  for (const units of spent.values()) sum += units;
  return sum;
}

/** What a mandate says beside its lane. */
export type MandateTerms = Omit<Mandate, 'payer' | 'gateway' | 'signer'>;

/** A mandate as the lane's key has signed it. */
export interface SignedMandate {
  readonly hash: Hex;
  readonly mandate: Mandate;
  readonly signature: Hex;
}

/** Signs a mandate for the lane of `key`; the gateway knows it once it is put there. */
export async function signMandate(
  connection: Pick<Connection, 'document' | 'domain'>,
  key: KeySigner,
  payer: LaneName['payer'],
  terms: MandateTerms,
): Promise<SignedMandate> {
  const mandate = { payer, gateway: connection.document.gateway, signer: key.address, ...terms };
  const signature = await key.sign(connection.domain, 'Mandate', mandate);
  return { hash: hashMandate(connection.domain, mandate), mandate, signature };
}

/**
 * Puts a signed mandate at its gateway; its signature says who. @throws MANDATE_INVALID,
 * LANE_UNKNOWN
 */
export async function putMandate(
  connection: Pick<Connection, 'request'>,
  { hash, mandate, signature }: SignedMandate,
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
 * Revokes a mandate; signed in as the lane's payer or key. From the answer on no call begins under
 * it. @throws MANDATE_UNKNOWN
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
