// The local view: applies the contracts' events block by block and answers reads from memory.

import type { Abi } from '../abi.ts';
import type { FollowedLog } from '../follow.ts';
import type { ChainView, Head } from '../types.ts';
import { createBatches } from './batches.ts';
import { createDisputes } from './disputes.ts';
import { createEpochs } from './epochs.ts';
import { createFunctions } from './functions.ts';
import { createGrants } from './grants.ts';
import { createHistory } from './history.ts';
import { createMoney } from './money.ts';
import { createParties } from './parties.ts';

/** Number of changed blocks that a reorganisation may undo without a rescan. */
const UNDO_BLOCKS = 1_000;
const NO_HEAD: Head = { number: -1, hash: '0x', timestampSec: 0, seenAtMs: 0 };

interface ViewOptions {
  readonly abi: Abi;
  readonly nowMs: () => number;
}

export interface View {
  readonly view: ChainView;
  /** Applies logs, in the chain's order, up to the block `head`. */
  apply(logs: readonly FollowedLog[], head: Head): void;
  /**
   * Undoes everything above a block. Returns false and changes nothing if the history does not
   * reach back that far.
   */
  rewind(head: Head): boolean;
}

export function createView({ abi, nowMs }: ViewOptions): View {
  let head = NO_HEAD;
  const history = createHistory(UNDO_BLOCKS);
  const nowSec = (): number => Math.max(head.timestampSec, Math.floor(nowMs() / 1000));

  const functions = createFunctions(history);
  const money = createMoney(history);
  const parties = createParties({ history, nowSec });
  const grants = createGrants({ history, functions: functions.queries, nowSec });
  const epochs = createEpochs(history);
  const batches = createBatches(history, {
    lane: money.queries.lane,
    feeAt: parties.queries.feeAt,
  });
  const disputes = createDisputes(history);
  // Batches come first: a claim records the lane's values before it.
  const rooms = [batches, money, parties, functions, grants, epochs, disputes];

  return {
    view: {
      ...functions.queries,
      ...money.queries,
      ...parties.queries,
      ...grants.queries,
      ...epochs.queries,
      ...batches.queries,
      ...disputes.queries,
      // Getters: a spread would read their values once and freeze them.
      get head() {
        return head;
      },
      get latestEpoch() {
        return epochs.queries.latestEpoch;
      },
      get totals() {
        return money.queries.totals;
      },
      get isPaused() {
        return money.queries.isPaused;
      },
    },
    apply: (logs, to) => {
      for (const log of logs) {
        const decoded = abi.decodeLog(log);
        if (decoded === undefined) continue;
        history.begin(log.blockNumber);
        for (const { replay } of rooms) {
          replay[decoded.contract]?.[decoded.event]?.(decoded.args, log);
        }
      }
      head = to;
    },
    rewind: (to) => {
      if (!history.rewind(to.number)) return false;
      head = to;
      return true;
    },
  };
}
