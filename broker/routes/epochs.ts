// GET /epochs/latest: the recorded epoch to use in a signed Call of a version. Records a fresh one
// first if the newest is too old.
import type { FastifyInstance } from 'fastify';
import type { Hex } from '../../contracts/libraries/keccak.ts';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';

type LatestQuery = { Querystring: { version?: string } };

export async function epochRoutes(
  server: FastifyInstance,
  { gateway }: { readonly gateway: Gateway },
): Promise<void> {
  server.get<LatestQuery>('/epochs/latest', async (request, reply) => {
    const version = request.query.version?.toLowerCase() ?? '';
    if (!/^0x[0-9a-f]{64}$/.test(version)) {
      throw new DefaasError(
        'REQUEST_INVALID',
        'ask with version=<functionVersion, 0x and 64 digits>',
      );
    }
    reply.header('cache-control', 'no-store');
    // Safe: the pattern above matches Hex only.
    const { epoch, value } = await gateway.beacon.drawFor(version as Hex);
    return { epoch, value, timeSec: gateway.chain.view.epochOf(epoch)?.timeSec ?? 0 };
  });
}
