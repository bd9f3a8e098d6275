// State with an undo history by block: the local view is built on it, so that a reorganisation
// needs no rescan.

/** The only way to change the maps and lists; records an undo step for every change. */
export interface History {
  /** Sets the block of the following changes. Numbers only grow, except by `rewind`. */
  begin(blockNumber: number): void;
  set<K, V>(map: Map<K, V>, key: K, value: V): void;
  push<V>(list: V[], item: V): void;
  /**
   * Undoes all changes of blocks above `blockNumber`. Returns false and changes nothing if the
   * history does not reach back that far.
   */
  rewind(blockNumber: number): boolean;
}

interface BlockChanges {
  readonly blockNumber: number;
  readonly undo: (() => void)[];
}

/** Keeps the undo steps of the newest `blocks` blocks that had changes. */
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
