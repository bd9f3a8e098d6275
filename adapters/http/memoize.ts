// Caches what a pure function makes of a text, for texts that come again and again.
import { LRUCache } from 'lru-cache';

/**
 * Memoizes `make` by its text. Keeps the `max` texts that were used last (LRU).
 * An exception of `make` is not cached.
 */
export function memoize<Value>(
  max: number,
  make: (text: string) => Value,
): (text: string) => Value {
  const cached = new LRUCache<string, { readonly value: Value }>({ max });
  return (text) => {
    const hit = cached.get(text);
    if (hit !== undefined) return hit.value;
    const value = make(text);
    // Copy the key: the text may be a slice of a long string, which V8 would keep alive with it.
    cached.set(Buffer.from(text, 'utf16le').toString('utf16le'), { value });
    return value;
  };
}
