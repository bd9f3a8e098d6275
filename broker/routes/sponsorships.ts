// Sponsorships: what a publisher pays per UTC day for a function's callers, and the balance left to
// pay it.
import type { FastifyInstance } from 'fastify';
import type { Gateway } from '../gateway.ts';
import { jsonBody } from '../http/json.ts';
import { functionScope } from '../money/daily-limits.ts';
import { LimitBody, setDailyLimit } from './daily-limit.ts';
import { type FunctionParams, type Named, ownedFunction } from './owned.ts';

export async function sponsorshipRoutes(
  server: FastifyInstance,
  { gateway }: { readonly gateway: Gateway },
): Promise<void> {
  const parse = jsonBody(LimitBody);
  server.get<FunctionParams>('/sponsorships/:owner/:name', async (request) =>
    sponsorshipDocument(gateway, await ownedFunction(gateway, request)),
  );
  server.put<FunctionParams>('/sponsorships/:owner/:name', async (request) => {
    const { dailyUnits } = parse(request);
    const owned = await ownedFunction(gateway, request);
    await setDailyLimit(gateway, functionScope(owned.function), dailyUnits);
    return sponsorshipDocument(gateway, owned);
  });
}

function sponsorshipDocument(
  gateway: Pick<Gateway, 'chain' | 'dailyLimits' | 'deployments' | 'lanes' | 'mandates'>,
  { function: fn, label }: Named,
) {
  const { dailyLimits, lanes, mandates, chain, deployments } = gateway;
  const scope = functionScope(fn);
  const version = chain.view.versionOf(fn);
  const manifest = version && deployments.manifest(version.functionVersion);
  const [mandate] = mandates.sponsoring(fn.owner, fn.id).map((state) => {
    const { payer, signer, untilSec } = state.mandate;
    const ofLane = lanes.payableUnits(payer, signer);
    const ofMandate = mandates.leftUnits(state);
    return { signer, untilSec, leftUnits: ofLane < ofMandate ? ofLane : ofMandate };
  });
  return {
    function: label,
    /** Whether the newest version can be called without a token. */
    isSponsored: manifest?.payer === 'publisher' && version?.accessMode === 0,
    dailyUnits: `${dailyLimits.limitOf(scope) ?? 0n}`,
    spentTodayUnits: `${dailyLimits.spentToday(scope)}`,
    /** Null if the owner has no open mandate for it. `leftUnits` may be limited by the day. */
    lane: mandate ? { ...mandate, leftUnits: `${mandate.leftUnits}` } : null,
  };
}
