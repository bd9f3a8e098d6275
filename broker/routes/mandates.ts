// Mandates of a lane, submitted and revoked by the lane's key. They limit what handed-on tokens,
// and callers of a sponsored function, may charge to it.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import type { Hex } from '../../contracts/libraries/keccak.ts';
import { hashMandate, type Mandate } from '../../contracts/libraries/typed-data.ts';
import { ANY_FUNCTION, NO_SUBJECT, SPONSOR_KIND, TOKEN_KIND } from '../client/mandates.ts';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import { signedIn } from '../http/bearer.ts';
import { jsonBody } from '../http/json.ts';
import { recoverSigner } from '../identity/ecdsa.ts';
import { FORGOTTEN_AFTER_SEC } from '../money/mandates.ts';
import { type LaneId, openLane } from './lanes.ts';

/**
 * Maximum number of remembered mandates per lane. Each stays in memory until it is forgotten, so a
 * mandate that has just ended still counts.
 */
const MAX_MANDATES = 100;
/** Maximum number of open mandates for the callers of one function: a call may try each. */
const MAX_SPONSORING = 200;
/** Latest allowed end of a mandate, seconds from now. */
const MAX_LIFE_SEC = 366 * 86_400;
const PREPAID = 1;

const Units = Type.String({ pattern: '^\\d{1,26}$' });
const MandateBody = Type.Object(
  {
    kind: Type.Integer({ minimum: TOKEN_KIND, maximum: SPONSOR_KIND }),
    subject: Type.String({ pattern: '^0x[0-9a-f]{64}$' }),
    functionId: Type.String({ pattern: '^\\d{1,78}$' }),
    maxPrice: Units,
    perDay: Units,
    total: Units,
    untilSec: Type.Integer({ minimum: 0, maximum: 2 ** 40 - 1 }),
    serial: Type.String({ pattern: '^\\d{1,19}$' }),
    signature: Type.String({ pattern: '^0x[0-9a-fA-F]{130}$' }),
  },
  { additionalProperties: false },
);

type MandateParams = { Params: { payer: string; signer: string; hash: string } };

export async function mandateRoutes(
  server: FastifyInstance,
  { gateway }: { readonly gateway: Gateway },
): Promise<void> {
  const parse = jsonBody(MandateBody);
  /**
   * Number of mandates being written, by lane and by sponsored function: they count towards the
   * maximum before they are stored.
   */
  const entering = new Map<string, number>();
  const enter = (name: string, step: 1 | -1): void => {
    const count = (entering.get(name) ?? 0) + step;
    if (count > 0) entering.set(name, count);
    else entering.delete(name);
  };
  // No token needed: the mandate is authenticated by its own signature.
  server.put<MandateParams>('/lanes/:payer/:signer/mandates/:hash', async (request) => {
    const lane = await openLane(gateway, request);
    const { functionId, maxPrice, perDay, total, serial, signature, subject, ...body } =
      parse(request);
    const mandate: Mandate = {
      ...lane,
      ...body,
      gateway: gateway.address,
      // Safe: the schema's pattern matches Hex only.
      subject: subject as Hex,
      functionId: BigInt(functionId),
      maxPrice: BigInt(maxPrice),
      perDay: BigInt(perDay),
      total: BigInt(total),
      serial: BigInt(serial),
    };
    const hash = hashMandate(gateway.chain.domain, mandate);
    refuseInvalid(gateway, mandate);
    // Safe: the schema's pattern matches Hex only.
    if (recoverSigner(hash, signature.toLowerCase() as Hex) !== lane.signer) {
      throw invalid(`it is not signed by the lane's key ${lane.signer}`);
    }
    if (hash !== request.params.hash.toLowerCase()) throw invalid(`its hash is ${hash}`);
    const known = gateway.mandates.find(lane.payer, lane.signer, hash);
    if (known?.isRevoked) throw invalid('it was revoked, sign another serial');
    if (known === undefined) {
      const ofLane = `${lane.payer}:${lane.signer}`;
      const ofFunction = `${lane.payer}:${mandate.functionId}`;
      refuseMany(gateway, lane, entering.get(ofLane) ?? 0);
      refuseSponsors(gateway, mandate, entering.get(ofFunction) ?? 0);
      enter(ofLane, 1);
      enter(ofFunction, 1);
      try {
        const stored = { hash, mandate, signature: signature.toLowerCase() as Hex };
        await gateway.ledger.putMandate(stored);
        gateway.mandates.put(stored);
      } finally {
        enter(ofLane, -1);
        enter(ofFunction, -1);
      }
    }
    return mandateDocument(gateway, lane, hash);
  });

  // The holder of a handed-on token must not be able to revoke other mandates.
  server.delete<MandateParams>('/lanes/:payer/:signer/mandates/:hash', async (request, reply) => {
    const { signedBy, subjects } = await signedIn(gateway, request);
    const lane = await openLane(gateway, request);
    const isOwner =
      signedBy === lane.payer ||
      (signedBy === lane.signer && !gateway.mandates.isHandedOn(lane.payer, lane.signer, subjects));
    const found = isOwner ? findMandate(gateway, lane, request) : undefined;
    if (found === undefined) throw unknown(request.params.hash);
    if (!found.isRevoked) {
      await gateway.ledger.revokeMandate(found.hash, gateway.nowMs());
      gateway.mandates.revoke(found.hash);
    }
    return reply.code(204).send();
  });
}

