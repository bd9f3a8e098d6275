// A fresh epoch of the Beacon: what a gateway records before it draws candidates with it.

import { ChainError } from './chain/chain-error.ts';
import type { ChainWriter } from './chain/writer.ts';
import type { Chain, Epoch } from './chain.ts';

export interface FreshEpochOptions {
  readonly chain: Pick<Chain, 'constants' | 'provider' | 'synced' | 'view'>;
  readonly writer: Pick<ChainWriter, 'checkpoint'>;
  /** No epoch below, such as the one from which a candidate set is in force. */
  readonly atLeastEpoch?: number;
  /**
   * No block below. The local house passes the first block after its chain's restart: there the BLOCKHASH opcode answers wrongly for
   * older ones (contracts.md 9).
   */
  readonly notBeforeBlock?: number;
  /** The chain mines on demand only: mine what is missing. Otherwise it is waited for. */
  readonly mine?: boolean;
}

/**
 * The newest epoch whose block has another on top of it, recorded by us where nobody has yet. It can be drawn with at once: the view
 * contains it.
 * @throws ChainError CHAIN_STALE  the blocks it needs do not come
 */
export async function freshEpoch(options: FreshEpochOptions): Promise<Epoch> {
  const { chain, writer, atLeastEpoch = 0, notBeforeBlock = 0, mine = false } = options;
  const { beaconK } = chain.constants;
  const head = await chain.provider.getBlockNumber();
  const newest = Math.floor((head - 1) / beaconK);
  const epoch = Math.max(newest, atLeastEpoch, Math.ceil(notBeforeBlock / beaconK));
  // Its height must be below the head: some nodes estimate gas as of the head, where the height would be NotYet.
  const missing = epoch * beaconK + 1 - head;
  if (missing > 0 && mine) await chain.provider.send('hardhat_mine', [`0x${missing.toString(16)}`]);
  if (missing > 0) await chain.synced(head + missing);

  if (chain.view.epochOf(epoch) === undefined) await chain.synced(await record(writer, epoch));
  const recorded = chain.view.epochOf(epoch);
  if (recorded !== undefined) return recorded;
  throw new ChainError('CHAIN_STALE', `epoch ${epoch} is not in the view yet, try again`);
}

/** The block after which the view knows the epoch; undefined when somebody else was first. */
async function record(
  writer: Pick<ChainWriter, 'checkpoint'>,
  epoch: number,
): Promise<number | undefined> {
  try {
    return await writer.checkpoint(epoch);
  } catch (error) {
    if (error instanceof ChainError && error.revert?.name === 'Known') return undefined;
    throw error;
  }
}
