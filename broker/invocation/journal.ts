// Step 8 of a call: a receipt gets its number, is made durable together with all that have gathered, and is signed by group.

import { setImmediate as endOfTurn } from 'node:timers/promises';
import type { Hex } from '../../contracts/libraries/keccak.ts';
import { createTree } from '../../contracts/libraries/ordered-merkle.ts';
import type { GroupSigner } from '../identity/operator-key.ts';
import type {
  GroupSignature,
  JournalEntry,
  Ledger,
  Spending,
  StoredAnswer,
} from '../ledger/ledger.ts';

/** A receipt with its hashes, and what becomes durable together with it. */
export interface Sealed {
  readonly entry: JournalEntry;
  readonly spending?: readonly Spending[];
  readonly answer?: StoredAnswer | undefined;
}

interface Pending {
  readonly seal: () => Sealed;
  readonly resolve: (id: Hex) => void;
  readonly reject: (error: unknown) => void;
}

export interface Journal {
  /**
   * Resolves with the receipt's id when it is durable and its group signed. The order of calls is the order on disk. `seal` is
   * called when the group is made: the hashing of all its receipts in one go costs two thirds of what it costs call by call.
   */
  append(seal: () => Sealed): Promise<Hex>;
  /** Waits until all that was appended before is on disk, with its signatures. */
  flush(): Promise<void>;
}

interface JournalOptions {
  readonly ledger: Pick<Ledger, 'commit' | 'putSignatures'>;
  readonly signer: GroupSigner;
  readonly lastGroup: number;
  /** Numbers were given that are not on disk: the process must end and begin again from the ledger. */
  readonly onBroken: (error: unknown) => void;
}

/**
 * A group gathers for so many turns of the event loop, or until so many receipts are in it: its write and its signature cost as much CPU
 * as four calls. A turn is as long as there is work, some microseconds where there is none.
 */
const GATHERING_TURNS = 2;
const GATHERING_RECEIPTS = 48;

/**
 * Group commit without a timer: what has gathered in some turns of the event loop, and while the
 * last write ran, is the next group (docs/decisions/group-commit.md). Its signature is made while
 * it is written, and nobody gets it before the group is durable: not the ledger, which stores it
 * with the next group, and no caller (docs/contracts.md 7.1).
 */
export function createJournal(options: JournalOptions): Journal {
  const { ledger, signer } = options;
  let open: Pending[] = [];
  /** Resolves when the open group has gathered. */
  let gathering: Promise<void> | undefined;
  let lastGroup = options.lastGroup;
  let signatures: GroupSignature[] = [];
  let isWriting = false;
  /** Of the group that gathers, or was written last: when its write has ended, well or not. */
  let newest = Promise.withResolvers<void>();
  newest.resolve();
  let broken: { readonly cause: unknown } | undefined;

  const writeGroup = async (pending: readonly Pending[]): Promise<void> => {
    const sealed = pending.map((one) => one.seal());
    const entries = sealed.map((one) => one.entry);
    const { root } = createTree(entries.map((entry) => entry.id));
    lastGroup += 1;
    const earlier = signatures;
    signatures = [];
    const committing = ledger.commit({
      group: lastGroup,
      root,
      entries,
      spending: sealed.flatMap((one) => one.spending ?? []),
      answers: sealed.flatMap((one) => one.answer ?? []),
      signatures: earlier,
    });
    // Another key may sign before the group is durable.
    const { key } = signer;
    const signature = signer.sign(root, entries.length);
    await committing;
    signatures.push({ group: lastGroup, key, signature });
    entries.forEach(({ id }, index) => {
      pending[index]?.resolve(id);
    });
  };

  const gather = async (): Promise<void> => {
    for (let turn = 0; turn < GATHERING_TURNS && open.length < GATHERING_RECEIPTS; turn += 1) {
      await endOfTurn();
    }
  };

  const writeAll = async (): Promise<void> => {
    isWriting = true;
    while (open.length > 0) {
      await gathering;
      const pending = open;
      const written = newest;
      open = [];
      try {
        await writeGroup(pending);
      } catch (error) {
        broken = { cause: error };
        for (const one of [...pending, ...open]) one.reject(error);
        open = [];
        newest.resolve();
        options.onBroken(error);
      }
      written.resolve();
    }
    isWriting = false;
  };

  return {
    append: (seal) =>
      new Promise((resolve, reject) => {
        if (broken !== undefined) return reject(broken.cause);
        if (open.length === 0) {
          gathering = gather();
          newest = Promise.withResolvers();
        }
        open.push({ seal, resolve, reject });
        if (!isWriting) void writeAll();
      }),
    flush: async () => {
      // The writing does not end while calls go on. This goes on before the next group takes the
      // signatures along.
      await newest.promise;
      const last = signatures;
      signatures = [];
      if (last.length > 0 && broken === undefined) await ledger.putSignatures(last);
    },
  };
}
