// EIP-712: domains, types and digests of every signed message (docs/contracts.md 4). Digests are
// made here, without ethers; TYPES and `messageOf` have the form that wallets and ethers'
// `signTypedData` take.
import { type Address, type Hex, keccak256Hex, writeHex } from './keccak.ts';
import { CALL_TYPE, type Call, hashCall } from './receipts.ts';
import { WORD_BYTES, Words } from './words.ts';

export interface Eip712Domain {
  readonly name: string;
  readonly version: string;
  readonly chainId: number;
  readonly verifyingContract: Address;
}

/**
 * The most that `gateway` may take in all through the lane of `signer`, base units. Signed by
 * `signer`.
 */
export interface Voucher {
  readonly payer: Address;
  readonly gateway: Address;
  readonly signer: Address;
  readonly ceiling: bigint;
}

/**
 * The root over the `count` receipts of one durable commit. Signed by an operator key of `gateway`.
 */
export interface ReceiptGroup {
  readonly gateway: Address;
  readonly root: Hex;
  readonly count: number;
}

/** All that `gateway` has ever owed `payee`, base units. Signed by an operator key of `gateway`. */
export interface Payout {
  readonly gateway: Address;
  readonly payee: Address;
  readonly cumulative: bigint;
}

/**
 * A payer's permission for others to spend its money: who may call (`kind`, `subject`), which
 * function, the limits per call, per day and in all (base units), and until when. Its EIP-712 hash
 * is `Call.authority`. Signed by the lane's key; never checked on-chain, where the lane's ceiling
 * bounds the spending. `perDay` counts days of UTC.
 */
export interface Mandate {
  readonly payer: Address;
  readonly gateway: Address;
  readonly signer: Address;
  /** 1 token, 2 sponsored function, 3 subscription or trigger, 4 workflow, 5 child call. */
  readonly kind: number;
  /** Of kind 1: hash of the token's key (jkt) or id (jti). Of kind 2: zero. */
  readonly subject: Hex;
  readonly functionId: bigint;
  readonly maxPrice: bigint;
  readonly perDay: bigint;
  readonly total: bigint;
  /** Unix seconds (uint40). */
  readonly untilSec: number;
  /** Distinguishes mandates with the same terms (uint64). */
  readonly serial: bigint;
}

/**
 * The last fields of a relayed action: a keyed nonce (192-bit key, 64-bit counter) and a deadline
 * in Unix seconds.
 */
interface Relayed {
  readonly nonce: bigint;
  readonly deadlineSec: number;
}
interface OfLine extends Relayed {
  readonly payer: Address;
  readonly gateway: Address;
}
interface OfLane extends OfLine {
  readonly signer: Address;
}
interface OfGrant extends Relayed {
  readonly functionId: bigint;
  readonly subject: Address;
  readonly granter: Address;
}

/** The fields of each signed type under our names: base units, Unix seconds. */
export interface Messages {
  Voucher: Voucher;
  Call: Call;
  Mandate: Mandate;
  ReceiptGroup: ReceiptGroup;
  Payout: Payout;
  Allot: OfLine & { readonly amount: bigint };
  SetLimit: OfLine & { readonly limit: bigint };
  OpenLane: OfLane & { readonly cap: bigint; readonly expirySec: number; readonly mode: number };
  ExtendLane: OfLane & { readonly cap: bigint; readonly expirySec: number };
  CloseLane: OfLane;
  Thaw: OfLine & { readonly amount: bigint };
  CancelThaw: OfLine;
  Withdraw: Relayed & { readonly account: Address; readonly to: Address; readonly amount: bigint };
  OperatorKey: {
    readonly party: Address;
    readonly key: Address;
    readonly role: number;
    readonly deadlineSec: number;
  };
  Grant: OfGrant & { readonly expirySec: number; readonly scopes: number };
  RevokeGrant: OfGrant;
}

