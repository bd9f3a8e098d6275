// State that can be taken back block by block: what the local view is built on, so that a
// reorganisation costs no rescan.

/** Maps and lists are changed through this only; every change remembers how to undo itself. */
export interface History {
  /** The block that the changes from now on belong to. Numbers only grow, but for `rewind`. */
  begin(blockNumber: number): void;
  set<K, V>(map: Map<K, V>, key: K, value: V): void;
  push<V>(list: V[], item: V): void;
  /**
   * Undoes all changes of blocks above `blockNumber`. False, and nothing done, when they are no
   * longer remembered.
   */
  rewind(blockNumber: number): boolean;
}

interface BlockChanges {
  readonly blockNumber: number;
  readonly undo: (() => void)[];
}

/** Remembers the changes of the newest `blocks` blocks that had any. */
export function createHistory(blocks: number): History {
  const remembered: BlockChanges[] = [];
  let current: BlockChanges = { blockNumber: -1, undo: [] };
  /** Changes up to this block can no longer be undone. */
  let forgotten = -1;

  return {
    begin: (blockNumber) => {
      if (blockNumber === current.blockNumber) return;
      current = { blockNumber, undo: [] };
      remembered.push(current);
      if (remembered.length > blocks) forgotten = remembered.shift()?.blockNumber ?? forgotten;
    },
    set: (map, key, value) => {
      const before = map.get(key);
      current.undo.push(before === undefined ? () => map.delete(key) : () => map.set(key, before));
      map.set(key, value);
    },
    push: (list, item) => {
      current.undo.push(() => list.pop());
      list.push(item);
    },
    rewind: (blockNumber) => {
      if (blockNumber < forgotten) return false;
      while ((remembered.at(-1)?.blockNumber ?? -1) > blockNumber) {
        for (const undo of remembered.pop()?.undo.reverse() ?? []) undo();
      }
      current = { blockNumber: -1, undo: [] };
      return true;
    },
  };
}
