// GET /logs/{owner}/{name}: the log lines of a version, from all clouds it runs on.
import type { FastifyInstance } from 'fastify';
import type { FunctionVersion } from '../../contracts/chain/types.ts';
import { readLogs } from '../deployments/logs.ts';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import { type FunctionParams, type Named, namedFunction, notOwner, versionOf } from './owned.ts';

/** Scope of a grant to read logs (Identity.sol). */
const SCOPE_LOGS = 4;
/** Maximum number of lines in one reply. */
const MAX_LINES = 10_000;

type LogsQuery = FunctionParams & {
  readonly Querystring: {
    readonly version?: string;
    /** Unix ms; defaults to one hour ago. */
    readonly since?: string;
    readonly limit?: string;
  };
};

export async function logRoutes(
  server: FastifyInstance,
  { gateway }: { readonly gateway: Gateway },
): Promise<void> {
  server.get<LogsQuery>('/logs/:owner/:name', async (request) => {
    const named = await namedFunction(gateway, request);
    const { version: reference = 'latest', since, limit } = request.query;
    const version = versionOf(gateway, named, reference, { allowDeprecated: true });
    if (!(await mayRead(gateway, named, version))) throw notOwner(named);
    const logs = await readLogs(gateway, version.functionVersion, {
      sinceMs: whole(since, 'since', gateway.nowMs() - 3_600_000),
      limit: Math.min(whole(limit, 'limit', 200), MAX_LINES),
    });
    return { function: named.label, version: version.number, cid: version.artifactCid, ...logs };
  });
}

/**
 * Logs may be read by the owner and by accounts that the version's grants or policy allow. That
 * everybody may call a public version does not make its logs public.
 */
async function mayRead(
  { chain }: Pick<Gateway, 'chain'>,
  { function: fn, signedBy }: Named,
  { accessMode, functionVersion }: FunctionVersion,
): Promise<boolean> {
  if (fn.owner === signedBy) return true;
  if (accessMode === 0) return false;
  const known = chain.view.isAllowed(functionVersion, signedBy, SCOPE_LOGS);
  return known ?? (await chain.isAllowed(functionVersion, signedBy, SCOPE_LOGS));
}

function whole(text: string | undefined, what: string, fallback: number): number {
  if (text === undefined) return fallback;
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new DefaasError(
    'REQUEST_INVALID',
    `${what} must be a whole number, got "${text.slice(0, 20)}"`,
  );
}
