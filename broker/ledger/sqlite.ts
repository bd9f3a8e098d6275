// The embedded ledger. Receipts and idempotency keys are in an append-only file. SQLite, in one
// worker thread, indexes that file and stores everything else. That takes a third of the CPU that a
// row in SQLite takes per receipt (docs/decisions/journal-file.md).
import { dirname, join } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { Hex } from '../../contracts/libraries/keccak.ts';
import { DefaasError } from '../errors.ts';
import { openJournalFile } from './journal-file.ts';
import { entryFromText, groupLines, headToText, type RecordHead } from './journal-record.ts';
import type { GroupCommit, Ledger, StoredAnswer, StoredEntry, StoredVoucher } from './ledger.ts';
import { createSeenKeys } from './seen-keys.ts';
import type { WorkerOperations } from './sqlite-worker.ts';

/**
 * The worker indexes new records after this time, or sooner when there are this many receipts or
 * bytes.
 */
const INDEX_AFTER_MS = 2_000;
const INDEX_AFTER_ENTRIES = 10_000;
const INDEX_AFTER_ANSWER_BYTES = 8 * 1024 * 1024;

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Opens (or makes) the ledger in `file`.
 * @throws DefaasError LEDGER_FAILED  the file cannot be opened, or another version wrote it;
 * later: a write fails, after which the caller must stop serving
 */
export async function openSqliteLedger(file: string): Promise<Ledger> {
  const journalFile = join(dirname(file), 'journal.log');
  const worker = new Worker(new URL('./sqlite-worker.ts', import.meta.url), {
    workerData: { file, journalFile },
  });
  const waiting = new Map<number, Waiting>();
  let lastId = 0;
  let ended: Error | undefined;

  const endWith = (cause: unknown): void => {
    ended ??= new DefaasError('LEDGER_FAILED', `the ledger ${file} ended, check the disk`, {
      cause,
    });
    for (const one of waiting.values()) one.reject(ended);
    waiting.clear();
  };
  worker.on('message', ({ id, value, error }) => {
    const one = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) one?.resolve(value);
    else one?.reject(new DefaasError('LEDGER_FAILED', error));
  });
  worker.on('error', endWith);
  worker.on('exit', () => endWith(new Error('the worker exited')));

  const run = <Name extends keyof WorkerOperations>(
    name: Name,
    ...args: Parameters<WorkerOperations[Name]>
  ): Promise<ReturnType<WorkerOperations[Name]>> =>
    new Promise((resolve, reject) => {
      if (ended !== undefined) return reject(ended);
      lastId += 1;
      // Safe: the worker answers operation `Name` with what that operation returns.
      waiting.set(lastId, { resolve: resolve as (value: unknown) => void, reject });
      worker.postMessage({ id: lastId, name, args });
    });

  const journal = openJournalFile(
    journalFile,
    await run('open').catch(async (error) => {
      await worker.terminate();
      throw error;
    }),
  );
  const write = async (lines: readonly string[]): Promise<readonly number[]> => {
    if (ended !== undefined) throw ended;
    try {
      return (await journal.append(lines)).at;
    } catch (cause) {
      endWith(cause);
      throw ended;
    }
  };
  const seen = createSeenKeys(await run('seenKeys'));
  const lastSeqs = new Map<string, number>();
  for (const { payer, signer, seq } of (await run('load', '')).lanes) {
    lastSeqs.set(`${payer}:${signer}`, seq);
  }

  // In the journal and not yet in the index: `fresh`, and `entering`, which the worker indexes now.
  let fresh = createUnindexed();
  let entering = fresh;
  let indexing: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;

  /**
   * The worker takes messages in order, so a read that is posted after this sees all that was
   * indexed.
   */
  const index = (): Promise<void> => {
    clearTimeout(timer);
    timer = undefined;
    indexing ??= enterAll();
    return indexing;
  };
  const enterAll = async (): Promise<void> => {
    entering = fresh;
    fresh = createUnindexed();
    try {
      await run('index', journal.end);
    } catch (error) {
      // A keyed answer that is in neither place would be computed and charged again.
      endWith(error);
      throw error;
    } finally {
      entering = createUnindexed();
      indexing = undefined;
      if (fresh.isSome()) schedule();
    }
  };
  const schedule = (): void => {
    if (fresh.isLarge()) index().catch(endWith);
    else timer ??= setTimeout(() => void index().catch(endWith), INDEX_AFTER_MS).unref();
  };
  /** Resolves when all records that were in the journal at the time of the call are indexed. */
  const caughtUp = async (): Promise<void> => {
    await indexing;
    if (fresh.isSome()) await index();
  };

  const remember = (answer: StoredAnswer): void => {
    seen.add(answer.scope);
    fresh.putAnswer(answer);
  };
  const commit = async (group: GroupCommit): Promise<void> => {
    for (const { receipt } of group.entries) {
      const lane = `${receipt.payer}:${receipt.signer}`;
      const lastSeq = lastSeqs.get(lane);
      if (lastSeq !== undefined && receipt.seq <= lastSeq) {
        throw new DefaasError(
          'LEDGER_FAILED',
          `receipt ${receipt.seq} of lane ${lane} is not above ${lastSeq}, another process may write ${file}`,
        );
      }
      lastSeqs.set(lane, receipt.seq);
    }
    const at = await write(groupLines(group));
    fresh.putGroup({ ids: group.entries.map(({ id }) => id), at: at.slice(1) });
    for (const answer of group.answers) remember(answer);
    schedule();
  };
  const append = async (head: Omit<RecordHead, 'group'>): Promise<void> => {
    await write([headToText(head)]);
    for (const answer of head.answers) remember(answer);
    for (const scope of head.dropped) fresh.answers.set(scope, undefined);
    schedule();
  };
  // Each call can bring a voucher: those that arrive together share one sync.
  const vouchers = createGathered<StoredVoucher>((gathered) => run('putVouchers', gathered));
  const entriesAt = async (at: number, count: number): Promise<StoredEntry[]> =>
    (await journal.lines(at, count)).map(entryFromText);

  return {
    load: async (day) => {
      await Promise.all([caughtUp(), vouchers.written()]);
      return run('load', day);
    },
    commit,
    putSignatures: async (signatures) => {
      await caughtUp();
      await run('putSignatures', signatures);
    },
    putDailyLimit: (scope, units) => run('putDailyLimit', scope, units),
    putVoucher: vouchers.put,
    voucher: async (payer, signer) => {
      await vouchers.written();
      return run('voucher', payer, signer);
    },
    putMandate: (mandate) => run('putMandate', mandate),
    revokeMandate: (hash, atMs) => run('revokeMandate', hash, atMs),
    putAnswer: (answer) => append({ answers: [answer], dropped: [] }),
    answer: async (scope) => {
      if (!seen.mayHave(scope)) return undefined;
      for (const { answers } of [fresh, entering]) {
        if (answers.has(scope)) return answers.get(scope);
      }
      return run('answer', scope);
    },
    dropAnswer: (scope) => append({ answers: [], dropped: [scope] }),
    expireAnswers: async (beforeMs) => {
      await caughtUp();
      return run('expireAnswers', beforeMs);
    },
    putDeployment: (record) => run('putDeployment', record),
    putManifest: (functionVersion, manifest) => run('putManifest', functionVersion, manifest),
    putSecret: (secret) => run('putSecret', secret),
    secrets: (functionId) => run('secrets', functionId),
    putClient: (client) => run('putClient', client),
    client: (payer, id) => run('client', payer, id),
    clients: (payer) => run('clients', payer),
    dropClient: (payer, id) => run('dropClient', payer, id),
    entry: async (id) => {
      const known = fresh.placeOf(id) ?? entering.placeOf(id);
      for (const at of known === undefined ? await run('entryPlaces', id) : [known]) {
        const [entry] = await entriesAt(at, 1);
        if (entry?.id === id) return entry;
      }
      return undefined;
    },
    groupsOfOtherKeys: async (of) => {
      await caughtUp();
      return run('groupsOfOtherKeys', of);
    },
    lastNonces: async (limit) => {
      await caughtUp();
      return run('lastNonces', limit);
    },
    group: async (group) => {
      await caughtUp();
      return run('group', group);
    },
    laneEntries: async (lane) => {
      await caughtUp();
      const runs = await run('laneRuns', lane);
      const entries = await Promise.all(runs.map(({ at, count }) => entriesAt(at, count)));
      const after = entries.flat().filter(({ receipt }) => receipt.seq > lane.afterSeq);
      return after.slice(0, lane.limit);
    },
    putBatch: (batch, payouts = []) => run('putBatch', batch, payouts),
    payouts: (of) => run('payouts', of),
    owed: (payees) => run('owed', payees),
    batches: (state) => run('batches', state),
    putTopUp: (nonce, signed) => run('putTopUp', nonce, signed),
    topUps: () => run('topUps'),
    close: async () => {
      try {
        await Promise.all([caughtUp(), vouchers.written()]);
        clearTimeout(timer);
        await run('close');
      } finally {
        await journal.close();
        worker.removeAllListeners('exit');
        await worker.terminate();
      }
    },
  };
}

