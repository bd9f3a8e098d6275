// Who signed: ECDSA first (also for accounts with EIP-7702 code), then ERC-1271, then ERC-6492 by
// eth_call only. The hot path calls nothing here; there the broker recovers signers with a native
// library.
import {
  AbiCoder,
  hashMessage as hashText,
  type Provider,
  recoverAddress as recover,
  Signature,
  SigningKey,
} from 'ethers';
import type { Address, Hex } from './libraries/keccak.ts';

/**
 * The signed data: a 32-byte digest, or a text under ERC-191's "Ethereum Signed Message" prefix
 * (SIWE signs so).
 */
export type Signed = Hex | { readonly message: string };

/**
 * r, s and v of an ECDSA signature, as OpenZeppelin's ECDSA takes it: compact ones (ERC-2098) are
 * refused there too.
 */
const SIGNATURE_BYTES = 65;
/** bytes4(keccak256("isValidSignature(bytes32,bytes)")), call and answer of ERC-1271. */
const ERC1271_MAGIC: Hex = '0x1626ba7e';
/** Ends every ERC-6492 signature. */
const ERC6492_MAGIC = '6492'.repeat(16);

const abi = AbiCoder.defaultAbiCoder();

/** The digest of a text that a wallet signs (ERC-191, version 0x45). */
export function hashMessage(message: string): Hex {
  return hashText(message) as Hex; // ethers types hex as string
}

/**
 * The account whose key signed `digest`; undefined when `signature` is not 65 bytes with a low s
 * and v of 27 or 28.
 */
export function recoverAddress(digest: Hex, signature: Hex): Address | undefined {
  if (signature.length !== 2 + 2 * SIGNATURE_BYTES) return undefined;
  const v = Number.parseInt(signature.slice(-2), 16);
  if (v !== 27 && v !== 28) return undefined;
  try {
    return recover(digest, Signature.from(signature)).toLowerCase() as Address;
  } catch {
    return undefined; // not hex, a high s, or no point of the curve: an expected no
  }
}

/**
 * Signature of `digest`, 65 bytes. About 0.8 ms: for callers and settlement, not for the hot path.
 */
export function signDigest(privateKey: Hex, digest: Hex): Hex {
  return new SigningKey(privateKey).sign(digest).serialized as Hex; // ethers types hex as string
}

/**
 * Whether `account` signed, asked at `provider`'s newest block. A contract's answer may change with
 * the next block.
 * @throws what `provider.call` throws when no RPC answers; a contract that reverts is a no
 */
export async function verifySignature(
  provider: Pick<Provider, 'call'>,
  account: Address,
  signed: Signed,
  signature: Hex,
): Promise<boolean> {
  const digest = typeof signed === 'string' ? signed : hashMessage(signed.message);
  if (recoverAddress(digest, signature) === account.toLowerCase()) return true;
  if (!/^0x([0-9a-f]{2})*$/i.test(signature)) return false;
  const wrapped = unwrap(signature);
  const answer = await ask(
    provider,
    wrapped
      ? { data: createAndAsk(account, askIsValid(digest, wrapped.signature), wrapped) }
      : { to: account, data: askIsValid(digest, signature) },
  );
  return answer === `${ERC1271_MAGIC}${'00'.repeat(28)}`;
}

/** Whether the signature is valid by ERC-6492, for a contract that may not be deployed yet. */
export function isWrapped(signature: Hex): boolean {
  return signature.toLowerCase().endsWith(ERC6492_MAGIC);
}

interface Wrapped {
  readonly factory: Address;
  readonly factoryCall: Hex;
  readonly signature: Hex;
}

/** The parts of an ERC-6492 signature: abi.encode(factory, factoryCall, signature) || magic. */
function unwrap(signature: Hex): Wrapped | undefined {
  if (!isWrapped(signature)) return undefined;
  try {
    const body = signature.slice(0, -ERC6492_MAGIC.length);
    const [factory, factoryCall, inner] = abi.decode(['address', 'bytes', 'bytes'], body);
    return { factory: factory.toLowerCase(), factoryCall, signature: inner };
  } catch {
    return undefined;
  }
}

function askIsValid(digest: Hex, signature: Hex): Hex {
  return `${ERC1271_MAGIC}${abi.encode(['bytes32', 'bytes'], [digest, signature]).slice(2)}`;
}

async function ask(
  provider: Pick<Provider, 'call'>,
  call: { to?: Address; data: Hex },
): Promise<string> {
  try {
    return await provider.call(call);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'CALL_EXCEPTION') return '0x';
    throw error;
  }
}

/**
 * EVM code for an eth_call without `to`. It calls the factory to create the account, calls the
 * account, and returns its answer, or zero if the account reverted or returned less than a word. It
 * changes nothing on the chain. The factory's result is ignored, because the account may exist
 * already.
 */
function createAndAsk(account: Address, question: Hex, { factory, factoryCall }: Wrapped): Hex {
  const askBytes = byteLength(question);
  const createBytes = byteLength(factoryCall);
  const program = (codeBytes: number): string[] => [
    // memory[32..] = factoryCall; factory.call(it), whatever it returns
    ...[push(createBytes), push(codeBytes), push(32), OP.codecopy],
    ...[push(0), push(0), push(createBytes), push(32), push(0), pushAddress(factory), OP.gas],
    ...[OP.call, OP.pop],
    // memory[32..] = question; account.staticcall(it), its answer into memory[0..32]
    ...[push(askBytes), push(codeBytes + createBytes), push(32), OP.codecopy],
    ...[push(32), push(0), push(askBytes), push(32), pushAddress(account), OP.gas, OP.staticcall],
    // return success * (returndatasize > 31) * memory[0..32]
    ...[push(31), OP.returndatasize, OP.gt, OP.mul, push(0), OP.mload, OP.mul],
    ...[push(0), OP.mstore, push(32), push(0), OP.return],
  ];
  const code = program(program(0).join('').length / 2).join('');
  return `0x${code}${factoryCall.slice(2)}${question.slice(2)}`;
}

/** Opcodes of the EVM used above. */
const OP = {
  mul: '02',
  gt: '11',
  codecopy: '39',
  returndatasize: '3d',
  pop: '50',
  mload: '51',
  mstore: '52',
  gas: '5a',
  call: 'f1',
  return: 'f3',
  staticcall: 'fa',
} as const;

/** PUSH4 has a fixed length, so the program's length does not depend on its numbers. */
function push(value: number): string {
  return `63${value.toString(16).padStart(8, '0')}`;
}

/** PUSH20. */
function pushAddress(address: Address): string {
  return `73${address.slice(2)}`;
}

function byteLength(hex: Hex): number {
  return (hex.length - 2) / 2;
}
