// What slow clients may make a server hold, on real sockets.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { createSlowClients, type SlowClients } from '../../../broker/http/slow-clients.ts';

/** More than the kernel buffers on both sides of a connection. */
const REPLY_BYTES = 32 * 1024 * 1024;
const NEVER_MS = 3_600_000;

describe('slow clients', () => {
  let server: Server;
  let sockets: Socket[] = [];
  afterEach(() => {
    for (const socket of sockets) socket.destroy();
    sockets = [];
    server.close();
    server.closeAllConnections();
  });

  /** Answers each request with `replyBytes`, or not at all. */
  const serve = async (slow: SlowClients, replyBytes?: number) => {
    const replies: ServerResponse[] = [];
    server = createServer((_request, response) => {
      replies.push(response);
      if (replyBytes === undefined) return;
      response.end(Buffer.alloc(replyBytes));
      slow.awaitReader(response);
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    return replies;
  };
  /** Sends a request and reads nothing. */
  const ask = async (replies: readonly ServerResponse[]): Promise<ServerResponse> => {
    const { port } = server.address() as AddressInfo; // it listens on TCP
    const socket = connect(port, '127.0.0.1').pause();
    sockets.push(socket.on('error', () => {}));
    const asked = once(server, 'request');
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await asked;
    const reply = replies.at(-1);
    assert.ok(reply);
    return reply;
  };

  it('that do not read are cut off, the oldest first, when together they hold too much memory', async () => {
    const replies = await serve(
      createSlowClients({ maxBytes: 1.5 * REPLY_BYTES, stallMs: NEVER_MS }),
      REPLY_BYTES,
    );

    const first = await ask(replies);
    const isKept = !first.destroyed;
    const second = await ask(replies);

    assert.deepEqual([isKept, first.destroyed, second.destroyed], [true, true, false]);
  });

  it('that stop reading are cut off after a timeout', async () => {
    const replies = await serve(
      createSlowClients({ maxBytes: 2 * REPLY_BYTES, stallMs: 50 }),
      REPLY_BYTES,
    );

    const reply = await ask(replies);
    await once(reply, 'close');

    assert.equal(reply.writableFinished, false);
  });

  it('that stop reading a stream are cut off after a timeout, and hold one chunk of it at most', async () => {
    const replies = await serve(createSlowClients({ maxBytes: REPLY_BYTES, stallMs: NEVER_MS }));
    const slow = createSlowClients({ maxBytes: 1.5 * REPLY_BYTES, stallMs: 50 });
    const chunks = async function* () {
      for (;;) yield Buffer.alloc(REPLY_BYTES);
    };

    const reply = await ask(replies);
    const sent = pipeline(slow.stream(reply, chunks()), reply);
    const ended = assert.rejects(sent, { code: 'ERR_STREAM_PREMATURE_CLOSE' });
    await once(reply, 'close');
    await ended;
    const next = await ask(replies);
    slow.hold(next, 1.5 * REPLY_BYTES);

    assert.equal(reply.writableFinished, false);
    assert.equal(next.destroyed, false);
  });

  it('that together hold too much of their streams are cut off, the oldest first', async () => {
    const replies = await serve(createSlowClients({ maxBytes: REPLY_BYTES, stallMs: NEVER_MS }));
    const slow = createSlowClients({ maxBytes: 1.5 * REPLY_BYTES, stallMs: NEVER_MS });
    const chunk = async function* () {
      yield Buffer.alloc(REPLY_BYTES);
    };

    const first = await ask(replies);
    const cut = assert.rejects(pipeline(slow.stream(first, chunk()), first));
    const second = await ask(replies);
    const kept = slow.stream(second, chunk());
    await kept.next();
    await cut;

    assert.deepEqual([first.destroyed, second.destroyed], [true, false]);
    await kept.return(undefined);
  });

  it('whose request body is complete hold nothing any more', async () => {
    const slow = createSlowClients({ maxBytes: 1000, stallMs: NEVER_MS });
    const replies = await serve(slow);
    const first = await ask(replies);
    const second = await ask(replies);

    slow.hold(first, 900);
    slow.release(first);
    slow.hold(second, 500);
    slow.hold(second, 500);
    const wasKept = [first.destroyed, second.destroyed];
    slow.hold(first, 1);

    assert.deepEqual(wasKept, [false, false]);
    assert.deepEqual([first.destroyed, second.destroyed], [false, true]);
  });

  it('do not include those whose reply has been sent', async () => {
    const slow = createSlowClients({ maxBytes: 1, stallMs: 1 });
    const replies = await serve(slow, 900);

    const reply = await ask(replies);

    assert.equal(reply.writableFinished, true);
    assert.equal(reply.req.socket.destroyed, false);
  });
});
