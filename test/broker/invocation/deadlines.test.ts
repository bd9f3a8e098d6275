import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createDeadlines } from '../../../broker/invocation/deadlines.ts';

describe('deadlines', () => {
  it('aborts what takes longer than its time, and nothing that has ended', async () => {
    const deadlines = createDeadlines(new AbortController().signal);
    const ended = deadlines.start(1);
    const slow = deadlines.start(2);

    ended.clear();
    await once(slow.signal, 'abort');

    assert.equal(slow.signal.reason.name, 'TimeoutError');
    assert.equal(ended.signal.aborted, false);
  });

  it('aborts all that is under way when the gateway closes, and whatever is begun after', () => {
    const closing = new AbortController();
    const deadlines = createDeadlines(closing.signal);
    const [ended, running] = [deadlines.start(60_000), deadlines.start(60_000)];
    ended.clear();

    closing.abort('closing');
    const late = deadlines.start(60_000);
    for (const one of [running, late]) one.clear();

    assert.equal(deadlines.isClosing, true);
    assert.equal(ended.signal.aborted, false);
    assert.deepEqual([running.signal.reason, late.signal.reason], ['closing', 'closing']);
  });
});
