// Step 1 of a call in a `signed` lane: the Call that the lane's key signed says who asks, for what,
// and for how much (docs/contracts.md 6.2).

import type { Chain } from '../../contracts/chain.ts';
import { type Address, fromHex, type Hex } from '../../contracts/libraries/keccak.ts';
import { type Call, hashCall } from '../../contracts/libraries/receipts.ts';
import { priceOf } from '../../contracts/libraries/tariffs.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { hashToSign } from '../../contracts/libraries/typed-data.ts';
import { DefaasError } from '../errors.ts';
import { recoverSigner } from '../identity/ecdsa.ts';
import type { SignedCall } from '../money/caller.ts';
import type { Beacon, Draw } from '../routing/beacon.ts';
import type { Target } from '../routing/target.ts';
import { commitRequest } from './commitments.ts';
import type { Invocation } from './invocation.ts';

/** Mode of a lane whose key signs every Call (docs/contracts.md 3). */
export const SIGNED = 2;
/** Time for failovers beyond the version's timeout. A nearer deadline could not be kept. */
const LEAST_SLACK_SEC = 45;
/**
 * The latest deadline beyond the version's timeout, so that a Call cannot be held back and run much
 * later.
 */
const MOST_SLACK_SEC = 600;

export interface SignedCallParts {
  readonly address: Address;
  readonly beacon: Pick<Beacon, 'isCurrent'>;
  readonly chain: Chain;
  readonly nowMs: () => number;
}

/**
 * Reads and checks a `Defaas-Call` header: base64url of JSON with the Call's fields, `salt` and
 * `signature`; maxPrice is decimal text. One native recover; no token is needed beside it.
 * @throws DefaasError CALL_INVALID     another form, lane, gateway, input, deadline or signer, or a
 * prepaid lane
 * @throws DefaasError CALL_STALE       its epoch or version is not in force (any more): sign again
 * @throws DefaasError PRICE_ABOVE_MAX  the version may cost more than the Call allows
 */
export async function verifySignedCall(
  parts: SignedCallParts,
  invocation: Invocation,
  header: string,
  target: Target,
): Promise<SignedCall> {
  const { call, salt, signature } = parse(header);
  if (call.gateway !== parts.address) throw invalid(`it is for the gateway ${call.gateway}`);
  if (call.functionVersion !== target.version.functionVersion) {
    throw stale(`it is for another version than ${target.label}`);
  }
  refuseDeadline(call, target, parts.nowMs() / 1000);
  refusePrice(call, target);
  const { method, target: asked, body } = invocation;
  if (commitRequest(salt, method, asked, body) !== call.input) {
    throw invalid('its input is not the commitment to this method, path, query and body');
  }
  if (recoverSigner(hashToSign(parts.chain.domain, hashCall(call)), signature) !== call.signer) {
    throw invalid(`it is not signed by the lane's key ${call.signer}`);
  }
  const laneMode = (): number | undefined =>
    parts.chain.view.lane(call.payer, parts.address, call.signer)?.mode;
  // The lane's transaction may be newer than the view.
  if (laneMode() === undefined) await parts.chain.synced();
  if (laneMode() !== SIGNED) {
    throw invalid(`the lane of ${call.signer} is not one of signed calls, use its access token`);
  }
  return { call, salt, signature, draw: drawOf(parts, call) };
}

function refuseDeadline(call: Call, { version }: Target, nowSec: number): void {
  const timeoutSec = Math.ceil(version.timeoutMs / 1000);
  if (call.deadlineSec < nowSec + timeoutSec + LEAST_SLACK_SEC) {
    throw invalid(`its deadline must lie ${timeoutSec + LEAST_SLACK_SEC} s ahead or more`);
  }
  if (call.deadlineSec > nowSec + timeoutSec + MOST_SLACK_SEC) {
    throw invalid(`its deadline may lie ${timeoutSec + MOST_SLACK_SEC} s ahead at most`);
  }
}

function refusePrice(call: Call, { version }: Target): void {
  const { timeoutMs, memoryMiB } = version;
  const worst = priceOf({ status: 200, billedMs: timeoutMs, memoryMiB }, version);
  if (worst <= call.maxPrice) return;
  throw new DefaasError(
    'PRICE_ABOVE_MAX',
    `the call may cost ${formatTokens(worst)} tokens, the Call allows ${formatTokens(call.maxPrice)}, sign a maxPrice of ${worst} base units`,
    { members: { priceUnits: `${worst}`, maxPriceUnits: `${call.maxPrice}` } },
  );
}

/** Read from final blocks only, so that a reorganisation cannot change the epoch. */
function drawOf(parts: SignedCallParts, call: Call): Draw {
  const { final } = parts.chain;
  const epoch = final.epochOf(call.beacon);
  if (epoch === undefined) throw stale(`no epoch ${call.beacon} is recorded, or it is not final`);
  if (!parts.beacon.isCurrent(epoch)) throw stale(`epoch ${call.beacon} is too old`);
  const set = final.candidates(call.functionVersion, parts.address, epoch.epoch);
  if (set === undefined) throw stale(`the version had no candidates at epoch ${call.beacon}`);
  return { epoch: epoch.epoch, value: epoch.value, ids: set.ids };
}

const ADDRESS = /^0x[0-9a-f]{40}$/;
const WORD = /^0x[0-9a-f]{64}$/;

interface CallText {
  readonly call: Call;
  readonly salt: Uint8Array;
  readonly signature: Hex;
}

function parse(header: string): CallText {
  const value = jsonOf(header);
  const hex = (name: string, form: RegExp): Hex => {
    const text = String(value[name]).toLowerCase();
    if (!form.test(text)) throw invalid(`${name} is not of its form`);
    // Safe: the forms are those of Hex.
    return text as Hex;
  };
  const units = (name: string, bits: bigint): bigint => {
    const text = value[name];
    const number = typeof text === 'string' && /^\d{1,39}$/.test(text) ? BigInt(text) : -1n;
    if (number < 0n || number >> bits !== 0n) throw invalid(`${name} is no uint${bits} as text`);
    return number;
  };
  const count = (name: string): number => {
    const number = value[name];
    if (Number.isSafeInteger(number) && Number(number) >= 0) return Number(number);
    throw invalid(`${name} is no whole number`);
  };
  const call = {
    payer: hex('payer', ADDRESS),
    gateway: hex('gateway', ADDRESS),
    signer: hex('signer', ADDRESS),
    nonce: hex('nonce', WORD),
    functionVersion: hex('functionVersion', WORD),
    input: hex('input', WORD),
    maxPrice: units('maxPrice', 128n),
    deadlineSec: count('deadlineSec'),
    beacon: count('beacon'),
    authority: hex('authority', WORD),
  };
  const signature = hex('signature', /^0x[0-9a-f]{130}$/);
  return { call, salt: fromHex(hex('salt', WORD)), signature };
}

function jsonOf(header: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(Buffer.from(header, 'base64url').toString('utf8'));
    // Safe: JSON objects have string keys; every member is read with a check.
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {
    // Not base64url or not JSON: the same answer as below.
  }
  throw invalid('its form is base64url of JSON');
}

function invalid(why: string): DefaasError {
  return new DefaasError('CALL_INVALID', `the signed Call is refused: ${why}, sign it again`);
}

function stale(why: string): DefaasError {
  return new DefaasError(
    'CALL_STALE',
    `the signed Call is refused: ${why}, ask GET /epochs/latest and sign it again`,
  );
}
