// The recorded epoch that a call's draw uses, and the candidate set in force then (contracts.md section 9).

import { freshEpoch } from '../../contracts/beacon.ts';
import type { ChainWriter } from '../../contracts/chain/writer.ts';
import type { Chain } from '../../contracts/chain.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { DefaasError } from '../errors.ts';

/** An older epoch is renewed beside the call; D6 allows 10 minutes. */
const RENEW_AFTER_SEC = 240;
/** An epoch as old as this is not used: the call waits for a fresh one. */
const STALE_AFTER_SEC = 480;

export interface Draw {
  readonly epoch: number;
  readonly value: Hex;
  /** The candidate set in force at the epoch, ascending. */
  readonly ids: readonly number[];
}

export interface Beacon {
  /**
   * At once while the newest epoch is fresh enough.
   * @throws DefaasError FUNCTION_NOT_DEPLOYED  this gateway has announced no candidates for the version
   */
  drawFor(functionVersion: Hex): Draw | Promise<Draw>;
  /** Checkpoints an epoch of at least `leastEpoch`, so that calls need not wait for it. */
  renew(leastEpoch: number): Promise<void>;
}

interface BeaconOptions {
  readonly chain: Chain;
  readonly writer: ChainWriter;
  readonly gateway: Address;
  /** The local house: mine the blocks that are needed, and none from before this block (the chain's restore). */
  readonly localFromBlock: number | undefined;
  readonly nowMs: () => number;
  /** A renewal beside the calls failed; they go on with the epoch they have. */
  readonly onFailed: (error: unknown) => void;
}

/** One renewal runs at a time, whoever asks. */
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
  const isUsable = (leastEpoch: number, maxAgeSec: number): boolean => {
    const latest = chain.view.latestEpoch;
    return (
      latest !== undefined &&
      latest.epoch >= leastEpoch &&
      nowMs() / 1000 - latest.timeSec < maxAgeSec
    );
  };
  const renew = async (leastEpoch: number): Promise<void> => {
    // A renewal under way may have begun before `leastEpoch` could be reached; the next one is new.
    for (let round = 0; round < 3 && !isUsable(leastEpoch, STALE_AFTER_SEC); round += 1) {
      await renewOnce(leastEpoch);
    }
  };

  const newestDraw = (functionVersion: Hex): Draw => {
    const epoch = chain.view.latestEpoch;
    const set = epoch && chain.view.candidates(functionVersion, gateway, epoch.epoch);
    if (epoch === undefined || set === undefined) throw notDeployed(functionVersion);
    return { epoch: epoch.epoch, value: epoch.value, ids: set.ids };
  };

  return {
    drawFor: (functionVersion) => {
      const newest = chain.view.candidates(functionVersion, gateway);
      if (newest === undefined) throw notDeployed(functionVersion);
      const current = chain.view.latestEpoch;
      const known = current && chain.view.candidates(functionVersion, gateway, current.epoch);
      const leastEpoch = known?.fromEpoch ?? newest.fromEpoch;
      if (!isUsable(leastEpoch, STALE_AFTER_SEC)) {
        return renew(leastEpoch).then(() => newestDraw(functionVersion));
      }
      if (!isUsable(leastEpoch, RENEW_AFTER_SEC)) renewOnce(leastEpoch).catch(options.onFailed);
      return newestDraw(functionVersion);
    },
    renew,
  };
}

function notDeployed(functionVersion: Hex): DefaasError {
  return new DefaasError(
    'FUNCTION_NOT_DEPLOYED',
    `version ${functionVersion} runs nowhere at this gateway, run defaas deploy`,
  );
}
