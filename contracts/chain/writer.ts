// Typed transactions of one account. Each waits for inclusion and, unless stated otherwise, returns
// the block number.
import type { Result } from 'ethers';
import { type Key, keyOf } from '../keystore.ts';
import type { Address, Hex } from '../libraries/keccak.ts';
import { digestOf } from '../libraries/names.ts';
import type { Tariff } from '../libraries/tariffs.ts';
import { hashTypedData, identityDomain } from '../libraries/typed-data.ts';
import { signDigest } from '../signatures.ts';
import type { ContractName } from './abi.ts';
import { type AccountOptions, createAccount, type Sent, type TransactionSize } from './account.ts';
import { ChainError } from './chain-error.ts';
import {
  callOf,
  type Evidence,
  type OpenedLeaf,
  openedArguments,
  type Place,
  placeStruct,
} from './evidence.ts';
import type { SendOptions, SignedTransaction } from './nonce-line.ts';
import { readTimeSec } from './time.ts';
import type { ReadContract } from './types.ts';

/** The immutable terms of one version. */
export interface VersionTerms {
  readonly manifestCid: string;
  readonly artifactCid: string;
  readonly tariff: Tariff;
  /** 0 public, 1 granted, 2 policy. */
  readonly accessMode: 0 | 1 | 2;
  readonly memoryMiB: number;
  readonly timeoutMs: number;
  readonly idempotent: boolean;
  readonly deterministic: boolean;
}

export interface PartyTerms {
  /** Bits: 1 gateway, 2 provider. */
  readonly roles: number;
  /** Its endpoint. */
  readonly uri: string;
  /** RFC 7638 thumbprint of the key that signs its access tokens, 32 bytes. */
  readonly jwksThumbprint: Hex;
}

export interface LaneTerms {
  readonly signer: Address;
  /** The most that may ever be taken, base units. */
  readonly cap: bigint;
  readonly expirySec: number;
  /** 1 prepaid, 2 signed. */
  readonly mode: 1 | 2;
}

/** One lane's row of a batch, in the form of `settle`. */
export interface SettleClaim {
  readonly payer: Address;
  readonly signer: Address;
  /** The lane's `settled` after this claim, base units. */
  readonly amount: bigint;
  /** Ceiling of the signed voucher, base units. */
  readonly ceiling: bigint;
  /**
   * The lane's newest settled receipt before this claim; the contract refuses the claim on any
   * other state of the lane.
   */
  readonly seqFrom: number;
  /** The newest receipt it covers. */
  readonly seq: number;
  /** Root of the lane tree. */
  readonly receipts: Hex;
  /** Of the voucher. */
  readonly signature: Hex;
}

/** A payee's share of a batch, base units. */
export interface PayoutTerms {
  readonly payee: Address;
  readonly amount: bigint;
}

/** Result of a proof or of an expired demand, base units. */
export interface Slashed {
  readonly tx: Hex;
  readonly blockNumber: number;
  readonly id: Hex;
  readonly damage: bigint;
  /** The part of the damage paid to the payer now. */
  readonly paid: bigint;
  readonly slashed: bigint;
}

/** All amounts in base units. Every write throws a ChainError, as `Account.send` does. */
export interface ChainWriter {
  readonly address: Address;
  /** Calls any function of any contract, for those without a method here. */
  send(
    contract: ContractName,
    method: string,
    args: readonly unknown[],
    options?: SendOptions,
  ): Promise<Sent>;
  /**
   * Simulates `send` at the newest block; sends nothing.
   * @throws ChainError  what `send` would be refused with
   */
  check(contract: ContractName, method: string, args: readonly unknown[]): Promise<void>;

