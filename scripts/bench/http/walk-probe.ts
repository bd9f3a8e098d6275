// Preloaded into a gateway (`--import`): on request of its parent it reports which functions ran,
// by V8's precise coverage.
import { Session } from 'node:inspector/promises';
import { isMainThread } from 'node:worker_threads';

/** A file of which at least one function ran. */
export interface WalkedFile {
  readonly url: string;
  /** Functions that ran, by name; an anonymous one has none. */
  readonly functions: readonly string[];
}

if (isMainThread) {
  const session = new Session();
  session.connect();
  process.on('message', async (message) => {
    if (message === 'walk-begin') {
      await session.post('Profiler.enable');
      await session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: false });
      process.send?.({ walking: true });
    }
    if (message === 'walk-end') {
      // Counts since the start; a module that did not run again has none.
      const { result } = await session.post('Profiler.takePreciseCoverage');
      await session.post('Profiler.stopPreciseCoverage');
      const files: WalkedFile[] = result.flatMap(({ url, functions }) => {
        const ran = functions.filter(({ ranges }) => (ranges[0]?.count ?? 0) > 0);
        return ran.length === 0 ? [] : [{ url, functions: ran.map((one) => one.functionName) }];
      });
      process.send?.({ walked: files });
    }
  });
}
