// Bounds the signatures that the chain is asked about: each is an RPC call that anybody may cause,
// without a token.
import { DefaasError } from '../errors.ts';

/** Maximum number of checks under way, of one client and of all. */
const PER_CLIENT = 4;
const IN_ALL = 32;

export interface ChainChecks {
  /**
   * Runs a check that asks the chain.
   * @throws DefaasError RATE_LIMITED  the client, or all clients, have too many under way
   */
  run<Value>(client: string, check: () => Promise<Value>): Promise<Value>;
}

export function createChainChecks(): ChainChecks {
  const underWay = new Map<string, number>();
  let all = 0;
  const add = (client: string, step: 1 | -1): void => {
    const count = (underWay.get(client) ?? 0) + step;
    all += step;
    if (count > 0) underWay.set(client, count);
    else underWay.delete(client);
  };
  return {
    run: async (client, check) => {
      if (all >= IN_ALL || (underWay.get(client) ?? 0) >= PER_CLIENT) {
        throw new DefaasError(
          'RATE_LIMITED',
          'too many signatures of contract wallets are being checked, try again shortly',
          { retryAfterSec: 1 },
        );
      }
      add(client, 1);
      try {
        return await check();
      } finally {
        add(client, -1);
      }
    },
  };
}
