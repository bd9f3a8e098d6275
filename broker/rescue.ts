// Runs in place of a gateway whose ledger is lost or an older copy. It takes no calls, because it
// would sign different receipts under numbers that are already used. Demands about settled batches
// must still be answered: it answers them from the pages on IPFS until the ledger is restored.
import type { Logger } from 'pino';
import type { Hex } from '../contracts/libraries/keccak.ts';
import { createArtifactStore } from '../ipfs/artifact-store.ts';
import { createIpfsNode } from '../ipfs/node.ts';
import { createAlarms } from './alarms.ts';
import type { Config } from './config.ts';
import { type Gateway, openChainOf } from './gateway.ts';
import { startAnswering } from './settlement/answer-demands.ts';

export interface Rescue extends Pick<Gateway, 'chain' | 'ipfs'> {
  close(): Promise<void>;
}

/**
 * Start answering demands. `beside` is another set that this process has opened and closes later.
 * @throws ChainError CHAIN_UNREACHABLE
 */
export async function startRescue(
  config: Config,
  log: Logger,
  beside?: Pick<Gateway, 'chain' | 'ipfs'>,
): Promise<Rescue> {
  const closing = new AbortController();
  const chain = await openChainOf(config, beside?.chain);
  // Safe: `readConfig` has checked that keys are 32 bytes of hex.
  const account = chain.connect({ privateKey: config.gatewayKey.reveal() as Hex });
  const settler = chain.connect({ privateKey: config.settlerKey.reveal() as Hex });
  const ipfs = beside?.ipfs ?? (await createIpfsNode({ dir: `${config.home}/ipfs` }));
  const answering = startAnswering({
    ...{ account, settler, chain, log, address: account.address, nowMs: Date.now },
    alarms: createAlarms({ log, nowMs: Date.now }),
    artifacts: createArtifactStore(ipfs),
    closing: closing.signal,
  });
  return {
    chain,
    ipfs,
    close: async () => {
      closing.abort();
      answering.close();
      chain.close();
      if (beside === undefined) await ipfs.close();
    },
  };
}
