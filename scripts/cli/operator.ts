// What an operator's commands work with: the gateway's own account, the chain, and the dry-run
// flag.
import type { ContractName } from '../../contracts/chain/abi.ts';
import type { Sent } from '../../contracts/chain/account.ts';
import type { GatewayStanding } from '../../contracts/chain/types.ts';
import type { Chain } from '../../contracts/chain.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import type { Account } from './account.ts';
import { CliError } from './cli-error.ts';
import type { Flags, OpenOptions } from './context.ts';
import { type OwnChain, openOwnChain } from './own-chain.ts';
import { parseTokens, parseUnits } from './units.ts';

/** The role whose key is the gateway's account. */
const OPERATOR = 'gateway';

export interface ActOptions {
  /** Sends nothing; the node simulates each transaction. */
  readonly dryRun?: boolean;
}

/** An account that sends transactions, or only simulates them. */
export interface Actor {
  readonly chain: Chain;
  readonly account: Account;
  readonly dryRun: boolean;
}

export interface Operator extends Actor {
  readonly gateway: Address;
  readonly home: string;
  readonly own: OwnChain;
  close(): void;
}

/**
 * Opens the chain with the operator's key, whatever account is active. No gateway is contacted: an
 * operator whose gateway is down for good can leave by the same commands.
 * @throws CliError KEY_MISSING, OPERATOR_ONLY the key here is of no gateway; ChainError CHAIN_...
 */
export async function openOperator(
  flags: Flags,
  { dryRun = false }: ActOptions,
  { allowRevoked = false }: Pick<OpenOptions, 'allowRevoked'> = {},
): Promise<Operator> {
  const options = { role: OPERATOR, allowRevoked };
  const own = await openOwnChain(flags, options);
  const { account, chain, house, close } = own;
  const gateway = account.address;
  if (chain.view.gateway(gateway) !== undefined) {
    return { chain, account, gateway, home: house.home, own, dryRun, close };
  }
  close();
  throw new CliError(
    'OPERATOR_ONLY',
    `${gateway} is no gateway on the chain, run this where the gateway's key is`,
  );
}

/**
 * Sends a transaction and waits until the view has it; in a dry run the node only tries it out.
 * @returns undefined in a dry run   @throws ChainError  what the contract refuses, in a dry run too
 */
export async function act(
  { chain, account, dryRun }: Actor,
  contract: ContractName,
  method: string,
  args: readonly unknown[],
): Promise<Sent | undefined> {
  const writer = chain.connect(account);
  if (dryRun) {
    await writer.check(contract, method, args);
    return undefined;
  }
  const sent = await writer.send(contract, method, args);
  await chain.synced(sent.blockNumber);
  return sent;
}

/** The gateway's current bond and terms. */
export function standingOf({
  chain,
  gateway,
}: Pick<Operator, 'chain' | 'gateway'>): GatewayStanding {
  const standing = chain.view.gateway(gateway);
  if (standing !== undefined) return standing;
  throw new Error(`${gateway} is no gateway on the chain`);
}

/** Parses a typed amount above 0. @throws CliError USAGE */
export function parseAmount(text: string, { units = false }: { readonly units?: boolean }): bigint {
  const amount = units ? parseUnits(text, 'the amount') : parseTokens(text, 'the amount');
  if (amount > 0n) return amount;
  throw new CliError('USAGE', 'the amount is 0, name more');
}

/** RFC 3339, to the second. */
export function dateOf(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace('.000Z', 'Z');
}

/** Puts a note that nothing was sent before the text of a dry run. */
export function told({ dryRun }: Pick<Actor, 'dryRun'>, text: string): string {
  return dryRun ? `dry run, nothing was sent: ${text}` : text;
}
