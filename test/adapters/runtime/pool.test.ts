// Which instance takes a call, and when instances end. The instances here are objects; children
// have their own test.

import assert from 'node:assert/strict';
import { createPool, type Instance } from '../../../adapters/runtime/pool.ts';

interface Numbered extends Instance {
  readonly number: number;
}

function createNumbered(): { start: () => Promise<Numbered>; started: () => number } {
  let count = 0;
  return {
    started: () => count,
    async start() {
      count += 1;
      const { promise, resolve } = Promise.withResolvers<void>();
      return { number: count, exited: promise, stop: resolve };
    },
  };
}

describe('the pool of instances', () => {
  it('reuses the instance that was used last', async () => {
    const { start } = createNumbered();
    const pool = createPool({ start, idleMs: 10_000 });
    const [one, two] = [pool.take(), pool.take()];
    const [first, second] = [await one?.instance, await two?.instance];

    one?.release();
    two?.release();
    const again = pool.take();

    assert.deepEqual([first?.number, second?.number], [1, 2]);
    assert.equal((await again?.instance)?.number, 2);
    assert.equal(again?.isCold, false);
    again?.release();
    await pool.close();
  });

  it('reserves a place before anything is awaited, so that no limit is exceeded', async () => {
    const { start, started } = createNumbered();
    const pool = createPool({ start, idleMs: 10_000, maxInstances: 2, concurrency: 2 });

    const leases = Array.from({ length: 6 }, () => pool.take());

    assert.equal(leases.filter((lease) => lease !== undefined).length, 4);
    assert.equal(started(), 2);
    for (const lease of leases) lease?.release();
    await pool.close();
  });

  it('stops idle instances, and forgets those that exited or did not start', async () => {
    const { start } = createNumbered();
    const pool = createPool({ start, idleMs: 1 });
    const lease = pool.take();
    const instance = await lease?.instance;

    lease?.release();
    await instance?.exited;
    await new Promise((resolve) => setImmediate(resolve));

    assert.equal(pool.size(), 0);
    const failing = createPool({ start: () => Promise.reject(new Error('no')), idleMs: 1 });
    const refused = failing.take();
    await assert.rejects(Promise.resolve(refused?.instance), /no/);
    refused?.release();
    await failing.close();
    assert.equal(failing.size(), 0);
  });

  it('drains: it takes no new call and lets running calls end', async () => {
    const { start } = createNumbered();
    const pool = createPool({ start, idleMs: 10_000 });
    const lease = pool.take();
    const instance = await lease?.instance;
    let isGone = false;
    void instance?.exited.then(() => {
      isGone = true;
    });

    const drained = pool.drain();

    assert.equal(pool.take(), undefined);
    await Promise.resolve();
    assert.equal(isGone, false);
    lease?.release();
    await drained;
    assert.equal(isGone, true);
  });
});
