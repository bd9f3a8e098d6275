// One call of a Lambda function on the wire: the API Gateway v2 event, its signed request, and the
// answer, failure and usage that come back. Bytes and headers only; `call.ts` sends them.

import { isUtf8 } from 'node:buffer';
import { hash } from 'node:crypto';
import type { OutboundRequest, UpstreamResponse } from '../http/send.ts';
import { retryAfterMs } from '../http/status.ts';
import type {
  Deployment,
  FunctionFailure,
  InvokeRequest,
  InvokeResult,
  ProviderErrorCode,
  Usage,
} from '../provider.ts';
import { LIMITS } from './limits.ts';
import { type AwsCredentials, amzDate, createSigner } from './signature.ts';

/** Largest payload of a synchronous call and of its answer, bytes (in the API's errors). */
export const MAX_PAYLOAD_BYTES = 6_291_456;
export const MAX_ANSWER_BYTES = 6_291_556;

/** Characters of base64 at the end of the log that surely contain the REPORT line. */
const REPORT_CHARS = 512;

/** Most characters of a failure's type. */
const MAX_TYPE_LENGTH = 256;

/** Errors with a 5xx status after which it is certain that no code ran. */
const NOT_RUN = new Set([
  'EC2ThrottledException',
  'InvalidRuntimeException',
  'InvalidZipFileException',
]);

/**
 * The call as an API Gateway v2 event. The body is base64 when it is not UTF-8, or when its escaped
 * text would pass the limit.
 */
export function toPayload(request: InvokeRequest): Buffer {
  const body = Buffer.from(request.body.buffer, request.body.byteOffset, request.body.byteLength);
  if (isUtf8(body)) {
    const payload = encode(request, body.toString(), false);
    // With many escaped characters, a text is longer than its base64.
    if (payload.length <= MAX_PAYLOAD_BYTES) return payload;
  }
  return encode(request, body.toString('base64'), true);
}

/**
 * Signs calls for one origin. Signed are date, host, content type, log type, session token and the
 * hash of the body. The hash is not sent: only S3 wants it in a header.
 */
export function createRequestSigner(origin: string, region: string) {
  const sign = createSigner(region, 'lambda');
  const host = origin.slice(origin.indexOf('//') + 2);
  /** The formatted date, renewed once a second. */
  let date = '';
  let dateMs = 0;

  return (
    path: string,
    query: string,
    payload: Uint8Array,
    credentials: AwsCredentials,
    nowMs: number,
  ): OutboundRequest => {
    if (nowMs - dateMs >= 1000 || nowMs < dateMs) {
      dateMs = nowMs - (nowMs % 1000);
      date = amzDate(dateMs);
    }
    const bodyHash = hash('sha256', payload, 'hex');
    const { sessionToken } = credentials;
    const headers = ['content-type', 'application/octet-stream', 'host', host];
    headers.push('x-amz-date', date, 'x-amz-log-type', 'Tail');
    if (sessionToken !== undefined) headers.push('x-amz-security-token', sessionToken);
    const toSign = { method: 'POST', path, query, headers, bodyHash, date };
    headers.push('authorization', sign(toSign, credentials));
    return { origin, path: `${path}?${query}`, method: 'POST', headers, body: payload };
  };
}

/** Why the API gave no result. */
export interface Refusal {
  readonly code: ProviderErrorCode;
  readonly ran: 'no' | 'maybe';
  readonly message: string;
  readonly retryAfterMs?: number;
}

