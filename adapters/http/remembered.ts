/**
 * What `make` makes of a text, made once while the text is among the `max` newest: for what comes again and again, such as the names of
 * headers. What throws is not kept.
 */
export function remembered<Value>(
  max: number,
  make: (text: string) => Value,
): (text: string) => Value {
  const known = new Map<string, { readonly value: Value }>();
  return (text) => {
    const before = known.get(text);
    if (before !== undefined) return before.value;
    const value = make(text);
    // A copy: the text may be a slice of a long one, which would be kept with it.
    known.set(Buffer.from(text, 'utf16le').toString('utf16le'), { value });
    if (known.size > max) {
      const oldest = known.keys().next();
      if (!oldest.done) known.delete(oldest.value);
    }
    return value;
  };
}
