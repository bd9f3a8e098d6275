// Caches what a pure function makes of a text, for texts that come again and again.

/**
 * Memoizes `make` by its text. Keeps the `max` newest texts and drops the oldest (FIFO).
 * An exception of `make` is not cached.
 */
export function memoize<Value>(
  max: number,
  make: (text: string) => Value,
): (text: string) => Value {
  const cached = new Map<string, { readonly value: Value }>();
  return (text) => {
    const hit = cached.get(text);
    if (hit !== undefined) return hit.value;
    const value = make(text);
    // Copy the key: the text may be a slice of a long string, which V8 would keep alive with it.
    cached.set(Buffer.from(text, 'utf16le').toString('utf16le'), { value });
    if (cached.size > max) {
      const oldest = cached.keys().next();
      if (!oldest.done) cached.delete(oldest.value);
    }
    return value;
  };
}
