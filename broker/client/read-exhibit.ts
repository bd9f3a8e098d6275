// Reads the members of an evidence file. A stranger may have written it: every member, its form and
// its bounds are checked, and an unknown member is refused.
import type {
  EvidenceKind,
  Leaf,
  OpenedLeaf,
  Place,
  SignedReceipt,
} from '../../contracts/chain/evidence.ts';
import type { Hex } from '../../contracts/libraries/keccak.ts';
import {
  type Call,
  type Execution,
  hashCall,
  hashExecution,
  type Receipt,
} from '../../contracts/libraries/receipts.ts';
import { DefaasClientError } from './errors.ts';
import type { Exhibit, HeldReceipt } from './exhibits.ts';
import type { Json } from './parse.ts';

/** Deepest tree: a lane has fewer than 2^40 receipts. */
const MAX_PATH_LENGTH = 40;
/** Most deployments of a candidate set (FunctionRegistry). */
const MAX_SET_LENGTH = 32;

/**
 * The exhibit of a file, by its member `proof` and the members that belong to it.
 * @throws EVIDENCE_INVALID naming the first member that is not of its form
 */
export function readExhibit(proof: unknown, value: Json): Exhibit {
  switch (proof) {
    case 'receipt': {
      const { signed, call, execution, callSignature } = only(value, HELD, 'the evidence');
      return readHeld({ signed, call, execution, callSignature });
    }
    case 'withheld': {
      const { place, index } = only(value, ['place', 'index'], 'the evidence');
      const at = readPlace(place, 'place');
      return { kind: proof, place: at, index: below(index, at.seqTo - at.seqFrom, 'index') };
    }
    case 'omission': {
      const { signed, place, node, path, opened } = only(value, OMISSION, 'the evidence');
      return {
        kind: proof,
        signed: readSigned(signed, 'signed'),
        place: readPlace(place, 'place'),
        node: hex(node, 32, 'node'),
        path: readPath(path, 'path'),
        ...(opened !== undefined && { opened: readReceipt(opened, 'opened') }),
      };
    }
    case 'break': {
      const { place, a, b } = only(value, ['place', 'a', 'b'], 'the evidence');
      const at = readPlace(place, 'place');
      return { kind: proof, place: at, a: readLeaf(a, 'a'), b: readLeaf(b, 'b') };
    }
    case 'edge': {
      const { place, leaf } = only(value, ['place', 'leaf'], 'the evidence');
      return { kind: proof, place: readPlace(place, 'place'), leaf: readLeaf(leaf, 'leaf') };
    }
    case 'overcharge':
    case 'over-limit':
      return { kind: proof, ...readOpened(only(value, OPENED, 'the evidence')) };
    case 'misroute': {
      const { setNo, ids, ...opened } = only(value, [...OPENED, 'setNo', 'ids'], 'the evidence');
      const list = array(ids, MAX_SET_LENGTH, 'ids').map((id) => uint(id, 53, 'ids'));
      return { kind: proof, ...readOpened(opened), setNo: uint(setNo, 32, 'setNo'), ids: list };
    }
    case 'duplicate': {
      const { firstPlace, first, laterPlace, later } = only(value, DUPLICATE, 'the evidence');
      return {
        kind: proof,
        firstPlace: readPlace(firstPlace, 'firstPlace'),
        first: readLeaf(first, 'first'),
        laterPlace: readPlace(laterPlace, 'laterPlace'),
        later: readLeaf(later, 'later'),
      };
    }
    default:
      return wrong('proof', `one of ${PROOFS.join(', ')}`);
  }
}

const PROOFS: readonly (EvidenceKind | 'receipt' | 'withheld')[] = [
  'omission',
  'break',
  'edge',
  'overcharge',
  'over-limit',
  'duplicate',
  'misroute',
  'withheld',
  'receipt',
];
const HELD = ['signed', 'call', 'execution', 'callSignature'];
const OMISSION = ['signed', 'place', 'node', 'path', 'opened'];
const OPENED = ['place', 'leaf', 'call', 'execution'];
const DUPLICATE = ['firstPlace', 'first', 'laterPlace', 'later'];

