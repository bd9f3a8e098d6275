// The world of a game: an honest provider, a gateway, payers, and the books that the gateway keeps,
// commits and shows.
import { AbiCoder, keccak256 } from 'ethers';
import { createDigestSigner, type DigestSigner } from '../../../broker/identity/ecdsa.ts';
import { drawOrder, drawSeed } from '../../../contracts/libraries/draw.ts';
import type { Address, Hex } from '../../../contracts/libraries/keccak.ts';
import { functionIdOf } from '../../../contracts/libraries/names.ts';
import { createTree, type OrderedTree } from '../../../contracts/libraries/ordered-merkle.ts';
import {
  type Call,
  type Execution,
  hashCall,
  hashClaim,
  hashExecution,
  hashReceipt,
  NO_AUTHORITY,
  NO_RECEIPTS,
  type Receipt,
} from '../../../contracts/libraries/receipts.ts';
import { type PriceTerms, priceOf } from '../../../contracts/libraries/tariffs.ts';
import {
  billingDomain,
  hashPayout,
  hashReceiptGroup,
  hashSignedCall,
  hashTypedData,
  hashVoucher,
  identityDomain,
} from '../../../contracts/libraries/typed-data.ts';
import { type Build, createEvm, type Evm, type Sent } from './evm.ts';

export const TOKEN = 1_000_000n;
export const HOUR = 3_600;
export const DAY = 24 * HOUR;
/** As contracts/deploy.ts has them by default. */
export const WINDOWS = {
  lineThaw: DAY,
  demand: 7 * DAY,
  answer: 2 * DAY,
  proof: 12 * DAY,
  unbond: 14 * DAY,
  keyOverlap: DAY,
  keyEvidence: 3 * DAY,
};
export const MIN_BOND = 1_000n * TOKEN;
export const PLEDGE = TOKEN;
export const FLOORS = { grave: 100n, charge: 10n, misroute: 1n, silence: 50n };
export const FEE_BPS = 1_000n;

const GATEWAY_ROLE = 1;
const BOTH_ROLES = 3;
const EXPIRY_SEC = 4_000_000_000;
/** One token a call and one a second. */
export const TERMS: PriceTerms = {
  tariff: {
    perCall: TOKEN,
    perGiBSecond: TOKEN,
    maxPrice: 100_000n * TOKEN,
    minBilledMs: 0,
    roundMs: 1,
    publisherBps: 0,
  },
  memoryMiB: 1_024,
  timeoutMs: 500_000_000,
};

/**
 * `friend`, `crony` and `accomplice` are one with the gateway; `thief` and `fence` with each other.
 */
export const PARTIES = [
  'deployer',
  'gateway',
  'publisher',
  'provider',
  'crony',
  'accomplice',
  'friend',
  'anna',
  'boris',
  'chloe',
  'watcher',
  'thief',
  'fence',
  'stranger',
] as const;
export type Party = (typeof PARTIES)[number];
export const VICTIMS = ['anna', 'boris', 'chloe'] as const;

export interface House {
  readonly evm: Evm;
  readonly of: Readonly<Record<Party, Address>>;
  readonly operator: DigestSigner;
  /** Two versions of one function, with the same terms. */
  readonly versions: readonly Hex[];
  /** Of the first version; the last one is the crony's. */
  readonly ids: readonly number[];
  readonly epoch: number;
  readonly epochValue: Hex;
  send(
    from: Party,
    contract: Parameters<Evm['send']>[1],
    method: string,
    ...args: unknown[]
  ): Promise<Sent>;
  /** As `send`, for what must not be refused. */
  must(
    from: Party,
    contract: Parameters<Evm['send']>[1],
    method: string,
    ...args: unknown[]
  ): Promise<Sent & { ok: true }>;
  openLane(payer: Party, mode: 'prepaid' | 'signed'): Promise<Lane>;
  signPayout(payee: Party, cumulative: bigint): Hex;
  addOperator(from: Party, key: DigestSigner): Promise<Sent>;
}

