// Settlement by itself: when a lane's oldest receipt is a cycle old, sooner where its payer leaves or the lane is about to end.
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import type { LaneState } from '../invocation/lanes.ts';
import { SettlementRefused, type SettleResult, settle } from './settle.ts';

/** How often the lanes are looked at, ms. */
const LOOK_EVERY_MS = 60_000;

export interface SettlementCycle {
  /** Settles one batch now, or waits for the one under way. @throws as `settle` */
  run(): Promise<SettleResult>;
  /** Settles what is due, batch after batch. Never rejects: what fails is logged and due again. */
  look(): Promise<void>;
  close(): void;
}

/** Since when a lane has had receipts after the one that the chain knows. */
interface Open {
  readonly fromSeq: number;
  readonly sinceSec: number;
}

/** Begins to look; one settlement runs at a time, whoever asks. */
export function startCycle(gateway: Gateway): SettlementCycle {
  const { settlementCycleSec, exposureMaxUnits } = gateway.config;
  const open = new Map<LaneState, Open>();
  /** Lane -> when one that the chain refused is tried again, seconds. */
  const pausedUntil = new Map<LaneState, number>();
  let running: Promise<SettleResult> | undefined;
  const nowSec = (): number => gateway.nowMs() / 1000;

  const start = (wanted?: (lane: LaneState) => boolean): Promise<SettleResult> => {
    running ??= settle(gateway, wanted).finally(() => {
      running = undefined;
    });
    return running;
  };
  const isDue = (lane: LaneState): boolean => {
    const onChain = gateway.chain.view.lane(lane.payer, gateway.address, lane.signer);
    if (onChain === undefined || onChain.seq === lane.seq || onChain.expirySec < nowSec()) {
      open.delete(lane);
      return false;
    }
    const known = open.get(lane);
    const since = known?.fromSeq === onChain.seq ? known.sinceSec : nowSec();
    open.set(lane, { fromSeq: onChain.seq, sinceSec: since });
    const line = gateway.chain.view.line(lane.payer, gateway.address);
    const isLeaving = line !== undefined && line.thawing > 0n;
    const endSec = isLeaving ? Math.min(line.thawEndSec, onChain.expirySec) : onChain.expirySec;
    // A quarter of the time that is left, so that a settlement that fails can be tried again.
    const waitSec = Math.min(settlementCycleSec, (endSec - since) / 4);
    // A payer is refused for what is unsettled long before that.
    const isMuch = 4n * (lane.cumulative - onChain.settled) >= exposureMaxUnits;
    return isMuch || nowSec() - since >= waitSec;
  };
  const isPaused = (lane: LaneState): boolean => {
    if ((pausedUntil.get(lane) ?? 0) > nowSec()) return true;
    pausedUntil.delete(lane);
    return false;
  };
  const pause = (refused: SettleResult['refused']): void => {
    const untilSec = nowSec() + settlementCycleSec;
    for (const { lane } of refused) pausedUntil.set(lane, untilSec);
  };

  const look = async (): Promise<void> => {
    try {
      for (;;) {
        const due = new Set(gateway.lanes.all().filter((lane) => isDue(lane) && !isPaused(lane)));
        if (due.size === 0) return;
        pause((await start((lane) => due.has(lane))).refused);
      }
    } catch (err) {
      if (err instanceof SettlementRefused) pause(err.refused);
      else if (!(err instanceof DefaasError && err.code === 'NOTHING_TO_SETTLE')) {
        gateway.log.error({ err }, 'the settlement failed and is tried again');
      }
    }
  };
  const timer = setInterval(() => void look(), LOOK_EVERY_MS).unref();
  return { run: () => start(), look, close: () => clearInterval(timer) };
}
