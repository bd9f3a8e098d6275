// Money as the gateway sees it between two settlements: each lane's counter, its newest voucher, and what calls under way hold.
import type { ChainView } from '../../contracts/chain/types.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import type { LaneTotals, StoredVoucher } from '../ledger/ledger.ts';
import type { Caller } from './caller.ts';

/**
 * One lane's counter at this gateway. Numbered by this process alone (docs/contracts.md 7.1: one
 * writer).
 */
export interface LaneState {
  readonly payer: Address;
  readonly signer: Address;
  /** Receipts so far, also the free ones. */
  seq: number;
  /** Sum of their prices, base units. */
  cumulative: bigint;
  /** Highest ceiling the lane's key has signed, base units. */
  ceiling: bigint;
  /** Maximum prices of the calls under way. */
  held: bigint;
}

/** What is missing for a call, as a 402 says it. */
export interface Shortage {
  readonly reason: 'deposit' | 'line' | 'lane' | 'ceiling' | 'cap' | 'expiry';
  /** How many base units are missing of what `reason` names. */
  readonly needUnits: bigint;
  readonly ceilingUnits: bigint;
  /** What the line still has for new calls. */
  readonly lineUnits: bigint;
}

export type HoldResult =
  | {
      readonly ok: true;
      readonly lane: LaneState;
      /** What the line had for new calls before this one. */
      readonly lineUnits: bigint;
      /** What the payer last filled the line to. */
      readonly filledUnits: bigint;
    }
  | { readonly ok: false; readonly shortage: Shortage };

export interface Lanes {
  /**
   * The lane's state, begun at what the chain has settled when this gateway never served it. Of a lane that is not on the chain
   * nothing is kept: anybody can sign in with any number of keys.
   */
  lane(payer: Address, signer: Address): LaneState;
  /** Whether there is such a lane, on the chain or in the ledger. */
  has(payer: Address, signer: Address): boolean;
  lanesOf(payer: Address): readonly LaneState[];
  all(): readonly LaneState[];
  /** Takes `units` out of line and lane until `record` or `release`; no await, so no interleaving sees half of it. */
  hold(caller: Caller, units: bigint): HoldResult;
  /** Gives a hold back: the call ended, was charged or not. */
  release(lane: LaneState, units: bigint): void;
  /** Raises the ceiling; a lower one changes nothing. */
  raise(voucher: Pick<StoredVoucher, 'payer' | 'signer' | 'ceiling'>): void;
  /** What the payer has been served or promised here and the chain has not settled, base units. */
  exposureOf(payer: Address): bigint;
  /** What is left of the payer's line for new calls, base units; negative never. */
  lineLeft(payer: Address): bigint;
  /** What a lane may still be charged under its line and its voucher, base units; negative never. */
  laneLeft(lane: LaneState): bigint;
  /** What a prepaid lane can be charged for a call now, base units; 0 where it is not open. */
  payableUnits(payer: Address, signer: Address): bigint;
}

interface LanesOptions {
  readonly gateway: Address;
  /** As of the newest block, and as of the newest that is final: a lane may take what it has in both. */
  readonly view: Pick<ChainView, 'lane' | 'line'>;
  readonly final: Pick<ChainView, 'lane' | 'line'>;
  readonly totals: readonly LaneTotals[];
  readonly vouchers: readonly StoredVoucher[];
  /** A lane that expires sooner is not served: it could not be settled in time. */
  readonly leastLifeSec: number;
  readonly nowSec: () => number;
}

/** All lanes of this gateway, from the ledger's totals and vouchers, beside the local view of the chain. */
export function createLanes(options: LanesOptions): Lanes {
  const { gateway, view, final } = options;
  const views = final === view ? [view] : [view, final];
  const byPayer = new Map<Address, Map<Address, LaneState>>();

  const lane = (payer: Address, signer: Address): LaneState => {
    const kept = byPayer.get(payer)?.get(signer);
    if (kept !== undefined) return kept;
    const onChain = view.lane(payer, gateway, signer);
    const fresh: LaneState = {
      payer,
      signer,
      seq: onChain?.seq ?? 0,
      cumulative: onChain?.settled ?? 0n,
      ceiling: 0n,
      held: 0n,
    };
    return onChain === undefined ? fresh : keep(fresh);
  };
  const keep = (state: LaneState): LaneState => {
    const ofPayer = byPayer.get(state.payer) ?? new Map<Address, LaneState>();
    byPayer.set(state.payer, ofPayer.set(state.signer, state));
    return state;
  };
  const known = (payer: Address): readonly LaneState[] => [...(byPayer.get(payer)?.values() ?? [])];

  const exposureOf = (payer: Address, at = view): bigint => {
    let units = 0n;
    for (const one of byPayer.get(payer)?.values() ?? []) {
      const settled = at.lane(payer, gateway, one.signer)?.settled ?? 0n;
      units += one.cumulative - settled + one.held;
    }
    return units;
  };

  /** What was settled since is off the line and off the exposure, in each view. */
  const leftAt = (at: LanesOptions['view'], payer: Address): bigint => {
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
    keep(Object.assign(lane(totals.payer, totals.signer), totals));
  }
  const raise: Lanes['raise'] = (voucher) => {
    const state = keep(lane(voucher.payer, voucher.signer));
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
      byPayer.get(payer)?.has(signer) === true || view.lane(payer, gateway, signer) !== undefined,
    lanesOf: known,
    all: () => [...byPayer.values()].flatMap((ofPayer) => [...ofPayer.values()]),
    hold: (caller, units) => {
      const state = lane(caller.payer, caller.signer);
      const lineUnits = lineLeft(caller.payer);
      const shortage = shortageOf(caller, state, units, lineUnits);
      if (shortage !== undefined) return { ok: false, shortage };
      state.held += units;
      const filledUnits = view.line(caller.payer, gateway)?.filled ?? 0n;
      return { ok: true, lane: state, lineUnits, filledUnits };
    },
    release: (state, units) => {
      state.held -= units;
    },
    raise,
    exposureOf: (payer) => exposureOf(payer),
    lineLeft,
    laneLeft,
    payableUnits: (payer, signer) => {
      const state = byPayer.get(payer)?.get(signer);
      if (state === undefined || view.lane(payer, gateway, signer)?.mode !== 1) return 0n;
      const left = laneLeft(state);
      return shortageOf(state, state, left, left) === undefined ? left : 0n;
    },
  };
}
