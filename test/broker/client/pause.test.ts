// A wait ends with its time or its signal, whichever comes first.
import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { pause } from '../../../broker/client/pause.ts';

const LONG_MS = 3_600_000;

describe('pause', () => {
  it('ends when the signal aborts, and leaves no listener', async () => {
    const aborting = new AbortController();
    const waiting = pause(LONG_MS, aborting.signal);

    aborting.abort();
    await waiting;
    await pause(LONG_MS, aborting.signal);

    assert.equal(getEventListeners(aborting.signal, 'abort').length, 0);
  });

  it('ends after its time, with a signal or without', async () => {
    const { signal } = new AbortController();

    await Promise.all([pause(1), pause(1, signal)]);

    assert.equal(getEventListeners(signal, 'abort').length, 0);
  });
});
