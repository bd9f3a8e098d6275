// Function URLs of the Lambda emulator: names under `.localhost` on the emulator's port, for plain
// HTTP requests.
// https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html

import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import type { Invocation } from './instances/invocations.ts';
import { AwsError } from './model/errors.ts';
import {
  type Functions,
  type FunctionUrlConfig,
  type LambdaFunction,
  urlId,
} from './model/functions.ts';
import { isRecord } from './model/operation.ts';

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
  throw new AwsError(403, 'AccessDeniedException', { Message: null });
}

/** The event that the function gets: payload format 2.0. */
export function toUrlEvent(request: IncomingMessage, body: Buffer, nowMs: number): Buffer {
  const url = new URL(request.url ?? '/', 'http://localhost');
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(request.headers)) headers[name] = String(value);
  const { cookie, ...others } = headers;
  const isText = isUtf8(body);
  const event = {
    version: '2.0',
    routeKey: '$default',
    rawPath: url.pathname,
    rawQueryString: url.search.slice(1),
    ...(cookie !== undefined && { cookies: cookie.split(/; ?/) }),
    headers: others,
    ...(url.search !== '' && { queryStringParameters: Object.fromEntries(url.searchParams) }),
    requestContext: {
      domainName: request.headers.host,
      http: {
        method: request.method,
        path: url.pathname,
        protocol: `HTTP/${request.httpVersion}`,
        sourceIp: request.socket.remoteAddress,
        userAgent: request.headers['user-agent'] ?? '',
      },
      stage: '$default',
      timeEpoch: nowMs,
    },
    ...(body.length > 0 && { body: body.toString(isText ? 'utf8' : 'base64') }),
    isBase64Encoded: !isText,
  };
  return Buffer.from(JSON.stringify(event));
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
  if (!isRecord(value) || typeof value.statusCode !== 'number') {
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
  return { status: value.statusCode, headers, body: Buffer.from(text, encoding) };
}
