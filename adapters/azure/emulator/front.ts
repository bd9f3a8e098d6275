// The site of an app, which answers calls of its functions. Routes, keys, limits and timeouts are
// those of the Functions host and of the load balancer in front of it. `/admin/functions` needs the
// master key.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Fault, sendAnswer, spoilBefore } from '../../emulators/faults.ts';
import { readBody } from '../../emulators/request-body.ts';
import type { App, CallOutcome, HttpCall, HttpResult, RpcCookie } from './app.ts';
import type { AzureParts } from './parts.ts';
import { isEnabled } from './site-body.ts';
import type { FunctionRecord, SiteRecord } from './store.ts';

/** Largest request, bytes (Azure Functions scale and hosting, "Service limits"). */
const MAX_REQUEST_BYTES = 100 * 1024 * 1024;
/** Timeout of the load balancer (the same page). */
const FRONT_TIMEOUT_MS = 230_000;

interface Match {
  readonly of: FunctionRecord;
  readonly params: Readonly<Record<string, string>>;
}

export async function answerFront(
  parts: AzureParts,
  name: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const site = parts.store.sites.get(name);
  const url = new URL(request.url ?? '/', `https://127.0.0.1:${site?.sitePort ?? 0}`);
  const fault = parts.faults.take('invoke', name);
  const reply = (status: number, text = '', headers: Record<string, string> = {}) =>
    sendAnswer(
      response,
      { status, headers: { ...(text && TEXT), ...headers }, body: Buffer.from(text) },
      fault,
    );

  // The request has not been read, so the connection cannot be used for another.
  const refuse = (status: number, text = '', headers: Record<string, string> = {}) =>
    reply(status, text, { ...headers, connection: 'close' });

  if (!site) return refuse(404, '404 Web Site not found.');
  if (!isEnabled(site)) return refuse(403, 'Error 403 - This web app is stopped.');
  if (fault?.kind === 'throttle') return refuse(429, 'Too Many Requests', retryAfter(fault));
  if (fault?.kind === 'status') return refuse(fault.code, 'The service is unavailable.');
  if (!(await spoilBefore(response, fault))) return;

  const key = keyOf(request, url);
  if (fault?.kind === 'expire-credentials') return refuse(401);
  if (url.pathname === '/admin/functions') {
    if (key !== site.masterKey) return refuse(401);
    return reply(200, JSON.stringify(site.functions.map(({ name }) => ({ name }))));
  }

  const app = await parts.app(site);
  if (!app) return refuse(404);
  const match = matchRoute(site.functions, app.routePrefix, request.method ?? 'GET', url.pathname);
  if (!match) return refuse(404);
  if (!isAllowed(match.of, site, key)) return refuse(401);

  const body = await readBody(request, MAX_REQUEST_BYTES);
  if (!body) return refuse(413, 'Request body too large.');
  const outcome = await withFrontTimeout(app, match, toCall(request, url, match, body));
  switch (outcome.kind) {
    case 'answer':
      return sendAnswer(response, toAnswer(outcome.http, fault), fault);
    case 'failed':
      parts.log(`${name}: ${outcome.why}`);
      // As at Azure: a function that threw answers 500 without a body.
      return reply(500);
    case 'busy':
      return reply(429, 'Http Request Throttled', retryAfter({ kind: 'throttle' }));
    case 'not-started':
      parts.log(`${name}: ${outcome.why}`);
      return reply(503, 'Function host is not running.');
    case 'late':
      return reply(504, 'The gateway did not receive a response in time.');
  }
}

const TEXT = { 'content-type': 'text/plain' };

function retryAfter({ retryAfterMs }: Fault & { kind: 'throttle' }): Record<string, string> {
  if (retryAfterMs === undefined) return {};
  return { 'retry-after': String(Math.ceil(retryAfterMs / 1000)) };
}

function keyOf(request: IncomingMessage, url: URL): string {
  const header = request.headers['x-functions-key'];
  return (typeof header === 'string' ? header : url.searchParams.get('code')) ?? '';
}

function isAllowed(of: FunctionRecord, site: SiteRecord, key: string): boolean {
  switch (of.authLevel.toLowerCase()) {
    case 'anonymous':
      return true;
    case 'function':
      return key === site.masterKey || Object.values(site.functionKeys).includes(key);
    default:
      return key === site.masterKey;
  }
}