  claimNamespace(label: string): Promise<number>;
  register(name: string): Promise<{ functionId: bigint; blockNumber: number }>;
  /**
   * With `asLatest` the alias `latest` moves to the new version at once, even if it is not
   * deployed.
   */
  publish(
    functionId: bigint,
    terms: VersionTerms,
    asLatest: boolean,
  ): Promise<{ functionVersion: Hex; number: number; blockNumber: number }>;
  moveAlias(functionId: bigint, label: string, number: number): Promise<number>;
  deprecate(functionVersion: Hex): Promise<number>;
  /** The new deployment's id. */
  enrol(functionVersion: Hex, cloud: string, region: string): Promise<number>;
  retire(deployment: number): Promise<number>;
  bar(deployment: number): Promise<number>;
  setCandidates(functionVersion: Hex, ids: readonly number[]): Promise<number>;

  registerParty(terms: PartyTerms): Promise<number>;
  updateParty(terms: PartyTerms): Promise<number>;
  /** Adds an operator key; the key signs a proof that it belongs to this account. */
  addKey(privateKey: Hex, role: number): Promise<number>;
  retireKey(key: Address): Promise<number>;
  /** Adds the new key and retires the old one in one transaction. */
  replaceKey(privateKey: Hex, role: number, old: Address): Promise<number>;
  grant(
    functionId: bigint,
    subject: Address,
    terms: { readonly expirySec: number; readonly scopes: number },
  ): Promise<number>;
  revokeGrant(functionId: bigint, subject: Address): Promise<number>;
  revokeAll(functionId: bigint): Promise<number>;
  setPolicy(functionId: bigint, policy: Address): Promise<number>;

  /** Raises the allowance if needed, then deposits for `account`, by default this account. */
  approveAndDeposit(amount: bigint, account?: Address, options?: SendOptions): Promise<number>;
  /**
   * Deposits, allots to the gateway and opens `lane` or extends the lane `extend`, all of it in one
   * transaction after an approval.
   */
  depositAllotOpenLane(
    terms: {
      readonly amount: bigint;
      readonly gateway: Address;
      readonly lane?: LaneTerms;
      readonly extend?: Omit<LaneTerms, 'mode'>;
    },
    options?: SendOptions,
  ): Promise<number>;
  allot(gateway: Address, amount: bigint): Promise<number>;
  setLimit(gateway: Address, limit: bigint): Promise<number>;
  topUp(gateway: Address, payers: readonly Address[], options?: SendOptions): Promise<number>;
  openLane(gateway: Address, lane: LaneTerms): Promise<number>;
  extendLane(gateway: Address, lane: Omit<LaneTerms, 'mode'>): Promise<number>;
  closeLane(gateway: Address, signer: Address): Promise<number>;
  thaw(gateway: Address, amount: bigint): Promise<number>;
  cancelThaw(gateway: Address): Promise<number>;
  release(payer: Address, gateway: Address): Promise<number>;
  withdraw(to: Address, amount: bigint): Promise<number>;

  /**
   * Estimates `settle` at the newest block.
   * @throws ChainError  ClaimFailed names the row that is refused
   */
  estimateSettle(
    gateway: Address,
    claims: readonly SettleClaim[],
    payouts: readonly PayoutTerms[],
  ): Promise<TransactionSize>;
  /** Most gas of one transaction on this chain. */
  transactionGasMax(): Promise<bigint>;
  settle(
    gateway: Address,
    claims: readonly SettleClaim[],
    payouts: readonly PayoutTerms[],
    cidDigest: Hex,
    options?: SendOptions,
  ): Promise<{ tx: Hex; batch: number; blockNumber: number }>;
  /** Resumes a call that was signed earlier: see `Account.resume`. */
  resume(signed: readonly SignedTransaction[], options?: SendOptions): Promise<number>;
  /** Resumes a `settle` that was signed earlier: see `Account.resume`. */
  resumeSettle(
    signed: readonly SignedTransaction[],
    options?: SendOptions,
  ): Promise<{ tx: Hex; batch: number; blockNumber: number }>;
  collect(gateway: Address, payee: Address, cumulative: bigint, signature: Hex): Promise<number>;
  payOut(gateway: Address, payee: Address): Promise<number>;

