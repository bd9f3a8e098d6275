// Checks that the contracts at a set's addresses are those of this release: the runtime code byte
// for byte, and every immutable value in it. This check comes before the first signature for a set
// and before the first transaction to it.
import { Interface } from 'ethers';
import { artifacts } from './artifacts.gen.ts';
import { ChainError, chainErrorOf } from './chain/chain-error.ts';
import type { ContractSet } from './deployments.ts';
import { type Address, fromHex, type Hex, keccak256Hex, toHex } from './libraries/keccak.ts';
import {
  billingDomain,
  type Eip712Domain,
  hashDomain,
  identityDomain,
} from './libraries/typed-data.ts';

const WORD_BYTES = 32;

/**
 * The two reads that the check needs: the code at an address, and eth_call. An ethers provider
 * fits.
 */
export interface CodeReader {
  getCode(address: string): Promise<string>;
  call(request: { readonly to: string; readonly data: string }): Promise<string>;
}

/**
 * Fixed terms of a deployed set, which a person sees before money moves. Amounts in base units,
 * times in seconds.
 */
export interface SetTerms {
  readonly token: Address;
  /** May pause deposits and bonds; undefined: nobody. */
  readonly guardian: Address | undefined;
  readonly minBondUnits: bigint;
  readonly pledgeUnits: bigint;
  readonly lineThawSec: number;
  readonly unbondSec: number;
  readonly demandWindowSec: number;
  readonly answerWindowSec: number;
  readonly proofWindowSec: number;
}

type Name = 'FunctionRegistry' | 'Identity' | 'Billing' | 'Disputes' | 'Beacon';
type ImmutableOf<N extends Name> = keyof (typeof artifacts)[N]['runtime']['immutables'];
type Words<N extends Name> = Readonly<Record<ImmutableOf<N>, bigint>>;

/**
 * Compares the code of the five contracts with this release and the addresses in it with the set,
 * then calls `wired()`. It cannot see what a modified constructor has written into storage: whoever
 * publishes a set is responsible for how it was deployed.
 * @throws ChainError DEPLOYMENT_CODE  other code, another address inside it, or a token without
 *   code
 * @throws ChainError CHAIN_UNREACHABLE
 */
export async function checkSet(
  reader: CodeReader,
  chainId: number,
  { contracts, token }: ContractSet,
): Promise<SetTerms> {
  const { registry, identity, billing, disputes, beacon } = contracts;
  const [ofRegistry, ofIdentity, ofBilling, ofDisputes, , tokenCode] = await Promise.all([
    readCode(reader, 'FunctionRegistry', registry),
    readCode(reader, 'Identity', identity),
    readCode(reader, 'Billing', billing),
    readCode(reader, 'Disputes', disputes),
    readCode(reader, 'Beacon', beacon),
    getCode(reader, token),
  ]);
  if (tokenCode === '0x') throw wrongCode(`there is no token at ${token}`);
  expectAll('FunctionRegistry', registry, ofRegistry, { BEACON: beacon, IDENTITY: identity });
  expectAll('Identity', identity, ofIdentity, {
    REGISTRY: registry,
    ...domainWords(identityDomain(chainId, identity)),
  });
  expectAll('Billing', billing, ofBilling, {
    TOKEN: token,
    IDENTITY: identity,
    DISPUTES: disputes,
    ...domainWords(billingDomain(chainId, billing)),
  });
  expectAll('Disputes', disputes, ofDisputes, {
    BILLING: billing,
    IDENTITY: identity,
    REGISTRY: registry,
    BEACON: beacon,
  });
  await askWired(reader, disputes);
  return {
    token,
    guardian: ofBilling.GUARDIAN === 0n ? undefined : toAddress(ofBilling.GUARDIAN),
    minBondUnits: ofBilling.MIN_BOND,
    pledgeUnits: ofDisputes.DEMAND_PLEDGE,
    lineThawSec: Number(ofBilling.LINE_THAW),
    unbondSec: Number(ofBilling.UNBOND),
    demandWindowSec: Number(ofDisputes.DEMAND_WINDOW),
    answerWindowSec: Number(ofDisputes.ANSWER_WINDOW),
    proofWindowSec: Number(ofDisputes.PROOF_WINDOW),
  };
}