export interface Entry {
  readonly receipt: Receipt;
  readonly call: Call;
  readonly execution: Execution;
  /** By the lane's key, in a signed lane; absent where the gateway made the Call up. */
  readonly callSignature: Hex | undefined;
}

export interface Lane {
  readonly payer: Party;
  readonly key: DigestSigner;
  readonly mode: 'prepaid' | 'signed';
  settledSeq: number;
  settledUnits: bigint;
  /** What its payer really called: receipts after the settled seq. */
  served: Entry[];
  /** Of all that it really called. */
  worthUnits: bigint;
}

/**
 * `hidden`: the pages are not there, the leaves are receipts all the same; `nothing`: the leaves
 * are no receipts.
 */
export type Shown = 'pages' | 'hidden' | 'nothing';

/**
 * A claim as it stands on the chain, and the receipts under it as far as the gateway shows them.
 */
export interface Claimed {
  readonly lane: Lane;
  readonly place: Readonly<Record<string, unknown>>;
  readonly entries: readonly Entry[];
  readonly tree: OrderedTree;
  readonly shown: Shown;
  readonly deltaUnits: bigint;
  /** What of the delta the payer does not owe. */
  readonly excessUnits: bigint;
}

/** What the gateway wants of a lane. */
export interface ToCommit {
  readonly lane: Lane;
  readonly entries: readonly Entry[];
  readonly settledTo: bigint;
  readonly shown?: Shown;
}

let keys = 0;
export function newKey(): DigestSigner {
  keys += 1;
  // A test key: the hash of a counter.
  return createDigestSigner(
    keccak256(AbiCoder.defaultAbiCoder().encode(['string', 'uint256'], ['test key', keys])) as Hex,
  );
}

export function word(value: number | bigint): Hex {
  return `0x${value.toString(16).padStart(64, '0')}`;
}