  /** Raises the allowance if needed, then adds to the bond and sets the settler that is given. */
  bond(
    gateway: Address,
    amount: bigint,
    options?: SendOptions & { readonly settler?: Address },
  ): Promise<number>;
  unbond(amount: bigint): Promise<number>;
  leave(gateway: Address): Promise<number>;
  announceFee(feeBps: number): Promise<number>;
  setSettler(settler: Address): Promise<number>;

  /**
   * Demands the receipt at `index` of a claim; pledges part of this account's free money until the
   * answer.
   */
  demand(
    place: Place,
    index: number,
  ): Promise<{ tx: Hex; id: Hex; deadlineSec: number; blockNumber: number }>;
  /** Opens a demanded leaf; `callSignature` only in signed lanes. */
  answer(opened: OpenedLeaf, callSignature?: Hex): Promise<{ tx: Hex; blockNumber: number }>;
  /** After the deadline: slashes, and returns the pledge. */
  expire(place: Place, index: number): Promise<Slashed>;
  /**
   * Estimates `prove` at the newest block.
   * @throws ChainError  what it would be refused with
   */
  estimateProof(evidence: Evidence): Promise<TransactionSize>;
  prove(evidence: Evidence): Promise<Slashed>;

  checkpoint(epoch: number): Promise<number>;
  /** Only for the local house's token. */
  mintMock(amount: bigint, to?: Address): Promise<number>;
}

interface WritersOptions extends Omit<AccountOptions, 'privateKey'> {
  readonly read: ReadContract;
}

/** Returns the one writer of each account, which hands out the account's nonces. */
export function createWriters(
  options: WritersOptions,
): (key: Pick<Key, 'privateKey'>) => ChainWriter {
  const writers = new Map<Address, ChainWriter>();
  return ({ privateKey }) => {
    const { address } = keyOf(privateKey);
    const writer = writers.get(address) ?? createWriter(options, privateKey);
    writers.set(address, writer);
    return writer;
  };
}

