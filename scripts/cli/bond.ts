// `defaas bond`, `unbond`, `leave`: add to, unbond and take back an operator's collateral.

import type { Line } from '../../contracts/chain/types.ts';
import { standingBond } from '../../contracts/chain/view/parties.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { tellTerms } from './before-money.ts';
import { CliError } from './cli-error.ts';
import type { Flags, Outcome } from './context.ts';
import { mintIfShort, missingUnits } from './deposit.ts';
import { afterMoved, openMove } from './move.ts';
import {
  type ActOptions,
  act,
  dateOf,
  type Operator,
  openOperator,
  parseAmount,
  standingOf,
  told,
} from './operator.ts';
import { parseAddress } from './parse-address.ts';
import { parseTokens, parseUnits } from './units.ts';

/** Most floats that one transaction takes back, at about 40,000 gas each. */
const MAX_CALLS = 100;

interface AmountOptions extends ActOptions {
  readonly units?: boolean;
}

export interface BondOptions extends AmountOptions {
  /** The account that settles for the gateway from now on. */
  readonly settler?: string;
}

/**
 * Adds tokens of the operator's wallet to its gateway's bond; with these contracts another account
 * settles from then on, where one is named.
 * @throws CliError USAGE, OPERATOR_ONLY, INSUFFICIENT_TOKENS; ChainError CHAIN_...
 */
export async function bond(flags: Flags, amount: string, options: BondOptions): Promise<Outcome> {
  const units = parseAmount(amount, options);
  const settler = options.settler === undefined ? undefined : parseAddress(options.settler);
  const operator = await openOperator(flags, options);
  const { chain, account, gateway, dryRun } = operator;
  try {
    await tellTerms(flags, operator.own, chain);
    const before = chain.view.gateway(gateway)?.atStake ?? 0n;
    if (dryRun) {
      await missingUnits(chain, account.address, units);
      if (settler) await act(operator, 'billing', 'setSettler', [settler]);
    } else await addBond(flags, operator, units, settler);
    const bondUnits = dryRun ? before + units : standingOf(operator).atStake;
    const { minBond } = chain.constants;
    return {
      document: {
        ...{ gateway, addedUnits: units, bondUnits, minBondUnits: minBond, dryRun },
        ...(settler && { settler }),
      },
      text: told(
        operator,
        `${formatTokens(units)} tokens are added, the bond is ${formatTokens(bondUnits)} (at least ${formatTokens(minBond)} must stand)${settler ? `, ${settler} settles` : ''}`,
      ),
    };
  } finally {
    operator.close();
  }
}

async function addBond(
  flags: Flags,
  { chain, account, gateway, own }: Operator,
  units: bigint,
  settler: Address | undefined,
): Promise<void> {
  const writer = chain.connect(account);
  await chain.exclusively(gateway, async () => {
    const { chainId, contracts } = chain;
    const name = `bond ${chainId} ${contracts.billing} ${gateway} ${units} ${settler ?? ''}`;
    const move = openMove(own.confirmed, name);
    const block = await move.send('bond', writer, async (sending) => {
      await mintIfShort(flags, chain, writer, units);
      return writer.bond(gateway, units, { ...sending, ...(settler && { settler }) });
    });
    await afterMoved(`${formatTokens(units)} tokens are added to the bond`, () =>
      chain.synced(block),
    );
    move.end();
  });
}

/**
 * Starts to take tokens out of the bond; another amount replaces it and begins the wait anew, 0
 * cancels it.
 * @throws CliError USAGE, OPERATOR_ONLY, INSUFFICIENT_BALANCE; ChainError CHAIN_...
 */
export async function unbond(
  flags: Flags,
  amount: string,
  options: AmountOptions,
): Promise<Outcome> {
  const units = options.units
    ? parseUnits(amount, 'the amount')
    : parseTokens(amount, 'the amount');
  const operator = await openOperator(flags, options, { allowRevoked: true });
  const { chain, gateway, dryRun } = operator;
  try {
    const before = standingOf(operator);
    if (units > before.bond) {
      throw new CliError(
        'INSUFFICIENT_BALANCE',
        `${formatTokens(units)} tokens are asked for, the bond of ${gateway} is ${formatTokens(before.bond)}, name less`,
      );
    }
    await act(operator, 'billing', 'unbond', [units]);
    const after = dryRun
      ? { ...before, unbonding: units, ...(await expectedEnds(operator, units)) }
      : standingOf(operator);
    const leftUnits = standingBond(after);
    const isRetiring = leftUnits < chain.constants.minBond;
    const document = {
      gateway,
      bondUnits: after.bond,
      unbondingUnits: after.unbonding,
      unbondEndSec: after.unbondEndSec,
      /** null: it goes on settling. */
      settleUntilSec: isRetiring ? after.settleUntilSec : null,
      dryRun,
    };
    if (units === 0n) {
      const text = `nothing is unbonding, the bond of ${formatTokens(after.bond)} tokens stays`;
      return { document, text: told(operator, text) };
    }
    const out = `${formatTokens(units)} tokens of the bond are free from ${dateOf(after.unbondEndSec)} on, run defaas leave then`;
    const rest = isRetiring
      ? `${formatTokens(leftUnits)} stay, less than the ${formatTokens(chain.constants.minBond)} that must: no lane opens here any more, and the gateway settles until ${dateOf(after.settleUntilSec)} and not longer`
      : `${formatTokens(leftUnits)} stay, the gateway goes on as before`;
    return { document, text: told(operator, `${out}; ${rest}`) };
  } finally {
    operator.close();
  }
}

