// Answers every demand against this gateway, from its ledger, or from the pages on IPFS if the
// ledger has lost the receipt. An unanswered demand costs bond. Only the time of the next try is
// remembered: open demands are read from the chain, so restarts and reorganisations need no
// handling.
import { ChainError } from '../../contracts/chain/chain-error.ts';
import { createDisputeReads } from '../../contracts/chain/dispute-reads.ts';
import { type Place, placeAt } from '../../contracts/chain/evidence.ts';
import type { Demand } from '../../contracts/chain/types.ts';
import type { Hex } from '../../contracts/libraries/keccak.ts';
import { batchCid, readBatch } from '../client/batch.ts';
import { type OpenedLeaf, type OpenedReceipt, openClaim } from '../client/open-claim.ts';
import type { Gateway } from '../gateway.ts';
import { entriesOf } from './shares.ts';

/** Interval between looks for demands when no new block triggers one, ms. */
const LOOK_EVERY_MS = 15_000;
/** Maximum number of answer transactions under way: 2 million gas. */
const MAX_IN_FLIGHT = 16;
/** Gas limit that `bench gas` enforces for an answer. */
const ANSWER_GAS = 120_000n;
/**
 * Highest fee offered for a stuck answer, as a multiple of the chain's current fee (nonce-line.ts).
 */
const MAX_FEE_TIMES = 4n;
/** Wait before an answer is retried, ms. It doubles with each retry. */
const FIRST_WAIT_MS = 5_000;
const MAX_WAIT_MS = 300_000;
/** A demand open for longer than this raises an alarm, seconds. */
const ALARM_AFTER_SEC = 3_600;

type Parts = Pick<
  Gateway,
  'address' | 'account' | 'alarms' | 'artifacts' | 'chain' | 'closing' | 'log' | 'nowMs' | 'settler'
> & {
  /** Undefined if the ledger is lost: then answers come from the pages on IPFS. */
  readonly ledger?: Gateway['ledger'];
};

export interface Answering {
  /**
   * Answers open demands that are due now. Never rejects: failures are logged and retried. Waits
   * for a running look, then looks again.
   */
  look(): Promise<void>;
  close(): void;
}

interface Retry {
  readonly untilMs: number;
  readonly waitMs: number;
}