const RELAYED = 'uint256 nonce,uint40 deadline';
const LANE = 'address payer,address gateway,address signer';
const TYPE_STRINGS: Record<keyof Messages, string> = {
  Voucher: `Voucher(${LANE},uint128 ceiling)`,
  Call: CALL_TYPE,
  Mandate: `Mandate(${LANE},uint8 kind,bytes32 subject,uint256 functionId,uint128 maxPrice,uint128 perDay,uint128 total,uint40 until,uint64 serial)`,
  ReceiptGroup: 'ReceiptGroup(address gateway,bytes32 root,uint32 count)',
  Payout: 'Payout(address gateway,address payee,uint128 cumulative)',
  Allot: `Allot(address payer,address gateway,uint128 amount,${RELAYED})`,
  SetLimit: `SetLimit(address payer,address gateway,uint128 limit,${RELAYED})`,
  OpenLane: `OpenLane(${LANE},uint128 cap,uint32 expiry,uint8 mode,${RELAYED})`,
  ExtendLane: `ExtendLane(${LANE},uint128 cap,uint32 expiry,${RELAYED})`,
  CloseLane: `CloseLane(${LANE},${RELAYED})`,
  Thaw: `Thaw(address payer,address gateway,uint128 amount,${RELAYED})`,
  CancelThaw: `CancelThaw(address payer,address gateway,${RELAYED})`,
  Withdraw: `Withdraw(address account,address to,uint128 amount,${RELAYED})`,
  OperatorKey: 'OperatorKey(address party,address key,uint8 role,uint40 deadline)',
  Grant: `Grant(uint256 functionId,address subject,uint40 expiry,uint32 scopes,address granter,${RELAYED})`,
  RevokeGrant: `RevokeGrant(uint256 functionId,address subject,address granter,${RELAYED})`,
};
const DOMAIN_TYPE =
  'EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)';
/** Names of times on the wire; inside our code they carry their unit. */
const IN_SECONDS: readonly string[] = ['deadline', 'expiry', 'until'];

type Scalar = Hex | bigint | number;

/** A prepared type: its fields, and a buffer that begins with its type hash. */
interface Struct {
  readonly fields: { name: string; type: string }[];
  readonly words: Words;
}

const STRUCTS = mapTypes(createStruct);

/**
 * The fields of every signed type for `signTypedData(domain, { Voucher: TYPES.Voucher },
 * messageOf('Voucher', voucher))`.
 */
export const TYPES = mapTypes((type) => STRUCTS[type].fields);

/** Billing's domain: vouchers, calls, receipt groups, payouts and payers' relayed actions. */
export function billingDomain(chainId: number, billing: Address): Eip712Domain {
  return { name: 'DeFaaS Billing', version: '1', chainId, verifyingContract: billing };
}

/** Identity's domain: operator keys and grants. */
export function identityDomain(chainId: number, identity: Address): Eip712Domain {
  return { name: 'DeFaaS Identity', version: '1', chainId, verifyingContract: identity };
}

/**
 * The digest to sign, 32 bytes: keccak256(0x1901 || domain separator || hashStruct).
 * @throws as `hashReceipt`
 */
export function hashTypedData<T extends keyof Messages>(
  domain: Eip712Domain,
  type: T,
  message: Messages[T],
): Hex {
  return hashToSign(domain, hashStruct(type, message));
}

export function hashVoucher(domain: Eip712Domain, voucher: Voucher): Hex {
  return hashTypedData(domain, 'Voucher', voucher);
}

export function hashMandate(domain: Eip712Domain, mandate: Mandate): Hex {
  return hashTypedData(domain, 'Mandate', mandate);
}

export function hashReceiptGroup(domain: Eip712Domain, group: ReceiptGroup): Hex {
  return hashTypedData(domain, 'ReceiptGroup', group);
}

export function hashPayout(domain: Eip712Domain, payout: Payout): Hex {
  return hashTypedData(domain, 'Payout', payout);
}

