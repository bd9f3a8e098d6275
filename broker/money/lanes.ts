// Lane balances between two settlements: each lane's counters, its newest voucher, and the amounts
// held by running calls.
import type { ChainView, Lane } from '../../contracts/chain/types.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import type { LaneTotals, StoredVoucher } from '../ledger/ledger.ts';
import type { Caller } from './caller.ts';

/**
 * The counters of one lane at this gateway. Only this process numbers its receipts
 * (docs/contracts.md 7.1: one writer).
 */
export interface LaneState {
  readonly payer: Address;
  readonly signer: Address;
  /** Number of receipts so far, including free ones. */
  seq: number;
  /** Sum of their prices, base units. */
  cumulative: bigint;
  /** Highest ceiling the lane's key has signed, base units. */
  ceiling: bigint;
  /** Sum of the maximum prices of running calls, base units. */
  held: bigint;
}

/** What is missing for a call, as a 402 reply reports it. */
export interface Shortage {
  readonly reason: 'deposit' | 'line' | 'lane' | 'ceiling' | 'cap' | 'expiry';
  /** Missing amount, base units, of what `reason` names. */
  readonly needUnits: bigint;
  readonly ceilingUnits: bigint;
  /** What the line has left for new calls, base units. */
  readonly lineUnits: bigint;
}

export type HoldResult =
  | {
      readonly ok: true;
      readonly lane: LaneState;
      /** What the line had left for new calls before this one, base units. */
      readonly lineUnits: bigint;
      /** The amount that the payer last filled the line to, base units. */
      readonly filledUnits: bigint;
    }
  | { readonly ok: false; readonly shortage: Shortage };

export interface Lanes {
  /**
   * The lane's state. A lane that this gateway never served starts at its settled totals on the
   * chain. No state is kept for a lane that is not on the chain, because anybody can sign in with
   * any number of keys.
   */
  lane(payer: Address, signer: Address): LaneState;
  /** Whether the lane exists, on the chain or in the ledger. */
  has(payer: Address, signer: Address): boolean;
  all(): readonly LaneState[];
  /**
   * Reserves `units` on line and lane until `record` or `release`. Synchronous, so no other call
   * sees half of it.
   */
  hold(caller: Caller, units: bigint): HoldResult;
  /** Releases a hold when the call has ended, charged or not. */
  release(lane: LaneState, units: bigint): void;
  /** Gives a call the next number in its lane, and charges its price. */
  charge(lane: LaneState, priceUnits: bigint): Pick<LaneState, 'seq' | 'cumulative'>;
  /** Raises the ceiling; a lower ceiling is ignored. */
  raise(voucher: Pick<StoredVoucher, 'payer' | 'signer' | 'ceiling'>): void;
  /** Charged or held for this payer here, and not yet settled on the chain, base units. */
  exposureOf(payer: Address): bigint;
  /** What is left of the payer's line for new calls, base units; never negative. */
  lineLeft(payer: Address): bigint;
  /**
   * What a lane may still be charged under its line and its voucher, base units; never negative.
   */
  laneLeft(lane: LaneState): bigint;
  /** What a prepaid lane can be charged for a call now, base units; 0 if it is not open. */
  payableUnits(payer: Address, signer: Address): bigint;
}

interface LanesOptions {
  readonly gateway: Address;
  /**
   * The chain at its newest block, and at its newest final block. A lane may spend the smaller
   * balance of the two.
   */
  readonly view: Pick<ChainView, 'lane' | 'lanes' | 'line'>;
  readonly final: Pick<ChainView, 'lane' | 'line'>;
  readonly totals: readonly LaneTotals[];
  readonly vouchers: readonly StoredVoucher[];
  /** A lane that expires sooner than this is not served: it could not be settled in time. */
  readonly leastLifeSec: number;
  readonly nowSec: () => number;
}

interface Payer {
  readonly lanes: Map<Address, LaneState>;
  /**
   * Charged and held on all lanes, settled or not. A running sum: a payer with thousands of lanes
   * costs a call no more than one with a single lane.
   */
  takenUnits: bigint;
}

/**
 * All lanes of this gateway, built from the ledger's totals and vouchers and the local view of the
 * chain.
 */
