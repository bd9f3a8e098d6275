// Routes of the operator: a new operator key is loaded without a restart; the clouds are compared
// with the deployment records, and differences repaired.
import type { FastifyInstance } from 'fastify';
import { PRICES_AS_OF_MS } from '../../adapters/prices.ts';
import { check, repair } from '../deployments/check.ts';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import { signedIn } from '../http/bearer.ts';
import { gatewaysOf } from '../served-sets.ts';
import { signAgain } from '../settlement/sign-again.ts';
import { refuseOthers } from './owned.ts';

export async function operatorRoutes(
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

  server.get('/deployments/check', async (request) => {
    await refuseOthers(gateway, request);
    return { clouds: await check(gateway), pricesAsOfMs: PRICES_AS_OF_MS };
  });

  server.post('/deployments/repair', async (request, reply) => {
    await refuseOthers(gateway, request);
    const job = gateway.jobs.start(
      { owner: gateway.address, function: 'repair', queue: 'repair' },
      (onStep) => repair(gateway, { onStep }),
    );
    return reply.code(202).header('location', `/deployments/${job.id}`).send(job);
  });
}
