// Compares the clouds with the deployment records, for the operator, and repairs differences.
import type { FastifyInstance } from 'fastify';
import { PRICES_AS_OF_MS } from '../../adapters/prices.ts';
import { check, repair } from '../deployments/check.ts';
import type { Gateway } from '../gateway.ts';
import { refuseOthers } from './owned.ts';

export async function checkRoutes(
  server: FastifyInstance,
  { gateway }: { readonly gateway: Gateway },
): Promise<void> {
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
