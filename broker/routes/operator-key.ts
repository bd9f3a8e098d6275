// Loads a new operator key from the gateway's key file without a restart.
import type { FastifyInstance } from 'fastify';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';

import { signedIn } from '../http/bearer.ts';

import { gatewaysOf } from '../served-sets.ts';

import { signAgain } from '../settlement/sign-again.ts';

export async function operatorKeyRoutes(
  server: FastifyInstance,
  { gateway }: { readonly gateway: Gateway },
): Promise<void> {
  // The key may have been changed while the gateway was down, so sign again at the start too.
  signAgain(gateway).catch((err) => {
    if (!gateway.closing.aborted) gateway.log.error({ err }, 'receipts were not signed again');
  });

  server.post('/operator-key', async (request) => {
    const { signedBy } = await signedIn(gateway, request);
    if (signedBy !== gateway.address) {
      throw new DefaasError(
        'OPERATOR_ONLY',
        `${signedBy} may not change the key, sign in with the gateway's key`,
      );
    }
    await gateway.chain.synced();
    gateway.groupSigner.readAgain();
    let signedAgain = 0;
    for (const one of gatewaysOf(gateway)) {
      if (!one.keyGuard.isStolen) one.alarms.clear('KEY_STOLEN');
      signedAgain += await signAgain(one);
    }
    return { key: gateway.groupSigner.key, signedAgain };
  });
}
