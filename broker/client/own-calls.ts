// The nonce of an own call. A holder of the lane's key recognises its calls by it, on every device
// and after every restart, and nobody else can make one. So a receipt for a call that the payer
// never made is detected without a list of calls.
import { computeHmac } from 'ethers';
import { fromHex, type Hex, toHex } from '../../contracts/libraries/keccak.ts';

/** Sizes of the nonce's halves and of the fields under its tag, bytes. */
const HALF_BYTES = 16;
const FUNCTION_BYTES = 32;
const PRICE_BYTES = 16;
const TIME_BYTES = 5;
/** The label from which the key is derived. */
const LABEL = new TextEncoder().encode('DeFaaS own calls 1');

/** What a nonce is made for. */
export interface OwnCall {
  readonly functionId: bigint;
  /** `Call.maxPrice`, base units (uint128). */
  readonly maxPriceUnits: bigint;
}

/**
 * The key of a lane's own calls, 32 bytes, derived from the private key that signs for the lane:
 * HMAC-SHA256(private key, "DeFaaS own calls 1"). It exists wherever the lane's key does and cannot
 * be lost alone. A key that cannot be exported needs a separate one.
 */
export function ownCallsKey(privateKey: Hex): Hex {
  return hmac(privateKey, LABEL);
}

/**
 * `Call.nonce` of an own call: r (16 bytes) || tag (16 bytes), tag = the first 16 bytes of
 * HMAC-SHA256(key, r || functionId (32 bytes, big-endian) || maxPrice (16 bytes, big-endian)).
 * With an Idempotency-Key r is the first 16 bytes of HMAC-SHA256(key, Idempotency-Key in UTF-8), so
 * that a call that is
 * repeated under its key is the same call; without one it is the time (Unix seconds, 5 bytes) and
 * 11 random bytes.
 */
export function ownNonce(key: Hex, call: OwnCall, idempotencyKey?: string): Hex {
  const r = idempotencyKey === undefined ? freshHalf() : keyedHalf(key, idempotencyKey);
  return `${r}${tagOf(key, r, call)}`;
}

/** Whether a holder of `key` has made the nonce, for this function and this maximum price. */
export function isOwnNonce(key: Hex, nonce: Hex, call: OwnCall): boolean {
  const r: Hex = `0x${nonce.slice(2, 2 + 2 * HALF_BYTES)}`;
  return nonce === `${r}${tagOf(key, r, call)}`;
}

/** Whether an own nonce is that of a call under this Idempotency-Key. */
export function isNonceOfKey(key: Hex, nonce: Hex, idempotencyKey: string): boolean {
  return nonce.startsWith(keyedHalf(key, idempotencyKey));
}

/**
 * Identifies what may be charged once: one r for one function, even if it was sent again with
 * another maximum price.
 */
export function ownCallOf(nonce: Hex, functionId: bigint): string {
  return `${nonce.slice(2, 2 + 2 * HALF_BYTES)}:${functionId.toString(16)}`;
}

function freshHalf(): Hex {
  const bytes = crypto.getRandomValues(new Uint8Array(HALF_BYTES));
  const nowSec = Math.floor(Date.now() / 1000);
  new DataView(bytes.buffer).setUint32(TIME_BYTES - 4, nowSec);
  bytes[0] = Math.floor(nowSec / 2 ** 32);
  return toHex(bytes);
}

function keyedHalf(key: Hex, idempotencyKey: string): Hex {
  return half(hmac(key, new TextEncoder().encode(idempotencyKey)));
}

function tagOf(key: Hex, r: Hex, { functionId, maxPriceUnits }: OwnCall): string {
  const message = `${r}${padded(functionId, FUNCTION_BYTES)}${padded(maxPriceUnits, PRICE_BYTES)}`;
  // Safe: a hex string with even digits, made above.
  return half(hmac(key, fromHex(message as Hex))).slice(2);
}

/** HMAC-SHA256 (RFC 2104): Node's own where there is one, 4 us instead of 20. */
function hmac(key: Hex, message: Uint8Array): Hex {
  if (native) return `0x${native.createHmac('sha256', fromHex(key)).update(message).digest('hex')}`;
  // Safe: ethers types hex as string.
  return computeHmac('sha256', key, message) as Hex;
}

const native = globalThis.process?.getBuiltinModule?.('node:crypto');

function half(hash: Hex): Hex {
  return `0x${hash.slice(2, 2 + 2 * HALF_BYTES)}`;
}

function padded(value: bigint, bytes: number): string {
  return value.toString(16).padStart(2 * bytes, '0');
}
