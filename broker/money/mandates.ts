// Mandates: what may be charged to a lane for calls that its owner does not make itself, by a token
// that was handed on
// or at a sponsor's expense. The owner has signed how much at once, a day and in all; this is where
// it is kept to.
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import type { Mandate } from '../../contracts/libraries/typed-data.ts';
import { ANY_FUNCTION, SPONSOR_KIND, TOKEN_KIND } from '../client/mandates.ts';
import type { MandateSpending, StoredMandate } from '../ledger/ledger.ts';
import { type DailyHold, utcDay } from './daily-limits.ts';

/** A mandate as this gateway has it. */
export interface MandateState {
  readonly hash: Hex;
  readonly mandate: Mandate;
  isRevoked: boolean;
  /** What was charged under it, in all, and on `day`, base units. */
  totalUnits: bigint;
  day: string;
  dayUnits: bigint;
  /**
   * What its calls under way may come to; they count on the day on which they end, as their
   * receipts say.
   */
  heldUnits: bigint;
}

export interface Mandates {
  /** Those of a lane, also the closed ones that are not forgotten. */
  ofLane(payer: Address, signer: Address): readonly MandateState[];
  find(payer: Address, signer: Address, hash: Hex): MandateState | undefined;
  /** Already durable. */
  put(stored: StoredMandate): void;
  /** Already durable. */
  revoke(hash: Hex): void;
  /** Whether calls by a token that goes by these names are mandated, and never the owner's own. */
  isHandedOn(payer: Address, signer: Address, subjects: readonly Hex[]): boolean;
  /** The open one for such a token and this function, with room for `units` where there is one. */
  ofToken(
    lane: { readonly payer: Address; readonly signer: Address },
    call: {
      readonly subjects: readonly Hex[];
      readonly functionId: bigint;
      readonly units: bigint;
    },
  ): MandateState | undefined;
  /** Open ones by which the payer pays the callers of a function. */
  sponsoring(payer: Address, functionId: bigint): readonly MandateState[];
  /** What may still be charged now, base units. */
  leftUnits(state: MandateState): bigint;
  /**
   * Takes room for a call that may cost `units`; undefined when there is none. No await, so no race
   * exceeds it.
   */
  hold(state: MandateState, units: bigint): DailyHold | undefined;
}

interface MandatesOptions {
  readonly mandates: readonly StoredMandate[];
  readonly spending: readonly MandateSpending[];
  readonly nowMs: () => number;
}

/**
 * How long after its end a mandate is known, seconds: longer than a token lives that was handed on
 * under it.
 */
export const FORGOTTEN_AFTER_SEC = 3_600;

export function createMandates(options: MandatesOptions): Mandates {
  const { nowMs } = options;
  const lanes = new Map<Address, Map<Address, MandateState[]>>();
  const byHash = new Map<Hex, MandateState>();
  const sponsors = new Map<Address, MandateState[]>();

  const isOpen = ({ isRevoked, mandate }: MandateState): boolean =>
    !isRevoked && mandate.untilSec > nowMs() / 1000;
  const rollOver = (state: MandateState): void => {
    const today = utcDay(nowMs());
    if (state.day === today) return;
    state.day = today;
    state.dayUnits = 0n;
  };
  const leftUnits = (state: MandateState): bigint => {
    rollOver(state);
    const { total, perDay } = state.mandate;
    const left = total - state.totalUnits;
    const ofDay = perDay - state.dayUnits;
    const least = (left < ofDay ? left : ofDay) - state.heldUnits;
    return least > 0n ? least : 0n;
  };
  const ofLane = (payer: Address, signer: Address): readonly MandateState[] =>
    lanes.get(payer)?.get(signer) ?? [];
  const put = ({ hash, mandate, revokedAtMs }: StoredMandate): void => {
    if (byHash.has(hash)) return;
    const { payer, signer } = mandate;
    const state: MandateState = {
      hash,
      mandate,
      isRevoked: revokedAtMs !== undefined,
      totalUnits: 0n,
      day: utcDay(nowMs()),
      dayUnits: 0n,
      heldUnits: 0n,
    };
    byHash.set(hash, state);
    const isKnown = ({ mandate: { untilSec } }: MandateState): boolean =>
      untilSec + FORGOTTEN_AFTER_SEC > nowMs() / 1000;
    const ofPayer = lanes.get(payer) ?? new Map<Address, MandateState[]>();
    lanes.set(payer, ofPayer);
    const before = ofPayer.get(signer) ?? [];
    for (const old of before) if (!isKnown(old)) byHash.delete(old.hash);
    ofPayer.set(signer, [...before.filter(isKnown), state]);
    if (mandate.kind !== SPONSOR_KIND) return;
    sponsors.set(payer, [...(sponsors.get(payer) ?? []).filter(isKnown), state]);
  };

  for (const stored of options.mandates) {
    if (stored.mandate.untilSec + FORGOTTEN_AFTER_SEC > nowMs() / 1000) put(stored);
  }
  for (const { hash, day, units } of options.spending) {
    const state = byHash.get(hash);
    if (state === undefined) continue;
    state.totalUnits += units;
    if (day === state.day) state.dayUnits += units;
  }
  return {
    ofLane,
    find: (payer, signer, hash) => ofLane(payer, signer).find((state) => state.hash === hash),
    put,
    revoke: (hash) => {
      const state = byHash.get(hash);
      if (state !== undefined) state.isRevoked = true;
    },
    isHandedOn: (payer, signer, subjects) =>
      ofLane(payer, signer).some(({ mandate }) => isFor(mandate, subjects)),
    ofToken: ({ payer, signer }, { subjects, functionId, units }) => {
      const open = ofLane(payer, signer).filter(
        (state) =>
          isOpen(state) &&
          isFor(state.mandate, subjects) &&
          [ANY_FUNCTION, functionId].includes(state.mandate.functionId),
      );
      return open.find((state) => leftUnits(state) >= units) ?? open[0];
    },
    sponsoring: (payer, functionId) =>
      (sponsors.get(payer) ?? []).filter(
        (state) => isOpen(state) && state.mandate.functionId === functionId,
      ),
    leftUnits: (state) => (isOpen(state) ? leftUnits(state) : 0n),
    hold: (state, units) => {
      if (!isOpen(state) || leftUnits(state) < units) return undefined;
      state.heldUnits += units;
      let isHeld = true;
      const release = (): void => {
        if (isHeld) state.heldUnits -= units;
        isHeld = false;
      };
      return {
        spend: (price) => {
          release();
          rollOver(state);
          state.totalUnits += price;
          state.dayUnits += price;
          return { scope: `mandate:${state.hash}`, day: state.day, units: price };
        },
        release,
      };
    },
  };
}

function isFor({ kind, subject }: Mandate, subjects: readonly Hex[]): boolean {
  return kind === TOKEN_KIND && subjects.includes(subject);
}
