// Step 8 of a call: write receipts to disk in groups and sign each group (group commit).

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

/** A receipt with its hashes, and the rows that become durable with it. */
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
   * Resolves with the receipt's id when it is durable and its group is signed. Receipts reach the
   * disk in the order of the calls. `seal` is called when the group is closed: hashing all its
   * receipts in one go costs two thirds of hashing them one by one.
   */
  append(seal: () => Sealed): Promise<Hex>;
  /** Waits until everything appended so far is on disk, with its signatures. */
  flush(): Promise<void>;
}

interface JournalOptions {
  readonly ledger: Pick<Ledger, 'commit' | 'putSignatures'>;
  readonly signer: GroupSigner;
  readonly lastGroup: number;
  /**
   * Called when a write failed after numbers were given out: the process must end and restart from
   * the ledger.
   */
  readonly onBroken: (error: unknown) => void;
}

/**
 * Event-loop turns that a group waits for more receipts, and the most receipts in it. A group's
 * write and signature cost as much CPU as four calls; an idle turn costs microseconds.
 */
const GATHERING_TURNS = 2;
const GATHERING_RECEIPTS = 48;

/**
 * Group commit without a timer: receipts that arrive within a few event-loop turns, or while the
 * last write runs, form the next group (docs/decisions/group-commit.md). The group is signed while
 * it is written. Nobody gets the signature before the group is durable: the ledger stores it with
 * the next group (docs/contracts.md 7.1).
 */
export function createJournal(options: JournalOptions): Journal {
  const { ledger, signer } = options;
  let open: Pending[] = [];
  /** Resolves when the open group is closed. */
  let gathering: Promise<void> | undefined;
  let lastGroup = options.lastGroup;
  let signatures: GroupSignature[] = [];
  let isWriting = false;
  /** Settles when the write of the newest group has ended, whether it succeeded or not. */
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
    // The key may be replaced before the group is durable.
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
      // Writing never pauses while calls arrive. This continues before the next group takes the
      // signatures along.
      await newest.promise;
      const last = signatures;
      signatures = [];
      if (last.length > 0 && broken === undefined) await ledger.putSignatures(last);
    },
  };
}
