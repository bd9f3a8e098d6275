// EIP-712 types, hashes and trees by ethers: neither the contracts' libraries nor their twins check
// themselves.
import { AbiCoder, hexlify, keccak256, TypedDataEncoder, zeroPadValue } from 'ethers';

export type Fields = Record<string, unknown>;
export const word = (value: number) => zeroPadValue(hexlify(Uint8Array.of(value)), 32);

const TYPES = {
  Voucher: [
    ['address', 'payer'],
    ['address', 'gateway'],
    ['address', 'signer'],
    ['uint128', 'ceiling'],
  ],
  Call: [
    ['address', 'payer'],
    ['address', 'gateway'],
    ['address', 'signer'],
    ['bytes32', 'nonce'],
    ['bytes32', 'functionVersion'],
    ['bytes32', 'input'],
    ['uint128', 'maxPrice'],
    ['uint40', 'deadline'],
    ['uint64', 'beacon'],
    ['bytes32', 'authority'],
  ],
  Execution: [
    ['uint64', 'deployment'],
    ['bytes32', 'request'],
    ['uint32', 'billedMs'],
    ['uint32', 'initMs'],
    ['uint32', 'memoryMiB'],
    ['uint16', 'status'],
    ['bytes32', 'input'],
    ['bytes32', 'output'],
    ['uint40', 'finishedAt'],
  ],
  Receipt: [
    ['address', 'payer'],
    ['address', 'gateway'],
    ['address', 'signer'],
    ['uint40', 'seq'],
    ['bytes32', 'call'],
    ['bytes32', 'execution'],
    ['address', 'provider'],
    ['uint8', 'attempt'],
    ['uint64', 'atBlock'],
    ['uint128', 'price'],
    ['uint128', 'cumulative'],
  ],
  ReceiptGroup: [
    ['address', 'gateway'],
    ['bytes32', 'root'],
    ['uint32', 'count'],
  ],
  Allot: [
    ['address', 'payer'],
    ['address', 'gateway'],
    ['uint128', 'amount'],
    ['uint256', 'nonce'],
    ['uint40', 'deadline'],
  ],
  OpenLane: [
    ['address', 'payer'],
    ['address', 'gateway'],
    ['address', 'signer'],
    ['uint128', 'cap'],
    ['uint32', 'expiry'],
    ['uint8', 'mode'],
    ['uint256', 'nonce'],
    ['uint40', 'deadline'],
  ],
  OperatorKey: [
    ['address', 'party'],
    ['address', 'key'],
    ['uint8', 'role'],
    ['uint40', 'deadline'],
  ],
} as const;

/** ethers' form of one of our EIP-712 types. */
export function typed(name: keyof typeof TYPES) {
  return { [name]: TYPES[name].map(([type, field]) => ({ type, name: field })) };
}

export function hashStruct(name: keyof typeof TYPES, value: Fields): string {
  return TypedDataEncoder.hashStruct(name, typed(name), value);
}

/** Levels of the ordered Merkle tree of docs/contracts.md 5.1, leaves first. */
export function levelsOf(leaves: readonly string[]): string[][] {
  const levels = [[...leaves]];
  for (let level = levels[0] ?? []; level.length > 1; ) {
    const parents: string[] = [];
    for (let i = 0; i < level.length; i += 2) {
      const [left, right] = [level[i] ?? '', level[i + 1]];
      parents.push(right === undefined ? left : keccak256(`${left}${right.slice(2)}`));
    }
    levels.push(parents);
    level = parents;
  }
  return levels;
}

export function pathOf(levels: readonly string[][], index: number): string[] {
  return levels.slice(0, -1).flatMap((level, height) => {
    const sibling = level[(index >> height) ^ 1];
    return sibling === undefined ? [] : [sibling];
  });
}

export function rootOf(levels: readonly string[][]): string {
  return levels.at(-1)?.[0] ?? '';
}

/** Id of a function by docs/contracts.md 8.1. */
export function functionIdOf(namespace: string, name: string): bigint {
  return BigInt(
    keccak256(AbiCoder.defaultAbiCoder().encode(['address', 'string'], [namespace, name])),
  );
}
