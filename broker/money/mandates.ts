// Mandates: the lane owner's signed permission to charge the lane for calls by others, either with
// a handed-on token or as a sponsor. A mandate limits the amount per call, per day and in total;
// this file enforces the limits.
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import type { Mandate } from '../../contracts/libraries/typed-data.ts';
import { ANY_FUNCTION, SPONSOR_KIND, TOKEN_KIND } from '../client/mandates.ts';
import type { MandateSpending, StoredMandate } from '../ledger/ledger.ts';
import { type DailyHold, utcDay } from './daily-limits.ts';

/** A mandate and what was charged under it at this gateway. */
export interface MandateState {
  readonly hash: Hex;
  readonly mandate: Mandate;
  isRevoked: boolean;
  /** Charged under it in total, and on `day`, base units. */
  totalUnits: bigint;
  day: string;
  dayUnits: bigint;
  /**
   * Maximum prices of its running calls, base units. A call counts on the day it ends, as its
   * receipt says.
   */
  heldUnits: bigint;
}

export interface Mandates {
  /** The mandates of a lane, including closed ones that are not forgotten yet. */
  ofLane(payer: Address, signer: Address): readonly MandateState[];
  find(payer: Address, signer: Address, hash: Hex): MandateState | undefined;
  /** Adds a mandate that is already durable. */
  put(stored: StoredMandate): void;
  /** Marks a mandate as revoked; the revocation is already durable. */
  revoke(hash: Hex): void;
  /**
   * Whether calls with a token of these subjects must be charged to a mandate, and never directly
   * to the lane's owner.
   */
  isHandedOn(payer: Address, signer: Address, subjects: readonly Hex[]): boolean;
  /**
   * An open mandate for the token and function: one with room for `units` if there is one,
   * otherwise the first.
   */
  ofToken(
    lane: { readonly payer: Address; readonly signer: Address },
    call: {
      readonly subjects: readonly Hex[];
      readonly functionId: bigint;
      readonly units: bigint;
    },
  ): MandateState | undefined;
  /**
   * Open mandates by which the payer sponsors the callers of a function, the one that paid last
   * first.
   */
  sponsoring(payer: Address, functionId: bigint): readonly MandateState[];
  /**
   * An open mandate for the function's callers that can pay: the one that paid last, as long as it
   * can, so that a publisher's other mandates cost a call nothing.
   */
  sponsorOf(
    payer: Address,
    functionId: bigint,
    canPay: (state: MandateState) => boolean,
  ): MandateState | undefined;
  /** What may still be charged under it now, base units. */
  leftUnits(state: MandateState): bigint;
  /**
   * Reserves `units` for a call; undefined if there is too little. Synchronous, so concurrent calls
   * cannot exceed the limit.
   */
  hold(state: MandateState, units: bigint): DailyHold | undefined;
}

interface MandatesOptions {
  readonly mandates: readonly StoredMandate[];
  readonly spending: readonly MandateSpending[];
  readonly nowMs: () => number;
}

/**
 * An ended mandate is remembered for this long, seconds: longer than the life of a token that was
 * handed on under it.
 */
export const FORGOTTEN_AFTER_SEC = 3_600;

export function createMandates(options: MandatesOptions): Mandates {
  const { nowMs } = options;
  const lanes = new Map<Address, Map<Address, MandateState[]>>();
  const byHash = new Map<Hex, MandateState>();
  const sponsors = new Map<Address, Map<bigint, MandateState[]>>();

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
    const ofSponsor = sponsors.get(payer) ?? new Map<bigint, MandateState[]>();
    sponsors.set(payer, ofSponsor);
    const known = (ofSponsor.get(mandate.functionId) ?? []).filter(isKnown);
    ofSponsor.set(mandate.functionId, [...known, state]);
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
    find: (payer, signer, hash) => {
      const state = byHash.get(hash);
      const isOfLane = state?.mandate.payer === payer && state.mandate.signer === signer;
      return isOfLane ? state : undefined;
    },
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
    sponsoring: (payer, functionId) => (sponsors.get(payer)?.get(functionId) ?? []).filter(isOpen),
    sponsorOf: (payer, functionId, canPay) => {
      const states = sponsors.get(payer)?.get(functionId) ?? [];
      const at = states.findIndex((state) => isOpen(state) && canPay(state));
      if (at > 0) states.unshift(...states.splice(at, 1));
      return at < 0 ? undefined : states[0];
    },
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
