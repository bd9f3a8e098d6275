// secp256k1 with the native library: signs each receipt group once, and verifies vouchers
// (docs/performance.md 3).
import secp256k1 from 'secp256k1';
import {
  type Address,
  fromHex,
  type Hex,
  keccak256,
  toHex,
} from '../../contracts/libraries/keccak.ts';

/**
 * Signs 32-byte digests. Signatures are 65 bytes `r || s || v`, v is 27 or 28, deterministic (RFC
 * 6979).
 */
export interface DigestSigner {
  readonly address: Address;
  sign(digest: Hex): Hex;
}

/** Creates a signer from a private key of 32 bytes of hex. */
export function createDigestSigner(privateKey: Hex): DigestSigner {
  const key = fromHex(privateKey);
  return {
    address: addressOf(secp256k1.publicKeyCreate(key, false)),
    sign: (digest) => {
      const { signature, recid } = secp256k1.ecdsaSign(fromHex(digest), key);
      return `${toHex(signature)}${recid === 0 ? '1b' : '1c'}`;
    },
  };
}

/**
 * The account that signed, or undefined if the 65 bytes are not a valid signature. High `s` is
 * refused, as contracts do.
 */
export function recoverSigner(digest: Hex, signature: string): Address | undefined {
  if (!/^0x[0-9a-f]{128}(1b|1c)$/i.test(signature)) return undefined;
  // Safe: the pattern above matches Hex only.
  const bytes = fromHex(signature.toLowerCase() as Hex);
  const compact = bytes.subarray(0, 64);
  const normal = secp256k1.signatureNormalize(compact.slice());
  if (!normal.every((byte, index) => byte === compact[index])) return undefined;
  try {
    return addressOf(
      secp256k1.ecdsaRecover(compact, (bytes[64] ?? 0) - 27, fromHex(digest), false),
    );
  } catch {
    return undefined;
  }
}

/** The last 20 bytes of the keccak256 of an uncompressed public key. */
function addressOf(publicKey: Uint8Array): Address {
  return toHex(keccak256(publicKey.subarray(1)).subarray(12));
}