function createWriter(options: WritersOptions, privateKey: Hex): ChainWriter {
  const { abi, contracts, provider, chainId, read } = options;
  const account = createAccount({ ...options, privateKey });
  const { address } = account;
  const to =
    (contract: ContractName) =>
    async (method: string, ...args: unknown[]): Promise<number> =>
      (await account.send(contract, method, args)).blockNumber;
  const registry = to('registry');
  const identity = to('identity');
  const billing = to('billing');

  /** Arguments of addKey with the key's proof of possession. */
  const proveKey = async (keyPrivate: Hex, role: number): Promise<readonly unknown[]> => {
    const key = keyOf(keyPrivate).address;
    const deadlineSec = (await readTimeSec(provider, chainId)) + KEY_PROOF_LIFE_SEC;
    const domain = identityDomain(chainId, contracts.identity);
    const proof = { party: address, key, role, deadlineSec };
    const digest = hashTypedData(domain, 'OperatorKey', proof);
    return [key, role, deadlineSec, signDigest(keyPrivate, digest)];
  };
  /**
   * Calls Billing, which takes `amount` of the allowance. Another sender of this account may use it
   * up in between: then the call has done nothing, and both steps are repeated.
   */
  const spend = (
    amount: bigint,
    calls: readonly Hex[],
    sending: SendOptions | undefined,
  ): Promise<number> =>
    options.exclusively(address, async () => {
      for (let attempt = 1; ; attempt += 1) {
        const [allowance] = await read('token', 'allowance', [address, contracts.billing]);
        if (allowance < amount) await account.send('token', 'approve', [contracts.billing, amount]);
        try {
          return (await account.send('billing', 'multicall', [calls], sending)).blockNumber;
        } catch (error) {
          const isUsedUp = error instanceof ChainError && error.revert?.name === NO_ALLOWANCE;
          if (!isUsedUp || attempt === APPROVALS) throw error;
        }
      }
    });
  const call = (method: string, ...args: unknown[]): Hex => abi.encode('billing', method, args);

  return {
    address,
    send: account.send,
    check: account.check,

    claimNamespace: (label) => registry('claimNamespace', label),
    register: async (name) => {
      const sent = await account.send('registry', 'register', [name]);
      return { functionId: eventOf(sent, 'Registered').functionId, blockNumber: sent.blockNumber };
    },
    publish: async (functionId, terms, asLatest) => {
      const args = [functionId, structOf(terms), asLatest];
      const sent = await account.send('registry', 'publish', args);
      const { functionVersion, number } = eventOf(sent, 'VersionPublished');
      return { functionVersion, number: Number(number), blockNumber: sent.blockNumber };
    },
    moveAlias: (functionId, label, number) => registry('moveAlias', functionId, label, number),
    deprecate: (functionVersion) => registry('deprecate', functionVersion),
    enrol: async (functionVersion, cloud, region) => {
      const sent = await account.send('registry', 'enrol', [functionVersion, cloud, region]);
      return Number(eventOf(sent, 'Enrolled').id);
    },
    retire: (deployment) => registry('retire', deployment),
    bar: (deployment) => registry('bar', deployment),
    setCandidates: (functionVersion, ids) => registry('setCandidates', functionVersion, ids),

    registerParty: ({ roles, uri, jwksThumbprint }) =>
      identity('registerParty', roles, uri, jwksThumbprint),
    updateParty: ({ roles, uri, jwksThumbprint }) =>
      identity('updateParty', roles, uri, jwksThumbprint),
    addKey: async (keyPrivate, role) => identity('addKey', ...(await proveKey(keyPrivate, role))),
    retireKey: (key) => identity('retireKey', key),
    replaceKey: async (keyPrivate, role, old) =>
      identity('multicall', [
        abi.encode('identity', 'addKey', await proveKey(keyPrivate, role)),
        abi.encode('identity', 'retireKey', [old]),
      ]),
    grant: (functionId, subject, { expirySec, scopes }) =>
      identity('grant', functionId, subject, expirySec, scopes),
    revokeGrant: (functionId, subject) => identity('revokeGrant', functionId, subject),
    revokeAll: (functionId) => identity('revokeAll', functionId),
    setPolicy: (functionId, policy) => identity('setPolicy', functionId, policy),

    approveAndDeposit: (amount, owner = address, sending) =>
      spend(amount, [call('deposit', owner, amount)], sending),
    depositAllotOpenLane: ({ amount, gateway, lane, extend }, sending) => {
      const calls = [call('deposit', address, amount), call('allot', gateway, amount)];
      if (lane) calls.push(call('openLane', gateway, ...argumentsOf(lane)));
      if (extend) {
        calls.push(call('extendLane', gateway, extend.signer, extend.cap, extend.expirySec));
      }
      return spend(amount, calls, sending);
    },
    allot: (gateway, amount) => billing('allot', gateway, amount),
    setLimit: (gateway, limit) => billing('setLimit', gateway, limit),
    topUp: async (gateway, payers, sending) =>
      (await account.send('billing', 'topUp', [gateway, payers], sending)).blockNumber,
    openLane: (gateway, lane) => billing('openLane', gateway, ...argumentsOf(lane)),
    extendLane: (gateway, { signer, cap, expirySec }) =>
      billing('extendLane', gateway, signer, cap, expirySec),
    closeLane: (gateway, signer) => billing('closeLane', gateway, signer),
    thaw: (gateway, amount) => billing('thaw', gateway, amount),
    cancelThaw: (gateway) => billing('cancelThaw', gateway),
    release: (payer, gateway) => billing('release', payer, gateway),
    withdraw: (owner, amount) => billing('withdraw', owner, amount),

    transactionGasMax: account.transactionGasMax,
    estimateSettle: (gateway, claims, payouts) =>
      account.estimate('billing', 'settle', [gateway, claims, payouts, NO_CID]),
    settle: async (gateway, claims, payouts, cidDigest, sending) => {
      const args = [gateway, claims, payouts, cidDigest];
      return batchOf(await account.send('billing', 'settle', args, sending));
    },
    resume: async (signed, sending) => (await account.resume(signed, sending)).blockNumber,
    resumeSettle: async (signed, sending) => batchOf(await account.resume(signed, sending)),
    collect: (gateway, payee, cumulative, signature) =>
      billing('collect', gateway, payee, cumulative, signature),
    payOut: (gateway, payee) => billing('payOut', gateway, payee),

    bond: (gateway, amount, { settler, ...sending } = {}) => {
      const calls = [call('bond', gateway, amount)];
      if (settler) calls.push(call('setSettler', settler));
      return spend(amount, calls, sending);
    },
    unbond: (amount) => billing('unbond', amount),
    leave: (gateway) => billing('leave', gateway),
    announceFee: (feeBps) => billing('announceFee', feeBps),
    setSettler: (settler) => billing('setSettler', settler),

    demand: async (place, index) => {
      const sent = await account.send('disputes', 'demand', [placeStruct(place), index]);
      const { id, deadline } = eventOf(sent, 'Demanded');
      return { tx: sent.tx, id, deadlineSec: Number(deadline), blockNumber: sent.blockNumber };
    },
    answer: async (opened, callSignature = '0x') => {
      const args = [...openedArguments(opened), callSignature];
      const { tx, blockNumber } = await account.send('disputes', 'answer', args);
      return { tx, blockNumber };
    },
    expire: async (place, index) =>
      slashedOf(await account.send('disputes', 'expire', [placeStruct(place), index]), 'Expired'),
    estimateProof: (evidence) => {
      const { name, args } = callOf(evidence);
      return account.estimate('disputes', `prove${name}`, args);
    },
    prove: async (evidence) => {
      const { name, args } = callOf(evidence);
      return slashedOf(await account.send('disputes', `prove${name}`, args), 'FraudProven');
    },

    checkpoint: (epoch) => to('beacon')('checkpoint', epoch),
    mintMock: (amount, owner = address) => to('token')('mint', owner, amount),
  };
}