function findMandate(
  gateway: Pick<Gateway, 'mandates'>,
  { payer, signer }: LaneId,
  request: FastifyRequest<MandateParams>,
) {
  const hash = request.params.hash.toLowerCase();
  return gateway.mandates.ofLane(payer, signer).find((state) => state.hash === hash);
}

function refuseInvalid(
  gateway: Pick<Gateway, 'address' | 'chain' | 'nowMs'>,
  mandate: Mandate,
): void {
  const { payer, signer, kind, subject, functionId, maxPrice, perDay, total, untilSec } = mandate;
  const nowSec = gateway.nowMs() / 1000;
  if (gateway.chain.view.lane(payer, gateway.address, signer)?.mode !== PREPAID) {
    throw invalid('its lane is not a prepaid one');
  }
  if (kind === SPONSOR_KIND && (subject !== NO_SUBJECT || functionId === ANY_FUNCTION)) {
    throw invalid('one of a sponsor names its function and no subject');
  }
  if (kind === TOKEN_KIND && subject === NO_SUBJECT) {
    throw invalid('one of a token names the token');
  }
  if (maxPrice > perDay || perDay > total) throw invalid('maxPrice <= perDay <= total must hold');
  if (untilSec <= nowSec || untilSec > nowSec + MAX_LIFE_SEC) {
    throw invalid('it must end in the future, within a year');
  }
}

function refuseMany(
  gateway: Pick<Gateway, 'mandates' | 'nowMs'>,
  { payer, signer }: LaneId,
  entering: number,
): void {
  const sinceSec = gateway.nowMs() / 1000 - FORGOTTEN_AFTER_SEC;
  const known = gateway.mandates
    .ofLane(payer, signer)
    .filter(({ mandate }) => mandate.untilSec > sinceSec);
  if (known.length + entering < MAX_MANDATES) return;
  throw invalid(
    `the lane has ${MAX_MANDATES} that are not over for ${FORGOTTEN_AFTER_SEC / 60} minutes, wait until some have ended`,
  );
}

function refuseSponsors(
  gateway: Pick<Gateway, 'mandates'>,
  { kind, payer, functionId }: Mandate,
  entering: number,
): void {
  if (kind !== SPONSOR_KIND) return;
  const open = gateway.mandates.sponsoring(payer, functionId);
  if (open.length + entering < MAX_SPONSORING) return;
  throw invalid(`${MAX_SPONSORING} pay the callers of this function already, revoke one first`);
}

function mandateDocument(gateway: Pick<Gateway, 'mandates'>, { payer, signer }: LaneId, hash: Hex) {
  const state = gateway.mandates.find(payer, signer, hash);
  if (state === undefined) throw unknown(hash);
  return {
    hash,
    spentUnits: `${state.totalUnits}`,
    leftUnits: `${gateway.mandates.leftUnits(state)}`,
  };
}

function invalid(why: string): DefaasError {
  return new DefaasError('MANDATE_INVALID', `the mandate is refused: ${why}`);
}

function unknown(hash: string): DefaasError {
  return new DefaasError(
    'MANDATE_UNKNOWN',
    `no mandate ${hash.slice(0, 66)} of yours on this lane, check the hash`,
  );
}