function readHeld({ signed, call, execution, callSignature }: Json): HeldReceipt {
  const held = readSigned(signed, 'signed');
  const { receipt } = held;
  const opened = call === undefined ? undefined : readCall(call, 'call');
  if (opened && hashCall(opened) !== receipt.call) wrong('call', 'that of the receipt');
  const run = execution === undefined ? undefined : readExecution(execution, 'execution');
  if (run && hashExecution(run) !== receipt.execution) wrong('execution', 'that of the receipt');
  return {
    kind: 'receipt',
    signed: held,
    ...(opened && { call: opened }),
    ...(run && { execution: run }),
    ...(callSignature !== undefined && { callSignature: hex(callSignature, 65, 'callSignature') }),
  };
}

function readOpened({ place, leaf, call, execution }: Json): OpenedLeaf {
  return {
    place: readPlace(place, 'place'),
    leaf: readLeaf(leaf, 'leaf'),
    call: readCall(call, 'call'),
    execution: readExecution(execution, 'execution'),
  };
}

function readPlace(value: unknown, where: string): Place {
  const { settledFrom, settledTo, ...row } = only(value, PLACE, where);
  const at = (name: string) => `${where}.${name}`;
  const claims = uint(row.claims, 32, at('claims'));
  const seqFrom = uint(row.seqFrom, 40, at('seqFrom'));
  const seqTo = uint(row.seqTo, 40, at('seqTo'));
  if (seqTo <= seqFrom) wrong(at('seqTo'), 'above seqFrom');
  return {
    gateway: hex(row.gateway, 20, at('gateway')),
    batch: uint(row.batch, 53, at('batch')),
    settledAtSec: uint(row.settledAtSec, 53, at('settledAtSec')),
    claims,
    claim: below(row.claim, claims, at('claim')),
    outside: hex(row.outside, 32, at('outside')),
    path: readPath(row.path, at('path')),
    payer: hex(row.payer, 20, at('payer')),
    signer: hex(row.signer, 20, at('signer')),
    settledFrom: units(settledFrom, 88, at('settledFrom')),
    settledTo: units(settledTo, 88, at('settledTo')),
    seqFrom,
    seqTo,
    receipts: hex(row.receipts, 32, at('receipts')),
  };
}

const PLACE = [
  ...['gateway', 'batch', 'settledAtSec', 'claims', 'claim', 'outside', 'path', 'payer', 'signer'],
  ...['settledFrom', 'settledTo', 'seqFrom', 'seqTo', 'receipts'],
];

function readLeaf(value: unknown, where: string): Leaf {
  const { receipt, index, path } = only(value, ['receipt', 'index', 'path'], where);
  return {
    receipt: readReceipt(receipt, `${where}.receipt`),
    index: uint(index, 32, `${where}.index`),
    path: readPath(path, `${where}.path`),
  };
}

function readSigned(value: unknown, where: string): SignedReceipt {
  const { receipt, index, count, path, signature } = only(value, SIGNED, where);
  const of = uint(count, 32, `${where}.count`);
  return {
    receipt: readReceipt(receipt, `${where}.receipt`),
    index: below(index, of, `${where}.index`),
    count: of,
    path: readPath(path, `${where}.path`),
    signature: hex(signature, 65, `${where}.signature`),
  };
}

const SIGNED = ['receipt', 'index', 'count', 'path', 'signature'];

function readReceipt(value: unknown, where: string): Receipt {
  const row = only(value, RECEIPT, where);
  const at = (name: string) => `${where}.${name}`;
  return {
    payer: hex(row.payer, 20, at('payer')),
    gateway: hex(row.gateway, 20, at('gateway')),
    signer: hex(row.signer, 20, at('signer')),
    seq: uint(row.seq, 40, at('seq')),
    call: hex(row.call, 32, at('call')),
    execution: hex(row.execution, 32, at('execution')),
    provider: hex(row.provider, 20, at('provider')),
    attempt: uint(row.attempt, 8, at('attempt')),
    atBlock: uint(row.atBlock, 53, at('atBlock')),
    price: units(row.price, 128, at('price')),
    cumulative: units(row.cumulative, 128, at('cumulative')),
  };
}

