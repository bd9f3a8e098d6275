// Recorded epochs of the Beacon, whose values draw the candidates.
import type { ChainView, Epoch } from '../chain.ts';
import type { Hex } from '../libraries/keccak.ts';
import type { History } from './history.ts';
import type { Replay } from './replay.ts';

type Epochs = Pick<ChainView, 'latestEpoch' | 'epochOf'>;

export function createEpochs(history: History): { queries: Epochs; replay: Replay } {
  const epochs = new Map<number, Epoch>();
  const latest = new Map<'latest', Epoch>();

  const replay: Replay = {
    beacon: {
      Checkpointed: ({ epoch: wideEpoch, value: wideValue }, { timestampSec }) => {
        const epoch = Number(wideEpoch);
        const value: Hex = `0x${wideValue.toString(16).padStart(48, '0')}`;
        const recorded: Epoch = { epoch, value, timeSec: timestampSec };
        history.set(epochs, epoch, recorded);
        if (epoch >= (latest.get('latest')?.epoch ?? 0)) history.set(latest, 'latest', recorded);
      },
    },
  };
  const queries: Epochs = {
    get latestEpoch() {
      return latest.get('latest');
    },
    epochOf: (epoch) => epochs.get(epoch),
  };
  return { queries, replay };
}
