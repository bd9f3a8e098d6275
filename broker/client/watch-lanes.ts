// Background work of a long-running client: signs the daily vouchers of lanes that others spend
// from, and checks what the gateways settle. It sends nothing to the chain.
import type { SettledBatch } from '../../contracts/chain/types.ts';
import type { Chain } from '../../contracts/chain.ts';
import { DefaasClientError } from './errors.ts';
import { evidenceName } from './exhibits.ts';
import { type FindFraudsOptions, type Found, findFrauds, type WatchedLane } from './find-frauds.ts';
import type { Caller } from './invoke.ts';
import { pause } from './pause.ts';

/** Time between two checks, ms. */
const EVERY_MS = 300_000;
/** How long after a settlement its pages may be missing, seconds. */
const PATIENCE_SEC = 600;

/** A lane of the client's own. */
export interface OwnLane extends WatchedLane {
  /**
   * The lane's caller, which renews the vouchers of its mandates. Left out: the lane has no
   * mandates.
   */
  readonly caller?: Pick<Caller, 'renew'>;
}

export interface WatchLanesOptions {
  readonly lanes: readonly OwnLane[];
  /**
   * Options of the batch check; left out: no batches are checked. With `held`, swapped receipts are
   * found too.
   */
  readonly frauds?: Pick<FindFraudsOptions, 'getBlock' | 'held' | 'pick' | 'recover'> & {
    readonly chain: FindFraudsOptions['chain'] & Pick<Chain, 'synced'>;
    /** How long after a settlement its pages may be missing, seconds; 10 minutes when left out. */
    readonly patienceSec?: number;
  };
  /** Time between two checks, ms; 5 minutes by default. A day's vouchers are at most this late. */
  readonly everyMs?: number;
  /** Aborting it ends the watch. */
  readonly signal: AbortSignal;
  /**
   * Called once per finding, with evidence that the chain has confirmed; `formatEvidence` makes a
   * file of it for `defaas prove`.
   */
  readonly onFound: (found: Found) => void;
  /**
   * Called with an error at a lane, or, without a lane, of the batch check; the watch goes on. A
   * lane that is stopped for good is reported once and not renewed again.
   */
  readonly onError: (error: unknown, lane?: OwnLane) => void;
}

/**
 * Checks all lanes now and every `everyMs`, until `signal` aborts. Then it resolves.
 * @example
 * const lanes = [{ gateway, payer, signer, caller }];
 * await watchLanes({ lanes, frauds: { chain, getBlock }, signal, onFound, onError });
 */
export async function watchLanes(options: WatchLanesOptions): Promise<void> {
  const { signal, everyMs = EVERY_MS, onError } = options;
  const watching = { ...options, told: new Set<string>(), stopped: new Set<OwnLane>() };
  while (!signal.aborted) {
    for (const lane of options.lanes) await renew(watching, lane);
    await look(watching).catch((error) => onError(error));
    await pause(everyMs, signal);
  }
}

interface Watching extends WatchLanesOptions {
  /** Findings that were reported. */
  readonly told: Set<string>;
  readonly stopped: Set<OwnLane>;
}

async function renew({ signal, stopped, onError }: Watching, lane: OwnLane): Promise<void> {
  if (signal.aborted || stopped.has(lane)) return;
  try {
    await lane.caller?.renew();
  } catch (error) {
    if (isForGood(error)) stopped.add(lane);
    onError(error, lane);
  }
}

/** The gateway was caught lying, now or before. */
function isForGood(error: unknown): boolean {
  if (!(error instanceof DefaasClientError)) return false;
  return error.code === 'LANE_STOPPED' || error.evidence !== undefined;
}

async function look({ lanes, frauds, signal, told, onFound }: Watching): Promise<void> {
  if (!frauds || signal.aborted) return;
  const { patienceSec = PATIENCE_SEC, ...parts } = frauds;
  const { chain } = parts;
  await chain.synced();
  const settledUntilSec = chain.view.head.timestampSec - patienceSec;
  const isOwn = ({ gateway, payer, signer }: WatchedLane) =>
    lanes.some((one) => {
      return one.gateway === gateway && one.payer === payer && one.signer === signer;
    });
  const isWanted = ({ gateway, claims, timestampSec }: SettledBatch) =>
    timestampSec <= settledUntilSec && claims.some((claim) => isOwn({ ...claim, gateway }));
  for await (const found of findFrauds({ ...parts, isWanted, isLaneWanted: isOwn })) {
    const name = evidenceName(found.evidence);
    if (!told.has(name)) onFound(found);
    told.add(name);
    if (signal.aborted) return;
  }
}
