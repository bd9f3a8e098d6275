// The options of `defaas invoke`, read into the request of a call.
import { readFileSync } from 'node:fs';
import { extname } from 'node:path';
import { lookup } from 'mrmime';
import { type InvokeRequest, type Routing, targetOf } from '../../broker/client/invoke-request.ts';
import { CliError } from './cli-error.ts';
import { parseClouds } from './clouds.ts';
import { userPath } from './house.ts';
import { parseTokens } from './units.ts';

const STRATEGIES = ['balanced', 'cheapest', 'fastest'] as const;

export interface InvokeOptions {
  readonly file?: string;
  readonly data?: string;
  readonly header: readonly string[];
  readonly method?: string;
  readonly path?: string;
  readonly query?: string;
  readonly out?: string;
  readonly max?: string;
  readonly route?: string;
}

/** Methods that fetch does not send, and those that it sends without a body. */
const NEVER_SENT = ['CONNECT', 'TRACE', 'TRACK'];
const WITHOUT_BODY = ['GET', 'HEAD'];
/** Headers that the connection makes (RFC 9110 section 7.6.1), and those that this client makes. */
const OF_CONNECTION = [
  ...['connection', 'content-length', 'expect', 'host', 'keep-alive', 'proxy-connection'],
  ...['te', 'trailer', 'transfer-encoding', 'upgrade'],
];
const OF_CLIENT = ['authorization', 'dpop'];

/** @throws CliError USAGE, FILE_UNREADABLE */
export function readRequest(options: InvokeOptions): Omit<InvokeRequest, 'function'> {
  refuseFragment(options.path, '--path');
  refuseFragment(options.query, '--query');
  const method = parseMethod(options);
  const body = readBody(options);
  const headers = readHeaders(options, body);
  const maxPriceUnits = options.max === undefined ? undefined : parseTokens(options.max, '--max');
  const routing = options.route === undefined ? undefined : parseRoute(options.route);
  const query = options.query ? `?${options.query.replace(/^\?/, '')}` : '';
  const path = `${slashed(options.path ?? '')}${query}`;
  refuseLeaving(path);
  return {
    path,
    ...(method && { method }),
    headers,
    ...(body && { body }),
    ...(maxPriceUnits !== undefined && { maxPriceUnits }),
    ...(routing && { routing }),
  };
}

/**
 * `fastest`, `aws,google`, `cheapest,not:us-east-1`: a strategy, clouds, regions to avoid.
 * @throws CliError USAGE
 */
export function parseRoute(text: string): Routing {
  const words = text.split(',').map((word) => word.trim());
  const excludedRegions = words.flatMap((word) => /^not:([a-z0-9-]+)$/.exec(word)?.[1] ?? []);
  const strategies = STRATEGIES.filter((strategy) => words.includes(strategy));
  const [strategy] = strategies;
  if (strategies.length > 1) {
    throw new CliError(
      'USAGE',
      `${strategies.join(' and ')}, on --route ${text}, give one of them`,
    );
  }
  const clouds = words.filter((word) => word !== strategy && !word.startsWith('not:'));
  if (words.length > clouds.length + excludedRegions.length + strategies.length) {
    throw new CliError('USAGE', `a word is no region, on --route ${text}, write not:us-east-1`);
  }
  return {
    ...(strategy && { strategy }),
    ...(clouds.length > 0 && { providers: parseClouds(clouds.join(','), '--route') }),
    ...(excludedRegions.length > 0 && { excludedRegions }),
  };
}

/** @throws CliError USAGE */
function parseMethod({ method: text, file, data }: InvokeOptions): string | undefined {
  if (text === undefined) return undefined;
  const method = text.toUpperCase();
  if (!/^[!#$%&'*+.^_`|~0-9A-Z-]{1,32}$/.test(method) || NEVER_SENT.includes(method)) {
    throw new CliError('USAGE', `--method takes a method such as PUT, got "${text}"`);
  }
  if (WITHOUT_BODY.includes(method) && (file !== undefined || data !== undefined)) {
    throw new CliError('USAGE', `${method} has no body, leave --data and --file out`);
  }
  return method;
}

/** A fragment is never sent (RFC 9110 section 7.1): what follows `#` would be lost. */
function refuseFragment(text: string | undefined, option: string): void {
  if (!text?.includes('#')) return;
  throw new CliError('USAGE', `${option} has a #, and what follows it is not sent: write %23`);
}

/** @throws CliError USAGE */
function refuseLeaving(path: string): void {
  try {
    targetOf({ function: 'owner/name', path });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new CliError('USAGE', `--path ${path}: ${why}`, { cause });
  }
}

function readBody({ file, data }: InvokeOptions): Uint8Array<ArrayBuffer> | undefined {
  if (file !== undefined && data !== undefined) {
    throw new CliError('USAGE', 'there is --file and --data, give one of them');
  }
  if (data !== undefined) return new TextEncoder().encode(data);
  if (file === undefined) return undefined;
  return new Uint8Array(readFileSync(file === '-' ? 0 : userPath(file)));
}

function readHeaders({ header, file, data }: InvokeOptions, body: Uint8Array | undefined): Headers {
  const headers = new Headers();
  for (const line of header) {
    const [, name, value = ''] = /^([^:\s]+):\s*(.*)$/.exec(line) ?? [];
    if (name === undefined) {
      throw new CliError('USAGE', `"${line}" is no header, write --header "name: value"`);
    }
    refuseOwn(name.toLowerCase(), headers, value);
    try {
      headers.append(name, value);
    } catch (cause) {
      throw new CliError(
        'USAGE',
        `"${line}" is no header: its name takes letters, digits and -, its value characters up to U+00FF in one line`,
        { cause },
      );
    }
  }
  // fetch would decompress the output, and the gateway hashes it as it was sent.
  if (!headers.has('accept-encoding')) headers.set('accept-encoding', 'identity');
  if (body && !headers.has('content-type')) {
    headers.set('content-type', data === undefined ? typeOfFile(file ?? '') : typeOfText(data));
  }
  return headers;
}

/** @throws CliError USAGE a header that others make, or a key that is empty or given twice */
function refuseOwn(name: string, headers: Headers, value: string): void {
  if (OF_CONNECTION.includes(name)) {
    throw new CliError('USAGE', `the connection makes the header ${name} itself, leave it out`);
  }
  if (OF_CLIENT.includes(name) || name.startsWith('defaas-')) {
    throw new CliError('USAGE', `the header ${name} is made by the command itself, leave it out`);
  }
  if (name === 'idempotency-key' && (headers.has(name) || value.trim() === '')) {
    throw new CliError('USAGE', 'Idempotency-Key is empty or came twice, give one');
  }
}

/** The content type by the file's extension. Text is taken as UTF-8. */
function typeOfFile(file: string): string {
  const type = lookup(extname(file)) ?? 'application/octet-stream';
  return type.startsWith('text/') ? `${type}; charset=utf-8` : type;
}

function typeOfText(data: string): string {
  try {
    JSON.parse(data);
    return 'application/json';
  } catch {
    return 'text/plain; charset=utf-8';
  }
}

function slashed(path: string): string {
  return path === '' || path.startsWith('/') ? path : `/${path}`;
}
