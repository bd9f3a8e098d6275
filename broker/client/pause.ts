// A wait that ends early.

/**
 * Waits for `ms`, or until `signal` aborts. Resolves in both cases; runs in browsers, which have no
 * `node:timers/promises`.
 */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return;
  await new Promise<void>((done) => {
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', end);
      done();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener('abort', end);
  });
}
