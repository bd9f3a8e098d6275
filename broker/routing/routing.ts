// Where a call may run and in which order, as its version's manifest and its own `Defaas-Routing`
// header say. Routing narrows and reorders the drawn order; the place named in the receipt is still
// the drawn one.
import { type Item, isInnerList, parseDictionary, Token } from 'structured-headers';
import { memoize } from '../../adapters/http/memoize.ts';
import type { ProviderName } from '../../adapters/provider.ts';
import type { Manifest } from '../../ipfs/manifest.ts';
import { DefaasError } from '../errors.ts';

const STRATEGIES = ['balanced', 'cheapest', 'fastest'] as const;
/** A record, so that the compiler reports a missing cloud. */
const PROVIDERS: Readonly<Record<ProviderName, true>> = {
  'aws-lambda': true,
  'google-cloud-functions': true,
  'azure-functions': true,
  local: true,
};
const FORM =
  'strategy=(balanced, cheapest or fastest), providers=(names of clouds), exclude-regions=("names of regions")';
/** Header texts remembered: callers send few different ones. */
const MAX_TEXTS = 256;
const MAX_TEXT_LENGTH = 1024;

/**
 * `balanced`: the less loaded of the first two drawn; `cheapest`: by the price table; `fastest`: by
 * measured latency.
 */
export type Strategy = (typeof STRATEGIES)[number];

export interface Routing {
  /** Undefined in a call's routing: use the version's. */
  readonly strategy: Strategy | undefined;
  /** The only clouds that may run the call; undefined: any. */
  readonly providers: ReadonlySet<string> | undefined;
  readonly excludedRegions: ReadonlySet<string> | undefined;
}

/** Routing of a version that declares none. */
export const BALANCED: Routing = {
  strategy: 'balanced',
  providers: undefined,
  excludedRegions: undefined,
};

export function routingOf({ providers, routing }: Manifest): Routing {
  return {
    strategy: routing?.strategy ?? 'balanced',
    providers: setOf(providers),
    excludedRegions: setOf(routing?.excludedRegions),
  };
}

/**
 * Combines the routing of a version and of a call: both must allow a deployment; the call's
 * strategy takes precedence.
 */
export function narrow(version: Routing, call: Routing | undefined): Routing {
  if (call === undefined) return version;
  return {
    strategy: call.strategy ?? version.strategy,
    providers: both(version.providers, call.providers, common),
    excludedRegions: both(version.excludedRegions, call.excludedRegions, all),
  };
}

export function allows(
  { providers, excludedRegions }: Routing,
  deployment: { readonly provider: ProviderName; readonly region: string },
): boolean {
  if (providers !== undefined && !providers.has(deployment.provider)) return false;
  return excludedRegions === undefined || !excludedRegions.has(deployment.region);
}

/** Parses `Defaas-Routing`; recent texts are cached. */
export const readRouting = memoize(MAX_TEXTS, parseRouting);

/**
 * Parses a dictionary (RFC 9651 section 3.2) of `strategy`, `providers` and `exclude-regions`;
 * names are tokens or strings.
 * @example parseRouting('strategy=fastest, providers=(aws-lambda local)')
 * @throws DefaasError REQUEST_INVALID
 */
export function parseRouting(text: string): Routing {
  const members = new Map(membersOf(text));
  const take = (key: string): readonly string[] | undefined => {
    const names = members.get(key);
    members.delete(key);
    return names;
  };
  const strategies = take('strategy');
  const [name] = strategies ?? [];
  const strategy = STRATEGIES.find((one) => one === name);
  if (strategies !== undefined && (strategies.length !== 1 || strategy === undefined)) {
    throw refuse(`no strategy ${strategies.join(' ')}`);
  }
  const providers = take('providers');
  const stranger = providers?.find((one) => !Object.hasOwn(PROVIDERS, one));
  if (stranger !== undefined) throw refuse(`no cloud ${stranger}`);
  if (providers?.length === 0) throw refuse('no cloud at all');
  const excludedRegions = setOf(take('exclude-regions'));
  const [unknown] = members.keys();
  if (unknown !== undefined) throw refuse(`an unknown key ${unknown}`);
  return { strategy, providers: setOf(providers), excludedRegions };
}

function membersOf(text: string): [key: string, names: readonly string[]][] {
  if (text.length > MAX_TEXT_LENGTH) throw refuse(`more than ${MAX_TEXT_LENGTH} characters`);
  try {
    return [...parseDictionary(text)].map(([key, member]) => [
      key,
      isInnerList(member) ? member[0].map(nameOf) : [nameOf(member)],
    ]);
  } catch (cause) {
    throw cause instanceof DefaasError ? cause : refuse('no dictionary of RFC 9651', cause);
  }
}

function nameOf([value]: Item): string {
  if (value instanceof Token) return value.toString();
  if (typeof value === 'string') return value;
  throw refuse(`${String(value)} where a name belongs`);
}

type Names = ReadonlySet<string>;

const common = (a: Names, b: Names): Names => new Set([...a].filter((name) => b.has(name)));
const all = (a: Names, b: Names): Names => new Set([...a, ...b]);

/** Joins two sets; if one is undefined, returns the other. */
function both(
  a: Names | undefined,
  b: Names | undefined,
  join: (a: Names, b: Names) => Names,
): Names | undefined {
  return a && b ? join(a, b) : (a ?? b);
}

function setOf(names: readonly string[] | undefined): ReadonlySet<string> | undefined {
  return names === undefined || names.length === 0 ? undefined : new Set(names);
}

function refuse(what: string, cause?: unknown): DefaasError {
  return new DefaasError('REQUEST_INVALID', `${what}, on Defaas-Routing, send ${FORM}`, { cause });
}
