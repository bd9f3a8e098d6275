// The operator key: signs receipt groups and payouts. The chain says which keys belong to the
// gateway. The key is read from a file, and read again when the operator has replaced the file's
// content.
import { ExposedKeyError } from '../../adapters/runtime/whole-file.ts';
import type { Chain } from '../../contracts/chain.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { hashPayout, hashReceiptGroup } from '../../contracts/libraries/typed-data.ts';
import { readPrivateKey } from '../config.ts';
import { DefaasError } from '../errors.ts';

import { createDigestSigner } from './ecdsa.ts';

/** Signs a group's root with the operator key: `ReceiptGroup(gateway, root, count)`. */
export interface GroupSigner {
  readonly key: Address;
  sign(root: Hex, count: number): Hex;
}

/** The key in use, shared by all sets of contracts that the process serves. */
export interface HeldKey {
  signer: ReturnType<typeof createDigestSigner>;
}

export interface OperatorKey extends GroupSigner {
  readonly held: HeldKey;
  /** Signs Payout(gateway, payee, cumulative), base units. */
  signPayout(payee: Address, cumulative: bigint): Hex;
  /** Whether clients and contracts accept signatures of the key now. */
  isInForce(): boolean;
  /**
   * Reads the file again; later signatures use the key that it holds now.
   * @throws DefaasError KEY_NOT_IN_FORCE  the chain does not have it for this gateway (yet)
   * @throws DefaasError CONFIG_INVALID  the file holds no key
   */
  readAgain(): void;
}

interface OperatorKeyOptions {
  readonly privateKey: Hex;
  readonly file: string;
  readonly chain: Pick<Chain, 'domain' | 'view'>;
  readonly gateway: Address;
  /** The key in use of another set of contracts in this process. */
  readonly held?: HeldKey;
}

export function createOperatorKey(options: OperatorKeyOptions): OperatorKey {
  const { chain, gateway, file } = options;
  const held = options.held ?? { signer: createDigestSigner(options.privateKey) };
  return {
    held,
    get key() {
      return held.signer.address;
    },
    sign: (root, count) =>
      held.signer.sign(hashReceiptGroup(chain.domain, { gateway, root, count })),
    signPayout: (payee, cumulative) =>
      held.signer.sign(hashPayout(chain.domain, { gateway, payee, cumulative })),
    isInForce: () => chain.view.isKeyInForce(held.signer.address, gateway),
    readAgain: () => {
      const next = createDigestSigner(readKey(file));
      if (!chain.view.isKeyInForce(next.address, gateway)) {
        throw new DefaasError(
          'KEY_NOT_IN_FORCE',
          `the chain does not have key ${next.address} for gateway ${gateway}, run defaas rotate-key`,
        );
      }
      held.signer = next;
    },
  };
}

function readKey(file: string): Hex {
  try {
    // Safe: `readPrivateKey` has checked that it is 32 bytes of hex.
    return readPrivateKey(file) as Hex;
  } catch (cause) {
    const why = cause instanceof ExposedKeyError ? `: ${cause.message}` : '';
    throw new DefaasError(
      'CONFIG_INVALID',
      `DEFAAS_KEYS_OPERATOR_FILE must name a JSON file with a privateKey${why}`,
      { cause },
    );
  }
}
