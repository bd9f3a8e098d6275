// Settlement at the operator's request, and the batches recorded on the chain.
import type { FastifyInstance } from 'fastify';
import { cidOf } from '../../contracts/libraries/names.ts';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import { signedIn } from '../http/bearer.ts';
import { startCycle } from '../settlement/cycle.ts';
import { startFloats } from '../settlement/floats.ts';

/** Codec of a batch's root block: dag-cbor (docs/contracts.md 5.5). */
const DAG_CBOR = 0x71;

export async function settlementRoutes(
  server: FastifyInstance,
  { gateway }: { readonly gateway: Gateway },
): Promise<void> {
  const cycle = startCycle(gateway);
  const floats = startFloats(gateway);
  server.addHook('onClose', async () => {
    cycle.close();
    floats.close();
  });

  server.post('/settlements', async (request) => {
    const { signedBy } = await signedIn(gateway, request);
    if (signedBy !== gateway.address && signedBy !== gateway.settler.address) {
      throw new DefaasError(
        'OPERATOR_ONLY',
        `${signedBy} may not settle, sign in with the gateway's key`,
      );
    }
    const { totalUnits, refused, ...result } = await cycle.run();
    return {
      ...result,
      totalUnits: `${totalUnits}`,
      refused: refused.map(({ lane: { payer, signer }, reason }) => ({ payer, signer, reason })),
    };
  });

  server.get<{ Params: { n: string } }>('/batches/:n', async (request) => {
    const { n } = request.params;
    const number = /^\d{1,15}$/.test(n) ? Number(n) : -1;
    const found = gateway.chain.view.batch(gateway.address, number);
    if (found === undefined) {
      throw new DefaasError(
        'BATCH_UNKNOWN',
        `no batch ${n.slice(0, 20)} of this gateway, check the number`,
      );
    }
    return {
      batch: found.batch,
      gateway: found.gateway,
      tx: found.tx,
      blockNumber: found.blockNumber,
      root: found.root,
      cid: cidOf(DAG_CBOR, found.cidDigest),
      totalUnits: `${found.total}`,
      feeBps: found.feeBps,
    };
  });
}
