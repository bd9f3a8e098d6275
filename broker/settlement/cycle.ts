// Settlement by itself: when the oldest unsettled receipt is a cycle old, when a payer leaves, or when a lane is about to end.
import type { Gateway } from '../gateway.ts';
import type { LaneState } from '../invocation/lanes.ts';
import { type SettleResult, settle } from './settle.ts';

/** How often the lanes are looked at, ms. */
const LOOK_EVERY_MS = 60_000;

export interface SettlementCycle {
  /** Settles now, or waits for the settlement under way. @throws as `settle` */
  run(): Promise<SettleResult>;
  close(): void;
}

/** Begins to look; one settlement runs at a time, whoever asks. */
export function startCycle(gateway: Gateway): SettlementCycle {
  const { settlementCycleSec } = gateway.config;
  const openSince = new Map<LaneState, number>();
  let running: Promise<SettleResult> | undefined;

  const run = (): Promise<SettleResult> => {
    running ??= settle(gateway).finally(() => {
      running = undefined;
    });
    return running;
  };
  const isDue = (lane: LaneState): boolean => {
    const onChain = gateway.chain.view.lane(lane.payer, gateway.address, lane.signer);
    const nowSec = gateway.nowMs() / 1000;
    if (onChain === undefined || onChain.seq === lane.seq || onChain.expirySec < nowSec) {
      openSince.delete(lane);
      return false;
    }
    const sinceSec = openSince.get(lane) ?? nowSec;
    openSince.set(lane, sinceSec);
    const isLeaving = (gateway.chain.view.line(lane.payer, gateway.address)?.thawing ?? 0n) > 0n;
    const isEnding = onChain.expirySec < nowSec + 2 * settlementCycleSec;
    return isLeaving || isEnding || nowSec - sinceSec >= settlementCycleSec;
  };
  const look = async (): Promise<void> => {
    if (gateway.lanes.all().filter(isDue).length === 0) return;
    try {
      await run();
    } catch (err) {
      gateway.log.error({ err }, 'the settlement failed and is tried again');
    }
  };
  const timer = setInterval(() => void look(), LOOK_EVERY_MS).unref();
  return { run, close: () => clearInterval(timer) };
}
