// `defaas estimate <function>`: estimates what calls will cost, from the version's tariff on the
// chain.
import type { FunctionVersion } from '../../contracts/chain/types.ts';
import { priceOf, splitPrice } from '../../contracts/libraries/tariffs.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { openChain } from './chain.ts';
import { CliError } from './cli-error.ts';
import { type Flags, type Outcome, openGateway } from './context.ts';
import { findFunction } from './owned-function.ts';
import { formatTable } from './table.ts';
import { parseTokens } from './units.ts';

/** Largest accepted number of calls. */
const MAX_CALLS = 1_000_000_000_000n;
/** Assumed duration of a call without a given one, ms. */
const TYPICAL_MS = 100;

export interface EstimateOptions {
  /** Typical duration of a call, ms; 100 by default. */
  readonly ms?: string;
  readonly calls: string;
  /** Whole tokens. */
  readonly deposit: string;
}

/**
 * Shows the typical and the worst price. The worst is that of a call that uses its whole timeout;
 * this much must be free on the lane for a call to begin. Failed calls cost nothing and are not
 * counted.
 * @throws CliError USAGE, FUNCTION_UNKNOWN; ChainError CHAIN_...
 */
export async function estimate(
  flags: Flags,
  target: string,
  options: EstimateOptions,
): Promise<Outcome> {
  const givenMs = options.ms === undefined ? undefined : Number(parseCount(options.ms, '--ms'));
  const calls = parseCount(options.calls, '--calls');
  const depositUnits = parseTokens(options.deposit, '--deposit');
  const opened = await openGateway(flags);
  const chain = await openChain(opened);
  try {
    const { fn, named, label } = findFunction(opened, chain, target);
    const { reference } = named;
    const version = chain.view.versionOf(fn, reference);
    if (!version) {
      throw new CliError(
        'FUNCTION_UNKNOWN',
        `no version ${label}@${reference}, on the chain, see defaas list`,
      );
    }
    const typicalMs = givenMs ?? Math.min(TYPICAL_MS, version.timeoutMs);
    if (typicalMs > version.timeoutMs) {
      throw new CliError(
        'USAGE',
        `--ms is ${typicalMs}, above the ${version.timeoutMs} ms after which ${label} is stopped, name less`,
      );
    }
    const { gateway } = opened.connection.document;
    const feeBps = chain.view.gateway(gateway)?.feeBps ?? 0;
    const holdUnits = priceAt(version, version.timeoutMs);
    const rowOf = (ms: number) => {
      const priceUnits = priceAt(version, ms);
      const totalUnits = priceUnits * calls;
      return {
        ms,
        priceUnits,
        totalUnits,
        publisherUnits: publisherPart(version, priceUnits, feeBps) * calls,
        depositBuysCalls: buys(depositUnits, priceUnits, holdUnits),
      };
    };
    const typical = rowOf(typicalMs);
    const worst = rowOf(version.timeoutMs);
    const document = {
      function: label,
      version: version.number,
      memoryMiB: version.memoryMiB,
      calls: Number(calls),
      depositUnits,
      typical,
      worst,
    };
    const told = ([name, row]: readonly [string, typeof typical]) => [
      name,
      row.ms,
      formatTokens(row.priceUnits),
      formatTokens(row.totalUnits),
      formatTokens(row.publisherUnits),
      row.depositBuysCalls ?? 'any number',
    ];
    const head = [
      'a call',
      'ms',
      'tokens',
      `tokens for ${calls} calls`,
      'of it the publisher’s',
      `calls for ${formatTokens(depositUnits)} tokens`,
    ];
    const table = formatTable(head, [told(['typical', typical]), told(['at worst', worst])]);
    return { document, text: `${label}@${version.number}, ${version.memoryMiB} MiB\n${table}` };
  } finally {
    chain.close();
    opened.close();
  }
}

/** What the publisher earns of a price, after the gateway's fee. */
function publisherPart(version: FunctionVersion, units: bigint, feeBps: number): bigint {
  return splitPrice(units, feeBps, version.tariff.publisherBps).publisher;
}

function priceAt(version: FunctionVersion, billedMs: number): bigint {
  return priceOf({ billedMs, memoryMiB: version.memoryMiB, status: 200 }, version);
}

/**
 * Number of calls that a deposit buys; null: calls are free. Each call needs the worst price free
 * when it begins.
 */
function buys(depositUnits: bigint, priceUnits: bigint, holdUnits: bigint): number | null {
  if (priceUnits === 0n) return null;
  if (depositUnits < holdUnits) return 0;
  return Number((depositUnits - holdUnits) / priceUnits) + 1;
}

function parseCount(text: string, what: string): bigint {
  const count = /^\d{1,13}$/.test(text) ? BigInt(text) : undefined;
  if (count !== undefined && count > 0n && count <= MAX_CALLS) return count;
  throw new CliError('USAGE', `${what} must be a whole number above 0, got "${text}"`);
}