export async function createHouse(build: Build = {}): Promise<House> {
  const evm = await createEvm(build, (at) => ({
    MockUSDC: [],
    Beacon: [1],
    FunctionRegistry: [at('Beacon'), at('Identity')],
    Identity: [at('FunctionRegistry'), WINDOWS.keyOverlap, WINDOWS.keyEvidence],
    Billing: [
      at('MockUSDC'),
      at('Identity'),
      at('Disputes'),
      `0x${'00'.repeat(20)}`,
      MIN_BOND,
      WINDOWS.lineThaw,
      2 * DAY,
      WINDOWS.unbond,
      WINDOWS.proof,
    ],
    Disputes: [
      at('Billing'),
      at('Identity'),
      at('FunctionRegistry'),
      at('Beacon'),
      {
        grave: FLOORS.grave * TOKEN,
        charge: FLOORS.charge * TOKEN,
        misroute: FLOORS.misroute * TOKEN,
        silence: FLOORS.silence * TOKEN,
        pledge: PLEDGE,
        demandWindow: WINDOWS.demand,
        answerWindow: WINDOWS.answer,
        proofWindow: WINDOWS.proof,
      },
    ],
  }));
  const of = Object.fromEntries(
    PARTIES.map((party, i) => [party, evm.accounts[i] ?? '0x']),
  ) as Record<Party, Address>;
  const send: House['send'] = (from, ...rest) => evm.send(of[from], ...rest);
  const must: House['must'] = async (from, contract, method, ...args) => {
    const sent = await send(from, contract, method, ...args);
    if (!sent.ok) throw new Error(`${from} ${contract}.${method}: ${sent.error}`);
    return sent;
  };
  const operator = newKey();
  const domain = billingDomain(evm.chainId, evm.at('Billing'));
  const ofIdentity = identityDomain(evm.chainId, evm.at('Identity'));
  const addOperator: House['addOperator'] = (from, key) => {
    const deadlineSec = EXPIRY_SEC;
    const asked = { party: of[from], key: key.address, role: GATEWAY_ROLE, deadlineSec };
    const signature = key.sign(hashTypedData(ofIdentity, 'OperatorKey', asked));
    return send(from, 'Identity', 'addKey', key.address, GATEWAY_ROLE, deadlineSec, signature);
  };

  for (const party of PARTIES) {
    await must(party, 'MockUSDC', 'mint', of[party], 10_000_000n * TOKEN);
    await must(party, 'MockUSDC', 'approve', evm.at('Billing'), (1n << 256n) - 1n);
  }
  for (const party of ['gateway', 'provider', 'crony'] as const) {
    await must(party, 'Identity', 'registerParty', BOTH_ROLES, 'http://127.0.0.1', word(0));
  }
  const added = await addOperator('gateway', operator);
  if (!added.ok) throw new Error(added.error);
  await must('gateway', 'Billing', 'announceFee', FEE_BPS);
  evm.pass(2 * DAY);

  await must('publisher', 'FunctionRegistry', 'register', 'fn');
  const functionId = functionIdOf(of.publisher, 'fn');
  const terms = {
    manifest: word(1),
    artifact: word(2),
    manifestCodec: 0x55,
    artifactCodec: 0x55,
    tariff: TERMS.tariff,
    accessMode: 0,
    memoryMiB: TERMS.memoryMiB,
    timeoutMs: TERMS.timeoutMs,
    idempotent: true,
    deterministic: false,
  };
  const versions: Hex[] = [];
  for (const number of [1, 2]) {
    await must('publisher', 'FunctionRegistry', 'publish', functionId, terms, true);
    const [version] = await evm.read('FunctionRegistry', 'functionVersionOf', functionId, number);
    versions.push(version);
  }
  const ids = [1, 2, 3, 4, 5];
  for (const id of ids) {
    const party = id === 5 ? 'crony' : 'provider';
    await must(party, 'FunctionRegistry', 'enrol', versions[0], 'local', 'here');
  }
  await must('provider', 'FunctionRegistry', 'enrol', versions[1], 'local', 'here');
  await must('gateway', 'FunctionRegistry', 'setCandidates', versions[0], ids);
  const [next] = await evm.read('Beacon', 'nextEpoch');
  const epoch = Number(next);
  await evm.mine(2);
  await must('stranger', 'Beacon', 'checkpoint', epoch);
  const [recorded] = await evm.read('Beacon', 'epochOf', epoch);
  const epochValue: Hex = `0x${BigInt(recorded.value).toString(16).padStart(48, '0')}`;

  for (const payer of [...VICTIMS, 'friend', 'thief'] as const) {
    await must(payer, 'Billing', 'deposit', of[payer], 1_000_000n * TOKEN);
    await must(payer, 'Billing', 'allot', of.gateway, 900_000n * TOKEN);
  }
  for (const party of ['watcher', 'accomplice', 'stranger', 'fence', 'gateway'] as const) {
    await must(party, 'Billing', 'deposit', of[party], 10_000n * TOKEN);
  }
  const openLane: House['openLane'] = async (payer, mode) => {
    const key = newKey();
    const cap = 900_000n * TOKEN;
    const number = mode === 'prepaid' ? 1 : 2;
    await must(payer, 'Billing', 'openLane', of.gateway, key.address, cap, EXPIRY_SEC, number);
    return { payer, key, mode, settledSeq: 0, settledUnits: 0n, served: [], worthUnits: 0n };
  };
  return {
    evm,
    of,
    operator,
    versions,
    ids,
    epoch,
    epochValue,
    send,
    must,
    openLane,
    addOperator,
    signPayout: (payee, cumulative) =>
      operator.sign(hashPayout(domain, { gateway: of.gateway, payee: of[payee], cumulative })),
  };
}

/**
 * Fields of a receipt, its Call and its Execution that are not as an honest gateway would have
 * them.
 */
export interface Changes {
  readonly call?: Partial<Call>;
  readonly execution?: Partial<Execution>;
  readonly receipt?: Partial<Receipt>;
  /** In a signed lane the payer's key has not signed the Call. */
  readonly isInvented?: boolean;
}

