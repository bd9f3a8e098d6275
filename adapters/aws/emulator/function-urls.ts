// Function URLs of the Lambda emulator: names under `.localhost` on the emulator's port, for plain
// HTTP requests.
// https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html

import { isUtf8 } from 'node:buffer';
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { AwsError, conflict, invalidField, invalidParameter, notFound } from './errors.ts';
import type { Functions, FunctionUrlConfig, LambdaFunction } from './functions.ts';
import type { Invocation } from './invocations.ts';
import { isRecord, type Operations, optionalText } from './operation.ts';

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

/** The operations on function URLs. `port` is the emulator's. */
export function createUrlOperations(parts: {
  readonly functions: Functions;
  readonly nowMs: () => number;
  readonly port: () => number;
}): Operations {
  const { functions, nowMs, port } = parts;

  function shown(
    of: LambdaFunction,
    qualifier: string,
  ): FunctionUrlConfig & { FunctionUrl: string } {
    const config = of.urls?.[qualifier];
    if (!config) throw notFound('The resource you requested does not exist.');
    const id = urlId(functions, of.name, qualifier);
    // Not stored: the port may change with a restart.
    const FunctionUrl = `http://${id}.lambda-url.${functions.region}.localhost:${port()}/`;
    return { ...config, FunctionUrl };
  }

  return {
    async CreateFunctionUrlConfig({ functionName, qualifier = '$LATEST', body }) {
      const of = functions.get(functionName, qualifier);
      const isAlias = of.aliases.some(({ Name }) => Name === qualifier);
      if (qualifier !== '$LATEST' && !isAlias) {
        throw notFound(`Function not found: ${functions.arn(of.name, qualifier)}`);
      }
      const AuthType = optionalText(body, 'AuthType');
      if (AuthType !== 'NONE' && AuthType !== 'AWS_IAM') {
        const constraint = 'Member must satisfy enum value set: [NONE, AWS_IAM]';
        throw invalidField(AuthType ?? 'null', 'authType', constraint);
      }
      const mode = optionalText(body, 'InvokeMode') ?? 'BUFFERED';
      if (mode !== 'BUFFERED' || isRecord(body.Cors)) {
        throw invalidParameter('This emulator offers function URLs without streaming and CORS.');
      }
      if (of.urls?.[qualifier]) {
        const arn = functions.arn(of.name, qualifier);
        throw conflict(
          `Failed to create function url config for [functionArn = ${arn}]. Error message:  FunctionUrlConfig exists for this Lambda function`,
        );
      }
      const at = new Date(nowMs()).toISOString();
      const config: FunctionUrlConfig = {
        FunctionArn: functions.arn(of.name, qualifier === '$LATEST' ? undefined : qualifier),
        AuthType,
        CreationTime: at,
        LastModifiedTime: at,
        InvokeMode: 'BUFFERED',
      };
      of.urls = { ...of.urls, [qualifier]: config };
      await functions.save(of);
      const { LastModifiedTime, ...created } = shown(of, qualifier);
      return { status: 201, body: created };
    },

    GetFunctionUrlConfig: ({ functionName, qualifier = '$LATEST' }) => ({
      status: 200,
      body: shown(functions.get(functionName, qualifier), qualifier),
    }),

    async DeleteFunctionUrlConfig({ functionName, qualifier = '$LATEST' }) {
      const of = functions.get(functionName, qualifier);
      shown(of, qualifier);
      delete of.urls?.[qualifier];
      await functions.save(of);
      return { status: 204 };
    },
  };
}

/** The same for the same name and qualifier, also after the function was created again. */
function urlId({ arn }: Functions, name: string, qualifier: string): string {
  return createHash('sha256').update(arn(name, qualifier)).digest('hex').slice(0, 32);
}
