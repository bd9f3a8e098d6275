// Reads the log of a Lambda function from CloudWatch Logs, one signed request per page. The
// gateway's credentials need `logs:FilterLogEvents`. The function's role writes the log.
// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html

import { hash } from 'node:crypto';
import type { OutboundRequest, Sender } from '../http/send.ts';
import type { LogLine, ProviderErrorCode } from '../provider.ts';
import { type AwsCredentials, amzDate, createSigner } from './signature.ts';

/** Most events of one page, and most pages of one query. */
const PAGE_EVENTS = 10_000;
const MAX_PAGES = 20;
const MAX_PAGE_BYTES = 16 * 1024 * 1024;
/** Lines that the platform writes of an instance, not of a call. */
const OF_INSTANCE = /^(?:INIT_START|INIT_REPORT|RESTORE_START|RESTORE_REPORT|EXTENSION)\s/;

export interface LogsQuestion {
  readonly name: string;
  readonly sinceMs: number;
  readonly limit: number;
  readonly signal: AbortSignal;
}

/** Why the log could not be read. */
export interface LogsRefusal {
  readonly code: ProviderErrorCode;
  readonly message: string;
  readonly status: number;
}

/** A function that never ran has no log group and so no lines. @throws SendError */
export function createLogsReader(options: {
  readonly origin: string;
  readonly region: string;
  readonly send: Sender['send'];
  /** Unix time in milliseconds. */
  readonly clock: () => number;
}): (
  question: LogsQuestion,
  credentials: AwsCredentials,
) => Promise<readonly LogLine[] | LogsRefusal> {
  const { origin, clock } = options;
  const sign = createSigner(options.region, 'logs');
  const host = new URL(origin).host;

  function toRequest(body: object, credentials: AwsCredentials): OutboundRequest {
    const bytes = Buffer.from(JSON.stringify(body));
    const bodyHash = hash('sha256', bytes, 'hex');
    const date = amzDate(clock());
    const { sessionToken } = credentials;
    const headers = ['content-type', 'application/x-amz-json-1.1', 'host', host];
    headers.push('x-amz-date', date);
    if (sessionToken !== undefined) headers.push('x-amz-security-token', sessionToken);
    headers.push('x-amz-target', 'Logs_20140328.FilterLogEvents');
    const toSign = { method: 'POST', path: '/', query: '', headers, bodyHash, date };
    headers.push('authorization', sign(toSign, credentials));
    return { origin, path: '/', method: 'POST', headers, body: bytes };
  }

  return async ({ name, sinceMs, limit, signal }, credentials) => {
    let lines: LogLine[] = [];
    let nextToken: string | undefined;
    // CloudWatch sends the oldest first, so read all pages and keep the newest lines.
    for (let page = 0; page < MAX_PAGES; page += 1) {
      const asked = {
        logGroupName: `/aws/lambda/${name}`,
        startTime: Math.max(0, Math.floor(sinceMs)),
        limit: PAGE_EVENTS,
        ...(nextToken !== undefined && { nextToken }),
      };
      const answer = await options.send(toRequest(asked, credentials), {
        signal,
        maxResponseBytes: MAX_PAGE_BYTES,
      });
      const body = parse(answer.body);
      if (answer.status !== 200) {
        const type = String(body.__type ?? '').replace(/^.*#/, '');
        if (type === 'ResourceNotFoundException') return [];
        const message = `${type || answer.status}: ${String(body.message ?? body.Message ?? '')}`;
        const code = codeOf(type, answer.status);
        return { code, message: message.slice(0, 256), status: answer.status };
      }
      const events = Array.isArray(body.events) ? body.events : [];
      lines = [...lines, ...events.map(toLine)].slice(-limit);
      if (typeof body.nextToken !== 'string') break;
      nextToken = body.nextToken;
    }
    return lines;
  };
}

/**
 * Reads Lambda's text format. A line of the function is `time, request id, level, text`, separated
 * by tabs. A line of the platform begins with its kind.
 * https://docs.aws.amazon.com/lambda/latest/dg/nodejs-logging.html
 */
function toLine({ timestamp, message }: { timestamp?: unknown; message?: unknown }): LogLine {
  const atMs = Number(timestamp);
  const text = String(message ?? '').replace(/\n$/, '');
  const [, own, level = '', words = ''] =
    /^\d{4}-\d\d-\d\dT[\d:.]+Z\t([\w-]*)\t([A-Z]+)\t(.*)$/s.exec(text) ?? [];
  if (level !== '') {
    return { atMs, ...named(own), level: level.toLowerCase(), text: stackOf(words) ?? words };
  }
  const [, id] = /^(?:START|END|REPORT) RequestId: ([\w-]+)/.exec(text) ?? [];
  const isPlatform = id !== undefined || OF_INSTANCE.test(text);
  return { atMs, ...named(id), level: isPlatform ? 'platform' : 'info', text };
}

/** The stack of an error that the runtime reports: `Invoke Error`, a tab, and the error as JSON. */
function stackOf(words: string): string | undefined {
  const [, error = ''] = /^Invoke Error\s*\t(\{.*\})\s*$/s.exec(words) ?? [];
  if (error === '') return undefined;
  const { stack } = parse(Buffer.from(error));
  return Array.isArray(stack) && stack.length > 0 ? stack.join('\n') : undefined;
}

function named(requestId: string | undefined): { requestId?: string } {
  return requestId ? { requestId } : {};
}

function codeOf(type: string, status: number): ProviderErrorCode {
  if (type === 'AccessDeniedException') return 'PROVIDER_FORBIDDEN';
  if (type === 'ThrottlingException' || status === 429) return 'PROVIDER_THROTTLED';
  if (/Token|Signature|Authentication/.test(type) || status === 401 || status === 403) {
    return 'PROVIDER_UNAUTHENTICATED';
  }
  if (status >= 500) return 'PROVIDER_UNAVAILABLE';
  return status === 400 ? 'PROVIDER_INVALID' : 'PROVIDER_PROTOCOL';
}

function parse(bytes: Buffer): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(bytes.toString());
    // Each member is checked where it is read, so an object of any shape is safe.
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {
    // The status says what is wrong.
  }
  return {};
}