let nonces = 0;

/** The receipt at `seq` after `cumulativeBefore`, honest but for the changes. */
export function entryAt(
  house: House,
  lane: Lane,
  place: { readonly seq: number; readonly before: bigint; readonly billedMs: number },
  changes: Changes = {},
): Entry {
  const { of, evm } = house;
  const named = { payer: of[lane.payer], gateway: of.gateway, signer: lane.key.address };
  nonces += 1;
  const call: Call = {
    ...named,
    nonce: word(nonces),
    functionVersion: house.versions[0] ?? word(0),
    input: word(77),
    maxPrice: 1_000_000n * TOKEN,
    deadlineSec: evm.nowSec() + DAY,
    beacon: house.epoch,
    authority: NO_AUTHORITY,
    ...changes.call,
  };
  const [first = 1] = drawOrder(drawSeed(house.epochValue, call), house.ids);
  const execution: Execution = {
    deployment: first,
    request: word(1),
    billedMs: place.billedMs,
    initMs: 0,
    memoryMiB: 1_024,
    status: 200,
    input: call.input,
    output: word(78),
    finishedAtSec: evm.nowSec(),
    ...changes.execution,
  };
  const price = changes.receipt?.price ?? priceOf(execution, TERMS);
  const receipt: Receipt = {
    ...named,
    seq: place.seq,
    call: hashCall(call),
    execution: hashExecution(execution),
    provider: execution.deployment === 5 ? of.crony : of.provider,
    attempt: 0,
    atBlock: 1,
    price,
    cumulative: place.before + price,
    ...changes.receipt,
  };
  const isSigned = lane.mode === 'signed' && !changes.isInvented;
  const domain = billingDomain(evm.chainId, evm.at('Billing'));
  const callSignature = isSigned ? lane.key.sign(hashSignedCall(domain, call)) : undefined;
  return { receipt, call, execution, callSignature };
}

/** One more honest call in the lane; a failed one costs nothing. */
export function serve(house: House, lane: Lane, billedMs: number, hasFailed = false): Entry {
  const last = lane.served.at(-1)?.receipt;
  const seq = (last?.seq ?? lane.settledSeq) + 1;
  const before = last?.cumulative ?? lane.settledUnits;
  const changes = hasFailed ? { execution: { status: 0 } } : {};
  const entry = entryAt(house, lane, { seq, before, billedMs }, changes);
  lane.served.push(entry);
  lane.worthUnits += entry.receipt.price;
  return entry;
}

/** The receipt as the gateway hands it out: signed alone, by an operator key. */
export function handOut(house: House, receipt: Receipt, by: DigestSigner = house.operator) {
  const { evm, of } = house;
  const domain = billingDomain(evm.chainId, evm.at('Billing'));
  const group = { gateway: of.gateway, root: hashReceipt(receipt), count: 1 };
  const signature = by.sign(hashReceiptGroup(domain, group));
  return { receipt, index: 0, count: 1, path: [], signature };
}

/** Settles one claim for each lane; honest payees get their honest share, the crony the rest. */
export async function settle(
  house: House,
  lanes: readonly ToCommit[],
): Promise<
  | { readonly ok: true; readonly claimed: readonly Claimed[] }
  | { readonly ok: false; readonly error: string }