/**
 * Reads a contract's immutables out of its code. An immutable that occurs several times must have
 * one value.
 */
async function readCode<N extends Name>(
  reader: CodeReader,
  name: N,
  address: Address,
): Promise<Words<N>> {
  const text = await getCode(reader, address);
  const { bytes, hash, immutables } = artifacts[name].runtime;
  if (!/^0x[0-9a-fA-F]*$/.test(text) || text.length !== 2 + 2 * bytes) {
    throw wrongCode(`at ${address} is no ${name} of this release`);
  }
  const code = fromHex(text as Hex); // the pattern above is that of Hex
  const words: [string, bigint][] = [];
  for (const [word, places] of Object.entries<readonly number[]>(immutables)) {
    const values = places.map((at) => code.slice(at, at + WORD_BYTES));
    const [first = new Uint8Array(WORD_BYTES)] = values;
    if (values.some((value) => toHex(value) !== toHex(first))) {
      throw wrongCode(`${name} at ${address} has several values of ${word}`);
    }
    for (const at of places) code.fill(0, at, at + WORD_BYTES);
    words.push([word, BigInt(toHex(first))]);
  }
  if (keccak256Hex(code) !== hash) throw wrongCode(`at ${address} is no ${name} of this release`);
  // Safe: one entry for each immutable of the contract.
  return Object.fromEntries(words) as Words<N>;
}

async function getCode(reader: CodeReader, address: Address): Promise<string> {
  try {
    return await reader.getCode(address);
  } catch (error) {
    throw chainErrorOf(`reading the code at ${address}`, error);
  }
}

function expectAll<N extends Name>(
  name: N,
  address: Address,
  words: Words<N>,
  expected: Partial<Record<ImmutableOf<N>, Hex>>,
): void {
  for (const [word, value] of Object.entries<bigint>(words)) {
    const wanted: Hex | undefined = expected[word as ImmutableOf<N>]; // one of the contract's own names
    if (wanted === undefined || BigInt(wanted) === value) continue;
    throw wrongCode(`${name} at ${address} has another ${word} than the set`);
  }
}

/**
 * The immutables of OpenZeppelin's EIP712. A wrong word here would let signatures for another
 * domain count.
 */
function domainWords(domain: Eip712Domain) {
  const hashOf = (text: string) => keccak256Hex(new TextEncoder().encode(text));
  return {
    _cachedDomainSeparator: hashDomain(domain),
    _cachedChainId: `0x${domain.chainId.toString(16)}`,
    _cachedThis: domain.verifyingContract,
    _hashedName: hashOf(domain.name),
    _hashedVersion: hashOf(domain.version),
    _name: shortString(domain.name),
    _version: shortString(domain.version),
  } as const;
}

/** OpenZeppelin's ShortString: up to 31 bytes, left-aligned, with the length in the last byte. */
function shortString(text: string): Hex {
  const word = new Uint8Array(WORD_BYTES);
  const bytes = new TextEncoder().encode(text);
  word.set(bytes);
  word[WORD_BYTES - 1] = bytes.length;
  return toHex(word);
}

async function askWired(reader: CodeReader, disputes: Address): Promise<void> {
  const data = new Interface(artifacts.Disputes.abi).encodeFunctionData('wired');
  try {
    await reader.call({ to: disputes, data });
  } catch (error) {
    const cause = chainErrorOf('disputes.wired', error);
    if (cause.code !== 'CHAIN_REVERTED') throw cause;
    throw wrongCode(`Disputes at ${disputes} is not wired to the others`, cause);
  }
}

function toAddress(word: bigint): Address {
  return `0x${word.toString(16).padStart(40, '0')}`;
}

function wrongCode(what: string, cause?: unknown): ChainError {
  return new ChainError(
    'DEPLOYMENT_CODE',
    `${what}, nothing was signed or sent, check the file of deployments and the RPC URL`,
    { cause },
  );
}
