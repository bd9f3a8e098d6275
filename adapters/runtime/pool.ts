// The instances of one function version. Warm instances are reused, last in first out. Idle ones
// are stopped.

export interface Instance {
  /** Settles when it can serve no more calls. The pool then drops it. */
  readonly exited: Promise<unknown>;
  /** Ends the instance, so that `exited` settles. */
  stop(): void;
}

export interface PoolOptions<T extends Instance> {
  readonly start: () => Promise<T>;
  /** Most instances at once. Default: no limit. */
  readonly maxInstances?: number;
  /** Called before an instance is started. `false`: there is no room for one more. */
  readonly hasRoom?: () => boolean;
  /** Most concurrent calls of an instance. Default 1. */
  readonly concurrency?: number;
  readonly idleMs: number;
}

/** A place in an instance for one call. End it by one of `release`, `retire` and `discard`. */
export interface Lease<T> {
  readonly isCold: boolean;
  /** Rejects when the instance could not be started. */
  readonly instance: Promise<T>;
  release(): void;
  /** Gives it back. The instance takes no further calls and stops after its other calls. */
  retire(): void;
  /** Gives it back and stops the instance, which ends its other calls too. */
  discard(): void;
}

export interface Pool<T> {
  /** Takes a place synchronously. Undefined when all places are taken. */
  take(): Lease<T> | undefined;
  /** Instances that run or are starting. */
  size(): number;
  /** Stops the instance that has been idle for longest. @returns false when none is idle */
  reclaim(): boolean;
  /** Gives no more places. Resolves when running calls have ended and all instances stopped. */
  drain(): Promise<void>;
  /** Stops all instances now. */
  close(): Promise<void>;
}

interface Slot<T> {
  readonly instance: Promise<T>;
  calls: number;
  idle: NodeJS.Timeout | undefined;
  isStopping: boolean;
  isRetired: boolean;
  readonly gone: Promise<void>;
}

export function createPool<T extends Instance>(options: PoolOptions<T>): Pool<T> {
  const { maxInstances = Number.POSITIVE_INFINITY, concurrency = 1, idleMs } = options;
  /** Ordered by last use, the most recent at the end. */
  const slots: Slot<T>[] = [];
  const all = new Set<Slot<T>>();
  let isDraining = false;

  function open(): Slot<T> {
    const instance = options.start();
    const gone = instance
      .then((started) => started.exited)
      .then(
        () => forget(slot),
        // The start has failed. The caller gets the error from `lease.instance`.
        () => forget(slot),
      );
    const slot: Slot<T> = {
      instance,
      calls: 0,
      idle: undefined,
      isStopping: false,
      isRetired: false,
      gone,
    };
    all.add(slot);
    slots.push(slot);
    return slot;
  }

  function forget(slot: Slot<T>): void {
    clearTimeout(slot.idle);
    slot.isStopping = true;
    all.delete(slot);
    const at = slots.indexOf(slot);
    if (at >= 0) slots.splice(at, 1);
  }

  function stop(slot: Slot<T>): void {
    if (slot.isStopping) return;
    slot.isStopping = true;
    clearTimeout(slot.idle);
    const at = slots.indexOf(slot);
    if (at >= 0) slots.splice(at, 1);
    slot.instance.then(
      (started) => started.stop(),
      () => {},
    );
  }

  function giveBack(slot: Slot<T>): void {
    slot.calls -= 1;
    if (slot.calls > 0 || slot.isStopping) return;
    if (isDraining || slot.isRetired) {
      stop(slot);
      return;
    }
    slot.idle = setTimeout(() => stop(slot), idleMs);
    slot.idle.unref();
  }

  function lease(slot: Slot<T>, isCold: boolean): Lease<T> {
    slot.calls += 1;
    clearTimeout(slot.idle);
    return {
      isCold,
      instance: slot.instance,
      release: () => giveBack(slot),
      retire() {
        slot.isRetired = true;
        giveBack(slot);
      },
      discard() {
        stop(slot);
        giveBack(slot);
      },
    };
  }

  return {
    take() {
      if (isDraining) return undefined;
      const at = slots.findLastIndex((slot) => slot.calls < concurrency && !slot.isRetired);
      const warm = slots[at];
      if (warm) {
        slots.splice(at, 1);
        slots.push(warm);
        return lease(warm, false);
      }
      const isFree = all.size < maxInstances && (options.hasRoom?.() ?? true);
      return isFree ? lease(open(), true) : undefined;
    },

    size: () => all.size,

    reclaim() {
      const idle = slots.find((slot) => slot.calls === 0);
      if (idle) stop(idle);
      return idle !== undefined;
    },

    async drain() {
      isDraining = true;
      for (const slot of [...slots]) if (slot.calls === 0) stop(slot);
      await Promise.all([...all].map((slot) => slot.gone));
    },

    async close() {
      isDraining = true;
      for (const slot of [...slots]) stop(slot);
      await Promise.all([...all].map((slot) => slot.gone));
    },
  };
}
