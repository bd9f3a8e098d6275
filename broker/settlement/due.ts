// When a lane is settled: as soon as it owes many times the gas that it takes, else when its payer leaves or it has waited long.

/** A lane that owes more than its gas, but little, waits so many cycles: a week of the usual six hours. */
const DUST_CYCLES = 28;
/** A lane that ends sooner than in so many cycles is settled, so that a settlement that fails can be tried again. */
const ENDING_CYCLES = 2;
/** And one whose payer leaves, when this part of the time that is left has passed. */
const LEAVING_PART = 4;

export interface LaneDue {
  /** Signed for and not settled, base units. */
  readonly owedUnits: bigint;
  /** What its row in a batch costs in gas, base units; 0 where gas is free. */
  readonly gasUnits: bigint;
  /** It is settled at once when it owes so many times its gas. */
  readonly worthFactor: number;
  readonly cycleSec: number;
  /** When it was first seen with a receipt that is not settled, chain time. */
  readonly sinceSec: number;
  readonly nowSec: number;
  readonly expirySec: number;
  /** When a thaw or the closing of the lane ends; undefined when its payer stays. */
  readonly leavesAtSec: number | undefined;
  /** Its payer is about to be refused for what is not settled, or its line waits for a settlement to be topped up. */
  readonly isPressing: boolean;
}

/** Whether a lane is to be settled now. One that owes nothing, or less than its gas, is not. */
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
