// Reads from Application Insights what a function wrote. The Functions host sends it there when the
// app's settings name a component. The gateway's account needs `Monitoring Reader` on it.
// https://learn.microsoft.com/rest/api/application-insights/query/execute

import type { Sender } from '../http/send.ts';
import { type LogLine, ProviderError } from '../provider.ts';
import { about, sendError, statusError } from './errors.ts';

/** The setting that names the component to the Functions host. */
export const CONNECTION_SETTING = 'APPLICATIONINSIGHTS_CONNECTION_STRING';
export const INSIGHTS_SCOPE = 'https://api.applicationinsights.io/.default';
const ORIGIN = 'https://api.applicationinsights.io';
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;
/** `severityLevel` of a trace, by its number. */
const LEVELS = ['debug', 'info', 'warn', 'error', 'critical'];

export interface LogsQuestion {
  readonly name: string;
  readonly sinceMs: number;
  readonly limit: number;
  readonly signal: AbortSignal;
}

/** Newest last. A line can take minutes to appear. @throws ProviderError */
export function createLogsReader(options: {
  /** Connection string of the component, as the portal shows it. */
  readonly connectionString: string | undefined;
  /** Origin of an emulator. */
  readonly endpoint: string | undefined;
  readonly send: Sender['send'];
  /** An access token for `INSIGHTS_SCOPE`. */
  readonly accessToken: () => Promise<string>;
}): (question: LogsQuestion) => Promise<readonly LogLine[]> {
  const [, application] =
    /(?:^|;)ApplicationId=([\w-]+)/i.exec(options.connectionString ?? '') ?? [];

  return async ({ name, sinceMs, limit, signal }) => {
    if (application === undefined) {
      const message = `no Application Insights is configured, on ${name}, set DEFAAS_AZURE_INSIGHTS_CONNECTION and deploy again`;
      throw new ProviderError('PROVIDER_UNSUPPORTED', message, about('logs', name));
    }
    // The shim registers the function `main`. What it writes to the console is the host's category.
    const query = [
      'traces',
      `| where cloud_RoleName =~ "${name}" and timestamp >= datetime(${new Date(sinceMs).toISOString()})`,
      '| where customDimensions.Category in ("Function.main.User", "Host.Function.Console")',
      `| top ${limit} by timestamp desc`,
      '| project timestamp, severityLevel, message, invocationId = tostring(customDimensions.InvocationId)',
    ].join('\n');
    const authorization = `Bearer ${await options.accessToken()}`;
    const answer = await options
      .send(
        {
          origin: options.endpoint ?? ORIGIN,
          method: 'POST',
          path: `/v1/apps/${application}/query`,
          headers: { authorization, 'content-type': 'application/json' },
          body: Buffer.from(JSON.stringify({ query })),
        },
        { signal, maxResponseBytes: MAX_ANSWER_BYTES },
      )
      .catch((error: unknown) => {
        throw sendError(error, name, 'logs');
      });
    if (answer.status !== 200) throw statusError('logs', name, answer);
    return linesOf(answer.body).reverse();
  };
}

/** The last line of the query names the columns. */
function linesOf(body: Buffer): LogLine[] {
  const { tables } = JSON.parse(body.toString());
  const rows: readonly (readonly [string, number, string, string])[] = tables[0].rows;
  return rows.map(([timestamp, severity, text, requestId]) => ({
    atMs: Date.parse(timestamp),
    ...(requestId && { requestId }),
    level: LEVELS[severity] ?? 'info',
    text,
  }));
}
