// What a client that runs long does beside its calls: each day's vouchers for lanes that others
// spend from, and a look at what the gateways settle. It sends nothing to the chain.
import type { SettledBatch } from '../../contracts/chain/types.ts';
import type { Chain } from '../../contracts/chain.ts';
import { DefaasClientError } from './errors.ts';
import { evidenceName } from './exhibits.ts';
import { type FindFraudsOptions, type Found, findFrauds, type WatchedLane } from './find-frauds.ts';
import type { Caller } from './invoke.ts';

/** Between two looks, ms. */
const EVERY_MS = 300_000;
/** How long after a settlement its pages may be missing, seconds. */
const PATIENCE_SEC = 600;

/** A lane of one's own. */
export interface OwnLane extends WatchedLane {
  /** That of the lane: its mandates' vouchers are renewed. Left out: it has no mandates. */
  readonly caller?: Pick<Caller, 'renew'>;
}

export interface WatchLanesOptions {
  readonly lanes: readonly OwnLane[];
  /** Left out: no batches are looked at. With `held` receipts that were swapped are found too. */
  readonly frauds?: Pick<FindFraudsOptions, 'getBlock' | 'held' | 'pick' | 'recover'> & {
    readonly chain: FindFraudsOptions['chain'] & Pick<Chain, 'synced'>;
    /** How long after a settlement its pages may be missing, seconds; 10 minutes when left out. */
    readonly patienceSec?: number;
  };
  /** 5 minutes when left out. A day's vouchers come so long after its beginning at the latest. */
  readonly everyMs?: number;
  /** Ends it. */
  readonly signal: AbortSignal;
  /**
   * Each finding once, with evidence that the chain has checked; `formatEvidence` makes a file of
   * it for `defaas prove`.
   */
  readonly onFound: (found: Found) => void;
  /**
   * What went wrong at a lane, or (without one) with the look at the batches; it goes on. A lane
   * that is stopped for good is told once and renewed no more.
   */
  readonly onError: (error: unknown, lane?: OwnLane) => void;
}

/**
 * Looks at all lanes now and every `everyMs`, until `signal` aborts. Then it resolves.
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
  /** Findings that were told. */
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

/** The gateway was found lying, now or before. */
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

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((done) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      done();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener('abort', end);
  });
}
