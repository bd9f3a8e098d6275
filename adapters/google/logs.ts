// Reads from Cloud Logging what a function wrote. The gateway's account needs
// `roles/logging.viewer` in the project.
// https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list

import type { LogLine } from '../provider.ts';
import { listOf, objectOf, type ReadParts, read } from './read.ts';

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
export function createLogsReader(
  parts: ReadParts,
): (question: LogsQuestion) => Promise<readonly LogLine[]> {
  return async ({ name, region, sinceMs, limit, signal }) => {
    const filter = [
      'resource.type="cloud_run_revision"',
      `resource.labels.service_name="${name}"`,
      `resource.labels.location="${region}"`,
      `timestamp>="${new Date(sinceMs).toISOString()}"`,
    ].join(' AND ');
    const lines: LogLine[] = [];
    for (let pageToken: string | undefined; ; ) {
      const { entries, nextPageToken } = await read(parts, {
        ...{ operation: 'logs', target: name, signal },
        ...{ origin: ORIGIN, path: '/v2/entries:list', maxBytes: MAX_PAGE_BYTES },
        body: {
          resourceNames: [`projects/${parts.projectId}`],
          filter,
          // When there are more than the limit, the newest are wanted.
          orderBy: 'timestamp desc',
          pageSize: Math.min(limit - lines.length, PAGE_ENTRIES),
          ...(pageToken !== undefined && { pageToken }),
        },
      });
      lines.push(...listOf(entries).map(toLine));
      if (lines.length >= limit || typeof nextPageToken !== 'string' || nextPageToken === '') break;
      pageToken = nextPageToken;
    }
    return lines.slice(0, limit).reverse();
  };
}

/** Logs that Cloud Run writes of a service: one entry per request, and events of instances. */
const OF_PLATFORM = /\/run\.googleapis\.com%2F(?:requests|varlog%2Fsystem)$/;
/** What Cloud Run says of an instance at these levels concerns the function: it was killed. */
const OF_CONCERN = /^(?:warning|error|critical|alert|emergency)$/;

/** An entry has either a text, or a structure whose `message` is the text. */
function toLine(entry: unknown): LogLine {
  const { timestamp, severity, textPayload, jsonPayload, labels, logName, httpRequest } =
    objectOf(entry);
  const { execution_id: id } = objectOf(labels);
  const level = String(severity ?? 'DEFAULT').toLowerCase();
  const { requestMethod, requestUrl, status } = objectOf(httpRequest);
  const isRequest = requestMethod !== undefined;
  const isPlatform = OF_PLATFORM.test(String(logName)) && (isRequest || !OF_CONCERN.test(level));
  const text = isRequest
    ? `${requestMethod} ${status} ${requestUrl}`
    : String(textPayload ?? textOf(jsonPayload)).replace(/\n$/, '');
  return {
    atMs: Date.parse(String(timestamp)),
    ...(typeof id === 'string' && { requestId: id }),
    level: isPlatform ? 'platform' : level === 'default' ? 'info' : level,
    text,
  };
}

function textOf(jsonPayload: unknown): unknown {
  if (typeof jsonPayload !== 'object' || jsonPayload === null) return '';
  return objectOf(jsonPayload).message ?? JSON.stringify(jsonPayload);
}
