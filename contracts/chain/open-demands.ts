// Demands against a gateway as of the newest block. The view may stay behind the head until blocks are final; a demand's clock runs from
// its own block on, so it counts at once.
import type { Chain, Demand } from '../chain.ts';
import type { Address, Hex } from '../libraries/keccak.ts';
import { createAbi } from './abi.ts';
import { createDisputes } from './disputes.ts';
import { createHistory } from './history.ts';

/** Blocks of one question for logs. */
const PAGE_BLOCKS = 2_000;

interface RpcLog {
  readonly address: string;
  readonly topics: readonly string[];
  readonly data: string;
  readonly blockNumber: Hex;
  readonly transactionHash: Hex;
}

/**
 * Those that are open, the earliest deadline first. What the view has, and after it what the logs up to the newest block say.
 * @throws ChainError CHAIN_UNREACHABLE
 */
export async function readOpenDemands(
  { view, provider, contracts }: Pick<Chain, 'view' | 'provider' | 'contracts'>,
  gateway: Address,
): Promise<readonly Demand[]> {
  const known = new Map(view.demands(gateway).map((demand) => [demand.id, demand]));
  const newest = Number(await provider.send('eth_blockNumber', []));
  const abi = createAbi(contracts);
  for (let from = view.head.number + 1; from <= newest; from += PAGE_BLOCKS) {
    const logs: RpcLog[] = await provider.send('eth_getLogs', [
      {
        address: contracts.disputes,
        topics: [null, null, `0x${gateway.slice(2).padStart(64, '0')}`],
        fromBlock: hexOf(from),
        toBlock: hexOf(Math.min(from + PAGE_BLOCKS - 1, newest)),
      },
    ]);
    // A room of its own: the view's is not to know what may yet be replaced.
    const recent = createDisputes(createHistory(0));
    for (const log of logs) {
      const decoded = abi.decodeLog(log);
      if (decoded?.contract !== 'disputes') continue;
      const place = {
        blockNumber: Number(log.blockNumber),
        timestampSec: 0,
        tx: log.transactionHash,
      };
      recent.replay.disputes?.[decoded.event]?.(decoded.args, place);
      if (decoded.event === 'Answered' || decoded.event === 'Expired')
        known.delete(decoded.args.id);
      for (const demand of recent.queries.demands(gateway)) known.set(demand.id, demand);
    }
  }
  return [...known.values()]
    .filter(({ state }) => state === 'open')
    .sort((a, b) => a.deadlineSec - b.deadlineSec);
}

function hexOf(value: number): Hex {
  return `0x${value.toString(16)}`;
}
