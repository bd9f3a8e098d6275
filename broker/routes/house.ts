// The gateway about itself: its document, liveness and readiness.
import type { FastifyInstance } from 'fastify';
import type { GatewayDocument } from '../client/connection.ts';
import type { Gateway } from '../gateway.ts';
import { ownOrigins } from '../http/bearer.ts';
import { otherSets } from '../served-sets.ts';

export async function houseRoutes(
  server: FastifyInstance,
  { gateway }: { readonly gateway: Gateway },
): Promise<void> {
  const document = async (): Promise<Record<string, unknown>> => ({
    gateway: gateway.address,
    chainId: gateway.chain.chainId,
    contracts: gateway.chain.contracts,
    rpcUrl: gateway.config.chainPublicRpcUrl,
    feeBps: gateway.chain.view.gateway(gateway.address)?.feeBps ?? 0,
    providers: gateway.providerNames,
    // How functions on this machine are isolated.
    ...(gateway.providerNames.includes('local') && {
      isolation: gateway.provider('local').isolation,
    }),
    ipfs: gateway.ipfs.multiaddrs(),
    settler: gateway.settler.address,
    operatorKey: gateway.groupSigner.key,
    jwksThumbprint: gateway.tokens.thumbprint,
    // Origins of this process that serve other contracts. A client that trusts those contracts may
    // use them, and verifies everything again.
    ...pointersOf(gateway),
  });
  server.addHook('onListen', async () => {
    const [origin] = ownOrigins(server, gateway);
    if (origin) gateway.sets.set(gateway.chain.contracts.billing, { gateway, origin });
  });
  server.addHook('onClose', async () => {
    gateway.sets.delete(gateway.chain.contracts.billing);
  });
  server.get('/', document);
  server.get('/.well-known/defaas', document);
  server.get('/healthz', async () => ({ status: 'ok' }));
  server.get('/readyz', async (_request, reply) => {
    const isStale = gateway.chain.isStale();
    return reply.code(isStale ? 503 : 200).send({
      status: isStale ? 'stale' : 'ready',
      head: gateway.chain.view.head.number,
      // New deposits, lanes and deployments take effect after this time.
      finalityLagSec: finalityLagOf(gateway),
    });
  });
}

function pointersOf(gateway: Gateway): Pick<GatewayDocument, 'otherSets'> {
  const others = otherSets(gateway);
  if (others.length === 0) return {};
  return {
    otherSets: others.map(({ gateway: { chain }, origin }) => ({
      billing: chain.contracts.billing,
      url: origin,
    })),
  };
}

/** Age of the newest final block relative to the newest block, seconds of chain time. */
function finalityLagOf({ chain }: Pick<Gateway, 'chain'>): number {
  return Math.max(0, chain.view.head.timestampSec - chain.final.head.timestampSec);
}
