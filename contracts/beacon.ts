// Records a fresh epoch of the Beacon, so that a gateway can draw candidates with it.

import { ChainError } from './chain/chain-error.ts';
import type { Epoch } from './chain/types.ts';
import type { ChainWriter } from './chain/writer.ts';
import type { Chain } from './chain.ts';

/** Longest wait for the block of an epoch, ms. */
const WAIT_MS = 60_000;

export interface FreshEpochOptions {
  readonly chain: Pick<Chain, 'constants' | 'provider' | 'read' | 'synced' | 'view'>;
  readonly writer: Pick<ChainWriter, 'checkpoint'>;
  /** Lowest epoch to return, such as the one from which a candidate set is in force. */
  readonly atLeastEpoch?: number;
  /**
   * Lowest block whose hash may be used. The local house passes the first block after its chain's
   * restart, because there the BLOCKHASH opcode answers wrongly for older blocks (docs/contracts.md
   * 9).
   */
  readonly notBeforeBlock?: number;
  /**
   * True for a chain that mines on demand only: mine the missing blocks. Otherwise wait for them.
   */
  readonly mine?: boolean;
}

/**
 * Returns the newest epoch whose block has another block on top of it, and records it if nobody has
 * yet. The view contains the epoch; a draw waits until it is final.
 * @throws ChainError CHAIN_STALE  the blocks it needs do not come
 */
export async function freshEpoch(options: FreshEpochOptions): Promise<Epoch> {
  const { chain, writer, atLeastEpoch = 0, notBeforeBlock = 0, mine = false } = options;
  const { beaconK } = chain.constants;
  const least = Math.max(atLeastEpoch, Math.ceil(notBeforeBlock / beaconK));
  if (mine) await mineFor(chain, least);
  for (const untilMs = Date.now() + WAIT_MS; Date.now() < untilMs; ) {
    const { newest, safe } = await readNewest(chain);
    for (const epoch of [newest, safe]) {
      const found = epoch < least ? undefined : await recorded(chain, writer, epoch);
      if (found !== undefined) return found;
    }
    await chain.synced(chain.view.head.number + 1);
  }
  throw new ChainError('CHAIN_STALE', `the block of epoch ${least} does not come, try again`);
}

/**
 * Asks the contract, because a node's block number may differ from the EVM's (Arbitrum). The block
 * of epoch `nextEpoch - 1` may be the newest block itself, with none on top of it yet; the block of
 * `nextEpoch - 2` never is.
 */
async function readNewest({
  read,
  constants,
}: Pick<Chain, 'read' | 'constants'>): Promise<{ newest: number; safe: number }> {
  const [next] = await read('beacon', 'nextEpoch', []);
  const safe = Number(next) - 2;
  return { newest: constants.beaconK === 1 ? safe : safe + 1, safe };
}

/** Mines the blocks that are missing until the epoch can be recorded. */
async function mineFor(
  { provider, constants }: Pick<Chain, 'provider' | 'constants'>,
  epoch: number,
): Promise<void> {
  const missing = (epoch + 1) * constants.beaconK - (await provider.getBlockNumber());
  if (missing > 0) await provider.send('hardhat_mine', [`0x${missing.toString(16)}`]);
}

/** The epoch; records it if nobody has yet. Undefined while its block is too new. */
async function recorded(
  chain: Pick<Chain, 'view' | 'synced'>,
  writer: Pick<ChainWriter, 'checkpoint'>,
  epoch: number,
): Promise<Epoch | undefined> {
  try {
    if (chain.view.epochOf(epoch) === undefined) await chain.synced(await record(writer, epoch));
  } catch (error) {
    if (error instanceof ChainError && error.revert?.name === 'NotYet') return undefined;
    throw error;
  }
  return chain.view.epochOf(epoch) ?? unknown(epoch);
}

function unknown(epoch: number): never {
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
