// Server-sent events: the reader takes every form that the specification allows, however the
// network cuts it, and bounds what it keeps.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { readEvents } from '../../../broker/client/event-stream.ts';

/** A reply whose body arrives in these pieces; `isBroken` ends it as a lost connection does. */
function replyOf(pieces: readonly Uint8Array[], isBroken = false): Response {
  const left = [...pieces];
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const piece = left.shift();
      if (piece) controller.enqueue(piece);
      else if (isBroken) controller.error(new Error('connection lost'));
      else controller.close();
    },
  });
  return new Response(body);
}

/** The bytes of a text, cut at these positions. */
function cut(text: string, at: readonly number[]): Uint8Array[] {
  const bytes = new TextEncoder().encode(text);
  const ends = [...at.map((one) => one % bytes.length), bytes.length].sort((a, b) => a - b);
  return ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end));
}

async function collect(reply: Response) {
  const events = [];
  for await (const event of readEvents(reply)) events.push(event);
  return events;
}

const record = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }) =>
  fc.record(model, { noNullPrototype: true });
const events = fc.array(
  record({
    type: fc.constantFrom('step', 'done', 'message'),
    data: record({ text: fc.string({ unit: 'grapheme', maxLength: 8 }) }),
  }),
  { maxLength: 5 },
);

describe('readEvents', () => {
  it('reads the events of a stream with any line ending, cut anywhere', async () => {
    await fc.assert(
      fc.asyncProperty(
        events,
        fc.constantFrom('\n', '\r\n', '\r'),
        fc.array(fc.nat(), { maxLength: 6 }),
        async (sent, newline, at) => {
          const text = [': a comment', '']
            .concat(
              sent.flatMap(({ type, data }) => [
                `event: ${type}`,
                `data: ${JSON.stringify(data)}`,
                '',
              ]),
            )
            .map((line) => line + newline)
            .join('');

          assert.deepEqual(await collect(replyOf(cut(text, at))), sent);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('joins data lines, ignores unknown fields, and takes "message" as the default type', async () => {
    const text = 'id: 7\nretry: 10\nother: x\ndata: {"a":\ndata:1}\n\n';

    assert.deepEqual(await collect(replyOf(cut(text, []))), [{ type: 'message', data: { a: 1 } }]);
  });

  it('ends with a broken connection, without the event that was cut off', async () => {
    const text = 'event: step\ndata: {"a":1}\n\nevent: step\ndata: {"a"';

    assert.deepEqual(await collect(replyOf(cut(text, []), true)), [
      { type: 'step', data: { a: 1 } },
    ]);
  });

  it('refuses data that is no JSON object', async () => {
    for (const data of ['{', '7', '[]']) {
      const reply = replyOf(cut(`data: ${data}\n\n`, []));
      await assert.rejects(collect(reply), { code: 'GATEWAY_PROTOCOL' });
    }
  });

  it('refuses an event without end', async () => {
    let sent = 0;
    const piece = new TextEncoder().encode(`data: ${'x'.repeat(65_000)}\n`);
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        sent += piece.length;
        controller.enqueue(piece);
      },
    });

    await assert.rejects(collect(new Response(body)), { code: 'GATEWAY_PROTOCOL' });
    assert.ok(sent < 2 * 1024 * 1024, `${sent} bytes read`);
  });
});
