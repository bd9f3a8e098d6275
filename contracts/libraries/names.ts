// Ids of functions and versions, and CIDs, which the chain stores as a codec and 32 bytes
// (docs/contracts.md 5.5 and 8.1).
import { type Address, fromHex, type Hex, keccak256Hex, toHex } from './keccak.ts';
import { WORD_BYTES, Words } from './words.ts';

/** Multicodec codes that a version's or a batch's digest may have. */
export const CODECS = { raw: 0x55, dagPb: 0x70, dagCbor: 0x71 } as const;

/** Who may call a version, by the number that the chain has for it. */
export const ACCESS_MODES = ['public', 'granted', 'policy'] as const;

/** CIDv1; the multihash's code of sha2-256 and its length in bytes. */
const CID_VERSION = 1;
const SHA2_256 = 0x12;
const DIGEST_BYTES = 32;
/** RFC 4648 base32 in lower case without padding: multibase prefix `b`. */
const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';

const versionWords = new Words(3);

/**
 * The function's id, also its ERC-721 token id: uint256(keccak256(abi.encode(namespace, name))).
 * The namespace is the publisher's address when it was registered, whoever owns it now.
 */
export function functionIdOf(namespace: Address, name: string): bigint {
  const text = new TextEncoder().encode(name);
  const words = new Words(3 + Math.ceil(text.length / WORD_BYTES));
  words.address(0, namespace);
  words.uint(1, 2 * WORD_BYTES, 2 * WORD_BYTES);
  words.uint(2, text.length, text.length);
  words.bytes.set(text, 3 * WORD_BYTES);
  return BigInt(keccak256Hex(words.bytes));
}

/**
 * The hash that identifies the version everywhere: keccak256(abi.encode(registry, functionId,
 * uint32 number)).
 */
export function functionVersionOf(registry: Address, functionId: bigint, number: number): Hex {
  versionWords.address(0, registry);
  versionWords.unsigned(1, functionId, 256);
  versionWords.uint(2, number, 0xffff_ffff);
  return keccak256Hex(versionWords.bytes);
}

/** The CIDv1 in base32 of a sha2-256 `digest` under `codec`. */
export function cidOf(codec: number, digest: Hex): string {
  if (!isCodec(codec)) throw new TypeError(`codec 0x${codec.toString(16)} is none of ours`);
  const bytes = new Uint8Array(4 + DIGEST_BYTES);
  bytes.set([CID_VERSION, codec, SHA2_256, DIGEST_BYTES]);
  const hash = fromHex(digest);
  if (hash.length !== DIGEST_BYTES) throw new TypeError(`a digest has 32 bytes, got "${digest}"`);
  bytes.set(hash, 4);
  return `b${toBase32(bytes)}`;
}

/**
 * Codec and sha2-256 digest of a CIDv1 in base32.
 * @throws TypeError  another version, base, hash or codec
 */
export function digestOf(cid: string): { codec: number; digest: Hex } {
  const bytes = cid.startsWith('b') ? fromBase32(cid.slice(1)) : undefined;
  const [version, codec = 0, hash, length] = bytes ?? [];
  const isOurs = version === CID_VERSION && hash === SHA2_256 && length === DIGEST_BYTES;
  if (!bytes || !isOurs || bytes.length !== 4 + DIGEST_BYTES || !isCodec(codec)) {
    throw new TypeError(`"${cid.slice(0, 80)}" is not a CIDv1 in base32 with sha2-256`);
  }
  return { codec, digest: toHex(bytes.subarray(4)) };
}

function isCodec(codec: number): boolean {
  return Object.values(CODECS).some((known) => known === codec);
}

function toBase32(bytes: Uint8Array): string {
  let text = '';
  let pending = 0;
  let bits = 0;
  for (const byte of bytes) {
    pending = (pending << 8) | byte;
    bits += 8;
    for (; bits >= 5; bits -= 5) text += BASE32[(pending >> (bits - 5)) & 31];
    pending &= (1 << bits) - 1;
  }
  return bits === 0 ? text : text + BASE32[(pending << (5 - bits)) & 31];
}

function fromBase32(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(Math.floor((text.length * 5) / 8));
  let pending = 0;
  let bits = 0;
  let at = 0;
  for (const character of text) {
    const digit = BASE32.indexOf(character);
    if (digit < 0) return undefined;
    pending = (pending << 5) | digit;
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      bytes[at] = pending >> bits;
      at += 1;
      pending &= (1 << bits) - 1;
    }
  }
  // Bits beyond the last byte are padding and zero: each CID has one spelling.
  return toBase32(bytes) === text ? bytes : undefined;
}
