// A bounded list for data that a stranger can produce without end: keeps the largest items and
// counts all of them.

export interface Largest<Item> {
  add(item: Item): void;
  /** The kept items, in the order in which they came. */
  items(): readonly Item[];
  /** Number of all added items. */
  readonly count: number;
}

/**
 * Keeps the `most` items with the most units; of equal ones the earlier wins. Memory holds at most
 * `2 * most` items.
 */
export function createLargest<Item extends { readonly units: bigint }>(
  most: number,
): Largest<Item> {
  let kept: { readonly item: Item; readonly order: number }[] = [];
  let count = 0;
  const trim = (): void => {
    if (kept.length <= most) return;
    kept.sort((a, b) => {
      if (a.item.units === b.item.units) return a.order - b.order;
      return a.item.units < b.item.units ? 1 : -1;
    });
    kept = kept.slice(0, most);
  };

  return {
    add: (item) => {
      kept.push({ item, order: count });
      count += 1;
      if (kept.length >= 2 * most) trim();
    },
    items: () => {
      trim();
      return kept.toSorted((a, b) => a.order - b.order).map(({ item }) => item);
    },
    get count() {
      return count;
    },
  };
}

/**
 * The largest of each kind: many of one kind leave no less room for another. `unitsOf` is what an
 * item ranks by. Memory holds `2 * most` items of each kind at most.
 */
export function createLargestOfEach<Item>(
  most: number,
  of: { readonly kindOf: (item: Item) => string; readonly unitsOf: (item: Item) => bigint },
): Largest<Item> {
  interface Placed {
    readonly item: Item;
    readonly order: number;
    readonly units: bigint;
  }
  const kinds = new Map<string, Largest<Placed>>();
  let count = 0;

  return {
    add: (item) => {
      const kind = of.kindOf(item);
      const kept = kinds.get(kind) ?? createLargest<Placed>(most);
      kinds.set(kind, kept);
      kept.add({ item, order: count, units: of.unitsOf(item) });
      count += 1;
    },
    items: () =>
      [...kinds.values()]
        .flatMap((kept) => kept.items())
        .toSorted((a, b) => a.order - b.order)
        .map(({ item }) => item),
    get count() {
      return count;
    },
  };
}
