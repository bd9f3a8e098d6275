// Reads JSON that a gateway sent. The form of each member is checked once, here, and trusted
// afterwards.
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { DefaasClientError } from './errors.ts';
import { readUpTo } from './read-body.ts';

export type Json = Readonly<Record<string, unknown>>;

/** Largest JSON body of a gateway, bytes: several times a page of receipts. */
const MAX_JSON_BYTES = 16 * 1024 * 1024;

/**
 * The body of a reply as a JSON object.
 * @throws GATEWAY_PROTOCOL it is not one, or larger than 16 MiB
 */
export async function readJson(reply: Response, what: string): Promise<Json> {
  try {
    const { bytes, isWhole } = await readUpTo(reply, MAX_JSON_BYTES);
    if (!isWhole) wrong(what, `at most ${MAX_JSON_BYTES} bytes`);
    return readObject(JSON.parse(new TextDecoder().decode(bytes)), what);
  } catch (cause) {
    if (cause instanceof DefaasClientError) throw cause;
    throw new DefaasClientError('GATEWAY_PROTOCOL', `${what} is no JSON`, { cause });
  }
}

export function readObject(value: unknown, what: string): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) wrong(what, 'an object');
  // Safe: JSON objects have string keys; members are read with a check.
  return value as Json;
}

export function readArray(value: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(value)) wrong(what, 'a list');
  return value;
}

export function readText(value: unknown, what: string): string {
  if (typeof value !== 'string') wrong(what, 'a text');
  return value;
}

export function readCount(value: unknown, what: string): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    wrong(what, 'a whole number');
  }
  return value;
}

/** Reads base units or a nonce, which JSON carries as decimal text. */
export function readUnits(value: unknown, what: string): bigint {
  if (typeof value !== 'string' || !/^\d{1,78}$/.test(value)) wrong(what, 'decimal text');
  return BigInt(value);
}

export function readHex(value: unknown, bytes: number, what: string): Hex {
  if (typeof value !== 'string' || !new RegExp(`^0x[0-9a-fA-F]{${2 * bytes}}$`).test(value)) {
    wrong(what, `${bytes} bytes of hex`);
  }
  // Safe: the pattern above is that of Hex.
  return value.toLowerCase() as Hex;
}

export function readAddress(value: unknown, what: string): Address {
  return readHex(value, 20, what);
}

function wrong(what: string, form: string): never {
  throw new DefaasClientError('GATEWAY_PROTOCOL', `${what} is not ${form}`);
}