/**
 * The digest that a lane's key signs in `signed` lanes. If the call's hash is already known, use
 * `hashToSign`.
 */
export function hashSignedCall(domain: Eip712Domain, call: Call): Hex {
  return hashToSign(domain, hashCall(call));
}

/** The message under the wire's field names, as a wallet shows and signs it. */
export function messageOf<T extends keyof Messages>(
  type: T,
  message: Messages[T],
): Record<string, Scalar> {
  const values = scalarsOf(message);
  return Object.fromEntries(
    STRUCTS[type].fields.map(({ name }) => [name, fieldOf(values, name, type)]),
  );
}

/** The domain separator. Domains are few and long-lived, so each is hashed once. */
export function hashDomain(domain: Eip712Domain): Hex {
  const known = separators.get(domain);
  if (known !== undefined) return known;
  const words = new Words(5);
  words.bytes32(0, keccakOf(DOMAIN_TYPE));
  words.bytes32(1, keccakOf(domain.name));
  words.bytes32(2, keccakOf(domain.version));
  words.unsigned(3, BigInt(domain.chainId), 256);
  words.address(4, domain.verifyingContract);
  const separator = keccak256Hex(words.bytes);
  separators.set(domain, separator);
  return separator;
}

const separators = new WeakMap<Eip712Domain, Hex>();
const digestBytes = new Uint8Array(2 + 2 * WORD_BYTES);
digestBytes.set([0x19, 0x01]);

/**
 * The digest of an already hashed struct: a call is hashed once for the draw, the receipt and the
 * signature.
 */
export function hashToSign(domain: Eip712Domain, structHash: Hex): Hex {
  writeHex(hashDomain(domain), digestBytes, 2, WORD_BYTES);
  writeHex(structHash, digestBytes, 2 + WORD_BYTES, WORD_BYTES);
  return keccak256Hex(digestBytes);
}

function hashStruct<T extends keyof Messages>(type: T, message: Messages[T]): Hex {
  const { fields, words } = STRUCTS[type];
  const values = scalarsOf(message);
  fields.forEach(({ name, type: fieldType }, index) => {
    const value = fieldOf(values, name, type);
    if (typeof value !== 'string') {
      words.unsigned(index + 1, BigInt(value), Number(fieldType.slice('uint'.length)));
    } else if (fieldType === 'address') {
      words.address(index + 1, value);
    } else {
      words.bytes32(index + 1, value);
    }
  });
  return keccak256Hex(words.bytes);
}

function createStruct(type: keyof Messages): Struct {
  const text = TYPE_STRINGS[type];
  const fields = text
    .slice(text.indexOf('(') + 1, -1)
    .split(',')
    .map((field) => {
      const [fieldType = '', name = ''] = field.split(' ');
      return { name, type: fieldType };
    });
  const words = new Words(1 + fields.length);
  words.bytes32(0, keccakOf(text));
  return { fields, words };
}

function mapTypes<R>(make: (type: keyof Messages) => R): Record<keyof Messages, R> {
  const types = Object.keys(TYPE_STRINGS) as (keyof Messages)[]; // a Record's own keys
  return Object.fromEntries(types.map((type) => [type, make(type)])) as Record<keyof Messages, R>;
}

/** All messages are flat objects of scalars; their interfaces have no index signature to say so. */
function scalarsOf<T extends keyof Messages>(message: Messages[T]): ReadonlyMap<string, Scalar> {
  return new Map<string, Scalar>(Object.entries(message));
}

function fieldOf(values: ReadonlyMap<string, Scalar>, name: string, type: string): Scalar {
  const value = values.get(IN_SECONDS.includes(name) ? `${name}Sec` : name);
  if (value === undefined) throw new TypeError(`a ${type} has no "${name}"`);
  return value;
}

function keccakOf(text: string): Hex {
  return keccak256Hex(new TextEncoder().encode(text));
}
