// A key that signs for a caller: a private key, or any ethers signer (a browser wallet, a hardware
// key).
import { type Signer, Wallet } from 'ethers';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import {
  type Eip712Domain,
  type Messages,
  messageOf,
  TYPES,
} from '../../contracts/libraries/typed-data.ts';
import { ownCallsKey } from './own-calls.ts';

export type Key = Hex | Signer;

export interface KeySigner {
  /** Lower-case. */
  readonly address: Address;
  /**
   * Marks the key's own calls (`own-calls.ts`), 32 bytes; undefined if the private key is not
   * available.
   */
  readonly ownCallsKey: Hex | undefined;
  /** Signs a text by ERC-191. */
  signText(text: string): Promise<Hex>;
  /** Signs typed data by EIP-712. */
  sign<T extends keyof Messages>(domain: Eip712Domain, type: T, message: Messages[T]): Promise<Hex>;
}

/**
 * Gives both kinds of keys one interface. A signer that asks its user does so for each signature.
 */
export async function createKeySigner(key: Key): Promise<KeySigner> {
  const signer = typeof key === 'string' ? new Wallet(key) : key;
  // Safe, here and below: ethers types hex as string.
  const address = (await signer.getAddress()).toLowerCase() as Address;
  const privateKey = 'privateKey' in signer ? (signer.privateKey as Hex) : undefined;
  return {
    address,
    ownCallsKey: privateKey && ownCallsKey(privateKey),
    signText: async (text) => (await signer.signMessage(text)) as Hex,
    sign: async (domain, type, message) =>
      (await signer.signTypedData(
        { ...domain },
        { [type]: TYPES[type] },
        messageOf(type, message),
      )) as Hex,
  };
}
