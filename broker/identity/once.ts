// What may be used once: nonces of sign-ins, `jti` of DPoP proofs and of client assertions. Bounded, in memory, by time.

export interface Once {
  /** Whether this is the first time. The same id is refused for at least `lifeMs`. */
  take(id: string): boolean;
  has(id: string): boolean;
}

interface OnceOptions {
  /** For how long an id could be presented at all, ms; afterwards it is refused for its age. */
  readonly lifeMs: number;
  /** Ids of one life kept at most. Choose more than can be verified in that time: beyond it the oldest are forgotten. */
  readonly max: number;
  readonly nowMs: () => number;
}

/** Two generations of ids, so that forgetting costs nothing per id: what was taken is known for one to two lives. */
export function createOnce({ lifeMs, max, nowMs }: OnceOptions): Once {
  let young = new Set<string>();
  let old = new Set<string>();
  let turnMs = nowMs();
  const turn = (): void => {
    const ageMs = nowMs() - turnMs;
    if (ageMs < lifeMs && young.size < max) return;
    old = ageMs < 2 * lifeMs ? young : new Set();
    young = new Set();
    turnMs = nowMs();
  };
  const has = (id: string): boolean => young.has(id) || old.has(id);
  return {
    has,
    take: (id) => {
      turn();
      if (has(id)) return false;
      young.add(id);
      return true;
    },
  };
}
