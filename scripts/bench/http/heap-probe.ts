// Preloaded into a gateway (`--import`, with `--expose-gc`): on request of its parent it collects
// all garbage and reports the memory in use.
import { isMainThread } from 'node:worker_threads';

/** Memory in use by the main thread, bytes. */
export interface HeapSample {
  readonly heapBytes: number;
  /** Buffers and the like, outside the heap. */
  readonly externalBytes: number;
}

if (isMainThread) {
  process.on('message', (message) => {
    if (message !== 'heap') return;
    // Collect twice: memory that finalizers release goes in the second run.
    globalThis.gc?.();
    globalThis.gc?.();
    const { heapUsed, external } = process.memoryUsage();
    const heap: HeapSample = { heapBytes: heapUsed, externalBytes: external };
    process.send?.({ heap });
  });
}
