// Preloaded into a gateway (`--import`): on request of its parent it counts the work that is done
// meanwhile.
import { isMainThread } from 'node:worker_threads';
import { createWorkCounter } from './work.ts';

if (isMainThread) {
  const counter = createWorkCounter();
  process.on('message', async (message) => {
    if (message === 'work-begin') {
      await counter.begin();
      process.send?.({ working: true });
    }
    if (message === 'work-end') process.send?.({ work: await counter.end() });
  });
}
