// Artifacts: accepts a CAR, verifies it and returns its root CID; serves blocks as a trustless IPFS
// gateway does.
import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import { signedIn } from '../http/bearer.ts';
import type { SlowClients } from '../http/slow-clients.ts';

/** Longest time to look for a block, ms. */
const FIND_MS = 10_000;

export async function artifactRoutes(
  server: FastifyInstance,
  { gateway, slowClients }: { readonly gateway: Gateway; readonly slowClients: SlowClients },
): Promise<void> {
  server.post(
    '/artifacts',
    {
      bodyLimit: gateway.config.artifactMaxBytes,
      // Check the sender before reading the body, so that only publishers can make the gateway
      // buffer one.
      onRequest: async (request) => {
        const { signedBy } = await signedIn(gateway, request);
        refusePublisher(gateway, signedBy);
      },
    },
    async (request, reply) => {
      if (!Buffer.isBuffer(request.body)) {
        throw new DefaasError(
          'ARTIFACT_INVALID',
          'the body is empty, send a CAR (application/vnd.ipld.car)',
        );
      }
      const cid = await gateway.artifacts.importCar(request.body);
      return reply.code(201).header('location', `/ipfs/${cid}`).send({ cid });
    },
  );

  server.get<{ Params: { cid: string }; Querystring: { format?: string } }>(
    '/ipfs/:cid',
    // A HEAD request would read everything and send nothing.
    { exposeHeadRoute: false },
    async (request, reply) => {
      const { cid } = request.params;
      const { format = 'raw' } = request.query;
      const signal = AbortSignal.any([gateway.closing, AbortSignal.timeout(FIND_MS)]);
      // The block of a CID never changes.
      reply.header('cache-control', 'public, max-age=29030400, immutable');
      reply.header('x-content-type-options', 'nosniff');
      reply.header('content-security-policy', 'sandbox');
      if (format === 'raw') {
        const bytes = await gateway.artifacts.block(cid, { signal });
        return reply.header('content-type', 'application/vnd.ipld.raw').send(Buffer.from(bytes));
      }
      if (format === 'car') {
        await gateway.artifacts.block(cid, { signal });
        // Each block has its own time limit; the time for the whole depends on the reader's
        // connection.
        const blocks = gateway.artifacts.exportCar(cid, { signal: gateway.closing });
        const car = Readable.from(slowClients.stream(reply.raw, blocks));
        return reply.header('content-type', 'application/vnd.ipld.car; version=1').send(car);
      }
      throw new DefaasError(
        'REQUEST_INVALID',
        `format ${format} is not served, ask for raw or car`,
      );
    },
  );
}

/** @throws DefaasError PUBLISHER_NOT_ALLOWED */
export function refusePublisher(
  gateway: Pick<Gateway, 'address' | 'config'>,
  publisher: string,
): void {
  const { publishers } = gateway.config;
  if (publishers === 'any' || publishers.includes(publisher) || publisher === gateway.address)
    return;
  throw new DefaasError(
    'PUBLISHER_NOT_ALLOWED',
    `${publisher} may not deploy, on gateway ${gateway.address}, ask its operator or use another gateway`,
  );
}
