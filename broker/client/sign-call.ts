// Signing Calls for a `signed` lane: what is called, on which input, for how much at most, by which epoch's draw (contracts.md 6.2).
import { type Hex, toHex } from '../../contracts/libraries/keccak.ts';
import { type Call, NO_AUTHORITY } from '../../contracts/libraries/receipts.ts';
import { priceOf } from '../../contracts/libraries/tariffs.ts';
import { textToBase64Url } from './base64url.ts';
import { type CommittedRequest, commitRequest } from './commitments.ts';
import type { Connection } from './connection.ts';
import { DefaasClientError } from './errors.ts';
import type { KeySigner } from './key.ts';
import { readCount, readJson } from './parse.ts';
import type { LaneName } from './sign-in.ts';
import { callNonce, type ReceiptChain } from './verify-receipt.ts';

/** How long an epoch and an alias are used before they are asked for again, ms; the gateway takes epochs of up to 10 minutes. */
const FRESH_MS = 120_000;
/** How far beyond the version's timeout a Call may be answered, seconds: failovers, and clocks apart. */
const DEADLINE_SLACK_SEC = 120;

/** What of the chain a Call is made of; `chain-reader.ts` asks it by RPC, so that the gateway cannot choose the version. */
export interface CallChain extends ReceiptChain {
  /** The version behind `owner/name[@version|alias]`, owner an address or a label. It may never have been published. */
  functionVersion(name: string): Promise<Hex>;
}

export interface CallToSign {
  readonly function: string;
  readonly request: CommittedRequest;
  readonly idempotencyKey: string;
  readonly maxPriceUnits: bigint | undefined;
}

export interface CallSigner {
  /** The most that a call of the function can cost, base units. @throws FUNCTION_UNKNOWN, PRICE_ABOVE_MAX */
  worstUnits(call: Pick<CallToSign, 'function' | 'maxPriceUnits'>): Promise<bigint>;
  /** The value of a `Defaas-Call` header. @throws FUNCTION_UNKNOWN, PRICE_ABOVE_MAX, and what the gateway says of its epochs */
  header(call: CallToSign): Promise<string>;
  /** Forgets epochs and aliases: the gateway has said that they are not in force any more. */
  forget(): void;
}

export function createCallSigner(options: {
  readonly connection: Connection;
  readonly key: KeySigner;
  readonly lane: LaneName;
  readonly chain: CallChain;
}): CallSigner {
  const { connection, key, lane, chain } = options;
  const versions = new Map<string, { readonly hash: Hex; readonly atMs: number }>();
  const epochs = new Map<Hex, { readonly epoch: number; readonly atMs: number }>();

  const versionOf = async (name: string): Promise<Hex> => {
    const known = versions.get(name);
    if (known && Date.now() - known.atMs < FRESH_MS) return known.hash;
    const hash = await chain.functionVersion(name);
    versions.set(name, { hash, atMs: Date.now() });
    return hash;
  };
  const epochOf = async (version: Hex): Promise<number> => {
    const known = epochs.get(version);
    if (known && Date.now() - known.atMs < FRESH_MS) return known.epoch;
    const reply = await connection.request(`/epochs/latest?version=${version}`);
    const epoch = readCount((await readJson(reply, 'the epoch')).epoch, 'epoch');
    epochs.set(version, { epoch, atMs: Date.now() });
    return epoch;
  };
  const termsOf = async (call: Pick<CallToSign, 'function' | 'maxPriceUnits'>) => {
    const functionVersion = await versionOf(call.function);
    const terms = await chain.priceTerms(functionVersion);
    if (!terms) {
      throw new DefaasClientError('FUNCTION_UNKNOWN', `no function ${call.function} on this chain`);
    }
    const { memoryMiB, timeoutMs } = terms;
    const worst = priceOf({ status: 200, billedMs: timeoutMs, memoryMiB }, terms);
    if (call.maxPriceUnits !== undefined && worst > call.maxPriceUnits) {
      throw new DefaasClientError(
        'PRICE_ABOVE_MAX',
        `${call.function} may cost ${worst} units, allowed are ${call.maxPriceUnits}; allow more`,
      );
    }
    return { functionVersion, worst, timeoutMs };
  };

  return {
    worstUnits: async (call) => (await termsOf(call)).worst,
    header: async (asked) => {
      const { functionVersion, worst, timeoutMs } = await termsOf(asked);
      const salt = toHex(crypto.getRandomValues(new Uint8Array(32)));
      const call: Call = {
        payer: lane.payer,
        gateway: connection.document.gateway,
        signer: lane.signer,
        nonce: callNonce(asked.idempotencyKey),
        functionVersion,
        input: await commitRequest(salt, asked.request),
        maxPrice: worst,
        deadlineSec:
          Math.floor(Date.now() / 1000) + Math.ceil(timeoutMs / 1000) + DEADLINE_SLACK_SEC,
        beacon: await epochOf(functionVersion),
        authority: NO_AUTHORITY,
      };
      const signature = await key.sign(connection.domain, 'Call', call);
      return textToBase64Url(
        JSON.stringify({
          ...call,
          maxPrice: `${call.maxPrice}`,
          salt,
          signature,
        }),
      );
    },
    forget: () => {
      versions.clear();
      epochs.clear();
    },
  };
}
