// Signs Calls for a `signed` lane. A Call names the version, the input, the maximum price and the
// epoch of the draw (docs/contracts.md 6.2).

import { type Hex, toHex } from '../../contracts/libraries/keccak.ts';
import { type Call, NO_AUTHORITY } from '../../contracts/libraries/receipts.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { textToBase64Url } from './base64url.ts';
import { type CallChain, createCallTerms } from './call-terms.ts';
import { type CommittedRequest, commitRequest } from './commitments.ts';
import type { Connection } from './connection.ts';
import { DefaasClientError } from './errors.ts';
import type { KeySigner } from './key.ts';
import { ownNonce } from './own-calls.ts';
import { readCount, readJson } from './parse.ts';
import type { LaneName } from './sign-in.ts';

/** How long an epoch is cached, ms. The gateway accepts epochs that are up to 10 minutes old. */
const FRESH_MS = 120_000;
/**
 * How long after the version's timeout a Call may still be answered, seconds. Allows for failovers
 * and clock differences.
 */
const DEADLINE_SLACK_SEC = 120;

export interface CallToSign {
  readonly function: string;
  readonly request: CommittedRequest;
  readonly idempotencyKey: string;
  readonly maxPriceUnits: bigint | undefined;
}

/** A signed Call, and the own call that its nonce marks. */
export interface MadeCall {
  readonly call: Call;
  readonly functionId: bigint;
  /** The value of a `Defaas-Call` header. */
  readonly header: string;
}

export interface CallSigner {
  /** @throws FUNCTION_UNKNOWN, PRICE_ABOVE_MAX, and what the gateway says of its epochs */
  sign(call: CallToSign): Promise<MadeCall>;
  /** Drops the cached epochs and aliases, after the gateway has said that they are outdated. */
  forget(): void;
}

export function createCallSigner(options: {
  readonly connection: Connection;
  readonly key: KeySigner;
  readonly lane: LaneName;
  readonly chain: CallChain;
  /** Marks the lane's own calls. */
  readonly ownCallsKey: Hex;
}): CallSigner {
  const { connection, key, lane, ownCallsKey } = options;
  const terms = createCallTerms(options.chain);
  const epochs = new Map<Hex, { readonly epoch: number; readonly atMs: number }>();

  const epochOf = async (version: Hex): Promise<number> => {
    const known = epochs.get(version);
    if (known && Date.now() - known.atMs < FRESH_MS) return known.epoch;
    const reply = await connection.request(`/epochs/latest?version=${version}`);
    const epoch = readCount((await readJson(reply, 'the epoch')).epoch, 'epoch');
    epochs.set(version, { epoch, atMs: Date.now() });
    return epoch;
  };
  return {
    sign: async (asked) => {
      const { functionVersion, functionId, worstUnits, timeoutMs } = await terms.of(asked.function);
      const { maxPriceUnits = worstUnits } = asked;
      if (worstUnits > maxPriceUnits) {
        throw new DefaasClientError(
          'PRICE_ABOVE_MAX',
          `${asked.function} may cost ${formatTokens(worstUnits)} tokens, allowed are ${formatTokens(maxPriceUnits)}; allow more`,
        );
      }
      const named = { functionId, maxPriceUnits: worstUnits };
      const salt = toHex(crypto.getRandomValues(new Uint8Array(32)));
      const call: Call = {
        payer: lane.payer,
        gateway: connection.document.gateway,
        signer: lane.signer,
        nonce: ownNonce(ownCallsKey, named, asked.idempotencyKey),
        functionVersion,
        input: await commitRequest(salt, asked.request),
        maxPrice: worstUnits,
        deadlineSec:
          Math.floor(Date.now() / 1000) + Math.ceil(timeoutMs / 1000) + DEADLINE_SLACK_SEC,
        beacon: await epochOf(functionVersion),
        authority: NO_AUTHORITY,
      };
      const signature = await key.sign(connection.domain, 'Call', call);
      const text = JSON.stringify({ ...call, maxPrice: `${call.maxPrice}`, salt, signature });
      return { call, functionId, header: textToBase64Url(text) };
    },
    forget: () => {
      terms.forget();
      epochs.clear();
    },
  };
}
