// The embedded ledger: SQLite in one worker thread, so that no commit stops the event loop (toolchain.md section 4).
import { Worker } from 'node:worker_threads';
import { DefaasError } from '../errors.ts';
import { entryFromText, entryToText } from './entry-text.ts';
import type { Ledger, StoredEntry } from './ledger.ts';
import type { EntryRow, Operations } from './sqlite-worker.ts';

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Opens (or makes) the ledger in `file`.
 * @throws DefaasError LEDGER_FAILED  the file cannot be opened, or later a write fails; after a failed write the caller must stop serving
 */
export async function openSqliteLedger(file: string): Promise<Ledger> {
  const worker = new Worker(new URL('./sqlite-worker.ts', import.meta.url), { workerData: file });
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

  await run('open');
  return {
    load: (day) => run('load', day),
    commit: ({ entries, ...group }) =>
      run('commit', {
        ...group,
        entries: entries.map((entry) => ({
          id: entry.id,
          payer: entry.receipt.payer,
          signer: entry.receipt.signer,
          seq: entry.receipt.seq,
          cumulative: entry.receipt.cumulative.toString(),
          text: entryToText(entry),
        })),
      }),
    putSignatures: (signatures) => run('putSignatures', signatures),
    putDailyLimit: (scope, units) => run('putDailyLimit', scope, units),
    putVoucher: (voucher) => run('putVoucher', voucher),
    voucher: (payer, signer) => run('voucher', payer, signer),
    putAnswer: (answer) => run('putAnswer', answer),
    answer: (scope) => run('answer', scope),
    dropAnswer: (scope) => run('dropAnswer', scope),
    expireAnswers: (beforeMs) => run('expireAnswers', beforeMs),
    putDeployment: (record) => run('putDeployment', record),
    putManifest: (functionVersion, manifest) => run('putManifest', functionVersion, manifest),
    putSecret: (secret) => run('putSecret', secret),
    secrets: (functionId) => run('secrets', functionId),
    entry: async (id) => {
      const row = await run('entry', id);
      return row && storedEntry(row);
    },
    group: (group) => run('group', group),
    laneEntries: async (lane) => (await run('laneEntries', lane)).map(storedEntry),
    putBatch: (batch) => run('putBatch', batch),
    batches: (state) => run('batches', state),
    close: async () => {
      await run('close');
      worker.removeAllListeners('exit');
      await worker.terminate();
    },
  };
}

function storedEntry(row: EntryRow): StoredEntry {
  return { ...entryFromText(row.text), group: row.group, groupIndex: row.groupIndex };
}
