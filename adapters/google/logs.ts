// What a function wrote, read from Cloud Logging. The gateway's account needs `roles/logging.viewer` in the project.
// https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list

import { type Answer, SendError, type Sender } from '../http/send.ts';
import { codeOfStatus } from '../http/status.ts';
import { type LogLine, ProviderError } from '../provider.ts';
import { firstLine, PROVIDER } from './errors.ts';

const ORIGIN = 'https://logging.googleapis.com';
/** Most entries of one page. */
const PAGE_ENTRIES = 1000;
const MAX_PAGE_BYTES = 16 * 1024 * 1024;

export interface LogsQuestion {
  readonly name: string;
  readonly region: string;
  readonly sinceMs: number;
  readonly limit: number;
  readonly signal: AbortSignal;
}

/** Newest last. @throws ProviderError */
export function createLogsReader(options: {
  readonly projectId: string;
  /** Of an emulator. */
  readonly endpoint?: string;
  readonly send: Sender['send'];
  /** An access token of the control plane. */
  readonly accessToken: () => Promise<string>;
}): (question: LogsQuestion) => Promise<readonly LogLine[]> {
  return async ({ name, region, sinceMs, limit, signal }) => {
    const filter = [
      'resource.type="cloud_run_revision"',
      `resource.labels.service_name="${name}"`,
      `resource.labels.location="${region}"`,
      `timestamp>="${new Date(sinceMs).toISOString()}"`,
    ].join(' AND ');
    const lines: LogLine[] = [];
    for (let pageToken: string | undefined; ; ) {
      const answer = await ask(name, signal, {
        resourceNames: [`projects/${options.projectId}`],
        filter,
        // The newest are wanted when there are more than the limit.
        orderBy: 'timestamp desc',
        pageSize: Math.min(limit - lines.length, PAGE_ENTRIES),
        ...(pageToken !== undefined && { pageToken }),
      });
      const { entries, nextPageToken } = parse(answer.body);
      if (Array.isArray(entries)) lines.push(...entries.map(toLine));
      if (lines.length >= limit || typeof nextPageToken !== 'string' || nextPageToken === '') break;
      pageToken = nextPageToken;
    }
    return lines.slice(0, limit).reverse();
  };

  async function ask(target: string, signal: AbortSignal, body: object): Promise<Answer> {
    const facts = { provider: PROVIDER, operation: 'logs', target, ran: 'no' } as const;
    const answer = await options
      .send(
        {
          origin: options.endpoint ?? ORIGIN,
          method: 'POST',
          path: '/v2/entries:list',
          headers: {
            authorization: `Bearer ${await options.accessToken()}`,
            'content-type': 'application/json',
          },
          body: Buffer.from(JSON.stringify(body)),
        },
        { signal, maxResponseBytes: MAX_PAGE_BYTES },
      )
      .catch((cause: unknown) => {
        if (!(cause instanceof SendError)) throw cause;
        const code = cause.reason === 'aborted' ? 'PROVIDER_DEADLINE' : 'PROVIDER_CONNECTION';
        throw new ProviderError(code, `logs of ${target}: ${cause.message}`, { ...facts, cause });
      });
    const { status } = answer;
    if (status === 200) return answer;
    const told = parse(answer.body).error;
    const why = isRecord(told) ? firstLine(String(told.message ?? '')) : `status ${status}`;
    throw new ProviderError(codeOfStatus(status), `${why}, on logs of ${target}`, {
      ...facts,
      status,
    });
  }
}

/** Text, or a structure whose `message` is the text. */
function toLine(entry: unknown): LogLine {
  const { timestamp, severity, textPayload, jsonPayload, labels } = isRecord(entry) ? entry : {};
  const id = isRecord(labels) ? labels.execution_id : undefined;
  const structure = isRecord(jsonPayload)
    ? (jsonPayload.message ?? JSON.stringify(jsonPayload))
    : '';
  const level = String(severity ?? 'DEFAULT').toLowerCase();
  return {
    atMs: Date.parse(String(timestamp)),
    ...(typeof id === 'string' && { requestId: id }),
    level: level === 'default' ? 'info' : level,
    text: String(textPayload ?? structure).replace(/\n$/, ''),
  };
}

function parse(bytes: Buffer): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(bytes.toString());
    if (isRecord(value)) return value;
  } catch {
    // Told by the status.
  }
  return {};
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
