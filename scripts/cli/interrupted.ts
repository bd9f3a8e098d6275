// How commands that run on and on are ended.

/** Resolves at the first SIGINT or SIGTERM, which then does not end the process. */
export function interrupted(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
  });
}
