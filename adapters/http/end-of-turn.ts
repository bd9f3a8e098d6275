/**
 * Gathers what one turn of the event loop brings and handles it at the turn's end, one after the other: the same code over many
 * calls in a row costs less than all the code of one call after that of another, and who is beside us is woken once.
 * `handle` must not throw.
 */
export function atEndOfTurn<Item>(handle: (item: Item) => void): (item: Item) => void {
  let items: Item[] = [];
  const handleAll = (): void => {
    const all = items;
    items = [];
    for (const item of all) handle(item);
  };
  return (item) => {
    if (items.length === 0) setImmediate(handleAll);
    items.push(item);
  };
}
