// GET /logs/{owner}/{name}: what a version wrote, from all the clouds it is on.
import type { FastifyInstance } from 'fastify';
import { readLogs } from '../deployments/logs.ts';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import { type FunctionParams, ownedFunction, versionOf } from './owned.ts';

/** Most lines of one answer. */
const MAX_LINES = 10_000;

type LogsQuery = FunctionParams & {
  readonly Querystring: {
    readonly version?: string;
    /** Unix ms; an hour ago when left out. */
    readonly since?: string;
    readonly limit?: string;
  };
};

export async function logRoutes(
  server: FastifyInstance,
  { gateway }: { readonly gateway: Gateway },
): Promise<void> {
  server.get<LogsQuery>('/logs/:owner/:name', async (request) => {
    const owned = await ownedFunction(gateway, request);
    const { version: reference = 'latest', since, limit } = request.query;
    const version = versionOf(gateway, owned, reference, { allowDeprecated: true });
    const logs = await readLogs(gateway, version.functionVersion, {
      sinceMs: whole(since, 'since', gateway.nowMs() - 3_600_000),
      limit: Math.min(whole(limit, 'limit', 200), MAX_LINES),
    });
    return { function: owned.label, version: version.number, ...logs };
  });
}

function whole(text: string | undefined, what: string, fallback: number): number {
  if (text === undefined) return fallback;
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new DefaasError(
    'REQUEST_INVALID',
    `${what} must be a whole number, got "${text.slice(0, 20)}"`,
  );
}