/** The contract's result for a batch does not depend on where its pages are stored. */
const NO_CID: Hex = `0x${'ff'.repeat(32)}`;
/** The token's refusal of ERC-6093 when an allowance is used up, and most tries to renew it. */
const NO_ALLOWANCE = 'ERC20InsufficientAllowance';
const APPROVALS = 5;
/** Validity of a key's proof of possession, seconds. */
const KEY_PROOF_LIFE_SEC = 3_600;

function batchOf(sent: Sent): { tx: Hex; batch: number; blockNumber: number } {
  const batch = Number(eventOf(sent, 'BatchSettled').batch);
  return { tx: sent.tx, batch, blockNumber: sent.blockNumber };
}

/** Arguments of the event that a transaction emitted. */
function eventOf({ logs, tx }: Sent, name: string): Result {
  const found = logs.find(({ event }) => event === name);
  if (found !== undefined) return found.args;
  throw new ChainError('CHAIN_MISMATCH', `transaction ${tx} has no ${name}; check the addresses`);
}

function slashedOf(sent: Sent, event: 'Expired' | 'FraudProven'): Slashed {
  const { id, damage, paid, slashed } = eventOf(sent, event);
  return { tx: sent.tx, blockNumber: sent.blockNumber, id, damage, paid, slashed };
}

function structOf({ manifestCid, artifactCid, ...terms }: VersionTerms): Record<string, unknown> {
  const manifest = digestOf(manifestCid);
  const artifact = digestOf(artifactCid);
  return {
    ...terms,
    manifest: manifest.digest,
    artifact: artifact.digest,
    manifestCodec: manifest.codec,
    artifactCodec: artifact.codec,
  };
}

function argumentsOf({ signer, cap, expirySec, mode }: LaneTerms): unknown[] {
  return [signer, cap, expirySec, mode];
}
