// The chain's own time, for deadlines that its contracts check.
import type { JsonRpcProvider } from 'ethers';
import { chainErrorOf } from './chain-error.ts';
import { chainKindOf } from './chains.ts';

/**
 * Unix seconds: the newest block's time. A development chain mines on demand and its newest block
 * may be days old, so it is asked for the block that it would mine now.
 */
export async function readTimeSec(provider: JsonRpcProvider, chainId: number): Promise<number> {
  const tag = chainKindOf(chainId) === 'local' ? 'pending' : 'latest';
  try {
    // ethers' getBlock refuses a pending block, which has no number.
    const block: { timestamp: string } = await provider.send('eth_getBlockByNumber', [tag, false]);
    return Number(block.timestamp);
  } catch (error) {
    throw chainErrorOf('reading the newest block', error);
  }
}
