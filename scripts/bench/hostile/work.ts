// Counts work instead of time: how often blocks of code ran, by V8's precise coverage, and how many
// elements the built-in searches looked at, which coverage does not see.
import { Session } from 'node:inspector/promises';

export interface WorkCounter {
  begin(): Promise<void>;
  /** Blocks run and elements searched since `begin`, in this thread. */
  end(): Promise<number>;
}

export function createWorkCounter(): WorkCounter {
  const session = new Session();
  session.connect();
  let searched = 0;
  // The searches that scan a list: their cost is in no block of ours.
  for (const name of ['includes', 'indexOf', 'lastIndexOf'] as const) {
    const search: (...args: never[]) => unknown = Array.prototype[name];
    Object.defineProperty(Array.prototype, name, {
      configurable: true,
      writable: true,
      value(this: unknown[], ...args: unknown[]): unknown {
        searched += this.length;
        return Reflect.apply(search, this, args);
      },
    });
  }
  return {
    begin: async () => {
      await session.post('Profiler.enable');
      await session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
      await session.post('Profiler.takePreciseCoverage');
      searched = 0;
    },
    end: async () => {
      const found = searched;
      const { result } = await session.post('Profiler.takePreciseCoverage');
      await session.post('Profiler.stopPreciseCoverage');
      let blocks = 0;
      for (const { functions } of result) {
        for (const { ranges } of functions) for (const { count } of ranges) blocks += count;
      }
      return blocks + found;
    },
  };
}