> {
  const { of, evm } = house;
  const domain = billingDomain(evm.chainId, evm.at('Billing'));
  const prepared = lanes.map(({ lane, entries, settledTo, shown = 'pages' }) => {
    const hashes =
      shown === 'nothing'
        ? entries.map(({ receipt }) => keccak256(hashReceipt(receipt)) as Hex)
        : entries.map(({ receipt }) => hashReceipt(receipt));
    const tree = createTree(hashes);
    const seqTo = lane.settledSeq + entries.length;
    const claim = {
      payer: of[lane.payer],
      signer: lane.key.address,
      settledFrom: lane.settledUnits,
      settledTo,
      seqFrom: lane.settledSeq,
      seqTo,
      receipts: tree.root,
    };
    const voucher = {
      payer: claim.payer,
      gateway: of.gateway,
      signer: claim.signer,
      ceiling: settledTo,
    };
    const row = {
      payer: claim.payer,
      signer: claim.signer,
      amount: settledTo,
      ceiling: settledTo,
      seqFrom: lane.settledSeq,
      seq: seqTo,
      receipts: tree.root,
      signature: lane.key.sign(hashVoucher(domain, voucher)),
    };
    const honest = lane.served.reduce((sum, { receipt }) => sum + receipt.price, 0n);
    return { lane, entries, tree, claim, row, shown, honest };
  });
  const total = prepared.reduce((sum, { claim }) => sum + claim.settledTo - claim.settledFrom, 0n);
  const owed = prepared.reduce(
    (sum, { honest, lane }) => sum + (lane.payer === 'friend' ? 0n : honest),
    0n,
  );
  const least = (total * (10_000n - FEE_BPS) + 9_999n) / 10_000n;
  const honestShare = owed - (owed * FEE_BPS) / 10_000n;
  const toProvider = honestShare < total ? honestShare : total;
  const payouts = [
    { payee: of.provider, amount: toProvider },
    { payee: of.crony, amount: least > toProvider ? least - toProvider : 0n },
  ].filter(({ amount }) => amount > 0n);
  const sent = await house.send(
    'gateway',
    'Billing',
    'settle',
    of.gateway,
    prepared.map(({ row }) => row),
    payouts,
    word(9),
  );
  if (!sent.ok) return sent;
  const batch = sent.logs.find(({ name }) => name === 'BatchSettled')?.args.batch;
  const batchTree = createTree(prepared.map(({ claim }) => hashClaim(claim)));
  const claimed = prepared.map(({ lane, entries, tree, claim, shown, honest }, index): Claimed => {
    const deltaUnits = claim.settledTo - claim.settledFrom;
    lane.settledSeq = claim.seqTo;
    lane.settledUnits = claim.settledTo;
    lane.served = [];
    return {
      lane,
      entries,
      tree,
      shown,
      deltaUnits,
      excessUnits: deltaUnits > honest ? deltaUnits - honest : 0n,
      place: {
        gateway: of.gateway,
        batch,
        settledAt: evm.nowSec(),
        claims: prepared.length,
        claim: index,
        outside: NO_RECEIPTS,
        path: batchTree.path(index),
        ...claim,
      },
    };
  });
  return { ok: true, claimed };
}

/** A committed receipt with its path, as Disputes takes it. */
export function leafOf({ entries, tree }: Claimed, index: number) {
  return { receipt: entries[index]?.receipt, index, path: tree.path(index) };
}

export function callOf({ deadlineSec, ...call }: Call) {
  return { ...call, deadline: deadlineSec };
}

export function executionOf({ finishedAtSec, ...execution }: Execution) {
  return { ...execution, finishedAt: finishedAtSec };
}

/**
 * All that an account has: tokens, free money, its line at the gateway, what it may claim, and the
 * gateway's bond.
 */
export async function wealthOf({ evm, of }: House, parties: readonly Party[]): Promise<bigint> {
  let sum = 0n;
  for (const party of parties) {
    const [tokens] = await evm.read('MockUSDC', 'balanceOf', of[party]);
    const [free] = await evm.read('Billing', 'free', of[party]);
    const [line] = await evm.read('Billing', 'lineOf', of[party], of.gateway);
    const [due] = await evm.read('Billing', 'claimable', of.gateway, of[party]);
    sum += tokens + free + line.allotted + due;
    if (party !== 'gateway') continue;
    const [bond] = await evm.read('Billing', 'gatewayBondOf', of.gateway);
    sum += bond.bond;
    for (const payee of ['provider', 'crony', 'publisher'] as const) {
      const [float] = await evm.read('Billing', 'lineOf', of.gateway, of[payee]);
      sum += float.allotted;
    }
  }
  return sum;
}
