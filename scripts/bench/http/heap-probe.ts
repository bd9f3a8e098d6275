// Preloaded into a gateway (`--import`, with `--expose-gc`): asked by its parent, it collects all
// garbage and says what is left.
import { isMainThread } from 'node:worker_threads';

/** What the main thread holds, bytes. */
export interface HeapSample {
  readonly heapBytes: number;
  /** Buffers and the like, outside the heap. */
  readonly externalBytes: number;
}

if (isMainThread) {
  process.on('message', (message) => {
    if (message !== 'heap') return;
    // Twice: what a finalizer lets go of falls to the second.
    globalThis.gc?.();
    globalThis.gc?.();
    const { heapUsed, external } = process.memoryUsage();
    const heap: HeapSample = { heapBytes: heapUsed, externalBytes: external };
    process.send?.({ heap });
  });
}
