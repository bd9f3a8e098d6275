// The options of `defaas invoke`, read into the request of a call.
import { readFileSync } from 'node:fs';
import { extname } from 'node:path';
import { lookup } from 'mrmime';
import type { InvokeRequest, Routing } from '../../broker/client/invoke-request.ts';
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

/** @throws CliError USAGE, PROVIDER_UNKNOWN */
export function readRequest(options: InvokeOptions): Omit<InvokeRequest, 'function'> {
  const body = readBody(options);
  const headers = readHeaders(options, body);
  const maxPriceUnits = options.max === undefined ? undefined : parseTokens(options.max, '--max');
  const routing = options.route === undefined ? undefined : parseRoute(options.route);
  const query = options.query ? `?${options.query.replace(/^\?/, '')}` : '';
  return {
    path: `${slashed(options.path ?? '')}${query}`,
    ...(options.method && { method: options.method.toUpperCase() }),
    headers,
    ...(body && { body }),
    ...(maxPriceUnits !== undefined && { maxPriceUnits }),
    ...(routing && { routing }),
  };
}

/**
 * `fastest`, `aws,google`, `cheapest,not:us-east-1`: a strategy, clouds, regions to avoid.
 * @throws CliError USAGE, PROVIDER_UNKNOWN
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
    headers.append(name, value);
  }
  // fetch would decompress the output, and the gateway hashes it as it was sent.
  if (!headers.has('accept-encoding')) headers.set('accept-encoding', 'identity');
  if (body && !headers.has('content-type')) {
    headers.set('content-type', data === undefined ? typeOfFile(file ?? '') : typeOfText(data));
  }
  return headers;
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
