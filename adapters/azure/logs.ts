// What a function wrote, read from Application Insights, where the Functions host sends it when the app's settings name a
// component. The gateway's account needs `Monitoring Reader` on that component.
// https://learn.microsoft.com/rest/api/application-insights/query/execute

import type { Sender } from '../http/send.ts';
import { type LogLine, ProviderError } from '../provider.ts';
import { about, sendError, statusError } from './invocation.ts';

/** The setting by which an app sends its traces. */
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

/** Newest last; what was written a moment ago may take minutes to appear. @throws ProviderError */
export function createLogsReader(options: {
  /** Of the component, as the portal shows it. */
  readonly connectionString: string | undefined;
  /** Of an emulator. */
  readonly endpoint?: string;
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
    // The shim's function is `main`; its console is the host's.
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

/** The columns are those of the query's last line. */
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
