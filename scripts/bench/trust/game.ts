// What the games share: how a game is sampled, and the figures that they take from the chain.
import fc from 'fast-check';
import type { Log, Sent } from './evm.ts';
import type { House, Lane } from './house.ts';
import type { Outcome } from './outcome.ts';

/** Binds strategies to how they are played, whatever their type. */
export function game<S>(
  strategies: fc.Arbitrary<S>,
  play: (house: House, strategy: S) => Promise<Outcome>,
): { sample(count: number, seed: number): readonly ((house: House) => Promise<Outcome>)[] } {
  return {
    sample: (count, seed) =>
      fc
        .sample(strategies, { numRuns: count, seed })
        .map((strategy) => (house: House) => play(house, strategy)),
  };
}

export const share = fc.integer({ min: 0, max: 1_000 });

export const billed = fc.array(fc.integer({ min: 0, max: 20_000 }), { minLength: 1, maxLength: 4 });

export const mode = fc.constantFrom('prepaid' as const, 'signed' as const);

export function honestClaim(lane: Lane) {
  const settledTo = lane.served.at(-1)?.receipt.cumulative ?? lane.settledUnits;
  return { lane, entries: lane.served, settledTo };
}

/** At stake, and what of it is not on its way out; token units. */
export async function bondOf(
  house: House,
): Promise<{ readonly bonded: bigint; readonly standing: bigint }> {
  const at = await house.evm.read('Billing', 'standing', house.of.gateway);
  const [bonded, unbonding]: bigint[] = [at[0], at[1]];
  if (bonded === undefined || unbonding === undefined) throw new Error('no bond');
  return { bonded, standing: bonded > unbonding ? bonded - unbonding : 0n };
}

/** Of the bond, what never began to leave. */
export async function keptBond(house: House): Promise<bigint> {
  const [{ bond, unbonding }] = await house.evm.read('Billing', 'gatewayBondOf', house.of.gateway);
  return BigInt(bond) - BigInt(unbonding);
}

export function slashesIn(sent: Sent): readonly Log['args'][] {
  return sent.ok ? sent.logs.filter(({ name }) => name === 'Slashed').map(({ args }) => args) : [];
}

export function ratio(part: bigint, whole: bigint): number {
  return whole === 0n ? 0 : Number((part * 1_000_000n) / whole) / 1_000_000;
}
