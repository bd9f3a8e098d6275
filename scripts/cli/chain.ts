// The chain as the command line needs it: the RPC of our own settings, the contracts of the trust
// root.
import { type ChainReader, createChainReader } from '../../broker/client/chain-reader.ts';
import { type Chain, createChain } from '../../contracts/chain.ts';
import { accountTurns } from './account-turn.ts';
import type { Opened } from './context.ts';
import type { House } from './house.ts';

/** Chain id of local development chains (anvil, Hardhat). Tokens are minted only there. */
export const LOCAL_CHAIN_ID = 31337;

/**
 * Opens the chain and reads its logs up to date, for commands that read functions, batches or
 * deployments.
 * @throws ChainError CHAIN_UNREACHABLE
 */
export async function openChain({
  connection,
  house,
}: Pick<Opened, 'connection'> & { readonly house: Pick<House, 'home'> }): Promise<Chain> {
  const { chainId, contracts, rpcUrl } = connection.chain;
  const exclusively = accountTurns(house.home);
  const chain = await createChain({ rpcUrls: [rpcUrl], contracts, chainId, exclusively });
  try {
    await chain.start();
    return chain;
  } catch (error) {
    chain.close();
    throw error;
  }
}

/** Opens a reader for single RPC requests, without reading logs. */
export function openReader({ connection }: Pick<Opened, 'connection'>): ChainReader {
  return createChainReader(connection.chain);
}
