// A separate lane for one token or one sponsored function. Its cap is what its mandate allows, so
// that the chain bounds it too, and a fault in it stops no other lane.

import { type Caller, createCaller } from '../../broker/client/invoke.ts';
import { createKeySigner } from '../../broker/client/key.ts';
import type { HeldMandate } from '../../broker/client/lane-memory.ts';
import {
  isOpenAt,
  type MandateTerms,
  putMandate,
  revokeMandate,
  signMandate,
} from '../../broker/client/mandates.ts';
import type { Chain } from '../../contracts/chain.ts';
import { createKey } from '../../contracts/keystore.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { hasLaneKey, readLaneKey, writeLaneKey } from './account.ts';
import { awaitBlock } from './await-block.ts';
import { openReader } from './chain.ts';
import { CliError } from './cli-error.ts';
import { type Flags, type Opened, openSession } from './context.ts';
import { LANE_LIFE_SEC, mintIfShort, moveName, PREPAID } from './deposit.ts';
import { noLane } from './lanes-here.ts';
import { type Move, openMove } from './move.ts';
import type { StoredLane } from './store.ts';

/**
 * A lane whose remaining life is shorter than the full one by this much gets the full life again,
 * seconds.
 */
const SHORTER_BY_SEC = 86_400;

/** The parts of an opened gateway that a lane needs. */
export type LaneParts = Pick<Opened, 'account' | 'connection' | 'store'> & {
  readonly house: Pick<Opened['house'], 'home'>;
};

/** A lane for one purpose that is still open and whose key is here. */
export function ownLaneFor(
  opened: Opened,
  chain: Chain,
  purpose: string,
  nowSec: number,
): StoredLane | undefined {
  const { account, store, house, connection } = opened;
  return store.lanesFor(account.address, purpose).find(({ payer, signer }) => {
    const lane = chain.view.lane(payer, connection.document.gateway, signer);
    const isOpen = lane !== undefined && lane.expirySec > nowSec;
    return isOpen && hasLaneKey(house.home, signer);
  });
}

export interface OwnLane {
  readonly lane: StoredLane;
  /** What moved `depositUnits`, to be ended when the command has done the rest; undefined at 0. */
  readonly move: Move | undefined;
}

/**
 * Opens a lane for `purpose` that can take at most `capUnits`, or gives an open one this much more
 * room. It spends the account's line at the gateway, to which `depositUnits` are added by the same
 * transaction; with one, hold the account's turn.
 * @throws CliError LANE_UNKNOWN nothing is set aside there, INSUFFICIENT_TOKENS
 */
export async function openOwnLane(
  flags: Flags,
  opened: Opened,
  chain: Chain,
  of: {
    readonly purpose: string;
    readonly capUnits: bigint;
    readonly depositUnits: bigint;
    readonly remedy: string;
  },
): Promise<OwnLane> {
  const { account, connection, house, store } = opened;
  const { gateway } = connection.document;
  const { purpose, capUnits, depositUnits } = of;
  const known = ownLaneFor(opened, chain, purpose, await chain.nowSec());
  const key = known ? undefined : createKey();
  const name = moveName(opened, purpose, depositUnits);
  const facts = () => ({ signer: known?.signer ?? key?.address ?? '' });
  const move = depositUnits > 0n ? openMove(opened.confirmed, name, facts) : undefined;
  const allotted = chain.view.line(account.address, gateway)?.allotted ?? 0n;
  if (allotted + depositUnits === 0n) throw noLane(opened, of.remedy);
  // Safe: it was written from an address.
  const signer = (move?.facts ?? facts()).signer as Address;
  const lane = { payer: account.address, signer };
  // The key is on disk before the chain knows it, and in the store before money can be spent with
  // it.
  if (key?.address === signer) {
    writeLaneKey(house.home, key);
    store.addLane(lane, purpose);
  }
  await extendOwnLane(flags, opened, chain, lane, { capUnits, depositUnits, move });
  return { lane, move };
}

/**
 * Gives a separate lane room for `capUnits` beyond the checked receipts, and its full life; opens
 * it if it is new. It sends nothing if the lane has both: a gateway that fails in a later step must
 * not cost gas at each retry.
 */
export async function extendOwnLane(
  flags: Flags,
  { account, connection, store }: LaneParts,
  chain: Chain,
  lane: StoredLane,
  of: {
    readonly capUnits: bigint;
    readonly depositUnits?: bigint;
    readonly move?: Move | undefined;
  },
): Promise<void> {
  const { gateway } = connection.document;
  const { payer, signer } = lane;
  const { depositUnits = 0n, move } = of;
  const writer = chain.connect(account);
  const expirySec = (await chain.nowSec()) + LANE_LIFE_SEC;
  const needed = store.laneMemory(lane).read().verifiedUnits + of.capUnits;
  const before = chain.view.lane(payer, gateway, signer);
  const { cap = 0n, expirySec: endsSec = 0 } = before ?? {};
  const next = {
    ...{ signer, cap: needed > cap ? needed : cap },
    expirySec: Math.max(expirySec, endsSec),
  };
  const isNeeded = needed > cap || endsSec < expirySec - SHORTER_BY_SEC;
  if (move) {
    const lane = { ...next, mode: PREPAID } as const;
    const terms = before ? isNeeded && { extend: next } : { lane };
    const block = await move.send('deposit', writer, async (sending) => {
      await mintIfShort(flags, chain, writer, depositUnits);
      return writer.depositAllotOpenLane({ amount: depositUnits, gateway, ...terms }, sending);
    });
    await chain.synced(block);
  } else if (!before) {
    await chain.synced(await writer.openLane(gateway, { ...next, mode: PREPAID }));
  } else if (isNeeded) await chain.synced(await writer.extendLane(gateway, next));
}

