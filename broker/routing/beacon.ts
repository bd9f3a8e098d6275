// The recorded epoch that a call's draw uses, and the candidate set in force then
// (docs/contracts.md 9).

import { freshEpoch } from '../../contracts/beacon.ts';
import type { Epoch } from '../../contracts/chain/types.ts';
import type { ChainWriter } from '../../contracts/chain/writer.ts';
import type { Chain } from '../../contracts/chain.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { DefaasError } from '../errors.ts';

/** An epoch older than this is renewed in the background. */
const RENEW_AFTER_SEC = 240;
/** An epoch older than this is not used: the call waits for a fresh one. */
const STALE_AFTER_SEC = 480;
/** A failed renewal is retried after this, ms. */
const RETRY_AFTER_MS = 15_000;
/** Time that callers may still name an epoch after a newer one is final. */
const CURRENT_AFTER_SEC = 600;

export interface Draw {
  readonly epoch: number;
  readonly value: Hex;
  /** The candidate set in force at the epoch, sorted ascending. */
  readonly ids: readonly number[];
}

export interface Beacon {
  /**
   * The draw of the newest epoch. Waits for a renewal only if the newest epoch is too old.
   * @throws DefaasError FUNCTION_NOT_DEPLOYED  this gateway has announced no candidates for the
   *   version
   */
  drawFor(functionVersion: Hex): Promise<Draw>;
  /**
   * Whether a caller may name this final epoch: it is the newest, was the newest until recently, or
   * is young.
   */
  isCurrent(epoch: Epoch): boolean;
  /** Records an epoch of at least `leastEpoch`, so that calls need not wait for it. */
  renew(leastEpoch: number): Promise<void>;
}

interface BeaconOptions {
  readonly chain: Chain;
  readonly writer: ChainWriter;
  readonly gateway: Address;
  /**
   * For a local chain only: mine the needed blocks, and use no block before this one (the chain was
   * restored there).
   */
  readonly localFromBlock: number | undefined;
  readonly nowMs: () => number;
  /** Called when a background renewal failed; calls continue with the current epoch. */
  readonly onFailed: (error: unknown) => void;
}

/** At most one renewal runs at a time; all callers share it. */
export function createBeacon(options: BeaconOptions): Beacon {
  const { chain, gateway, nowMs } = options;
  let renewal: Promise<unknown> | undefined;

  const renewOnce = (leastEpoch: number): Promise<unknown> => {
    renewal ??= freshEpoch({
      chain,
      writer: options.writer,
      atLeastEpoch: leastEpoch,
      notBeforeBlock: options.localFromBlock ?? 0,
      mine: options.localFromBlock !== undefined,
    }).finally(() => {
      renewal = undefined;
    });
    return renewal;
  };
  const isFinalAtOnce = chain.final === chain.view;
  const isRecorded = (leastEpoch: number, maxAgeSec: number): boolean => {
    const latest = chain.view.latestEpoch;
    return (
      latest !== undefined &&
      latest.epoch >= leastEpoch &&
      nowMs() / 1000 - latest.timeSec < maxAgeSec
    );
  };
  const renew = async (leastEpoch: number): Promise<void> => {
    // A renewal that was already running may record an epoch below `leastEpoch`, so start another
    // one.
    for (let round = 0; round < 3 && !isRecorded(leastEpoch, STALE_AFTER_SEC); round += 1) {
      await renewOnce(leastEpoch);
    }
  };

  /**
   * Renew in the background. After a failure, wait before trying again instead of retrying per
   * call.
   */
  let notBeforeMs = 0;
  const renewBeside = (leastEpoch: number): void => {
    if (nowMs() < notBeforeMs) return;
    renewOnce(leastEpoch).catch((error) => {
      if (nowMs() < notBeforeMs) return;
      notBeforeMs = nowMs() + RETRY_AFTER_MS;
      options.onFailed(error);
    });
  };

  /**
   * The newest final epoch, of any age, with the candidate set in force then; undefined before the
   * first.
   */
  const newestDraw = (functionVersion: Hex): Draw | undefined => {
    const epoch = chain.final.latestEpoch;
    const set = epoch && chain.final.candidates(functionVersion, gateway, epoch.epoch);
    return epoch && set && { epoch: epoch.epoch, value: epoch.value, ids: set.ids };
  };
  /** The epoch before the newest, and until when callers may still name it. */
  let newest: Epoch | undefined;
  let before: { readonly epoch: number; readonly untilMs: number } | undefined;
  const lookAtNewest = (): void => {
    const { latestEpoch } = chain.final;
    if (latestEpoch?.epoch === newest?.epoch) return;
    if (newest) before = { epoch: newest.epoch, untilMs: nowMs() + 1000 * CURRENT_AFTER_SEC };
    newest = latestEpoch;
  };

  return {
    drawFor: async (functionVersion) => {
      lookAtNewest();
      const announced = chain.view.candidates(functionVersion, gateway);
      if (announced === undefined) throw notDeployed(functionVersion);
      const draw = newestDraw(functionVersion);
      const leastEpoch = draw === undefined ? announced.fromEpoch : 0;
      const isFresh = isRecorded(leastEpoch, STALE_AFTER_SEC);
      // Wait for a fresh epoch only if blocks are final at once on this chain; otherwise use the
      // newest final one, however old.
      if (!isFresh && (isFinalAtOnce || draw === undefined)) {
        try {
          await renew(leastEpoch);
        } catch (error) {
          if (draw === undefined) throw error;
          options.onFailed(error);
        }
        return newestDraw(functionVersion) ?? notFinal(functionVersion);
      }
      if (!isRecorded(leastEpoch, RENEW_AFTER_SEC)) renewBeside(leastEpoch);
      return draw ?? notFinal(functionVersion);
    },
    isCurrent: ({ epoch, timeSec }) => {
      lookAtNewest();
      if (epoch === newest?.epoch || nowMs() / 1000 - timeSec < CURRENT_AFTER_SEC) return true;
      return epoch === before?.epoch && nowMs() < before.untilMs;
    },
    renew,
  };
}

/** The version has candidates, but a reorganisation could still remove them. */
function notFinal(functionVersion: Hex): never {
  throw new DefaasError(
    'FUNCTION_NOT_DEPLOYED',
    `the deployments of version ${functionVersion} are not final on the chain yet, try again in some minutes`,
    { retryAfterSec: 60 },
  );
}

function notDeployed(functionVersion: Hex): DefaasError {
  return new DefaasError(
    'FUNCTION_NOT_DEPLOYED',
    `version ${functionVersion} runs nowhere at this gateway, run defaas deploy`,
  );
}
