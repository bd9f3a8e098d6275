// Keys at rest: Web3 Secret Storage V3 (scrypt, AES-128-CTR), as wallets and geth read it.
import {
  computeAddress,
  decryptKeystoreJson,
  encryptKeystoreJson,
  hexlify,
  randomBytes,
} from 'ethers';
import type { Address, Hex } from './libraries/keccak.ts';

/** A key in memory, never logged. */
export interface Key {
  readonly address: Address;
  readonly privateKey: Hex;
}

/** scrypt's cost parameter N: geth's standard, about a second in JavaScript. */
const STANDARD_SCRYPT_N = 131_072;

/** A fresh random key. */
export function createKey(): Key {
  return keyOf(hexlify(randomBytes(32)) as Hex); // ethers types hex as string
}

/**
 * The key with its account's address, lower-case.
 * @throws TypeError  not the 32 bytes of a secp256k1 key
 */
export function keyOf(privateKey: Hex): Key {
  return { address: computeAddress(privateKey).toLowerCase() as Address, privateKey };
}

/**
 * The key as a JSON document of Web3 Secret Storage, version 3. `scryptN` (a power of two) trades
 * time for strength; a random 128-bit password is safe with any value.
 */
export async function encryptKey(
  key: Key,
  password: string,
  options: { scryptN?: number } = {},
): Promise<string> {
  const scrypt = { N: options.scryptN ?? STANDARD_SCRYPT_N, r: 8, p: 1 };
  return encryptKeystoreJson({ ...key }, password, { scrypt });
}

/** @throws Error  not a V3 document, or the password is wrong */
export async function decryptKey(json: string, password: string): Promise<Key> {
  const { privateKey } = await decryptKeystoreJson(json, password);
  return keyOf(privateKey as Hex); // ethers types hex as string
}
