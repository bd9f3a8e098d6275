// The part of Application Insights that the Azure emulator has: the traces of each app whose
// settings name the component, and the one form of query that reads them.
// https://learn.microsoft.com/rest/api/application-insights/query/execute

import type { IncomingMessage, ServerResponse } from 'node:http';
import { sendAnswer, spoilBefore } from '../../emulators/faults.ts';
import { readBody } from '../../emulators/request-body.ts';
import type { LogLine } from '../../provider.ts';
import { cutLines, type LogFolder } from '../../runtime/log-folder.ts';
import type { AzureParts } from './parts.ts';
import { type ArmAnswer, asRecord, failed } from './resource.ts';

/** Ids of the component. An app is connected when it has this connection string. */
const APPLICATION_ID = '11111111-1111-1111-1111-111111111111';
export const CONNECTION_STRING = `InstrumentationKey=22222222-2222-2222-2222-222222222222;ApplicationId=${APPLICATION_ID}`;
export const CONNECTION_SETTING = 'APPLICATIONINSIGHTS_CONNECTION_STRING';

const PATH = /^\/v1\/apps\/([^/?]+)\/query$/;
const MAX_BODY_BYTES = 64 * 1024;
/** Most rows of an answer (Azure Monitor service limits, query API). */
const MAX_ROWS = 500_000;
/** The supported query (Kusto): the newest traces of one role since a time, four columns. */
const QUERY =
  /^traces\s*\| where cloud_RoleName =~ "([\w-]{1,64})" and timestamp >= datetime\(([\dT:.Z-]+)\)\s*\| where customDimensions\.Category in \("Function\.main\.User", "Host\.Function\.Console"\)\s*\| top (\d+) by timestamp desc\s*\| project timestamp, severityLevel, message, invocationId = tostring\(customDimensions\.InvocationId\)$/;
/** Numbers of the host's levels in Application Insights. */
const SEVERITY: Readonly<Record<string, number>> = {
  ...{ trace: 0, debug: 0, information: 1, warning: 2, error: 3, critical: 4 },
};

/**
 * Gets the output of an instance. A line of the host has time, invocation and level. Any other line
 * is the console's.
 */
export function traceWriter(logs: LogFolder, site: string): (chunk: Buffer) => void {
  return cutLines((line) => {
    const [, time = '', requestId = '', level = '', text = ''] =
      /^(\d{4}-[\dT:.-]+Z)\t([\w-]*)\t([a-z]+)\t(.*)$/s.exec(line) ?? [];
    const trace: LogLine =
      time === ''
        ? { atMs: Date.now(), level: 'information', text: line }
        : {
            atMs: Date.parse(time),
            level,
            // The host writes a text of several lines as one line.
            text: text.replaceAll('\r', '\n'),
            ...(requestId !== '' && { requestId }),
          };
    logs.fileOf(site).append(trace);
  });
}

export function isInsights(url = ''): boolean {
  return url.startsWith('/v1/apps/');
}

export async function answerInsights(
  parts: Pick<AzureParts, 'faults' | 'isToken' | 'log' | 'logs'>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const fault = parts.faults.take('QueryExecute');
  if (!(await spoilBefore(response, fault))) return;
  const bytes = await readBody(request, MAX_BODY_BYTES);
  const { status, body, headers } = await answer();
  const answered = {
    ...{ status, headers: { 'content-type': 'application/json; charset=utf-8', ...headers } },
    body: Buffer.from(JSON.stringify(body)),
  };
  await sendAnswer(response, answered, fault);

  async function answer(): Promise<ArmAnswer> {
    if (fault?.kind === 'throttle') {
      const refused = failed(429, 'ThrottledError', 'Rate limit is exceeded');
      const seconds = String(Math.ceil((fault.retryAfterMs ?? 1000) / 1000));
      return { ...refused, headers: { 'retry-after': seconds } };
    }
    if (fault?.kind === 'status') return failed(fault.code, 'InternalServerError', 'An error.');
    if (fault?.kind === 'expire-credentials' || !parts.isToken(request.headers.authorization)) {
      return failed(401, 'InvalidTokenError', 'The provided authentication is not valid.');
    }
    const [, application] = PATH.exec(request.url ?? '') ?? [];
    if (request.method !== 'POST' || application !== APPLICATION_ID) {
      return failed(404, 'PathNotFoundError', 'The requested path does not exist');
    }
    const asked = QUERY.exec(String(queryIn(bytes)));
    if (!asked) {
      parts.log(`unsupported: query ${bytes?.toString().slice(0, 256)}`);
      return failed(400, 'BadArgumentError', 'The request had some invalid properties');
    }
    const [, site = '', since = '', limit] = asked;
    const query = { sinceMs: Date.parse(since), limit: Math.min(Number(limit), MAX_ROWS) };
    const lines = await parts.logs.fileOf(site.toLowerCase()).read(query);
    return { status: 200, body: { tables: [tableOf(lines)] } };
  }
}

function queryIn(bytes: Buffer | undefined): unknown {
  try {
    return asRecord(JSON.parse(bytes?.toString() ?? '')).query;
  } catch {
    // Not JSON, so not the supported query.
    return undefined;
  }
}

function tableOf(lines: readonly LogLine[]) {
  const columns = [
    { name: 'timestamp', type: 'datetime' },
    { name: 'severityLevel', type: 'int' },
    { name: 'message', type: 'string' },
    { name: 'invocationId', type: 'string' },
  ];
  const rows = lines.toReversed().map(({ atMs, level, text, requestId = '' }) => {
    return [new Date(atMs).toISOString(), SEVERITY[level] ?? 1, text, requestId];
  });
  return { name: 'PrimaryResult', columns, rows };
}