/** Serialises writes. Items that arrive while a write runs go out together in the next one. */
function createGathered<Item>(write: (items: readonly Item[]) => Promise<void>) {
  let items: Item[] = [];
  let last: Promise<void> = Promise.resolve();
  let next: Promise<void> | undefined;
  const writeNext = (): Promise<void> => {
    const gathered = items;
    items = [];
    next = undefined;
    return write(gathered);
  };
  return {
    put: (item: Item): Promise<void> => {
      items.push(item);
      if (next === undefined) {
        next = last.then(writeNext, writeNext);
        last = next;
      }
      return next;
    },
    /** Resolves when the write of every item so far has ended, well or not; `put` tells which. */
    written: (): Promise<void> => last.catch(() => undefined),
  };
}

/** Records that are not indexed yet. Bounded: `isLarge` makes the caller index them at once. */
function createUnindexed() {
  const places = new Map<Hex, number>();
  /**
   * Groups that are not in `places` yet. They are added at the first look-up, which most never see.
   */
  let groups: { readonly ids: readonly Hex[]; readonly at: readonly number[] }[] = [];
  let count = 0;
  /** By scope; `undefined` when the key was dropped. */
  const answers = new Map<string, StoredAnswer | undefined>();
  let answerBytes = 0;
  return {
    answers,
    putGroup: (group: (typeof groups)[number]): void => {
      groups.push(group);
      count += group.ids.length;
    },
    /** The byte of the journal where the receipt's line begins. */
    placeOf: (id: Hex): number | undefined => {
      for (const { ids, at } of groups) {
        ids.forEach((one, index) => {
          places.set(one, at[index] ?? 0);
        });
      }
      groups = [];
      return places.get(id);
    },
    putAnswer: (answer: StoredAnswer): void => {
      answers.set(answer.scope, answer);
      answerBytes += answer.body?.length ?? 0;
    },
    isSome: (): boolean => count + answers.size > 0,
    isLarge: (): boolean =>
      count + answers.size >= INDEX_AFTER_ENTRIES || answerBytes >= INDEX_AFTER_ANSWER_BYTES,
  };
}
