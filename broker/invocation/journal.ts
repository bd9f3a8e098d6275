// Step 8 of a call: a receipt gets its number, is made durable together with all that have gathered, and is signed by group.
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { createTree } from '../../contracts/libraries/ordered-merkle.ts';
import type { GroupSignature, JournalEntry, Ledger, StoredAnswer } from '../ledger/ledger.ts';
import type { Spending } from './daily-limits.ts';

/** What signs a group’s root: the operator’s key over `ReceiptGroup(gateway, root, count)`. */
export interface GroupSigner {
  readonly key: Address;
  sign(root: Hex, count: number): Hex;
}

/** What becomes durable together with a receipt. */
export interface Beside {
  readonly spending?: readonly Spending[];
  readonly answer?: StoredAnswer | undefined;
}

interface Pending {
  readonly entry: JournalEntry;
  readonly beside: Beside;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export interface Journal {
  /** Resolves when the entry is durable and its group signed. The order of calls is the order on disk. */
  append(entry: JournalEntry, beside?: Beside): Promise<void>;
  /** Waits until all that was appended is on disk, with its signatures. */
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
 * Group commit without a timer: what gathered while the last write ran is the next group (performance.md 3.6). A group is
 * signed only after it is durable (contracts.md 7.1); its signature is stored with the next group.
 */
export function createJournal(options: JournalOptions): Journal {
  const { ledger, signer } = options;
  let open: Pending[] = [];
  let lastGroup = options.lastGroup;
  let signatures: GroupSignature[] = [];
  let writing: Promise<void> | undefined;
  let broken: { readonly cause: unknown } | undefined;

  const writeGroup = async (pending: readonly Pending[]): Promise<void> => {
    const entries = pending.map((one) => one.entry);
    const { root } = createTree(entries.map((entry) => entry.id));
    lastGroup += 1;
    const earlier = signatures;
    signatures = [];
    await ledger.commit({
      group: lastGroup,
      root,
      entries,
      spending: pending.flatMap((one) => one.beside.spending ?? []),
      answers: pending.flatMap((one) => one.beside.answer ?? []),
      signatures: earlier,
    });
    signatures.push({
      group: lastGroup,
      key: signer.key,
      signature: signer.sign(root, entries.length),
    });
    for (const one of pending) one.resolve();
  };

  const writeAll = async (): Promise<void> => {
    while (open.length > 0) {
      const pending = open;
      open = [];
      try {
        await writeGroup(pending);
      } catch (error) {
        broken = { cause: error };
        for (const one of [...pending, ...open]) one.reject(error);
        open = [];
        options.onBroken(error);
      }
    }
    writing = undefined;
  };

  return {
    append: (entry, beside = {}) =>
      new Promise((resolve, reject) => {
        if (broken !== undefined) return reject(broken.cause);
        open.push({ entry, beside, resolve, reject });
        writing ??= writeAll();
      }),
    flush: async () => {
      await writing;
      const last = signatures;
      signatures = [];
      if (last.length > 0 && broken === undefined) await ledger.putSignatures(last);
    },
  };
}
