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
import type { Hex } from '../../contracts/libraries/keccak.ts';
import { hasLaneKey, readLaneKey, writeLaneKey } from './account.ts';
import { awaitBlock } from './await-block.ts';
import { openReader } from './chain.ts';
import { CliError } from './cli-error.ts';
import { type Flags, type Opened, openSession } from './context.ts';
import { LANE_LIFE_SEC, mintIfShort, nowSec, PREPAID } from './deposit.ts';
import { noLane } from './lanes-here.ts';
import type { StoredLane } from './store.ts';
import { formatTokens } from './units.ts';

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
export function ownLaneFor(opened: Opened, chain: Chain, purpose: string): StoredLane | undefined {
  const { account, store, house, connection } = opened;
  return store.lanesFor(account.address, purpose).find(({ payer, signer }) => {
    const lane = chain.view.lane(payer, connection.document.gateway, signer);
    const isOpen = lane !== undefined && lane.expirySec > nowSec(chain);
    return isOpen && hasLaneKey(house.home, signer);
  });
}

/**
 * Opens a lane for `purpose` that can take at most `capUnits`, or gives an open one this much more
 * room. It spends the account's line at the gateway, to which `depositUnits` are added first.
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
): Promise<StoredLane> {
  const { account, connection, house, store } = opened;
  const { gateway } = connection.document;
  const { purpose, capUnits, depositUnits } = of;
  const known = ownLaneFor(opened, chain, purpose);
  const writer = chain.connect(account);
  const allotted = chain.view.line(account.address, gateway)?.allotted ?? 0n;
  if (allotted + depositUnits === 0n) throw noLane(opened, of.remedy);
  if (known) {
    await extendOwnLane(flags, opened, chain, known, { capUnits, depositUnits });
    return known;
  }
  await mintIfShort(flags, chain, writer, depositUnits);
  const expirySec = nowSec(chain) + LANE_LIFE_SEC;
  const key = createKey();
  const lane = { payer: account.address, signer: key.address };
  // The key is on disk before the chain knows it, and in the store before money can be spent with
  // it.
  writeLaneKey(house.home, key);
  store.addLane(lane, purpose);
  const terms = { signer: key.address, cap: capUnits, expirySec, mode: PREPAID } as const;
  const block =
    depositUnits > 0n
      ? await writer.depositAllotOpenLane({ amount: depositUnits, gateway, lane: terms })
      : await writer.openLane(gateway, terms);
  await chain.synced(block);
  return lane;
}

/**
 * Gives a separate lane room for `capUnits` beyond the checked receipts, and its full life. It
 * sends nothing if the lane has both: a gateway that fails in a later step must not cost gas at
 * each retry.
 */
export async function extendOwnLane(
  flags: Flags,
  { account, connection, store }: LaneParts,
  chain: Chain,
  lane: StoredLane,
  { capUnits, depositUnits }: { readonly capUnits: bigint; readonly depositUnits: bigint },
): Promise<void> {
  const { gateway } = connection.document;
  const { payer, signer } = lane;
  const writer = chain.connect(account);
  await mintIfShort(flags, chain, writer, depositUnits);
  if (depositUnits > 0n) {
    await chain.synced(await writer.depositAllotOpenLane({ amount: depositUnits, gateway }));
  }
  const { cap = 0n, expirySec: endsSec = 0 } = chain.view.lane(payer, gateway, signer) ?? {};
  const needed = store.laneMemory(lane).read().verifiedUnits + capUnits;
  const expirySec = nowSec(chain) + LANE_LIFE_SEC;
  if (needed <= cap && endsSec >= expirySec - SHORTER_BY_SEC) return;
  const next = { signer, cap: needed > cap ? needed : cap, expirySec };
  await chain.synced(await writer.extendLane(gateway, next));
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
  const signed = await signMandate(connection, key, lane.payer, terms);
  // Stored here before anybody can call under it, so that its receipts are always recognised.
  memory.putMandate(signed);
  await putMandate(connection, signed);
  await withCaller(opened, lane, (caller) => caller.renew());
  return { hash: signed.hash, ceilingUnits: memory.read().ceilingUnits };
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
