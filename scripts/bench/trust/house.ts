// The world of a game: the contracts, an honest provider, a gateway, payers and strangers, each
// with an account.
import { AbiCoder, keccak256 } from 'ethers';
import { createDigestSigner, type DigestSigner } from '../../../broker/identity/ecdsa.ts';
import type { Address, Hex } from '../../../contracts/libraries/keccak.ts';
import { functionIdOf } from '../../../contracts/libraries/names.ts';
import type { Call, Execution, Receipt } from '../../../contracts/libraries/receipts.ts';
import type { PriceTerms } from '../../../contracts/libraries/tariffs.ts';
import {
  billingDomain,
  hashPayout,
  hashTypedData,
  identityDomain,
} from '../../../contracts/libraries/typed-data.ts';
import { type Build, createEvm, type Evm, type Sent } from './evm.ts';

export const TOKEN = 1_000_000n;
export const HOUR = 3_600;
export const DAY = 24 * HOUR;
/** The defaults of contracts/deploy.ts, seconds. */
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
/** The price is one token a call and one a second. */
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

/** `friend`, `crony` and `accomplice` collude with the gateway, `thief` with `fence`. */
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
  /** Deployments of the first version. The last one is the crony's. */
  readonly ids: readonly number[];
  readonly epoch: number;
  readonly epochValue: Hex;
  send(
    from: Party,
    contract: Parameters<Evm['send']>[1],
    method: string,
    ...args: unknown[]
  ): Promise<Sent>;
  /** As `send`. @throws when the contract refuses it */
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
  /** By the lane's key, in a signed lane. Absent where the gateway invented the Call. */
  readonly callSignature: Hex | undefined;
}

export interface Lane {
  readonly payer: Party;
  readonly key: DigestSigner;
  readonly mode: 'prepaid' | 'signed';
  settledSeq: number;
  settledUnits: bigint;
  /** Receipts after the settled seq of what its payer really called. */
  served: Entry[];
  /** Price of all that it really called. */
  worthUnits: bigint;
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
  const evm = await createEvm(build, constructorArguments);
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

  const published = await publish(evm, of, must);

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
    ...published,
    send,
    must,
    openLane,
    addOperator,
    signPayout: (payee, cumulative) =>
      operator.sign(hashPayout(domain, { gateway: of.gateway, payee: of[payee], cumulative })),
  };
}

/** Arguments of the contracts' constructors; `at` gives the address that a contract will have. */
const constructorArguments: Parameters<typeof createEvm>[1] = (at) => ({
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
});

/** Publishes two versions of a function, enrols deployments of them, and records an epoch. */
async function publish(
  evm: Evm,
  of: House['of'],
  must: House['must'],
): Promise<Pick<House, 'versions' | 'ids' | 'epoch' | 'epochValue'>> {
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
  return { versions, ids, epoch, epochValue };
}

/**
 * Everything that these parties own, token units: tokens, free deposits, lines at the gateway,
 * claimable shares, and the gateway's bond and float.
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