/** The answer of the API: a result when the function ran to its end, else a refusal. */
export function readAnswer(
  answer: UpstreamResponse,
  deployment: Deployment,
  nowMs: number,
): InvokeResult | Refusal {
  if (answer.status !== 200) return readRefusal(answer, nowMs);

  const requestId = text(answer.headers['x-amzn-requestid']);
  // The REPORT line ends the log. A cut at a multiple of four characters keeps base64 valid.
  const tail = text(answer.headers['x-amz-log-result']).slice(-REPORT_CHARS);
  const report = readReport(Buffer.from(tail, 'base64').toString('latin1'), requestId);
  const outcome = {
    requestId,
    ...(report && { cold: report.initMs !== undefined }),
  };
  const value = parse(answer.body);
  if (answer.headers['x-amz-function-error'] !== undefined) {
    const usage = measure(report, answer, deployment, answer.body.length);
    return { ...outcome, ok: false, error: readFailure(value), usage };
  }

  const { statusCode, headers, cookies = [], body, isBase64Encoded } = value ?? {};
  if (
    !isStatus(statusCode) ||
    typeof body !== 'string' ||
    !isRecord(headers) ||
    !isTexts(Object.values(headers)) ||
    !isTexts(cookies)
  ) {
    return {
      code: 'PROVIDER_PROTOCOL',
      ran: 'maybe',
      message: 'the answer is not that of our shim',
    };
  }
  const bytes = Buffer.from(body, isBase64Encoded === true ? 'base64' : 'utf8');
  const pairs: [string, string][] = [];
  for (const [name, each] of Object.entries(headers)) {
    if (!name.startsWith('x-defaas-')) pairs.push([name, String(each)]);
  }
  for (const cookie of cookies) pairs.push(['set-cookie', cookie]);
  const usage = measure(report, answer, deployment, bytes.length);
  if (bytes.length > LIMITS.maxResponseBytes) {
    const message = `answer of ${bytes.length} bytes, limit ${LIMITS.maxResponseBytes}`;
    const error = { kind: 'too-large', type: 'ResponseSizeTooLarge', message } as const;
    return { ...outcome, ok: false, error, usage };
  }
  return { ...outcome, ok: true, status: statusCode, headers: pairs, body: bytes, usage };
}

/** Whether it is the status of a final response (RFC 9110 section 15). */
function isStatus(value: unknown): value is number {
  return Number.isInteger(value) && Number(value) >= 200 && Number(value) <= 599;
}

/** Only strings: an object from the function could choose what its `toString` gives. */
function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((each) => typeof each === 'string');
}

function encode(request: InvokeRequest, body: string, isBase64Encoded: boolean): Buffer {
  // A Map, because a header may have the name `constructor` or `__proto__`.
  const headers = new Map<string, string>();
  for (const [name, value] of request.headers) {
    const known = headers.get(name);
    // RFC 9110 section 5.3; for cookies RFC 9113 section 8.2.3.
    const joined =
      known === undefined ? value : `${known}${name === 'cookie' ? ';' : ','} ${value}`;
    headers.set(name, joined);
  }
  return Buffer.from(
    JSON.stringify({
      version: '2.0',
      routeKey: '$default',
      rawPath: request.path,
      rawQueryString: request.query,
      headers: Object.fromEntries(headers),
      requestContext: {
        requestId: request.callId,
        http: { method: request.method, path: request.path, protocol: 'HTTP/1.1' },
      },
      body,
      isBase64Encoded,
    }),
  );
}

function readRefusal(answer: UpstreamResponse, nowMs: number): Refusal {
  const type = text(answer.headers['x-amzn-errortype']).split(':')[0] ?? '';
  const said = parse(answer.body);
  const message = `${type} ${said?.message ?? said?.Message ?? ''}`.slice(0, 256).trim();
  const refusal = (code: ProviderErrorCode, ran: 'no' | 'maybe'): Refusal => ({
    code,
    ran,
    message,
  });
  switch (answer.status) {
    case 400:
      return refusal('PROVIDER_INVALID', 'no');
    case 401:
      return refusal('PROVIDER_UNAUTHENTICATED', 'no');
    case 403:
      return refusal(
        type === 'AccessDeniedException' ? 'PROVIDER_FORBIDDEN' : 'PROVIDER_UNAUTHENTICATED',
        'no',
      );
    case 404:
      return refusal('PROVIDER_NOT_FOUND', 'no');
    case 409:
      return refusal('PROVIDER_CONFLICT', 'no');
    case 413:
      return refusal('PROVIDER_TOO_LARGE', 'no');
    case 429: {
      const waitMs = retryAfterMs(text(answer.headers['retry-after']), nowMs);
      return {
        ...refusal('PROVIDER_THROTTLED', 'no'),
        ...(waitMs !== undefined && { retryAfterMs: waitMs }),
      };
    }
    default:
      if (answer.status < 500) return refusal('PROVIDER_PROTOCOL', 'maybe');
      return refusal('PROVIDER_UNAVAILABLE', NOT_RUN.has(type) ? 'no' : 'maybe');
  }
}

