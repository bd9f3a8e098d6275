// What a call of a function can come to at most, by the chain: the maximum price that a Call agrees
// on, before anything is sent.
import type { Hex } from '../../contracts/libraries/keccak.ts';
import { type PriceTerms, priceOf } from '../../contracts/libraries/tariffs.ts';
import { DefaasClientError } from './errors.ts';
import type { ReceiptChain } from './verify-receipt.ts';

/** How long it is remembered which version an alias means, ms. */
const FRESH_MS = 120_000;

/** What of the chain a Call is made of, by RPC: the gateway must not choose the version. */
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
  /** Forgets which versions aliases mean: the gateway has said that one has moved. */
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
