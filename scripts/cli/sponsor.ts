// `defaas sponsor <function>`: what the publisher pays of its callers per day, and the lane that pays it.
import { fetchLane, putVoucher, signVoucher } from '../../broker/client/lane.ts';
import { fetchSponsorship, putSponsorship } from '../../broker/client/sponsorship.ts';
import type { Chain } from '../../contracts/chain.ts';
import { readLaneKey } from './account.ts';
import { awaitBlock } from './await-block.ts';
import { openChain } from './chain.ts';
import { CliError } from './cli-error.ts';
import {
  type Flags,
  note,
  type Opened,
  type Outcome,
  openGateway,
  openSession,
} from './context.ts';
import { fillLane, openLaneOf } from './deposit.ts';
import { noLane } from './lanes-here.ts';
import { findOwnedFunction } from './owned-function.ts';
import { formatTokens, parseTokens } from './units.ts';

export interface SponsorOptions {
  /** Whole tokens that all callers together may cost per UTC day, or `default` for the gateway's own limit. */
  readonly daily?: string;
  readonly stop?: boolean;
  /** Whole tokens to set aside for it. */
  readonly deposit?: string;
}

/**
 * Shows, or with options sets. The manifest says that the publisher pays (`payer`); this says how much.
 * @throws CliError USAGE, FUNCTION_UNKNOWN, NOT_OWNER, LANE_UNKNOWN there is nothing to pay from, KEY_MISSING, INSUFFICIENT_TOKENS
 */
export async function sponsor(
  flags: Flags,
  target: string,
  options: SponsorOptions,
): Promise<Outcome> {
  const change = parseChange(options);
  const depositUnits =
    options.deposit === undefined ? 0n : parseTokens(options.deposit, '--deposit');
  const opened = await openGateway(flags);
  const chain = await openChain(opened);
  try {
    const { fn } = findOwnedFunction(opened, chain, target);
    if (depositUnits > 0n) await fillLane(flags, opened, chain, depositUnits);
    if (depositUnits > 0n || (change && change.units !== 0n)) await signLane(opened, chain);
    const session = await openSession(opened, opened.account);
    const of = { owner: fn.namespace, name: fn.name };
    const document = change
      ? await putSponsorship(session, of, change.units)
      : await fetchSponsorship(session, of);
    if (!document.isSponsored) {
      note(
        flags,
        `its callers pay: set "payer": "publisher" and "access": "public" in defaas.json, then register and deploy`,
      );
    }
    const { dailyUnits, spentTodayUnits, lane } = document;
    const limit =
      dailyUnits === 0n
        ? 'nothing is paid'
        : `at most ${formatTokens(dailyUnits)} tokens a day are paid, ${formatTokens(spentTodayUnits)} are spent or held today`;
    const source = lane
      ? `${formatTokens(lane.leftUnits)} are left to pay them from`
      : 'there is no lane to pay them from, add --deposit <tokens>';
    return { document, text: `${document.function}: ${limit}; ${source}` };
  } finally {
    chain.close();
    opened.close();
  }
}

/** @returns undefined to change nothing; units null for the gateway's default */
function parseChange({
  daily,
  stop = false,
}: SponsorOptions): { readonly units: bigint | null } | undefined {
  if (daily !== undefined && stop) {
    throw new CliError('USAGE', 'there is --daily and --stop, give one of them');
  }
  if (stop) return { units: 0n };
  if (daily === undefined) return undefined;
  return { units: daily === 'default' ? null : parseTokens(daily, '--daily') };
}

/**
 * One voucher over all of the lane: when its function is called nobody is there to sign the next one. So what is set aside for
 * sponsoring is what a gateway that lies could take.
 */
async function signLane(opened: Opened, chain: Chain): Promise<void> {
  const { account, connection, house, store } = opened;
  const open = openLaneOf(opened, chain);
  if (!open) throw noLane(opened, 'add --deposit <tokens>');
  // The chain's cap: of the gateway's word a voucher could be made over all that is ever set aside.
  const { signer, cap: capUnits } = open;
  await awaitBlock(connection, chain.view.head.number);
  const lane = { payer: account.address, signer };
  const session = await openSession(opened, readLaneKey(house.home, signer), lane);
  const { ceilingUnits } = await fetchLane(session, lane);
  if (ceilingUnits >= capUnits) return;
  store.laneMemory(lane).update((record) => ({
    ...record,
    ceilingUnits: record.ceilingUnits > capUnits ? record.ceilingUnits : capUnits,
  }));
  const signature = await signVoucher(connection, session.key, lane.payer, capUnits);
  await putVoucher(session, lane, capUnits, signature);
}
