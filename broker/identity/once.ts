// Ids that may be used once, in memory, bounded, forgotten by age. A sign-in's nonce is one; those
// that must outlast a restart are in `kept-once.ts`.

export interface Once {
  /**
   * Marks the id as used. Returns true the first time, and false for at least `lifeMs` afterwards.
   */
  take(id: string): boolean;
  has(id: string): boolean;
  /**
   * Every id taken since then is remembered, Unix ms. Later than `lifeMs` ago only where more than
   * `max` were taken: refuse an id that was made before.
   */
  sinceMs(): number;
}

export interface OnceOptions {
  /** How long an id can be presented, ms; later it is refused for its age. */
  readonly lifeMs: number;
  /**
   * Maximum number of ids kept per life. Choose more than can be verified in that time: above it
   * the oldest are forgotten.
   */
  readonly max: number;
  readonly nowMs: () => number;
}

/**
 * Two generations of ids, so that forgetting costs nothing per id: an id is remembered for one to
 * two lives.
 */
export function createOnce({ lifeMs, max, nowMs }: OnceOptions): Once {
  let young = new Set<string>();
  let old = new Set<string>();
  let turnMs = nowMs();
  let oldTurnMs = turnMs;
  const turn = (): void => {
    const ageMs = nowMs() - turnMs;
    if (ageMs < lifeMs && young.size < max) return;
    old = ageMs < 2 * lifeMs ? young : new Set();
    young = new Set();
    oldTurnMs = turnMs;
    turnMs = nowMs();
  };
  const has = (id: string): boolean => young.has(id) || old.has(id);
  return {
    has,
    sinceMs: () => {
      turn();
      return oldTurnMs;
    },
    take: (id) => {
      turn();
      if (has(id)) return false;
      young.add(id);
      return true;
    },
  };
}
