// A fresh epoch of the Beacon: what a gateway records before it draws candidates with it.

import { ChainError } from './chain/chain-error.ts';
import type { Epoch } from './chain/types.ts';
import type { ChainWriter } from './chain/writer.ts';
import type { Chain } from './chain.ts';

/** Longest wait for the block of an epoch, ms. */
const WAIT_MS = 60_000;

export interface FreshEpochOptions {
  readonly chain: Pick<Chain, 'constants' | 'provider' | 'read' | 'synced' | 'view'>;
  readonly writer: Pick<ChainWriter, 'checkpoint'>;
  /** No epoch below, such as the one from which a candidate set is in force. */
  readonly atLeastEpoch?: number;
  /**
   * No block below. The local house passes the first block after its chain's restart: there the
   * BLOCKHASH opcode answers wrongly for older ones (docs/contracts.md 9).
   */
  readonly notBeforeBlock?: number;
  /** The chain mines on demand only: mine what is missing. Otherwise it is waited for. */
  readonly mine?: boolean;
}

/**
 * The newest epoch whose block has another on top of it, recorded by us where nobody has yet. The
 * view contains it; a draw waits until it is final.
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
 * The contract is asked, as a node's block number may be another one than the EVM's (Arbitrum). Of
 * the epoch before `nextEpoch` the block may be the newest itself, with none on top of it yet; of
 * the one before that it is not.
 */
async function readNewest({
  read,
  constants,
}: Pick<Chain, 'read' | 'constants'>): Promise<{ newest: number; safe: number }> {
  const [next] = await read('beacon', 'nextEpoch', []);
  const safe = Number(next) - 2;
  return { newest: constants.beaconK === 1 ? safe : safe + 1, safe };
}

/** On a chain that mines on demand: what is missing until the epoch can be recorded. */
async function mineFor(
  { provider, constants }: Pick<Chain, 'provider' | 'constants'>,
  epoch: number,
): Promise<void> {
  const missing = (epoch + 1) * constants.beaconK - (await provider.getBlockNumber());
  if (missing > 0) await provider.send('hardhat_mine', [`0x${missing.toString(16)}`]);
}

/** The epoch, recorded by us where nobody has yet; undefined while its block is too new. */
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
