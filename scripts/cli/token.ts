// `defaas token`: an access token for scripts and curl, and on request a voucher, so that calls with it are covered.
import { createCaller } from '../../broker/client/invoke.ts';
import { createKeySigner } from '../../broker/client/key.ts';
import { putVoucher, signVoucher } from '../../broker/client/lane.ts';
import type { LaneName, Token } from '../../broker/client/sign-in.ts';
import { signIn } from '../../broker/client/sign-in.ts';
import { readLaneKey } from './account.ts';
import { openReader } from './chain.ts';
import { CliError } from './cli-error.ts';
import {
  type Flags,
  note,
  type Opened,
  type Outcome,
  openGateway,
  openSession,
} from './context.ts';
import { lanesHere, noLane } from './lanes-here.ts';
import { formatTokens, parseTokens } from './units.ts';

export interface TokenOptions {
  /** Of the account, for the control routes: it can spend nothing. */
  readonly control?: boolean;
  /** Whole tokens that calls with the token may come to. */
  readonly allow?: string;
}

/**
 * A fresh bearer token: whoever holds it may spend from the newest lane until it ends, 10 minutes at most. Stdout has the token alone,
 * for `curl -H "Authorization: Bearer $(defaas token)"`.
 * @throws CliError LANE_UNKNOWN  nothing was deposited, KEY_MISSING  the keys of its lanes are gone: only `--control` needs no lane
 */
export async function token(flags: Flags, options: TokenOptions): Promise<Outcome> {
  if (options.control && options.allow !== undefined) {
    throw new CliError('USAGE', 'a --control token spends nothing, leave --allow out');
  }
  const opened = await openGateway(flags);
  try {
    const lane = options.control ? undefined : newestLane(opened);
    const account = lane ? readLaneKey(opened.house.home, lane.signer) : opened.account;
    const key = await createKeySigner(account.privateKey);
    const { accessToken, expiresAtMs } = await signIn(opened.connection, key, lane);
    const ceilingUnits =
      lane && options.allow !== undefined
        ? await allow(opened, lane, parseTokens(options.allow, '--allow'))
        : undefined;
    return outcomeOf(flags, opened, { accessToken, expiresAtMs }, lane, ceilingUnits);
  } finally {
    opened.close();
  }
}

function newestLane(opened: Opened): LaneName {
  const [lane] = lanesHere(opened);
  if (lane) return lane;
  throw noLane(opened, 'run defaas deposit or ask for a --control token');
}

/** Checks all receipts, then signs a voucher for `units` beyond them. */
async function allow(opened: Opened, lane: LaneName, units: bigint): Promise<bigint> {
  const { connection, house, store } = opened;
  const key = readLaneKey(house.home, lane.signer);
  const session = await openSession(opened, key, lane);
  const reader = openReader(opened);
  try {
    const memory = store.laneMemory(lane);
    const onReceipt = store.putReceipt;
    await createCaller({ session, chain: reader, memory, onReceipt }).acknowledge();
    const { ceilingUnits } = memory.update((record) => {
      const next = record.verifiedUnits + units;
      return next > record.ceilingUnits ? { ...record, ceilingUnits: next } : record;
    });
    const signature = await signVoucher(connection, session.key, lane.payer, ceilingUnits);
    await putVoucher(session, lane, ceilingUnits, signature);
    return ceilingUnits;
  } finally {
    reader.close();
  }
}

function outcomeOf(
  flags: Flags,
  { connection }: Opened,
  { accessToken, expiresAtMs }: Token,
  lane: LaneName | undefined,
  ceilingUnits: bigint | undefined,
): Outcome {
  const expiresAt = new Date(expiresAtMs).toISOString();
  const what = lane ? `spends from the lane of ${lane.signer}` : 'is for the control routes';
  const covered = ceilingUnits === undefined ? '' : `, covered up to ${formatTokens(ceilingUnits)}`;
  note(flags, `until ${expiresAt} · ${what}${covered}`);
  return {
    document: {
      accessToken,
      tokenType: 'Bearer',
      expiresAt,
      gateway: connection.origin,
      lane: lane ?? null,
      ...(ceilingUnits !== undefined && { ceilingUnits }),
    },
    text: accessToken,
  };
}
