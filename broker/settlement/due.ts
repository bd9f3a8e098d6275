// Decides when a lane is settled: as soon as it owes many times its gas, otherwise when its payer
// leaves or it has waited for long.

/**
 * A lane that owes more than its gas, but less than the worth factor, waits for this many cycles: a
 * week at the default of six hours.
 */
const DUST_CYCLES = 28;
/** A lane that expires within this many cycles is settled, so that there is time to retry. */
const ENDING_CYCLES = 2;
/** If the payer leaves, the lane is settled after this part of the remaining time. */
const LEAVING_PART = 4;

export interface LaneDue {
  /** Covered by the voucher and not settled, base units. */
  readonly owedUnits: bigint;
  /** Gas cost of its row in a batch, base units; 0 if gas is free. */
  readonly gasUnits: bigint;
  /** The lane is settled at once when it owes this many times its gas. */
  readonly worthFactor: number;
  readonly cycleSec: number;
  /** Since when it has an unsettled receipt, chain time, seconds. */
  readonly sinceSec: number;
  readonly nowSec: number;
  readonly expirySec: number;
  /** End of a thaw or of the closing of the lane, seconds; undefined if its payer stays. */
  readonly leavesAtSec: number | undefined;
  /**
   * Its payer is close to the exposure limit, or its line needs a settlement before it can be
   * topped up.
   */
  readonly isPressing: boolean;
}

/** Whether to settle a lane now. Always false if it owes nothing or less than its gas. */
export function isDue(lane: LaneDue): boolean {
  const { owedUnits, gasUnits, cycleSec, sinceSec, nowSec } = lane;
  if (owedUnits <= 0n || owedUnits < gasUnits) return false;
  if (lane.isPressing) return true;
  const ageSec = nowSec - sinceSec;
  const leavesAtSec = Math.min(lane.leavesAtSec ?? lane.expirySec, lane.expirySec);
  const isLeaving = lane.leavesAtSec !== undefined;
  if (isLeaving && ageSec >= (leavesAtSec - sinceSec) / LEAVING_PART) return true;
  if (lane.expirySec - nowSec < ENDING_CYCLES * cycleSec) return true;
  if (gasUnits === 0n) return ageSec >= cycleSec;
  if (owedUnits >= gasUnits * BigInt(lane.worthFactor)) return true;
  return ageSec >= DUST_CYCLES * cycleSec;
}