/** The best match: literal segments come before parameters, and parameters before a rest. */
function matchRoute(
  functions: readonly FunctionRecord[],
  prefix: string,
  method: string,
  path: string,
): Match | undefined {
  const parts = path.split('/').filter((part) => part !== '');
  let best: (Match & { rank: string }) | undefined;
  for (const of of functions) {
    if (of.methods.length > 0 && !of.methods.includes(method)) continue;
    const template = `${prefix}/${of.route}`.split('/').filter((part) => part !== '');
    const fit = fitTemplate(template, parts);
    if (fit && (!best || fit.rank < best.rank)) best = { of, ...fit };
  }
  return best;
}

/**
 * Matches `{name}`, `{name?}`, `{name:constraint}` and `{*rest}` of ASP.NET's route templates.
 * Ignores constraints.
 */
function fitTemplate(
  template: readonly string[],
  parts: readonly string[],
): { params: Record<string, string>; rank: string } | undefined {
  const params: Record<string, string> = {};
  let rank = '';
  for (const [index, wanted] of template.entries()) {
    const [, star, name, optional] =
      /^\{(\*{0,2})(\w+)(?::[^}?]*)?(\??)[^}]*\}$/.exec(wanted) ?? [];
    const given = parts[index];
    if (name === undefined) {
      if (given?.toLowerCase() !== wanted.toLowerCase()) return undefined;
      rank += '0';
    } else if (star) {
      const rest = parts.slice(index);
      if (rest.length > 0) params[name] = decodeSafely(rest.join('/'));
      return { params, rank: `${rank}2` };
    } else if (given === undefined) {
      if (!optional) return undefined;
    } else {
      params[name] = decodeSafely(given);
      rank += '1';
    }
  }
  return parts.length > template.length ? undefined : { params, rank };
}

function decodeSafely(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function toCall(request: IncomingMessage, url: URL, { params }: Match, body: Buffer): HttpCall {
  const headers: Record<string, string> = {};
  for (const [name, values] of Object.entries(request.headersDistinct)) {
    headers[name] = (values ?? []).join(name === 'cookie' ? '; ' : ', ');
  }
  return {
    method: request.method ?? 'GET',
    url: url.href,
    headers: {
      ...headers,
      'x-forwarded-for': `${request.socket.remoteAddress}:${request.socket.remotePort}`,
      'x-forwarded-proto': 'https',
      'x-original-url': request.url ?? '/',
      'disguised-host': request.headers.host ?? '',
    },
    query: Object.fromEntries(url.searchParams),
    params,
    body: { bytes: body },
  };
}

async function withFrontTimeout(
  app: App,
  { of }: Match,
  call: HttpCall,
): Promise<CallOutcome | { kind: 'late' }> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<{ kind: 'late' }>((resolve) => {
    timer = setTimeout(() => resolve({ kind: 'late' }), FRONT_TIMEOUT_MS);
  });
  try {
    return await Promise.race([app.call(of, call), late]);
  } finally {
    clearTimeout(timer);
  }
}

function toAnswer(http: HttpResult, fault: Fault | undefined) {
  const { bytes, string } = http.body ?? {};
  const headers: Record<string, string | string[]> = { ...http.headers };
  if (http.cookies.length > 0) headers['set-cookie'] = http.cookies.map(cookieText);
  // The server sets these. The host removes them from the app's answer.
  for (const name of ['connection', 'content-length', 'keep-alive', 'transfer-encoding']) {
    delete headers[name];
  }
  if (fault?.kind === 'lie') lie(headers, fault);
  return { status: Number(http.statusCode), headers, body: Buffer.from(bytes ?? string ?? '') };
}

function lie(headers: Record<string, string | string[]>, fault: Fault & { kind: 'lie' }): void {
  const multiply = (name: string, factor = 1) => {
    if (headers[name] !== undefined) headers[name] = String(Number(headers[name]) * factor);
  };
  multiply('x-defaas-duration-ms', fault.billedMs);
  multiply('x-defaas-memory-mib', fault.memoryMiB);
}

function cookieText(cookie: RpcCookie): string {
  const { name, value, path, domain, maxAge, secure, httpOnly } = cookie;
  return [
    `${name}=${encodeURIComponent(value)}`,
    path && `path=${path.value}`,
    domain && `domain=${domain.value}`,
    maxAge && `max-age=${maxAge.value}`,
    secure?.value && 'secure',
    httpOnly?.value && 'httponly',
  ]
    .filter(Boolean)
    .join('; ');
}
