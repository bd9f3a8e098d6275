// Automatic settlement: checks every minute which lanes are due. Failures are retried with growing
// waits and do not delay other lanes.

import type { Address } from '../../contracts/libraries/keccak.ts';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import type { LaneState } from '../money/lanes.ts';
import { MARGINAL_LANE_GAS } from './bounds.ts';
import { isDue } from './due.ts';
import { unitsOfWei } from './gas-units.ts';
import type { SettlementParts } from './parts.ts';
import { SettlementRefused, type SettleResult, settle } from './settle.ts';
import { owedOf } from './shares.ts';
import { payersToTopUp, topUp } from './top-up.ts';

/** Interval between checks of the lanes, ms. */
const LOOK_EVERY_MS = 60_000;
/** First wait after a refusal, seconds. It doubles with each further refusal, up to a cycle. */
const FIRST_WAIT_SEC = 60;
/**
 * Settle when a payer's unsettled amount reaches this part of the exposure limit; at the limit,
 * calls are refused.
 */
const PRESSING_PART = 4n;

export interface SettlementCycle {
  /**
   * Settles one batch now, or waits for the running settlement.
   * @throws the errors of `settle`
   */
  run(): Promise<SettleResult>;
  /** Settles due lanes, batch after batch. Never rejects: failures are logged and retried. */
  look(): Promise<void>;
  close(): void;
}

/** The time since which a lane has had receipts that are not settled. */
interface Open {
  readonly fromSeq: number;
  readonly sinceSec: number;
}

/** A failed operation that waits for its retry. */
interface Waiting {
  readonly untilSec: number;
  readonly waitSec: number;
}

/** Starts the checks. At most one settlement runs at a time; all callers share it. */
export function startCycle(gateway: SettlementParts): SettlementCycle {
  const { settlementCycleSec: cycleSec, exposureMaxUnits, settlementWorthFactor } = gateway.config;
  const open = new Map<LaneState, Open>();
  /** Lanes that the chain refused, with their retry times. */
  const setAside = new Map<LaneState, Waiting>();
  /** Payers whose line could not be topped up, with their retry times. */
  const notToppedUp = new Map<Address, Waiting>();
  /** Set after a failure that concerned all lanes. */
  let stopped: Waiting | undefined;
  let running: Promise<SettleResult> | undefined;
  const nowSec = (): number => gateway.nowMs() / 1000;
  const unsettled = gateway.lanes.all().flatMap((lane) => {
    const fromSeq = gateway.chain.view.lane(lane.payer, gateway.address, lane.signer)?.seq;
    return fromSeq === undefined || fromSeq >= lane.seq ? [] : [{ lane, fromSeq }];
  });

  const start = (wanted?: (lane: LaneState) => boolean): Promise<SettleResult> => {
    running ??= settle(gateway, wanted).finally(() => {
      running = undefined;
    });
    return running;
  };
  const waitAfter = (before: Waiting | undefined): Waiting => {
    const waitSec = Math.min(before === undefined ? FIRST_WAIT_SEC : 2 * before.waitSec, cycleSec);
    return { untilSec: nowSec() + waitSec, waitSec };
  };
  const isLaneDue = (lane: LaneState, gasUnits: bigint, low: ReadonlySet<Address>): boolean => {
    const { view } = gateway.chain;
    const onChain = view.lane(lane.payer, gateway.address, lane.signer);
    const known = open.get(lane);
    const isOpen = onChain !== undefined && onChain.seq < lane.seq && onChain.expirySec >= nowSec();
    if (!isOpen || known?.fromSeq !== onChain.seq) {
      open.delete(lane);
      setAside.delete(lane);
    }
    if (!isOpen) return false;
    const sinceSec = open.get(lane)?.sinceSec ?? nowSec();
    open.set(lane, { fromSeq: onChain.seq, sinceSec });
    const line = view.line(lane.payer, gateway.address);
    const isThawing = line !== undefined && line.thawing > 0n;
    const owedUnits = owedOf(gateway, lane);
    return isDue({
      owedUnits,
      gasUnits,
      worthFactor: settlementWorthFactor,
      cycleSec,
      sinceSec,
      nowSec: nowSec(),
      expirySec: onChain.expirySec,
      leavesAtSec: isThawing
        ? line.thawEndSec
        : onChain.isClosing === true
          ? onChain.expirySec
          : undefined,
      isPressing: low.has(lane.payer) || PRESSING_PART * owedUnits >= exposureMaxUnits,
    });
  };
  /**
   * Lanes served before this process started count as unsettled since their oldest unsettled
   * receipt.
   */
  const recall = async (): Promise<void> => {
    for (const { lane, fromSeq } of unsettled) {
      const { payer, signer } = lane;
      const [oldest] = await gateway.ledger.laneEntries({
        payer,
        signer,
        afterSeq: fromSeq,
        limit: 1,
      });
      if (oldest) open.set(lane, { fromSeq, sinceSec: oldest.execution.finishedAtSec });
    }
    unsettled.length = 0;
  };
  const setAsideAll = (refused: SettleResult['refused']): void => {
    for (const { lane } of refused) setAside.set(lane, waitAfter(setAside.get(lane)));
  };
  const isSetAside = (lane: LaneState): boolean => (setAside.get(lane)?.untilSec ?? 0) > nowSec();

  const lowPayers = (gasUnits: bigint, settled: boolean): Address[] =>
    payersToTopUp(gateway, gasUnits * BigInt(settlementWorthFactor), settled).filter(
      (payer) => (notToppedUp.get(payer)?.untilSec ?? 0) <= nowSec(),
    );

  const look = async (): Promise<void> => {
    if ((stopped?.untilSec ?? 0) > nowSec()) return;
    try {
      await recall();
      const gasUnits = await readLaneGas(gateway);
      for (;;) {
        const low = new Set(lowPayers(gasUnits, false));
        const lanes = gateway.lanes.all().filter((lane) => isLaneDue(lane, gasUnits, low));
        const due = new Set(lanes.filter((lane) => !isSetAside(lane)));
        if (due.size === 0) break;
        const { refused } = await start((lane) => due.has(lane));
        setAsideAll(refused);
      }
      for (const payer of await topUp(gateway, lowPayers(gasUnits, true))) {
        notToppedUp.set(payer, waitAfter(notToppedUp.get(payer)));
      }
      stopped = undefined;
    } catch (err) {
      if (err instanceof SettlementRefused) setAsideAll(err.refused);
      else if (!(err instanceof DefaasError && err.code === 'NOTHING_TO_SETTLE')) {
        stopped = waitAfter(stopped);
        const { waitSec } = stopped;
        gateway.log.error({ err, waitSec }, 'the settlement failed and is tried again');
      }
    }
  };
  const timer = setInterval(() => void look(), LOOK_EVERY_MS).unref();
  return { run: () => start(), look, close: () => clearInterval(timer) };
}

/**
 * Current cost of one more lane in a batch, base units of the token, rounded up; 0 if gas is free.
 */
async function readLaneGas({ chain, config }: Pick<Gateway, 'chain' | 'config'>): Promise<bigint> {
  if (config.nativePriceUnits === 0n) return 0n;
  const { gasPrice } = await chain.provider.getFeeData();
  return unitsOfWei(config, MARGINAL_LANE_GAS * (gasPrice ?? 0n));
}
