// Sponsorships: what a publisher pays of a function's callers per UTC day, and what is left to pay it from.
import type { FastifyInstance } from 'fastify';
import type { Gateway } from '../gateway.ts';
import { functionScope, paysCallers } from '../invocation/daily-limits.ts';
import { LimitBody, setDailyLimit } from './daily-limit.ts';
import { jsonBody } from './json.ts';
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

function sponsorshipDocument(gateway: Gateway, { function: fn, label }: Named) {
  const { dailyLimits, lanes, chain, deployments } = gateway;
  const scope = functionScope(fn);
  const version = chain.view.versionOf(fn);
  const manifest = version && deployments.manifest(version.functionVersion);
  const lane = lanes.prepaidLane(fn.owner);
  return {
    function: label,
    /** Whether callers of the newest version need no token. */
    isSponsored:
      manifest?.payer === 'publisher' && version?.accessMode === 0 && paysCallers(dailyLimits, fn),
    dailyUnits: `${dailyLimits.limitOf(scope) ?? 0n}`,
    spentTodayUnits: `${dailyLimits.spentToday(scope)}`,
    /** Null: no lane of the owner here is prepaid, open and signed for. */
    lane: lane ? { signer: lane.signer, leftUnits: `${lanes.laneLeft(lane)}` } : null,
  };
}
