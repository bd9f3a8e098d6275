// Function URLs of the Lambda emulator: names under `.localhost` on the emulator's port, for plain
// HTTP requests.
// https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html

import { isUtf8 } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Invocation } from './instances/invocations.ts';
import { AwsError } from './model/errors.ts';
import { type Functions, urlId } from './model/functions.ts';
import { isRecord } from './model/operation.ts';
import type { FunctionUrlConfig, LambdaFunction } from './model/records.ts';

/** The function behind a URL. */
export interface UrlTarget {
  readonly of: LambdaFunction;
  /** Undefined for `$LATEST`. */
  readonly qualifier: string | undefined;
  readonly authType: FunctionUrlConfig['AuthType'];
}

const HOST = /^([0-9a-f]{32})\.lambda-url\.[a-z0-9-]+\.localhost(?::\d+)?$/;

/** Whether a request is for a function URL and not for the API. */
export function isUrlHost(host: string | undefined): boolean {
  return HOST.test(host ?? '');
}

/** @throws AwsError 403 no function has this URL */
export function findUrlTarget(functions: Functions, host: string | undefined): UrlTarget {
  const id = HOST.exec(host ?? '')?.[1];
  for (const of of functions.all()) {
    for (const [qualifier, { AuthType }] of Object.entries(of.urls ?? {})) {
      if (urlId(functions, of.name, qualifier) !== id) continue;
      const isLatest = qualifier === '$LATEST';
      return { of, qualifier: isLatest ? undefined : qualifier, authType: AuthType };
    }
  }
  throw new AwsError(403, 'AccessDeniedException', {
    Message:
      'Forbidden. For troubleshooting Function URL authorization issues, see: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html',
  });
}

/** Headers of one connection, which the function does not get. */
const OF_CONNECTION = new Set(['connection', 'keep-alive', 'transfer-encoding', 'upgrade', 'te']);
/** Bodies of other types are base64, whatever their bytes are. */
const TEXT_TYPE =
  /^(text\/|application\/(json|javascript|xml|x-www-form-urlencoded|[\w.-]+\+(json|xml))\b)/i;

/** The event that the function gets: payload format 2.0. */
export function toUrlEvent(request: IncomingMessage, body: Buffer, nowMs: number): Buffer {
  // Not by URL: it reads `//host` as an authority, and changes the path.
  const [rawPath = '/', rawQueryString = ''] = (request.url ?? '/').split(/\?(.*)/s, 2);
  const { cookie, ...received } = request.headers;
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(received)) {
    if (!OF_CONNECTION.has(name)) headers[name] = String(value);
  }
  const sourceIp = request.socket.remoteAddress ?? '';
  headers['x-forwarded-for'] ??= sourceIp;
  headers['x-forwarded-port'] ??= String(request.socket.localPort ?? '');
  headers['x-forwarded-proto'] ??= 'http';
  headers['x-amzn-trace-id'] ??=
    `Root=1-${Math.floor(nowMs / 1000).toString(16)}-${randomBytes(12).toString('hex')}`;
  const isText = isUtf8(body) && TEXT_TYPE.test(headers['content-type'] ?? 'text/plain');
  const event = {
    version: '2.0',
    routeKey: '$default',
    rawPath,
    rawQueryString,
    ...(cookie !== undefined && { cookies: cookie.split(/; ?/) }),
    headers,
    ...(rawQueryString !== '' && { queryStringParameters: queryOf(rawQueryString) }),
    requestContext: {
      domainName: request.headers.host,
      http: {
        method: request.method,
        path: rawPath,
        protocol: `HTTP/${request.httpVersion}`,
        sourceIp,
        userAgent: request.headers['user-agent'] ?? '',
      },
      stage: '$default',
      timeEpoch: nowMs,
    },
    ...(body.length > 0 && { body: body.toString(isText ? 'utf8' : 'base64') }),
    isBase64Encoded: body.length > 0 && !isText,
  };
  return Buffer.from(JSON.stringify(event));
}

/** The values of a key that comes more than once are joined by commas. */
function queryOf(rawQueryString: string): Record<string, string> {
  const query: Record<string, string> = Object.create(null);
  for (const [name, value] of new URLSearchParams(rawQueryString)) {
    query[name] = name in query ? `${query[name]},${value}` : value;
  }
  return query;
}

/** The function's result as an HTTP answer: a result without a status is the body, as JSON. */
export function toUrlAnswer(done: Invocation): {
  status: number;
  headers: Record<string, string | string[]>;
  body: Buffer;
} {
  const json = { 'content-type': 'application/json' };
  if (done.failed)
    return { status: 502, headers: json, body: Buffer.from('Internal Server Error') };
  const value: unknown = JSON.parse(done.payload.toString());
  const status = isRecord(value) ? Number(value.statusCode ?? Number.NaN) : Number.NaN;
  if (!isRecord(value) || !(Number.isInteger(status) && status >= 100 && status <= 599)) {
    const body = typeof value === 'string' ? Buffer.from(value) : done.payload;
    return { status: 200, headers: json, body };
  }
  const headers: Record<string, string | string[]> = { ...json };
  for (const [name, each] of Object.entries(isRecord(value.headers) ? value.headers : {})) {
    headers[name.toLowerCase()] = String(each);
  }
  if (Array.isArray(value.cookies) && value.cookies.length > 0) {
    headers['set-cookie'] = value.cookies.map(String);
  }
  const encoding = value.isBase64Encoded === true ? 'base64' : 'utf8';
  const text = typeof value.body === 'string' ? value.body : JSON.stringify(value.body ?? '');
  return { status, headers, body: Buffer.from(text, encoding) };
}