const RECEIPT = [
  ...['payer', 'gateway', 'signer', 'seq', 'call', 'execution', 'provider', 'attempt', 'atBlock'],
  ...['price', 'cumulative'],
];

function readCall(value: unknown, where: string): Call {
  const row = only(value, CALL, where);
  const at = (name: string) => `${where}.${name}`;
  return {
    payer: hex(row.payer, 20, at('payer')),
    gateway: hex(row.gateway, 20, at('gateway')),
    signer: hex(row.signer, 20, at('signer')),
    nonce: hex(row.nonce, 32, at('nonce')),
    functionVersion: hex(row.functionVersion, 32, at('functionVersion')),
    input: hex(row.input, 32, at('input')),
    maxPrice: units(row.maxPrice, 128, at('maxPrice')),
    deadlineSec: uint(row.deadlineSec, 40, at('deadlineSec')),
    beacon: uint(row.beacon, 53, at('beacon')),
    authority: hex(row.authority, 32, at('authority')),
  };
}

const CALL = [
  ...['payer', 'gateway', 'signer', 'nonce', 'functionVersion', 'input', 'maxPrice', 'deadlineSec'],
  ...['beacon', 'authority'],
];

function readExecution(value: unknown, where: string): Execution {
  const row = only(value, EXECUTION, where);
  const at = (name: string) => `${where}.${name}`;
  return {
    deployment: uint(row.deployment, 53, at('deployment')),
    request: hex(row.request, 32, at('request')),
    billedMs: uint(row.billedMs, 32, at('billedMs')),
    initMs: uint(row.initMs, 32, at('initMs')),
    memoryMiB: uint(row.memoryMiB, 32, at('memoryMiB')),
    status: uint(row.status, 16, at('status')),
    input: hex(row.input, 32, at('input')),
    output: hex(row.output, 32, at('output')),
    finishedAtSec: uint(row.finishedAtSec, 40, at('finishedAtSec')),
  };
}

const EXECUTION = [
  ...['deployment', 'request', 'billedMs', 'initMs', 'memoryMiB', 'status', 'input', 'output'],
  'finishedAtSec',
];

export function object(value: unknown, where: string): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    wrong(where, 'an object');
  // Safe: JSON objects have string keys; members are read with a check.
  return value as Json;
}

/** An object that has no other members than these. */
function only(value: unknown, names: readonly string[], where: string): Json {
  const found = object(value, where);
  const unknown = Object.keys(found).find((name) => !names.includes(name));
  if (unknown !== undefined) wrong(where, `without a member "${unknown.slice(0, 40)}"`);
  return found;
}

function array(value: unknown, most: number, where: string): readonly unknown[] {
  if (Array.isArray(value) && value.length <= most) return value;
  return wrong(where, `a list of at most ${most}`);
}

function readPath(value: unknown, where: string): Hex[] {
  return array(value, MAX_PATH_LENGTH, where).map((node) => hex(node, 32, where));
}

export function hex(value: unknown, bytes: number, where: string): Hex {
  if (typeof value !== 'string' || !new RegExp(`^0x[0-9a-f]{${2 * bytes}}$`, 'i').test(value)) {
    return wrong(where, `${bytes} bytes of hex`);
  }
  // Safe: the pattern above is that of Hex.
  return value.toLowerCase() as Hex;
}

export function uint(value: unknown, bits: number, where: string): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value < 2 ** bits) {
    return value;
  }
  return wrong(where, `a whole number of ${bits} bits`);
}

function below(value: unknown, limit: number, where: string): number {
  const number = uint(value, 53, where);
  return number < limit ? number : wrong(where, `below ${limit}`);
}

function units(value: unknown, bits: number, where: string): bigint {
  if (
    typeof value === 'string' &&
    /^\d{1,39}$/.test(value) &&
    BigInt(value) >> BigInt(bits) === 0n
  ) {
    return BigInt(value);
  }
  return wrong(where, `a uint${bits} as decimal text`);
}

export function wrong(where: string, form: string): never {
  throw new DefaasClientError(
    'EVIDENCE_INVALID',
    `the evidence is not of its form: ${where} must be ${form}; ask whoever made it for another copy`,
  );
}
