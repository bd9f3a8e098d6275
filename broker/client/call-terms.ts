// The most that a call of a function can cost, read from the chain before anything is sent: a
// Call's maximum price.
import type { Hex } from '../../contracts/libraries/keccak.ts';
import { type PriceTerms, priceOf } from '../../contracts/libraries/tariffs.ts';
import { DefaasClientError } from './errors.ts';
import type { ReceiptChain } from './verify-receipt.ts';

/** How long the version behind an alias is cached, ms. */
const FRESH_MS = 120_000;

/** What a Call takes from the chain, by RPC: the gateway must not choose the version. */
export interface CallChain extends ReceiptChain {
  /**
   * The version behind `owner/name[@version|alias]`, owner an address or a label. It may never have
   * been published.
   */
  functionVersion(name: string): Promise<Hex>;
}

export interface CallTerms extends PriceTerms {
  readonly functionVersion: Hex;
  readonly functionId: bigint;
  /** The worst price of the version, base units: a Call's `maxPrice`. */
  readonly worstUnits: bigint;
}

export interface CallTermsReader {
  /** @throws FUNCTION_UNKNOWN */
  of(name: string): Promise<CallTerms>;
  /** Drops the cached aliases, after the gateway has said that one has moved. */
  forget(): void;
}

export function createCallTerms(chain: CallChain): CallTermsReader {
  const known = new Map<string, { readonly terms: CallTerms; readonly atMs: number }>();

  const read = async (name: string): Promise<CallTerms> => {
    const found = known.get(name);
    if (found && Date.now() - found.atMs < FRESH_MS) return found.terms;
    const functionVersion = await chain.functionVersion(name);
    const price = await chain.priceTerms(functionVersion);
    const functionId = price && (await chain.functionOf(functionVersion));
    if (price === undefined || functionId === undefined) {
      throw new DefaasClientError('FUNCTION_UNKNOWN', `no function ${name} on this chain`);
    }
    const { memoryMiB, timeoutMs } = price;
    const worstUnits = priceOf({ status: 200, billedMs: timeoutMs, memoryMiB }, price);
    const terms = { ...price, functionVersion, functionId, worstUnits };
    known.set(name, { terms, atMs: Date.now() });
    return terms;
  };
  return { of: read, forget: () => known.clear() };
}
