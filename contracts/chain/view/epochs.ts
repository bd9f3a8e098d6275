// Recorded epochs of the Beacon, whose values draw the candidates.

import type { Hex } from '../../libraries/keccak.ts';
import type { Replay } from '../replay.ts';
import type { ChainView, Epoch } from '../types.ts';
import type { History } from './history.ts';

type Epochs = Pick<ChainView, 'latestEpoch' | 'latestEpochAt' | 'epochOf'>;

export function createEpochs(history: History): { queries: Epochs; replay: Replay } {
  const epochs = new Map<number, Epoch>();
  /**
   * Epochs that were the newest when they were recorded, with the block of the recording; both
   * ascend.
   */
  const newest: { readonly epoch: Epoch; readonly blockNumber: number }[] = [];

  const replay: Replay = {
    beacon: {
      Checkpointed: ({ epoch: wideEpoch, value: wideValue }, { blockNumber, timestampSec }) => {
        const epoch = Number(wideEpoch);
        const value: Hex = `0x${wideValue.toString(16).padStart(48, '0')}`;
        const recorded: Epoch = { epoch, value, timeSec: timestampSec };
        history.set(epochs, epoch, recorded);
        if (epoch >= (newest.at(-1)?.epoch.epoch ?? 0)) {
          history.push(newest, { epoch: recorded, blockNumber });
        }
      },
    },
  };
  const queries: Epochs = {
    get latestEpoch() {
      return newest.at(-1)?.epoch;
    },
    latestEpochAt: (blockNumber) => {
      let [from, to] = [0, newest.length];
      while (from < to) {
        const middle = (from + to) >>> 1;
        if ((newest[middle]?.blockNumber ?? 0) <= blockNumber) from = middle + 1;
        else to = middle;
      }
      return newest[from - 1]?.epoch;
    },
    epochOf: (epoch) => epochs.get(epoch),
  };
  return { queries, replay };
}
