// `defaas grant <function> <address>`: lets an account use a function whose access is `granted`,
// from the next block on.
import { awaitBlock } from './await-block.ts';
import { openChain } from './chain.ts';
import { CliError } from './cli-error.ts';
import { type Flags, note, type Outcome, openGateway } from './context.ts';
import { findOwnedFunction } from './owned-function.ts';
import { parseAddress } from './parse-address.ts';

/** Identity's scope bits (docs/contracts.md 8.2). */
export const SCOPES: Readonly<Record<string, number>> = { invoke: 1, subscribe: 2, logs: 4 };
/** Default duration of a grant, days. */
const DEFAULT_DAYS = 365;
const DAY_SEC = 86_400;
/** Longest duration of a grant, days: a century. */
const MAX_DAYS = 36_500;

export interface GrantOptions {
  /** Days from now, or a date such as `2027-01-31`, which is the last day. */
  readonly expires?: string;
  readonly scopes: string;
}

/**
 * Grants access. A second grant to the same account replaces the first. It is on the chain, so it
 * holds at every gateway.
 * @throws CliError USAGE, FUNCTION_UNKNOWN, NOT_OWNER; ChainError CHAIN_...
 */
export async function grant(
  flags: Flags,
  target: string,
  address: string,
  options: GrantOptions,
): Promise<Outcome> {
  const subject = parseAddress(address);
  const expires = parseExpiry(options.expires ?? `${DEFAULT_DAYS}`);
  const scopes = parseScopes(options.scopes);
  const opened = await openGateway(flags);
  const chain = await openChain(opened);
  try {
    const { fn, label } = findOwnedFunction(opened, chain, target);
    const expirySec = expiryOf(expires, await chain.nowSec());
    const bits = scopes.reduce((sum, name) => sum | (SCOPES[name] ?? 0), 0);
    const block = await chain
      .connect(opened.account)
      .grant(fn.id, subject, { expirySec, scopes: bits });
    await awaitBlock(opened.connection, block);
    if (chain.view.versionOf(fn)?.accessMode === 0) {
      note(flags, `${label} is public: everybody may call it, also without a grant`);
    }
    const until = new Date(expirySec * 1000).toISOString();
    return {
      document: { function: label, subject, scopes, expirySec, block },
      text: `${subject} may ${scopes.join(', ')} ${label} until ${until}`,
    };
  } finally {
    chain.close();
    opened.close();
  }
}

function parseScopes(text: string): string[] {
  const scopes = [...new Set(text.split(',').map((name) => name.trim()))];
  const unknown = scopes.find((name) => !Object.hasOwn(SCOPES, name));
  if (unknown === undefined) return scopes;
  throw new CliError(
    'USAGE',
    `--scopes takes ${Object.keys(SCOPES).join(', ')}, with commas, got "${text}"`,
  );
}

/** A number of days, or the end of a day, Unix seconds. */
interface Expiry {
  readonly text: string;
  readonly days: number | undefined;
  readonly endSec: number;
}

/** @throws CliError USAGE */
function parseExpiry(text: string): Expiry {
  const days = /^\d{1,5}$/.test(text) ? Number(text) : undefined;
  // JavaScript parses a bare date as its first moment, UTC. The whole day is meant.
  const dateMs = /^\d{4}-\d{2}-\d{2}$/.test(text) ? Date.parse(`${text}T23:59:59Z`) : Number.NaN;
  const isDate = !Number.isNaN(dateMs) && new Date(dateMs).toISOString().startsWith(text);
  const isDays = days !== undefined && days > 0 && days <= MAX_DAYS;
  if (isDays || isDate) return { text, days, endSec: Math.floor(dateMs / 1000) };
  throw wrongExpiry(text);
}

/** @returns Unix seconds, after the chain's time  @throws CliError USAGE */
function expiryOf({ text, days, endSec }: Expiry, nowSec: number): number {
  const expirySec = days === undefined ? endSec : nowSec + days * DAY_SEC;
  if (expirySec > nowSec && expirySec <= nowSec + MAX_DAYS * DAY_SEC) return expirySec;
  throw wrongExpiry(text);
}

function wrongExpiry(text: string): CliError {
  return new CliError(
    'USAGE',
    `--expires takes a number of days up to ${MAX_DAYS} or a date to come such as 2027-01-31, got "${text}"`,
  );
}