/** When an unbonding that began now would end, and until when the gateway would settle. */
async function expectedEnds({ chain, gateway }: Operator, units: bigint) {
  const [[wait], [window]] = await Promise.all([
    chain.read('billing', 'UNBOND', []),
    chain.read('billing', 'PROOF_WINDOW', []),
  ]);
  const now = await chain.nowSec();
  const before = standingOf({ chain, gateway });
  const { minBond } = chain.constants;
  const isFirst = before.standing >= minBond && before.bond - units < minBond;
  return {
    unbondEndSec: units === 0n ? 0 : now + Number(wait),
    settleUntilSec: isFirst ? now + Number(wait) - Number(window) : before.settleUntilSec,
  };
}

export interface LeaveOptions extends ActOptions {
  /** Takes back what is set aside for payees too. */
  readonly floats?: boolean;
}

/**
 * Moves an unbonding that has ended into the operator's free money; with `floats` also what was set
 * aside for payees, which thaws
 * first as every line does. `defaas withdraw --account gateway` takes it out.
 * @throws CliError OPERATOR_ONLY, NOTHING_TO_WITHDRAW, STILL_UNBONDING; ChainError CHAIN_...
 */
export async function leave(flags: Flags, options: LeaveOptions): Promise<Outcome> {
  const operator = await openOperator(flags, options, { allowRevoked: true });
  const { chain, gateway, dryRun } = operator;
  try {
    const before = standingOf(operator);
    const freeBefore = chain.view.free(gateway);
    const nowSec = await chain.nowSec();
    const isRipe = before.unbonding > 0n && before.unbondEndSec <= nowSec;
    const floats = options.floats ? floatsOf(operator) : [];
    if (!isRipe && floats.length === 0) throw nothingToLeave(before, gateway);
    const first = isRipe ? [chain.encode('billing', 'leave', [gateway])] : [];
    const { released, thawing } = await takeFloats(operator, floats, { first, nowSec });
    const leftUnits = isRipe ? least(before.unbonding, before.bond) : 0n;
    const freeUnits = dryRun ? freeBefore + leftUnits + sumOf(released) : chain.view.free(gateway);
    const document = {
      gateway,
      leftUnits,
      bondUnits: dryRun ? before.bond - leftUnits : standingOf(operator).bond,
      freeUnits,
      floats: { released, thawing },
      dryRun,
    };
    const parts: string[] = [];
    if (isRipe) parts.push(`${formatTokens(leftUnits)} tokens have left the bond`);
    if (released.length > 0) {
      parts.push(`${formatTokens(sumOf(released))} tokens set aside for payees are free`);
    }
    for (const { payee, units, endSec } of thawing) {
      parts.push(
        `${formatTokens(units)} tokens set aside for ${payee} thaw until ${dateOf(endSec)}, run defaas leave --floats again then`,
      );
    }
    parts.push(
      `${formatTokens(freeUnits)} tokens are free, defaas withdraw --account gateway takes them out`,
    );
    return { document, text: told(operator, parts.join('; ')) };
  } finally {
    operator.close();
  }
}

function nothingToLeave(
  { unbonding, unbondEndSec }: { readonly unbonding: bigint; readonly unbondEndSec: number },
  gateway: Address,
): CliError {
  if (unbonding > 0n) {
    return new CliError(
      'STILL_UNBONDING',
      `${formatTokens(unbonding)} tokens of gateway ${gateway} are at stake until ${dateOf(unbondEndSec)}, run defaas leave then`,
    );
  }
  return new CliError(
    'NOTHING_TO_WITHDRAW',
    `nothing of gateway ${gateway} is unbonding, run defaas unbond first`,
  );
}

interface Float {
  readonly payee: Address;
  readonly line: Line;
}

/** What the gateway has set aside for payees: the lines on which it is the payer itself. */
function floatsOf({ chain, gateway }: Operator): readonly Float[] {
  return chain.view
    .lines(gateway)
    .map(({ gateway: payee, ...line }) => ({ payee, line }))
    .filter(({ line }) => line.allotted > 0n);
}

interface Taken {
  readonly payee: Address;
  readonly units: bigint;
  readonly endSec: number;
}

/**
 * Releases thawed floats and starts to thaw the rest, after the calls `first`. A running thaw is
 * left alone, because a second one would restart the wait.
 */
async function takeFloats(
  operator: Operator,
  floats: readonly Float[],
  { first, nowSec }: { readonly first: readonly Hex[]; readonly nowSec: number },
): Promise<{ readonly released: Taken[]; readonly thawing: Taken[] }> {
  const { chain, gateway, dryRun } = operator;
  const released: Taken[] = [];
  const thawing: Taken[] = [];
  const calls: Hex[] = [...first];
  for (const { payee, line } of floats) {
    const units = least(line.thawing, line.allotted);
    if (line.thawing > 0n && line.thawEndSec <= nowSec) {
      calls.push(chain.encode('billing', 'release', [gateway, payee]));
      released.push({ payee, units, endSec: line.thawEndSec });
    } else if (line.thawing > 0n) {
      thawing.push({ payee, units, endSec: line.thawEndSec });
    } else {
      calls.push(chain.encode('billing', 'thaw', [payee, line.allotted]));
      const endSec = nowSec + chain.constants.lineThawSec;
      thawing.push({ payee, units: line.allotted, endSec });
    }
  }
  for (let i = 0; i < calls.length; i += MAX_CALLS) {
    await act(operator, 'billing', 'multicall', [calls.slice(i, i + MAX_CALLS)]);
  }
  if (dryRun) return { released, thawing };
  const endOf = (payee: Address): number => chain.view.line(gateway, payee)?.thawEndSec ?? 0;
  return { released, thawing: thawing.map((one) => ({ ...one, endSec: endOf(one.payee) })) };
}

function sumOf(taken: readonly Taken[]): bigint {
  return taken.reduce((sum, { units }) => sum + units, 0n);
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}