/** Revokes the lane's mandates: from now on nothing is signed for them. */
export async function revokeAllOf(opened: LaneParts, lane: StoredLane): Promise<void> {
  const memory = opened.store.laneMemory(lane);
  for (const held of memory.mandates()) {
    if (isOpenAt(held, Date.now())) memory.revokeMandate(held.hash, Date.now());
  }
  await tellRevoked(opened, lane);
  await withCaller(opened, lane, (caller) => caller.acknowledge());
}

/**
 * Tells the gateway which mandates are revoked here before their end, even if it was told before. A
 * gateway that missed it goes on serving under them, and its receipts would look like lies.
 */
async function tellRevoked(opened: LaneParts, lane: StoredLane): Promise<void> {
  const { store, house } = opened;
  const closed = store
    .laneMemory(lane)
    .mandates()
    .filter((held) => isClosedEarly(held));
  if (closed.length === 0) return;
  const session = await openSession(opened, readLaneKey(house.home, lane.signer), lane);
  for (const { hash } of closed) {
    await revokeMandate(session, lane, hash).catch((error) => {
      // The gateway never received this mandate.
      if (error.code !== 'MANDATE_UNKNOWN') throw error;
    });
  }
}

/** Whether a mandate was revoked before its end. */
export function isClosedEarly(
  { revokedAtMs, mandate }: Pick<HeldMandate, 'revokedAtMs' | 'mandate'>,
  nowMs = Date.now(),
): boolean {
  return revokedAtMs !== undefined && mandate.untilSec > nowMs / 1000;
}

/**
 * Signs a mandate for a separate lane, and the voucher that covers what it allows. It relies on
 * checked receipts and on no number of the gateway.
 * @throws DefaasClientError RECEIPT_INVALID, RECEIPTS_MISSING, LANE_STOPPED, MANDATE_INVALID
 */
export async function signOwnMandate(
  opened: LaneParts,
  chain: Chain,
  lane: StoredLane,
  terms: MandateTerms,
): Promise<{ readonly hash: Hex; readonly ceilingUnits: bigint }> {
  const { connection, house, store } = opened;
  await awaitBlock(connection, chain.view.head.number);
  const account = readLaneKey(house.home, lane.signer);
  const key = await createKeySigner(account.privateKey);
  const memory = store.laneMemory(lane);
  await withCaller(opened, lane, (caller) => caller.acknowledge());
  const serial = nextSerial(memory.mandates(), terms.serial);
  const signed = await signMandate(connection, key, lane.payer, { ...terms, serial });
  // Stored here before anybody can call under it, so that its receipts are always recognised.
  memory.putMandate(signed);
  await putMandate(connection, signed);
  await withCaller(opened, lane, (caller) => caller.renew());
  return { hash: signed.hash, ceilingUnits: memory.read().ceilingUnits };
}

/** The newest mandate has the highest serial, also when the clock was set back since the last. */
function nextSerial(held: readonly HeldMandate[], wanted: bigint): bigint {
  const highest = held.reduce(
    (most, { mandate: { serial } }) => (serial > most ? serial : most),
    0n,
  );
  return wanted > highest ? wanted : highest + 1n;
}

/**
 * Checks the receipts of a lane that others spend from, and sends its gateway a voucher for what
 * its mandates allow today. Open mandates are sent again and closed ones revoked again, because the
 * gateway may have missed the first message.
 * @throws as `signOwnMandate`
 */
export async function renewLane(opened: LaneParts, lane: StoredLane): Promise<void> {
  const { connection, house, store } = opened;
  const { privateKey } = readLaneKey(house.home, lane.signer);
  const key = await createKeySigner(privateKey);
  await tellRevoked(opened, lane);
  for (const held of store.laneMemory(lane).mandates()) {
    if (!isOpenAt(held, Date.now())) continue;
    await putMandate(connection, await signMandate(connection, key, lane.payer, termsOf(held)));
  }
  await withCaller(opened, lane, (caller) => caller.renew());
}

/** The terms of a mandate, to sign the same one again or its successor. */
export function termsOf({ mandate }: Pick<HeldMandate, 'mandate'>): MandateTerms {
  const { payer: _payer, gateway: _gateway, signer: _signer, ...terms } = mandate;
  return terms;
}

async function withCaller(
  opened: LaneParts,
  lane: StoredLane,
  act: (caller: Caller) => Promise<void>,
): Promise<void> {
  const { house, store } = opened;
  const session = await openSession(opened, readLaneKey(house.home, lane.signer), lane);
  const chain = openReader(opened);
  try {
    await act(
      createCaller({
        session,
        chain,
        memory: store.laneMemory(lane),
        stepUnits: 0n,
        onReceipt: store.putReceipt,
      }),
    );
  } finally {
    chain.close();
  }
}

/** Refuses an amount of 0. @throws CliError USAGE */
export function refuseZero(units: bigint, what: string): void {
  if (units > 0n) return;
  throw new CliError('USAGE', `${what} is ${formatTokens(units)} tokens, give more`);
}
