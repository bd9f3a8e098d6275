// keccak-256 behind one function, and the hex of bytes. Every hash that a contract recomputes goes
// through here.

/** Bytes as `0x` and lower-case hex, two digits a byte. */
export type Hex = `0x${string}`;
/** An account, 20 bytes. Lower-case in our code; checksummed only for display. */
export type Address = Hex;

const hexDigits = nativeDigits() ?? (await wasmDigits());

/**
 * Node's keccak-256, if its OpenSSL has it: 2.1 us for 384 bytes, two thirds of the WASM's time. A
 * browser has no such module.
 */
function nativeDigits(): ((bytes: Uint8Array) => string) | undefined {
  const crypto = globalThis.process?.getBuiltinModule?.('node:crypto');
  if (!crypto?.getHashes().includes('keccak-256')) return undefined;
  return (bytes) => crypto.hash('keccak-256', bytes, 'hex');
}

/** The WASM is compiled once while this module loads; from then on hashing is synchronous. */
async function wasmDigits(): Promise<(bytes: Uint8Array) => string> {
  const { createKeccak } = await import('hash-wasm');
  const hasher = await createKeccak(256);
  return (bytes) => hasher.init().update(bytes).digest();
}

const PAIRS: readonly string[] = Array.from({ length: 256 }, (_, byte) =>
  byte.toString(16).padStart(2, '0'),
);
/** Table entry of a character that is no hex digit: any sum with it exceeds a byte. */
const NOT_HEX = 0x1000;
const DIGITS = new Uint16Array(128).fill(NOT_HEX);
for (let digit = 0; digit < 16; digit += 1) {
  DIGITS[digit.toString(16).charCodeAt(0)] = digit;
  DIGITS[digit.toString(16).toUpperCase().charCodeAt(0)] = digit;
}

/**
 * keccak-256 of `bytes`, 32 bytes. 6 MiB take 16 to 27 ms, so request bodies are never hashed with
 * it.
 */
export function keccak256(bytes: Uint8Array): Uint8Array {
  return fromHex(keccak256Hex(bytes));
}

/** keccak-256 of `bytes` as 66 characters of hex. */
export function keccak256Hex(bytes: Uint8Array): Hex {
  return `0x${hexDigits(bytes)}`;
}

/** Lower-case hex of `bytes`, with `0x`. */
export function toHex(bytes: Uint8Array): Hex {
  let text = '';
  for (const byte of bytes) text += PAIRS[byte];
  return `0x${text}`;
}

/**
 * Bytes of a hex string with `0x`, either case.
 * @throws TypeError  not hex, or an odd number of digits
 */
export function fromHex(hex: Hex): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array((hex.length - 2) >> 1);
  writeHex(hex, bytes, 0, bytes.length);
  return bytes;
}

/**
 * Writes the bytes of `hex` into `target` from `offset` on, without an intermediate array.
 * @throws TypeError  not hex, or not exactly `byteLength` bytes
 */
export function writeHex(hex: Hex, target: Uint8Array, offset: number, byteLength: number): void {
  if (hex.length !== 2 + byteLength * 2 || !hex.startsWith('0x')) throw notHex(hex, byteLength);
  let at = 2;
  let seen = 0;
  for (let i = offset; i < offset + byteLength; i += 1) {
    const byte =
      ((DIGITS[hex.charCodeAt(at)] ?? NOT_HEX) << 4) | (DIGITS[hex.charCodeAt(at + 1)] ?? NOT_HEX);
    seen |= byte;
    target[i] = byte;
    at += 2;
  }
  if (seen > 0xff) throw notHex(hex, byteLength);
}

function notHex(hex: string, byteLength: number): TypeError {
  return new TypeError(`expected 0x and ${byteLength} bytes of hex, got "${hex.slice(0, 80)}"`);
}
