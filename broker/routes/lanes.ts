// Lanes: what the gateway has served and holds, vouchers that raise ceilings, and daily limits of
// lane keys.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import { isOfLane, signedIn, tokenOf } from '../http/bearer.ts';
import { jsonBody } from '../http/json.ts';
import { laneScope } from '../money/daily-limits.ts';
import { acceptVoucher } from '../money/vouchers.ts';
import { LimitBody, setDailyLimit } from './daily-limit.ts';

const MODES = ['none', 'prepaid', 'signed'] as const;

const VoucherBody = Type.Object(
  { ceiling: Type.String({ maxLength: 39 }), signature: Type.String({ maxLength: 8194 }) },
  { additionalProperties: false },
);

type LaneParams = { Params: { payer: string; signer: string } };

export async function laneRoutes(
  server: FastifyInstance,
  { gateway }: { readonly gateway: Gateway },
): Promise<void> {
  const parse = jsonBody(VoucherBody);
  const parseLimit = jsonBody(LimitBody);
  server.get<LaneParams>('/lanes/:payer/:signer', async (request) => {
    const lane = await ownLane(gateway, request);
    // Include the key's own signature: a client that has lost its state can verify how far it has
    // signed.
    const voucher = await gateway.ledger.voucher(lane.payer, lane.signer);
    return {
      ...laneDocument(gateway, lane),
      voucher: voucher
        ? { ceilingUnits: `${voucher.ceiling}`, signature: voucher.signature }
        : null,
    };
  });
  // No token needed: the voucher is authenticated by its own signature.
  server.put<LaneParams>('/lanes/:payer/:signer/voucher', async (request) => {
    const lane = await openLane(gateway, request);
    const { ceiling, signature } = parse(request);
    await acceptVoucher(gateway, lane, `${ceiling}:${signature}`);
    return laneDocument(gateway, lane);
  });
  // Payer only: a stolen key must not lift its own limit.
  server.put<LaneParams>('/lanes/:payer/:signer/limit', async (request) => {
    const { signedBy } = await signedIn(gateway, request);
    const lane = await openLane(gateway, request);
    if (signedBy !== lane.payer) throw notPayer(lane, signedBy);
    const { dailyUnits } = parseLimit(request);
    await setDailyLimit(gateway, laneScope(lane.payer, lane.signer), dailyUnits);
    return laneDocument(gateway, lane);
  });
}

export interface LaneId {
  readonly payer: Address;
  readonly signer: Address;
}

/** Visible to the payer and the lane's own key only. */
async function ownLane(
  gateway: Pick<Gateway, 'address' | 'authenticate' | 'chain' | 'config'>,
  request: FastifyRequest<LaneParams>,
): Promise<LaneId> {
  const token = await tokenOf(gateway, request);
  const lane = await openLane(gateway, request);
  if (isOfLane(token, lane)) return lane;
  throw unknown(lane.payer, lane.signer);
}

/**
 * The lane in the path, which must exist on the chain.
 * @throws DefaasError LANE_UNKNOWN
 */
export async function openLane(
  gateway: Pick<Gateway, 'address' | 'chain'>,
  request: FastifyRequest<{ Params: { payer: string; signer: string } }>,
): Promise<LaneId> {
  const payer = request.params.payer.toLowerCase();
  const signer = request.params.signer.toLowerCase();
  if (!isAddress(payer) || !isAddress(signer)) throw unknown(payer, signer);
  if (gateway.chain.view.lane(payer, gateway.address, signer) === undefined) {
    await gateway.chain.synced();
  }
  if (gateway.chain.view.lane(payer, gateway.address, signer) === undefined) {
    throw unknown(payer, signer);
  }
  return { payer, signer };
}

function laneDocument(
  gateway: Pick<Gateway, 'address' | 'chain' | 'dailyLimits' | 'lanes'>,
  { payer, signer }: LaneId,
): Record<string, unknown> {
  const state = gateway.lanes.lane(payer, signer);
  const onChain = gateway.chain.view.lane(payer, gateway.address, signer);
  const line = gateway.chain.view.line(payer, gateway.address);
  const scope = laneScope(payer, signer);
  const dailyUnits = gateway.dailyLimits.limitOf(scope);
  return {
    payer,
    gateway: gateway.address,
    signer,
    mode: MODES[onChain?.mode ?? 0],
    capUnits: `${onChain?.cap ?? 0n}`,
    expirySec: onChain?.expirySec ?? 0,
    settledUnits: `${onChain?.settled ?? 0n}`,
    servedUnits: `${state.cumulative}`,
    seq: state.seq,
    ceilingUnits: `${state.ceiling}`,
    heldUnits: `${state.held}`,
    limit: {
      dailyUnits: dailyUnits === undefined ? null : `${dailyUnits}`,
      spentTodayUnits: `${gateway.dailyLimits.spentToday(scope)}`,
    },
    line: {
      allottedUnits: `${line?.allotted ?? 0n}`,
      thawingUnits: `${line?.thawing ?? 0n}`,
      leftUnits: `${gateway.lanes.lineLeft(payer)}`,
    },
  };
}

function isAddress(text: string): text is Address {
  return /^0x[0-9a-f]{40}$/.test(text);
}

function notPayer({ payer, signer }: LaneId, signedBy: Address): DefaasError {
  if (signedBy !== signer) return unknown(payer, signer);
  return new DefaasError(
    'NOT_OWNER',
    `the key ${signer} may not set its own limit, sign in with its payer ${payer}`,
  );
}

function unknown(payer: string, signer: string): DefaasError {
  return new DefaasError(
    'LANE_UNKNOWN',
    `no lane of ${payer} with key ${signer} at this gateway, run defaas deposit`,
  );
}
