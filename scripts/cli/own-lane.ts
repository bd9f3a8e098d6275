// A lane of its own for one token or one sponsored function: its cap is all that its mandate
// allows, so that the chain bounds it too, and what goes wrong with it stops nothing else.

import { allowanceIn, ceilingFor } from '../../broker/client/cover.ts';
import { createCaller } from '../../broker/client/invoke.ts';
import { createKeySigner } from '../../broker/client/key.ts';
import { putVoucher, signVoucher } from '../../broker/client/lane.ts';
import { type MandateTerms, putMandate, signMandate } from '../../broker/client/mandates.ts';
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
 * Opens a lane for `purpose` that can take `capUnits` at most, or gives one that is open so much
 * more room; the money
 * is the account's line at the gateway, to which `depositUnits` are added first.
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
  const writer = chain.connect(account);
  const allotted = chain.view.line(account.address, gateway)?.allotted ?? 0n;
  if (allotted + depositUnits === 0n) throw noLane(opened, of.remedy);
  await mintIfShort(flags, chain, writer, depositUnits);
  const expirySec = nowSec(chain) + LANE_LIFE_SEC;
  const known = ownLaneFor(opened, chain, purpose);
  if (known) {
    const { signer } = known;
    if (depositUnits > 0n) {
      await chain.synced(await writer.depositAllotOpenLane({ amount: depositUnits, gateway }));
    }
    const cap = chain.view.lane(known.payer, gateway, signer)?.cap ?? 0n;
    const needed = store.laneMemory(known).read().verifiedUnits + capUnits;
    const next = { signer, cap: needed > cap ? needed : cap, expirySec };
    await chain.synced(await writer.extendLane(gateway, next));
    return known;
  }
  const key = createKey();
  const lane = { payer: account.address, signer: key.address };
  // The key is on disk before the chain knows it, and in the store before money stands behind it.
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
 * Signs a mandate for a lane of its own and the voucher that covers what it allows, by the receipts
 * that were checked and no number of the gateway's.
 * @throws DefaasClientError RECEIPT_INVALID, RECEIPTS_MISSING, LANE_STOPPED, MANDATE_INVALID
 */
export async function signOwnMandate(
  opened: Opened,
  chain: Chain,
  lane: StoredLane,
  terms: MandateTerms,
): Promise<{ readonly hash: Hex; readonly ceilingUnits: bigint }> {
  const { connection, house, store } = opened;
  await awaitBlock(connection, chain.view.head.number);
  const account = readLaneKey(house.home, lane.signer);
  const key = await createKeySigner(account.privateKey);
  const memory = store.laneMemory(lane);
  await acknowledgeLane(opened, lane);
  const signed = await signMandate(connection, key, lane.payer, terms);
  // Known here before anybody can call by it, so that its receipts are never those of nobody.
  memory.putMandate(signed);
  await putMandate(connection, signed);
  const { ceilingUnits } = memory.update((record, { maxUnits }) => {
    const open = { maxUnits, allowanceUnits: allowanceIn(memory), stepUnits: 0n };
    return { ...record, ceilingUnits: ceilingFor(record, open) };
  });
  const session = await openSession(opened, account, lane);
  const signature = await signVoucher(connection, key, lane.payer, ceilingUnits);
  await putVoucher(session, lane, ceilingUnits, signature);
  return { hash: signed.hash, ceilingUnits };
}

/** Checks the lane's receipts since the last time. @throws as `signOwnMandate` */
export async function acknowledgeLane(opened: Opened, lane: StoredLane): Promise<void> {
  const { house, store } = opened;
  const session = await openSession(opened, readLaneKey(house.home, lane.signer), lane);
  const chain = openReader(opened);
  try {
    await createCaller({
      session,
      chain,
      memory: store.laneMemory(lane),
      stepUnits: 0n,
      onReceipt: store.putReceipt,
    }).acknowledge();
  } finally {
    chain.close();
  }
}

/** The least of what is asked for that makes sense. @throws CliError USAGE */
export function refuseZero(units: bigint, what: string): void {
  if (units > 0n) return;
  throw new CliError('USAGE', `${what} is ${formatTokens(units)} tokens, give more`);
}