export function createLanes(options: LanesOptions): Lanes {
  const { gateway, view, final } = options;
  const views = final === view ? [view] : [view, final];
  const byPayer = new Map<Address, Payer>();

  const lane = (payer: Address, signer: Address): LaneState => {
    const kept = byPayer.get(payer)?.lanes.get(signer);
    if (kept !== undefined) return kept;
    const onChain = view.lane(payer, gateway, signer);
    if (onChain === undefined) return freshLane(payer, signer);
    return keep(payerOf(payer), freshLane(payer, signer, onChain));
  };
  const keep = (of: Payer, state: LaneState): LaneState => {
    const known = of.lanes.get(state.signer);
    if (known !== undefined) return known;
    of.lanes.set(state.signer, state);
    of.takenUnits += state.cumulative;
    return state;
  };
  /** Keeps each lane with something settled: the chain counts that for the line as a whole. */
  const payerOf = (payer: Address): Payer => {
    const known = byPayer.get(payer);
    if (known !== undefined) return known;
    const fresh: Payer = { lanes: new Map(), takenUnits: 0n };
    byPayer.set(payer, fresh);
    for (const { signer, ...onChain } of view.lanes(payer, gateway)) {
      if (onChain.settled > 0n) keep(fresh, freshLane(payer, signer, onChain));
    }
    return fresh;
  };

  const exposureOf = (payer: Address, at: Pick<ChainView, 'line'> = view): bigint => {
    const taken = byPayer.get(payer)?.takenUnits;
    return taken === undefined ? 0n : taken - (at.line(payer, gateway)?.settled ?? 0n);
  };
  const add = ({ payer }: LaneState, units: bigint): void => {
    const of = byPayer.get(payer);
    if (of !== undefined) of.takenUnits += units;
  };

  /**
   * Each view is compared with its own settled totals: a settlement lowers both the line and the
   * exposure.
   */
  const leftAt = (at: LanesOptions['final'], payer: Address): bigint => {
    const line = at.line(payer, gateway);
    if (line === undefined) return 0n;
    const left = line.allotted - line.thawing - exposureOf(payer, at);
    return left > 0n ? left : 0n;
  };
  const lineLeft = (payer: Address): bigint => {
    const left = leftAt(view, payer);
    if (final === view) return left;
    const leftFinal = leftAt(final, payer);
    return leftFinal < left ? leftFinal : left;
  };

  const laneLeft = (state: LaneState): bigint => {
    const signed = state.ceiling - state.cumulative - state.held;
    const onLine = lineLeft(state.payer);
    const left = signed < onLine ? signed : onLine;
    return left > 0n ? left : 0n;
  };

  for (const totals of options.totals) {
    const { payer, signer, seq, cumulative } = totals;
    const state = keep(payerOf(payer), freshLane(payer, signer));
    add(state, cumulative - state.cumulative);
    Object.assign(state, { seq, cumulative });
  }
  const raise: Lanes['raise'] = (voucher) => {
    const { payer, signer } = voucher;
    const state = keep(payerOf(payer), lane(payer, signer));
    if (voucher.ceiling > state.ceiling) state.ceiling = voucher.ceiling;
  };
  for (const voucher of options.vouchers) raise(voucher);

  const shortageOf = (
    caller: Pick<Caller, 'payer' | 'signer'>,
    state: LaneState,
    units: bigint,
    lineUnits: bigint,
  ): Shortage | undefined => {
    const short = (reason: Shortage['reason'], needUnits: bigint): Shortage => ({
      reason,
      needUnits,
      ceilingUnits: state.ceiling,
      lineUnits,
    });
    const taken = state.cumulative + state.held + units;
    for (const at of views) {
      const open = at.lane(caller.payer, gateway, caller.signer);
      if (open === undefined || open.mode === 0) {
        const hasMoney = at.line(caller.payer, gateway) !== undefined;
        return short(hasMoney ? 'lane' : 'deposit', units);
      }
      const isEnding = open.expirySec < options.nowSec() + options.leastLifeSec;
      if (isEnding || open.isClosing) return short('expiry', units);
      if (lineUnits < units) return short('line', units - lineUnits);
      if (taken > open.cap) return short('cap', taken - open.cap);
    }
    if (taken > state.ceiling) return short('ceiling', taken - state.ceiling);
    return undefined;
  };

  return {
    lane,
    has: (payer, signer) =>
      byPayer.get(payer)?.lanes.has(signer) === true ||
      view.lane(payer, gateway, signer) !== undefined,
    all: () => [...byPayer.values()].flatMap(({ lanes }) => [...lanes.values()]),
    hold: (caller, units) => {
      const state = lane(caller.payer, caller.signer);
      const lineUnits = lineLeft(caller.payer);
      const shortage = shortageOf(caller, state, units, lineUnits);
      if (shortage !== undefined) return { ok: false, shortage };
      state.held += units;
      add(state, units);
      const filledUnits = view.line(caller.payer, gateway)?.filled ?? 0n;
      return { ok: true, lane: state, lineUnits, filledUnits };
    },
    release: (state, units) => {
      state.held -= units;
      add(state, -units);
    },
    charge: (state, priceUnits) => {
      state.seq += 1;
      state.cumulative += priceUnits;
      add(state, priceUnits);
      return { seq: state.seq, cumulative: state.cumulative };
    },
    raise,
    exposureOf: (payer) => exposureOf(payer),
    lineLeft,
    laneLeft,
    payableUnits: (payer, signer) => {
      const state = byPayer.get(payer)?.lanes.get(signer);
      if (state === undefined || view.lane(payer, gateway, signer)?.mode !== 1) return 0n;
      const left = laneLeft(state);
      return shortageOf(state, state, left, left) === undefined ? left : 0n;
    },
  };
}

/** A lane that this gateway has not served yet: at its settled totals. */
function freshLane(payer: Address, signer: Address, onChain?: Lane): LaneState {
  const { seq = 0, settled: cumulative = 0n } = onChain ?? {};
  return { payer, signer, seq, cumulative, ceiling: 0n, held: 0n };
}