interface Report {
  readonly billedMs: number;
  readonly memoryMiB: number;
  readonly peakMemoryMiB: number;
  readonly initMs?: number;
}

/** The last REPORT line. The platform writes it after all lines that the function can forge. */
function readReport(log: string, requestId: string): Report | undefined {
  const at = log.lastIndexOf(`REPORT RequestId: ${requestId}`);
  if (at < 0) return undefined;
  const [, billed, memory, peak, init] =
    /\tBilled Duration: ([\d.]+) ms\tMemory Size: (\d+) MB\tMax Memory Used: (\d+) MB(?:\tInit Duration: ([\d.]+) ms)?/.exec(
      log.slice(at),
    ) ?? [];
  const billedMs = Number(billed ?? Number.NaN);
  const initMs = Number(init ?? 0);
  if (!Number.isFinite(billedMs) || !Number.isFinite(initMs)) return undefined;
  return {
    billedMs,
    memoryMiB: Number(memory),
    peakMemoryMiB: Number(peak),
    ...(init !== undefined && { initMs }),
  };
}

/**
 * The time that the cloud reports, at most the time that we measured. The memory is the configured
 * one: a process that the function leaves behind can forge a REPORT line at any moment.
 */
function measure(
  report: Report | undefined,
  { measuredMs }: UpstreamResponse,
  deployment: Deployment,
  egressBytes: number,
): Usage {
  const mostMs = Math.ceil(measuredMs);
  const { memoryMiB } = deployment;
  if (!report) return { billedMs: mostMs, memoryMiB, egressBytes, measuredMs, source: 'gateway' };
  const { billedMs, initMs, peakMemoryMiB } = report;
  const isDisputed = billedMs > mostMs || report.memoryMiB !== memoryMiB;
  return {
    billedMs: Math.min(billedMs, mostMs),
    memoryMiB,
    peakMemoryMiB,
    ...(initMs !== undefined && { initMs: Math.min(initMs, measuredMs) }),
    egressBytes,
    measuredMs,
    source: 'provider',
    ...(isDisputed && { disputed: true }),
  };
}

function readFailure(value: Record<string, unknown> | undefined): FunctionFailure {
  const type = textOf(value?.errorType ?? 'Error').slice(0, MAX_TYPE_LENGTH);
  const message = textOf(value?.errorMessage ?? '');
  if (
    type === 'Sandbox.Timedout' ||
    (!value?.errorType && / Task timed out after /.test(message))
  ) {
    return { kind: 'timeout', type, message };
  }
  if (type === 'Runtime.ExitError' || type === 'Runtime.OutOfMemory')
    return { kind: 'exit', type, message };
  if (type === 'Function.ResponseSizeTooLarge') return { kind: 'too-large', type, message };
  if (type.startsWith('Init.')) return { kind: 'init', type: type.slice('Init.'.length), message };
  if (type === 'Runtime.UnhandledPromiseRejection') return { kind: 'thrown', type, message };
  if (type.startsWith('Runtime.')) return { kind: 'init', type, message };
  return { kind: 'thrown', type, message };
}

/** An error's name or message may be any JSON value: the runtime passes on what was thrown. */
function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function parse(body: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(body.toString());
    return isRecord(value) ? value : undefined;
  } catch {
    // Not JSON. The caller decides what that means.
    return undefined;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function text(value: string | string[] | undefined): string {
  return typeof value === 'string' ? value : (value?.[0] ?? '');
}
