// The only error class of contracts/: the chain refused something or did not answer. Codes never
// change.
import { type ErrorDescription, Interface, isError } from 'ethers';
import { artifacts } from '../artifacts.gen.ts';
import type { Hex } from '../libraries/keccak.ts';

/**
 * CHAIN_UNREACHABLE no RPC answers; CHAIN_STALE a block did not come in time; CHAIN_MISMATCH
 * another chain or other contracts than configured; CHAIN_GAS the account cannot pay the gas;
 * CHAIN_PENDING a transaction is not included in time; CHAIN_REPLACED another one has its nonce;
 * CHAIN_REVERTED a contract refused, `revert` says why; DEPLOYMENT_INVALID a file of deployments is
 * malformed; DEPLOYMENT_CODE the contracts of a set are not those of this release;
 * DEPLOYMENT_REFUSED the contracts would not work on this chain with these terms. The others are
 * reverts that a user meets often enough to have a code of their own.
 */
export type ChainErrorCode =
  | 'CHAIN_UNREACHABLE'
  | 'CHAIN_STALE'
  | 'CHAIN_MISMATCH'
  | 'CHAIN_GAS'
  | 'CHAIN_PENDING'
  | 'CHAIN_REPLACED'
  | 'CHAIN_REVERTED'
  | 'DEPLOYMENT_CODE'
  | 'DEPLOYMENT_INVALID'
  | 'DEPLOYMENT_REFUSED'
  | 'ALREADY_PROVEN'
  | 'DEMAND_KNOWN'
  | 'DEMAND_OPEN'
  | 'INSUFFICIENT_FREE'
  | 'NAME_INVALID'
  | 'NAME_TAKEN'
  | 'NOT_DEMANDED'
  | 'NOT_OWNER'
  | 'NOTHING_TO_SLASH'
  | 'NO_FRAUD'
  | 'PROOF_INVALID'
  | 'WINDOW_CLOSED';

/** A contract's custom error: its name in Solidity and its arguments in order. */
export interface Revert {
  readonly name: string;
  readonly args: readonly unknown[];
}

/** `message` is one line: what, on what, what to do. */
export class ChainError extends Error {
  override readonly name = 'ChainError';
  readonly code: ChainErrorCode;
  readonly revert: Revert | undefined;

  constructor(
    code: ChainErrorCode,
    message: string,
    options: { cause?: unknown; revert?: Revert } = {},
  ) {
    super(message, { cause: options.cause });
    this.code = code;
    this.revert = options.revert;
  }
}

/** Reverts that have their own code, with what to do about each. */
const KNOWN: Readonly<Record<string, readonly [ChainErrorCode, string]>> = {
  NameTaken: ['NAME_TAKEN', 'choose another name'],
  InvalidName: ['NAME_INVALID', 'use 1 to 63 of a-z, 0-9 and -'],
  NotOwner: ['NOT_OWNER', 'use the account of the owner'],
  InsufficientFree: ['INSUFFICIENT_FREE', 'deposit more'],
  InvalidProof: ['PROOF_INVALID', 'the evidence does not hold together'],
  NoFraud: ['NO_FRAUD', 'the gateway was honest here'],
  AlreadyProven: ['ALREADY_PROVEN', 'nothing of its damage is left to pay'],
  CapReached: ['NOTHING_TO_SLASH', 'send it again when there is room'],
  NothingToSlash: ['NOTHING_TO_SLASH', 'the gateway has no bond'],
  WindowClosed: ['WINDOW_CLOSED', 'it is too late'],
  DemandOpen: ['DEMAND_KNOWN', 'wait for the answer'],
  AnsweredBefore: ['DEMAND_KNOWN', 'the answer is on the chain'],
  NotDemanded: ['NOT_DEMANDED', 'it was never demanded, or is answered'],
  StillOpen: ['DEMAND_OPEN', 'wait until its deadline has passed'],
};

/** The message of nodes whose errors ethers does not recognise (Hardhat). */
const NO_FUNDS = /(insufficient|enough) funds/i;

/** ethers' message when our side has closed the connection. */
const CLOSED = /provider destroyed/;

const errors = new Interface(
  Object.values(artifacts).flatMap(({ abi }) => abi.filter(({ type }) => type === 'error')),
);

/**
 * Decodes the custom error in `data`, or Solidity's Error(string) or Panic(uint256); undefined if
 * unknown.
 */
export function revertOf(data: string | null | undefined): Revert | undefined {
  if (data === null || data === undefined || data === '0x') return undefined;
  const parsed = parse(data);
  if (parsed === undefined) return undefined;
  const args = parsed.name === 'ClaimFailed' ? claimFailed(parsed) : [...parsed.args];
  return { name: parsed.name, args };
}

/**
 * Converts an error that ethers threw during `doing` (such as `billing.settle`). A ChainError is
 * returned unchanged.
 */
export function chainErrorOf(doing: string, error: unknown): ChainError {
  if (error instanceof ChainError) return error;
  if (isError(error, 'CALL_EXCEPTION')) return revertedOf(doing, error.data, error);
  const text = shortMessageOf(error);
  if (isError(error, 'INSUFFICIENT_FUNDS') || NO_FUNDS.test(text)) {
    const message = `${doing}: the account cannot pay the gas, send it some`;
    return new ChainError('CHAIN_GAS', message, { cause: error });
  }
  // The node may have executed the request all the same.
  if (isError(error, 'UNSUPPORTED_OPERATION') && CLOSED.test(text)) {
    const message = `${doing}: the connection to the chain was closed meanwhile, look up what became of it`;
    return new ChainError('CHAIN_UNREACHABLE', message, { cause: error });
  }
  const message = `${doing}: the node refused, ${oneLine(text)}`;
  return new ChainError('CHAIN_REVERTED', message, { cause: error });
}

/** The ChainError of a revert with `data`. */
export function revertedOf(
  doing: string,
  data: string | null | undefined,
  cause?: unknown,
): ChainError {
  const revert = revertOf(data);
  if (revert === undefined) {
    const message = `${doing} reverted without a known reason (${oneLine(data ?? '0x')})`;
    return new ChainError('CHAIN_REVERTED', message, { cause });
  }
  const [code, remedy] = KNOWN[revert.name] ?? ['CHAIN_REVERTED', 'see contracts/interfaces'];
  const message = `${doing} reverted: ${revert.name}(${revert.args.join(', ')}), ${remedy}`;
  return new ChainError(code, oneLine(message), { cause, revert });
}

function parse(data: string): ErrorDescription | undefined {
  try {
    return errors.parseError(data) ?? undefined;
  } catch {
    return undefined; // shorter than its selector promises
  }
}

/** ClaimFailed(index, selector): the selector is another of our errors, named here. */
function claimFailed({ args }: ErrorDescription): unknown[] {
  const selector: Hex = args.reason;
  return [args.index, errors.getError(selector)?.name ?? selector];
}

/** ethers puts the whole transaction into `message`, but not into `shortMessage`. */
function shortMessageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const short = 'shortMessage' in error ? String(error.shortMessage) : error.message;
  const info = 'error' in error ? error.error : undefined;
  const node = typeof info === 'object' && info !== null && 'message' in info ? info.message : '';
  return `${short} ${node}`;
}

/** Cuts a foreign text to one line of at most 256 characters. */
function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ').slice(0, 256);
}