/** Looks at the start, at every block, and every 15 s. */
export function startAnswering(gateway: Parts): Answering {
  const { chain, log, nowMs } = gateway;
  const disputes = createDisputeReads(chain);
  const retries = new Map<Hex, Retry>();
  let running: Promise<void> | undefined;
  let isWanted = false;
  let answerWindowSec: number | undefined;

  const later = (id: Hex): void => {
    const waitMs = Math.min(2 * (retries.get(id)?.waitMs ?? FIRST_WAIT_MS / 2), MAX_WAIT_MS);
    retries.set(id, { untilMs: nowMs() + waitMs, waitMs });
  };

  const lookOnce = async (): Promise<void> => {
    answerWindowSec ??= (await disputes.readTerms()).answerWindowSec;
    // Use the view of the newest block: a demand's deadline counts from its own block.
    const open = chain.view
      .demands(gateway.address)
      .filter(({ state }) => state === 'open')
      .sort((a, b) => a.deadlineSec - b.deadlineSec);
    const nowSec = Math.max(chain.view.head.timestampSec, nowMs() / 1000);
    endAlarms(open);
    for (const { id, deadlineSec } of open) {
      if (deadlineSec - answerWindowSec + ALARM_AFTER_SEC > nowSec) continue;
      const until = new Date(deadlineSec * 1000).toISOString();
      const why = `demand ${id} is not answered for an hour, it costs bond at ${until}; check the chain RPC, the gas of ${gateway.account.address} and the log`;
      gateway.alarms.raise('DEMAND_OPEN', id, why);
    }
    const due = open.filter(({ id }) => (retries.get(id)?.untilMs ?? 0) <= nowMs());
    for (const { id } of due) later(id);
    await inParallel(answersTo(due), MAX_IN_FLIGHT);
  };

  const endAlarms = (open: readonly Demand[]): void => {
    const ids = new Set(open.map(({ id }) => id));
    for (const id of retries.keys()) {
      if (ids.has(id)) continue;
      retries.delete(id);
      gateway.alarms.clear('DEMAND_OPEN', id);
      gateway.alarms.clear('DEMAND_UNANSWERABLE', id);
    }
  };

  /** One step per demand. Demands for the same claim share one read of it. */
  async function* answersTo(demands: readonly Demand[]): AsyncGenerator<() => Promise<void>> {
    for (const group of Map.groupBy(demands, ({ batch, claim }) => `${batch} ${claim}`).values()) {
      const [first] = group;
      if (first === undefined) continue;
      const place = placeOf(first);
      if (place === undefined) continue;
      const leaves = await open(place, new Set(group.map(({ index }) => index)));
      for (const demand of group) {
        const leaf = leaves?.get(demand.index);
        if (leaf !== undefined) yield () => answer(demand, place, leaf);
        else raiseUnanswerable(demand);
      }
    }
  }

  const placeOf = ({ batch, claim }: Demand): Place | undefined => {
    const found = chain.view.batch(gateway.address, batch);
    return found && placeAt(found, claim);
  };

  /**
   * Opens receipts from the ledger, otherwise from the pages; undefined if neither has the claim as
   * it was settled.
   */
  const open = async (place: Place, indexes: ReadonlySet<number>) => {
    const { payer, signer, seqFrom, seqTo, batch, claim } = place;
    const { ledger } = gateway;
    const sources: (readonly [string, () => AsyncIterable<OpenedReceipt>])[] = [
      ['pages', () => pagesOf(batch, claim)],
    ];
    if (ledger) {
      sources.unshift(['ledger', () => entriesOf({ ledger }, payer, signer, seqFrom, seqTo)]);
    }
    for (const [source, receipts] of sources) {
      try {
        const leaves = await openClaim(place, receipts(), indexes);
        if (leaves !== undefined) return leaves;
        log.warn({ batch, claim, source }, 'a settled claim is not there as it was settled');
      } catch (err) {
        log.warn({ err, batch, claim, source }, 'a settled claim cannot be read');
      }
    }
    return undefined;
  };

  async function* pagesOf(batch: number, claim: number) {
    const settled = chain.view.batch(gateway.address, batch);
    if (settled === undefined) return;
    const getBlock = (cid: string) => gateway.artifacts.block(cid, { signal: gateway.closing });
    const { lanes } = await readBatch(batchCid(settled.cidDigest), getBlock);
    yield* lanes[claim]?.receipts() ?? [];
  }

  const raiseUnanswerable = ({ id, batch, claim, index }: Demand): void => {
    const why = `demand ${id} of receipt ${index} in claim ${claim} of batch ${batch} cannot be answered: neither the ledger nor the pages have it, restore one of them`;
    gateway.alarms.raise('DEMAND_UNANSWERABLE', id, why);
  };

  const answer = async (
    { id }: Demand,
    place: Place,
    { leaf, call, execution, callSignature }: OpenedLeaf,
  ): Promise<void> => {
    const opened = { place, leaf, call, execution };
    try {
      // Ask the chain again: somebody else may have answered it, or our answer is in a block that
      // the view does not have yet.
      if (typeof (await disputes.demandOf(id)) !== 'object') return;
      const { tx } = await gateway.account.answer(opened, callSignature).catch((error) => {
        // The settler has its own nonces and its own balance.
        if (!isStuck(error)) throw error;
        return gateway.settler.answer(opened, callSignature);
      });
      log.info({ id, tx, batch: place.batch, index: leaf.index }, 'demand answered');
    } catch (err) {
      if (err instanceof ChainError && err.code === 'NOT_DEMANDED') return;
      log.error({ err, id }, 'a demand was not answered and is tried again');
    }
  };

  const run = async (): Promise<void> => {
    while (isWanted && !gateway.closing.aborted) {
      isWanted = false;
      await lookOnce().catch((err) => {
        if (!gateway.closing.aborted) log.error({ err }, 'demands could not be read');
      });
    }
    running = undefined;
  };
  const look = (): Promise<void> => {
    isWanted = true;
    running ??= run();
    return running;
  };
  const timer = setInterval(() => void look(), LOOK_EVERY_MS).unref();
  const stop = chain.onBlock(() => void look());
  void look();
  return {
    look,
    close: () => {
      clearInterval(timer);
      stop();
    },
  };
}

/**
 * Balance that answers may need at once, wei: for the maximum number under way, or for all open
 * demands if those are more. Voluntary transactions must leave this much.
 */
export function reservedWei(
  { address, chain }: Pick<Parts, 'address' | 'chain'>,
  gasPrice: bigint,
): bigint {
  const open = chain.view.demands(address).filter(({ state }) => state === 'open').length;
  return BigInt(Math.max(open, MAX_IN_FLIGHT)) * ANSWER_GAS * gasPrice * MAX_FEE_TIMES;
}

function isStuck(error: unknown): boolean {
  return (
    error instanceof ChainError && (error.code === 'CHAIN_GAS' || error.code === 'CHAIN_PENDING')
  );
}

/** Runs steps concurrently, at most `most` at once. Steps must not reject. */
async function inParallel(steps: AsyncGenerator<() => Promise<void>>, most: number): Promise<void> {
  const running = new Set<Promise<void>>();
  for await (const step of steps) {
    const one = step().finally(() => running.delete(one));
    running.add(one);
    if (running.size >= most) await Promise.race(running);
  }
  await Promise.all(running);
}
