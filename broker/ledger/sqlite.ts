// The embedded ledger: receipts and keys in an append-only file, synced off the loop, and SQLite in
// one worker thread as their index and for the rest. Per receipt that is a sixth of the CPU of a
// row in SQLite (docs/decisions/journal-file.md).
import { dirname, join } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { Hex } from '../../contracts/libraries/keccak.ts';
import { DefaasError } from '../errors.ts';
import { entryFromText } from './entry-text.ts';
import { openJournalFile } from './journal-file.ts';
import { groupLines, headToText, type RecordHead } from './journal-record.ts';
import type { GroupCommit, Ledger, StoredAnswer, StoredEntry, StoredVoucher } from './ledger.ts';
import { createSeenKeys } from './seen-keys.ts';
import type { Operations } from './sqlite-worker.ts';

/** What is in the journal is entered in the index this long after, ms, or when so much has gathered. */
const INDEX_AFTER_MS = 2_000;
const INDEX_AFTER_ENTRIES = 10_000;
const INDEX_AFTER_ANSWER_BYTES = 8 * 1024 * 1024;

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Opens (or makes) the ledger in `file`.
 * @throws DefaasError LEDGER_FAILED  the file cannot be opened, or later a write fails; after a failed write the caller must stop serving
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
    ended ??= new DefaasError('LEDGER_FAILED', `the ledger ${file} ended, look at the disk`, {
      cause,
    });
    for (const one of waiting.values()) one.reject(ended);
    waiting.clear();
  };
  worker.on('message', ({ id, value, error }) => {
    const one = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) one?.resolve(value);
    else
      one?.reject(new DefaasError('LEDGER_FAILED', `ledger ${file}: ${error}, look at the disk`));
  });
  worker.on('error', endWith);
  worker.on('exit', () => endWith(new Error('the worker exited')));

  const run = <Name extends keyof Operations>(
    name: Name,
    ...args: Parameters<Operations[Name]>
  ): Promise<ReturnType<Operations[Name]>> =>
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

  // What is in the journal and not yet in the index: `fresh`, and what the worker is entering now.
  let fresh = createUnindexed();
  let entering = fresh;
  let indexing: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;

  /** The worker takes messages in order, so a read that is posted after this sees what was in the journal before. */
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
      // Keyed answers that were in neither place would run again.
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
  /** Everything that was in the journal when it was called is in the index. */
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
  // A voucher comes with a call: many that come at once must not cost a sync each.
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

/** Writes one after the other: what is put while one runs goes out together in the next. */
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
    /** Everything that was put is written, or whoever put it has heard why it is not. */
    written: (): Promise<void> => last.catch(() => undefined),
  };
}

/** What the index does not have yet: bounded, because enough of it is entered at once. */
function createUnindexed() {
  const places = new Map<Hex, number>();
  /** Groups that are not in `places` yet: few receipts are asked for so soon, and to enter one costs 1 us. */
  let groups: { readonly ids: readonly Hex[]; readonly at: readonly number[] }[] = [];
  let count = 0;
  /** `undefined`: dropped. */
  const answers = new Map<string, StoredAnswer | undefined>();
  let answerBytes = 0;
  return {
    answers,
    putGroup: (group: (typeof groups)[number]): void => {
      groups.push(group);
      count += group.ids.length;
    },
    /** Where the entry begins in the journal. */
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
