import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createDeadlines } from '../../../broker/invocation/deadlines.ts';

describe('deadlines', () => {
  it('abort an attempt after its time, and no attempt that has more time', async () => {
    const deadlines = createDeadlines(new AbortController().signal);
    const ended = deadlines.start(1);
    const slow = deadlines.start(2);
    const quick = deadlines.start(60_000);

    ended.clear();
    await once(slow.signal, 'abort');

    assert.equal(slow.signal.reason.name, 'TimeoutError');
    assert.equal(quick.signal.aborted, false);
    for (const one of [slow, quick]) one.clear();
  });

  it('share a signal among attempts that end together, and with no other', () => {
    const deadlines = createDeadlines(new AbortController().signal);
    // Each step of the clock is 50 ms: of three attempts at once two at least have the same end.
    const running = [1, 2, 3].map(() => deadlines.start(60_000));
    const signals = new Set(running.map(({ signal }) => signal));

    for (const one of running) one.clear();
    const other = deadlines.start(30_000);

    assert.ok(signals.size < running.length);
    assert.equal(signals.has(other.signal), false);
    other.clear();
  });

  it('abort all attempts in flight when the gateway closes, and all that begin after', () => {
    const closing = new AbortController();
    const deadlines = createDeadlines(closing.signal);
    const ended = deadlines.start(30_000);
    const running = deadlines.start(60_000);
    ended.clear();

    closing.abort('closing');
    const late = deadlines.start(60_000);
    for (const one of [running, late]) one.clear();

    assert.equal(deadlines.isClosing, true);
    assert.equal(ended.signal.aborted, false);
    assert.deepEqual([running.signal.reason, late.signal.reason], ['closing', 'closing']);
  });
});
