// What an instance may write into its channel: the work of the gateway is bounded, counted in
// pieces that it reads.

import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { type Frame, readFrames, writeFrame } from '../../../adapters/runtime/frames.ts';

const MAX_BODY_BYTES = 1024 * 1024;

describe('the frames of a channel', () => {
  let stream: PassThrough;
  let frames: Frame[];
  let faults: number;
  beforeEach(() => {
    stream = new PassThrough();
    frames = [];
    faults = 0;
    readFrames(stream, {
      maxBodyBytes: MAX_BODY_BYTES,
      onFrame: (frame) => frames.push(frame),
      onFault: () => {
        faults += 1;
      },
    });
  });

  it('are read whole from pieces of any size', async () => {
    const { bytes } = await framed({ type: 'answer' }, Buffer.alloc(3000, 'b'));

    for (const size of [1, 7, bytes.length]) {
      for (let at = 0; at < bytes.length; at += size) stream.write(bytes.subarray(at, at + size));
    }
    await settled();

    assert.deepEqual(
      frames.map(({ head, body }) => [head.type, body.length]),
      [3000, 3000, 3000].map((length) => ['answer', length]),
    );
    assert.equal(faults, 0);
  });

  it('end the channel when one comes byte by byte', async () => {
    const { bytes } = await framed({ type: 'answer' }, Buffer.alloc(MAX_BODY_BYTES));

    let written = 0;
    while (!stream.destroyed && written < 10_000) {
      stream.write(bytes.subarray(written, written + 1));
      written += 1;
      await settled();
    }

    assert.ok(written < 5000, `${written} pieces were read`);
    assert.deepEqual([faults, frames.length], [1, 0]);
  });

  it('end the channel at a head that is none, and nothing more is read', async () => {
    stream.write(Buffer.from('00000002000000007878', 'hex'));
    await settled();

    assert.deepEqual([faults, stream.destroyed], [1, true]);
  });
});

async function framed(head: Record<string, unknown>, body: Buffer): Promise<{ bytes: Buffer }> {
  const into = new PassThrough();
  writeFrame(into, head, body);
  into.end();
  const chunks: Buffer[] = [];
  for await (const chunk of into) chunks.push(chunk);
  return { bytes: Buffer.concat(chunks) };
}

/** Lets the stream pass on what was written. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
