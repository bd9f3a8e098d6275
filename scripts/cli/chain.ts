// The chain as the command line needs it: RPC from our own settings before the gateway's word, contracts of the house in use.
import { type ChainReader, createChainReader } from '../../broker/client/chain-reader.ts';
import { type Chain, createChain } from '../../contracts/chain.ts';
import type { Opened } from './context.ts';

/** Chain id of local development chains (anvil, Hardhat): only there tokens are minted. */
export const LOCAL_CHAIN_ID = 31337;

/** Caught up from the logs: for commands that read functions, batches or deployments. @throws ChainError CHAIN_UNREACHABLE */
export async function openChain({ house, connection }: Opened): Promise<Chain> {
  const { document } = connection;
  const chain = await createChain({
    rpcUrls: [house.rpcUrl ?? document.rpcUrl],
    contracts: document.contracts,
    chainId: document.chainId,
  });
  try {
    await chain.start();
    return chain;
  } catch (error) {
    chain.close();
    throw error;
  }
}

/** Single questions by RPC, without reading logs. */
export function openReader({
  house,
  connection,
}: Pick<Opened, 'house' | 'connection'>): ChainReader {
  return createChainReader(connection.document, house.rpcUrl ?? connection.document.rpcUrl);
}
