// Alarms for `defaas doctor`; evidence that anybody may submit; and the watches that raise alarms.
import type { FastifyInstance } from 'fastify';
import { MAX_EVIDENCE_LENGTH, parseEvidence } from '../client/evidence.ts';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';

import { signedIn } from '../http/bearer.ts';

import { gatewaysOf } from '../served-sets.ts';

import { startAnswering } from '../settlement/answer-demands.ts';
import { watchOthers } from '../settlement/watch-others.ts';
import { reportSigned, watchStanding } from '../settlement/watch-standing.ts';

export async function alarmRoutes(
  server: FastifyInstance,
  { gateway }: { readonly gateway: Gateway },
): Promise<void> {
  const watches = [startAnswering(gateway), watchStanding(gateway), watchOthers(gateway)];
  server.addHook('onClose', async () => {
    for (const watch of watches) watch.close();
  });

  server.get('/alarms', async (request) => {
    const { signedBy } = await signedIn(gateway, request);
    if (signedBy !== gateway.address && signedBy !== gateway.settler.address) {
      throw new DefaasError(
        'OPERATOR_ONLY',
        `${signedBy} may not see the alarms, sign in with the gateway's key`,
      );
    }
    return { alarms: gatewaysOf(gateway).flatMap(({ alarms }) => alarms.list()) };
  });

  /**
   * A receipt signed with this gateway's key. If this gateway has not made it, the key is stolen.
   */
  server.post<{ Body: Buffer }>(
    '/evidence',
    { bodyLimit: MAX_EVIDENCE_LENGTH },
    async (request) => {
      const { chainId, billing, exhibit } = parseEvidence(request.body.toString('utf8'));
      const { chain } = gateway;
      const isOurs = chainId === chain.chainId && billing === chain.contracts.billing;
      if (!isOurs || !('signed' in exhibit)) {
        throw new DefaasError(
          'EVIDENCE_INVALID',
          'only receipts signed for this chain and these contracts are taken, check the file',
        );
      }
      const known = await reportSigned(gateway, exhibit.signed, 'it was reported');
      return { signedHere: known !== undefined, known: known?.isKnown ?? false };
    },
  );
}
