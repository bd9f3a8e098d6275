// Handles the items of one event-loop turn together, at the end of that turn.

/**
 * Collects items and calls `handle` for each of them, in order, in the next `setImmediate`.
 * Running the same code for many items in a row costs less than alternating between the steps
 * of each call, and another process on the machine is woken once. `handle` must not throw.
 */
export function batchPerTurn<Item>(handle: (item: Item) => void): (item: Item) => void {
  let items: Item[] = [];
  const handleAll = (): void => {
    const batch = items;
    items = [];
    for (const item of batch) handle(item);
  };
  return (item) => {
    if (items.length === 0) setImmediate(handleAll);
    items.push(item);
  };
}
