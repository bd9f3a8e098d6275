// HTTP requests over pooled sockets: each answer goes to its own request, a failure says whether
// the request has begun, and nothing hangs or stays open.

import assert from 'node:assert/strict';
import { getEventListeners, once } from 'node:events';
import {
  type AddressInfo,
  connect as connectTcp,
  createServer,
  type Server,
  type Socket,
} from 'node:net';
import { networkInterfaces } from 'node:os';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { Worker } from 'node:worker_threads';
import { issueCertificate } from '../../../adapters/azure/emulator/certificate.ts';
import {
  createSender,
  type OutboundRequest,
  SendError,
  type Sender,
  type UpstreamResponse,
} from '../../../adapters/http/send.ts';

type SenderOptions = NonNullable<Parameters<typeof createSender>[0]>;

/** A request as a server received it. */
interface Asked {
  readonly path: string;
  readonly head: string;
  readonly body: Buffer;
  readonly socket: Socket;
}

interface Site {
  readonly port: number;
  readonly origin: string;
  /** All sockets that ever connected. */
  readonly sockets: Socket[];
  /** Paths of complete requests, in order. */
  readonly paths: string[];
}

const certificate = issueCertificate();
const { caPem: ca } = certificate;
/** An origin where nobody listens. */
const NOBODY = 'http://127.0.0.1:1';
const LONG_BODY = Buffer.alloc(16 * 1024 * 1024);
const closers: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  await Promise.all(closers.splice(0).map((close) => close()));
});

function senderWith(options: SenderOptions = {}): Sender {
  const sender = createSender({ ca, ...options });
  closers.push(() => sender.close());
  return sender;
}

interface ListenOptions {
  readonly isTls?: boolean;
  readonly host?: string;
  readonly allowHalfOpen?: boolean;
  readonly maxVersion?: 'TLSv1.2';
}

/** Starts a server that passes each new socket to the handler. */
async function listen(
  onSocket: (socket: Socket) => void,
  { isTls = false, host = '127.0.0.1', allowHalfOpen = false, maxVersion }: ListenOptions = {},
): Promise<Site> {
  const sockets: Socket[] = [];
  const paths: string[] = [];
  const take = (socket: Socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
    onSocket(socket);
  };
  const { certPem: cert, keyPem: key } = certificate;
  const server: Server = isTls
    ? createTlsServer({ cert, key, allowHalfOpen, ...(maxVersion && { maxVersion }) }, take)
    : createServer({ allowHalfOpen, noDelay: true }, take);
  server.listen(0, host);
  await once(server, 'listening');
  closers.push(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as AddressInfo;
  return {
    port,
    origin: `${isTls ? 'https' : 'http'}://${bracketed(host)}:${port}`,
    sockets,
    paths,
  };
}

function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}

/** Starts a server that passes each complete request to the handler. */
async function serve(
  answer: (asked: Asked) => void,
  options: { isTls?: boolean; host?: string } = {},
): Promise<Site> {
  const site = await listen((socket) => {
    readRequests(socket, (asked) => {
      site.paths.push(asked.path);
      answer(asked);
    });
  }, options);
  return site;
}

function readRequests(socket: Socket, take: (asked: Asked) => void): void {
  let held = Buffer.alloc(0);
  socket.on('data', (chunk: Buffer) => {
    held = Buffer.concat([held, chunk]);
    for (let end = held.indexOf('\r\n\r\n'); end >= 0; end = held.indexOf('\r\n\r\n')) {
      const head = held.toString('latin1', 0, end);
      const length = Number(/\r\ncontent-length: (\d+)/.exec(head)?.[1] ?? 0);
      if (held.length < end + 4 + length) return;
      const body = held.subarray(end + 4, end + 4 + length);
      held = held.subarray(end + 4 + length);
      take({ path: head.split(' ')[1] ?? '', head, body, socket });
    }
  });
}

/** Starts a server that holds each request, by path, until the test answers it. */
async function serveByHand(options: { isTls?: boolean } = {}) {
  const held = new Map<string, Asked>();
  const site = await serve((asked) => held.set(asked.path, asked), options);
  return {
    site,
    held,
    answer: (path: string) => held.get(path)?.socket.write(whole(`to ${path}`)),
  };
}

function whole(body: string, headers = ''): string {
  return `HTTP/1.1 200 OK\r\n${headers}content-length: ${body.length}\r\n\r\n${body}`;
}

interface Call extends Partial<OutboundRequest> {
  readonly signal?: AbortSignal;
  readonly maxResponseBytes?: number;
}

function call(
  sender: Sender,
  origin: string,
  path: string,
  of: Call = {},
): Promise<UpstreamResponse> {
  const { signal = new AbortController().signal, maxResponseBytes = 1_000_000, ...more } = of;
  return sender.send(
    { origin, path, method: 'POST', headers: [], body: Buffer.from('body'), ...more },
    { signal, maxResponseBytes },
  );
}

/** The text of an answer, or the failure of the call as text. */
async function outcome(answer: Promise<UpstreamResponse>): Promise<string> {
  try {
    return (await answer).body.toString('latin1');
  } catch (error) {
    if (!(error instanceof SendError)) throw error;
    return `${error.reason} ${error.began ? 'after' : 'before'}`;
  }
}

/** Waits turn by turn of the event loop until the condition holds; the test's timeout ends it. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setImmediate(resolve));
}

/** A TCP proxy in front of a TLS server, which can hold back and forge bytes. */
async function wireTo(target: Site) {
  const wire = { isHeld: false, held: [] as Buffer[], upstreams: [] as Socket[] };
  const near = await listen((socket) => {
    const upstream = connectTcp(target.port, '127.0.0.1');
    wire.upstreams.push(upstream);
    upstream.on('error', () => {});
    upstream.on('close', () => wire.isHeld || socket.destroy());
    socket.on('close', () => upstream.destroy());
    socket.pipe(upstream);
    upstream.on('data', (chunk: Buffer) => {
      if (wire.isHeld) wire.held.push(chunk);
      else socket.write(chunk);
    });
  });
  return Object.assign(wire, { origin: `https://127.0.0.1:${near.port}`, near });
}

for (const isTls of [false, true]) {
  describe(`a sender over ${isTls ? 'TLS' : 'TCP'}`, () => {
    const over = { isTls };

    it('sends one request and returns its answer', async () => {
      const asked: Asked[] = [];
      const site = await serve((one) => {
        asked.push(one);
        one.socket.write(whole('\xe9', 'x-a: 1\r\nX-A: 2\r\nx-b: \xe9\r\n'), 'latin1');
      }, over);

      const answer = await call(senderWith(), site.origin, '/a?b=%20', {
        headers: { 'x-one': '\xe9', 'x-two': ['1', '2'] },
        body: Buffer.from('hello'),
      });

      assert.equal(answer.status, 200);
      assert.deepEqual(
        { ...answer.headers },
        { 'x-a': ['1', '2'], 'x-b': '\xe9', 'content-length': '1' },
      );
      assert.equal(answer.body.toString('latin1'), '\xe9');
      assert.ok(answer.measuredMs >= 0);
      const [one] = asked;
      assert.deepEqual(one?.head.split('\r\n'), [
        'POST /a?b=%20 HTTP/1.1',
        `host: 127.0.0.1:${site.port}`,
        'connection: keep-alive',
        'x-one: \xe9',
        'x-two: 1',
        'x-two: 2',
        'content-length: 5',
      ]);
      assert.equal(`${one?.body}`, 'hello');
    });

    it('keeps a connection and uses it again', async () => {
      const site = await serve(({ path, socket }) => socket.write(whole(path)), over);
      const sender = senderWith();

      for (let i = 0; i < 20; i++) {
        const body = i % 2 ? Buffer.alloc(100_000) : Buffer.from('x');
        assert.equal(await outcome(call(sender, site.origin, `/${i}`, { body })), `/${i}`);
      }

      assert.equal(site.sockets.length, 1);
    });

    it('opens at most the allowed number of connections; further calls wait their turn', async () => {
      const { site, answer } = await serveByHand(over);
      const sender = senderWith({ connections: 2 });
      const paths = Array.from({ length: 10 }, (_, i) => `/${i}`);
      const calls = paths.map((path) => outcome(call(sender, site.origin, path)));

      for (const [i, path] of paths.entries()) {
        await until(() => site.paths.length === Math.min(i + 2, paths.length));
        answer(path);
        assert.equal(await calls[i], `to ${path}`);
      }

      assert.deepEqual([...site.paths].sort(), paths);
      // The first two are opened at once, so either may come first.
      assert.deepEqual(site.paths.slice(2), paths.slice(2));
      assert.equal(site.sockets.length, 2);
    });

    for (const [title, part] of [
      ['before its answer', ''],
      ['within the head', 'HTTP/1.1 200 OK\r\nconte'],
      ['before the body', whole('body').slice(0, -4)],
      ['within the body', whole('body').slice(0, -1)],
      ['within a chunk', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbo'],
      ['before the last chunk', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nb\r\n'],
    ] as const) {
      for (const how of ['ended', 'reset'] as const) {
        it(`reports a connection that is ${how} ${title} as a call that has begun`, async () => {
          const site = await serve(({ path, socket }) => {
            if (path === '/next') return socket.write(whole('next'));
            return socket.write(part, () => (how === 'ended' ? socket.end() : reset(socket)));
          }, over);
          const sender = senderWith();

          assert.equal(await outcome(call(sender, site.origin, '/')), 'connection after');
          assert.equal(await outcome(call(sender, site.origin, '/next')), 'next');
          assert.deepEqual(site.paths, ['/', '/next']);
        });
      }
    }

    for (const how of ['ended', 'reset'] as const) {
      it(`refuses an answer that lasts until its connection is ${how}, because it may be cut off`, async () => {
        const site = await serve(({ socket }) => {
          socket.write('HTTP/1.1 200 OK\r\n\r\nall of it', () =>
            how === 'ended' ? socket.end() : reset(socket),
          );
        }, over);

        assert.equal(await outcome(call(senderWith(), site.origin, '/')), 'connection after');
      });
    }

    it('refuses an answer with a length when its connection is reset before its end', async () => {
      const site = await serve(({ socket }) => {
        const head = 'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 9\r\n\r\n';
        socket.write(`${head}all of`, () => reset(socket));
      }, over);

      assert.equal(await outcome(call(senderWith(), site.origin, '/')), 'connection after');
    });

    for (const [title, text, isKept] of [
      [
        'with chunks',
        'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
        true,
      ],
      ['after a 1xx', `HTTP/1.1 103 Early\r\nx: y\r\n\r\n${whole('ok')}`, true],
      ['that says it is the last', whole('ok', 'connection: close\r\n'), false],
      ['of HTTP/1.0', 'HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok', false],
      ['with more behind it', `${whole('ok')}${whole('forged')}`, false],
      ['whose connection is kept a second', whole('ok', 'keep-alive: timeout=1\r\n'), false],
      ['whose connection is kept a minute', whole('ok', 'keep-alive: timeout=60, max=9\r\n'), true],
    ] as const) {
      it(`${isKept ? 'keeps' : 'does not keep'} the connection of an answer ${title}`, async () => {
        const site = await serve(({ socket }) => socket.write(text), over);
        const sender = senderWith();

        for (let i = 0; i < 3; i++)
          assert.equal(await outcome(call(sender, site.origin, '/')), 'ok');

        assert.equal(site.sockets.length, isKept ? 1 : 3);
        if (!isKept) await until(() => site.sockets.every((socket) => socket.destroyed));
      });
    }

    it('refuses bytes that are no HTTP answer, reports that the call has begun, and does not reuse the connection', async () => {
      const site = await serve(
        ({ path, socket }) =>
          socket.write(
            path === '/next' ? whole('next') : 'HTTP/1.1 200 OK\nno: answer\n\n\r\n\r\n',
          ),
        over,
      );
      const sender = senderWith({ connections: 1 });

      assert.equal(await outcome(call(sender, site.origin, '/')), 'connection after');
      assert.equal(await outcome(call(sender, site.origin, '/next')), 'next');
      assert.equal(site.sockets.length, 2);
    });

    it('refuses an answer that is too large, and reports that the call has begun', async () => {
      const long = 'x'.repeat(1001);
      const site = await serve(({ path, socket }) => {
        if (path === '/next') return socket.write(whole(long.slice(1)));
        const chunk = `transfer-encoding: chunked\r\n\r\n3e9\r\n${long}`;
        return socket.write(path === '/length' ? whole(long) : `HTTP/1.1 200 OK\r\n${chunk}`);
      }, over);
      const sender = senderWith({ connections: 1 });
      const maxResponseBytes = 1000;

      for (const path of ['/length', '/chunk']) {
        const answer = call(sender, site.origin, path, { maxResponseBytes });
        assert.equal(await outcome(answer), 'too-large after');
      }
      assert.equal(
        (await call(sender, site.origin, '/next', { maxResponseBytes })).body.length,
        1000,
      );
    });

    for (const how of ['ended', 'reset', 'written on'] as const) {
      it(`does not use an idle connection that was ${how}`, async () => {
        const site = await serve(({ path, socket }) => socket.write(whole(path)), over);
        const sender = senderWith();
        await call(sender, site.origin, '/first');
        const [socket] = site.sockets;
        assert.ok(socket);

        if (how === 'ended') socket.end();
        else if (how === 'reset') reset(socket);
        else socket.write(whole('forged'));
        // By then the sender has seen it: it closes a socket that was ended or written on, and a
        // reset shows in the next turn.
        if (socket.destroyed) await turns(1);
        else await once(socket, 'close');

        assert.equal(await outcome(call(sender, site.origin, '/next')), '/next');
      });
    }

    it('does not use an idle connection that ends just before the call', async () => {
      const site = await serve(({ path, socket }) => socket.write(whole(path)), over);
      const sender = senderWith();

      for (let i = 0; i < 10; i++) {
        await call(sender, site.origin, '/');
        await new Promise((resolve) => setImmediate(resolve));
        // Closes it at once; the sender does not know of it yet.
        site.sockets.at(-1)?.destroy();
        assert.equal(await outcome(call(sender, site.origin, `/${i}`)), `/${i}`);
      }
    });

    it('fails each call when the other side ends each connection at once', async () => {
      const site = await listen((socket) => socket.destroy(), over);
      const sender = senderWith({ connections: 1 });

      const calls = Array.from({ length: 5 }, () => outcome(call(sender, site.origin, '/')));

      for (const one of await Promise.all(calls))
        assert.match(one, /^connection (?:before|after)$/);
    });

    it('sends nothing for a signal that was aborted before', async () => {
      const site = await serve(({ socket }) => socket.write(whole('')), over);

      const answer = call(senderWith(), site.origin, '/', { signal: AbortSignal.abort() });

      assert.equal(await outcome(answer), 'aborted before');
      assert.equal(site.sockets.length, 0);
    });

    it('does not send a request that is aborted in the moment it is sent', async () => {
      const site = await serve(({ path, socket }) => socket.write(whole(path)), over);
      const sender = senderWith();
      const first = new AbortController();

      const aborted = call(sender, site.origin, '/first', first);
      first.abort();
      const next = call(sender, site.origin, '/next');

      assert.equal(await outcome(aborted), 'aborted before');
      assert.equal(await outcome(next), '/next');
      assert.deepEqual(site.paths, ['/next']);
    });

    it('does not send a request that is aborted while it waits for a connection', async () => {
      const { site, answer } = await serveByHand(over);
      const sender = senderWith({ connections: 1 });
      const second = new AbortController();
      const calls = [
        call(sender, site.origin, '/1'),
        call(sender, site.origin, '/2', second),
        call(sender, site.origin, '/3'),
      ].map(outcome);
      await until(() => site.paths.length === 1);

      second.abort();
      answer('/1');
      await until(() => site.paths.length === 2);
      answer('/3');

      assert.deepEqual(await Promise.all(calls), ['to /1', 'aborted before', 'to /3']);
      assert.deepEqual(site.paths, ['/1', '/3']);
      assert.equal(site.sockets.length, 1);
    });

    it('closes the connection of a request that is aborted while its answer arrives', async () => {
      const { site, held, answer } = await serveByHand(over);
      const sender = senderWith({ connections: 1 });
      const first = new AbortController();
      const calls = [call(sender, site.origin, '/1', first), call(sender, site.origin, '/2')].map(
        outcome,
      );
      await until(() => held.has('/1'));
      held.get('/1')?.socket.write(whole('late').slice(0, -2));

      first.abort();

      assert.equal(await calls[0], 'aborted after');
      await until(() => held.has('/2'));
      assert.ok(site.sockets[0]?.destroyed || (await once(site.sockets[0] as Socket, 'close')));
      answer('/2');
      assert.equal(await calls[1], 'to /2');
      assert.equal(site.sockets.length, 2);
    });

    it('returns an answer that arrives while a long request body is still being sent', async () => {
      const site = await listen((socket) => {
        socket.once('data', () => {
          socket.pause();
          socket.write(whole('early'));
        });
      }, over);
      const sender = senderWith();

      for (let i = 1; i <= 3; i++) {
        const answer = call(sender, site.origin, '/', { body: LONG_BODY });
        assert.equal(await outcome(answer), 'early');
        assert.equal(site.sockets.length, i);
      }
    });

    for (const [title, text, expected] of [
      ['fails when no answer can come any more', '', 'connection after'],
      [
        'returns an answer that ends with the server’s half of the connection',
        whole('hi', 'connection: close\r\n'),
        'hi',
      ],
    ] as const) {
      it(`${title}, though nobody reads the request body`, async () => {
        const site = await listen(
          (socket) => {
            socket.once('data', () => {
              socket.pause();
              socket.end(text);
            });
          },
          { ...over, allowHalfOpen: true },
        );

        const answer = call(senderWith(), site.origin, '/', { body: LONG_BODY });

        assert.equal(await outcome(answer), expected);
      });
    }

    it('keeps no connection when the idle time is 0', async () => {
      const site = await serve(({ path, socket }) => socket.write(whole(path)), over);
      const sender = senderWith({ keepAliveMs: 0, connections: 1 });

      const calls = ['/1', '/2', '/3'].map((path) => outcome(call(sender, site.origin, path)));

      assert.deepEqual(await Promise.all(calls), ['/1', '/2', '/3']);
      assert.equal(site.sockets.length, 3);
    });

    it('closes idle connections after the idle time', async () => {
      const site = await serve(({ socket }) => socket.write(whole('')), over);
      const sender = senderWith({ keepAliveMs: 1 });

      await Promise.all(['/1', '/2'].map((path) => call(sender, site.origin, path)));

      await until(() => site.sockets.every((socket) => socket.destroyed));
    });

    it('waits on close for the calls in flight, and then has no connection', async () => {
      const { site, answer } = await serveByHand(over);
      const sender = senderWith({ connections: 1 });
      const aborted = new AbortController();
      const calls = [
        call(sender, site.origin, '/1'),
        call(sender, site.origin, '/2', aborted),
        call(sender, site.origin, '/3'),
      ].map(outcome);
      let isClosed = false;

      // Closes twice, because a second close must not wait for ever.
      const closing = Promise.all([sender.close(), sender.close()]).then(() => {
        isClosed = true;
      });
      assert.equal(await outcome(call(sender, site.origin, '/late')), 'connection before');
      await until(() => site.paths.length === 1);
      aborted.abort();
      answer('/1');
      await until(() => site.paths.length === 2);
      assert.equal(isClosed, false);
      answer('/3');
      await closing;

      assert.deepEqual(await Promise.all(calls), ['to /1', 'aborted before', 'to /3']);
      await until(() => site.sockets.every((socket) => socket.destroyed));
      await sender.close();
    });

    it('may be used and closed by the code that handles an abort or an answer', async () => {
      const { site, answer } = await serveByHand(over);
      const sender = senderWith({ connections: 1 });
      const first = new AbortController();
      const told: Promise<string>[] = [];
      first.signal.addEventListener('abort', () => {
        told.push(outcome(call(sender, site.origin, '/from-abort')));
        void sender.close();
      });

      const one = call(sender, site.origin, '/1', first);
      const other = call(sender, site.origin, '/2').then(() => {
        told.push(outcome(call(sender, site.origin, '/from-answer')));
      });
      await until(() => site.paths.length === 1);
      first.abort();

      assert.equal(await outcome(one), 'aborted after');
      await until(() => site.paths.includes('/2'));
      answer('/2');
      await other;
      await until(() => site.paths.includes('/from-abort'));
      answer('/from-abort');
      assert.deepEqual(await Promise.all(told), ['to /from-abort', 'connection before']);
      await sender.close();
    });

    it('aborts all calls in flight with the same signal, but no ended call and no call with another signal', async () => {
      const { site, held, answer } = await serveByHand(over);
      const sender = senderWith();
      const [shared, other] = [new AbortController(), new AbortController()];
      const paths = ['/1', '/2', '/3', '/4'];
      const calls = paths.map((path) =>
        outcome(call(sender, site.origin, path, path === '/4' ? other : shared)),
      );
      await until(() => held.size === paths.length);
      answer('/2');
      await calls[1];

      shared.abort();
      await calls[0];
      answer('/4');

      assert.deepEqual(await Promise.all(calls), [
        'aborted after',
        'to /2',
        'aborted after',
        'to /4',
      ]);
      for (const { signal } of [shared, other]) {
        assert.equal(getEventListeners(signal, 'abort').length, 0);
      }
      await sender.close();
    });

    it('leaves no listener on the signal', async () => {
      const site = await serve(({ path, socket }) => {
        if (path === '/broken') socket.destroy();
        else socket.write(path === '/none' ? 'x\r\n\r\n' : whole('answer'));
      }, over);
      const sender = senderWith();
      const { signal } = new AbortController();

      for (const path of ['/', '/broken', '/none', ' ', '/']) {
        await outcome(call(sender, site.origin, path, { signal }));
      }
      await outcome(call(sender, site.origin, '/', { signal, maxResponseBytes: 1 }));
      await outcome(call(sender, NOBODY, '/', { signal }));

      assert.equal(getEventListeners(signal, 'abort').length, 0);
    });

    it('settles each of many parallel calls with its own answer, whatever the server does', async function () {
      this.timeout(20_000);
      const next = randomFrom(0x5eed);
      const seen = new Set<string>();
      const notBegun: string[] = [];
      const abortOnArrival = new Map<string, AbortController>();
      const site = await serve(({ path, body, socket }) => {
        seen.add(path);
        abortOnArrival.get(path)?.abort();
        answerAtRandom(socket, `${path} ${body}`, next);
      }, over);
      const sender = senderWith({ connections: 16 });
      const counts: Record<string, number> = {};
      const calls = isTls ? 2_000 : 10_000;
      let sent = 0;

      const lane = async () => {
        while (sent < calls) {
          sent += 1;
          const path = `/${sent}`;
          const text = `${path}:`.padEnd(next(20) === 0 ? 100_000 : next(100), '-');
          const aborting = new AbortController();
          const answer = call(sender, site.origin, path, {
            body: Buffer.from(text),
            signal: aborting.signal,
          });
          if (next(10) === 0) void turns(next(12)).then(() => aborting.abort());
          else if (next(20) === 0) abortOnArrival.set(path, aborting);
          const came = await outcome(answer);
          const isOwn = came === `${path} ${text}`;
          if (came === 'aborted before') notBegun.push(path);
          else assert.ok(isOwn || /^(?:aborted|connection) after$/.test(came), `${path} ${came}`);
          const kind = isOwn ? 'answer' : came;
          counts[kind] = (counts[kind] ?? 0) + 1;
        }
      };
      await Promise.all(Array.from({ length: 40 }, lane));

      assert.equal(
        Object.values(counts).reduce((sum, count) => sum + count),
        calls,
      );
      assert.ok((counts.answer ?? 0) > calls / 2, JSON.stringify(counts));
      for (const kind of ['aborted before', 'aborted after', 'connection after']) {
        assert.ok((counts[kind] ?? 0) > 0, JSON.stringify(counts));
      }
      await sender.close();
      await until(() => site.sockets.every((socket) => socket.destroyed));
      assert.deepEqual(
        notBegun.filter((path) => seen.has(path)),
        [],
      );
    });
  });
}

describe('a sender', () => {
  /** Measures a call of a server that reads nothing for `holdMs`, then answers. */
  const measureBehind = async (holdMs: number, body: Buffer) => {
    const site = await listen((socket) => {
      let left = body.length;
      const read = (chunk: Buffer): void => {
        left -= chunk.length;
        if (left <= 0) socket.write(whole('ok'));
      };
      setTimeout(() => socket.on('data', read), holdMs);
    });
    const startedMs = performance.now();
    const { measuredMs } = await call(senderWith(), site.origin, '/', { body });
    return { measuredMs, elapsedMs: performance.now() - startedMs };
  };

  it('does not measure the time that a large request takes to be sent', async () => {
    const body = LONG_BODY;

    const { measuredMs, elapsedMs } = await measureBehind(200, body);

    assert.ok(measuredMs >= 0 && measuredMs <= elapsedMs - 190, `${measuredMs} of ${elapsedMs}`);
  });

  it('measures all time except the transfer time at 100 Mbit/s when the server delays a large request', async () => {
    const body = Buffer.alloc(2 * 1024 * 1024);

    const { measuredMs } = await measureBehind(500, body);

    assert.ok(measuredMs >= 499 - body.length / 12_500, `${measuredMs}`);
  });

  it('reports a refused port as a call that has not begun', async () => {
    const sender = senderWith({ connections: 2 });

    const calls = Array.from({ length: 10 }, (_, i) =>
      outcome(call(sender, NOBODY, '/', i % 2 === 0 ? {} : { body: LONG_BODY })),
    );

    assert.deepEqual(new Set(await Promise.all(calls)), new Set(['connection before']));
  });

  it('reports a name that does not resolve as a call that has not begun', async () => {
    // Too long for a label: no name server is asked.
    const origin = `http://${'x'.repeat(64)}.invalid`;

    assert.equal(await outcome(call(senderWith(), origin, '/')), 'connection before');
  });

  it('reports an untrusted certificate authority as a call that has not begun', async () => {
    const site = await serve(({ socket }) => socket.write(whole('')), { isTls: true });
    const stranger = senderWith({ ca: issueCertificate().caPem });

    assert.equal(await outcome(call(stranger, site.origin, '/')), 'connection before');
    assert.deepEqual(site.paths, []);
  });

  onIpv6('tells an address that the certificate does not have as not begun', async () => {
    const site = await serve(({ socket }) => socket.write(whole('')), { isTls: true, host: '::1' });

    assert.equal(await outcome(call(senderWith(), site.origin, '/')), 'connection before');
    assert.deepEqual(site.paths, []);
  });

  it('connects to a name that resolves to more than one address', async () => {
    const site = await serve(({ path, socket }) => socket.write(whole(path)), { isTls: true });

    const answer = call(senderWith(), `https://localhost:${site.port}`, '/');

    assert.equal(await outcome(answer), '/');
  });

  it('reports a server that does not speak TLS as a call that has not begun', async () => {
    const site = await listen((socket) => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'));

    const answer = call(senderWith(), `https://127.0.0.1:${site.port}`, '/');

    assert.equal(await outcome(answer), 'connection before');
  });

  for (const [title, origin] of [
    ['no URL', 'nonsense'],
    ['of another scheme', 'ftp://127.0.0.1'],
    ['without a host', 'http://'],
  ] as const) {
    it(`refuses an origin that is ${title}`, async () => {
      assert.equal(await outcome(call(senderWith(), origin, '/')), 'connection before');
    });
  }

  for (const [title, wrong] of [
    ['a path with a space', { path: '/a b' }],
    ['a path with a line', { path: '/ HTTP/1.1\r\nx: y' }],
    ['a path above 0x7f', { path: '/\xe9' }],
    ['no path', { path: '' }],
    ['a method with a space', { method: 'GET /' }],
    ['no method', { method: '' }],
    ['a line in a value', { headers: ['x', 'a\r\nb: c'] }],
    ['a value above 0xff', { headers: ['x', '\u0100'] }],
    ['NUL in a value', { headers: { x: '\0' } }],
    ['a line in a name', { headers: ['x: y\r\nb', 'c'] }],
    ['an empty name', { headers: { '': 'c' } }],
    ['a length of its own', { headers: { 'Content-Length': '1' } }],
    ['an encoding of its own', { headers: ['transfer-encoding', 'chunked'] }],
  ] as const) {
    it(`refuses ${title}, and sends nothing`, async () => {
      const site = await serve(({ path, socket }) => socket.write(whole(path)));
      const sender = senderWith();

      assert.equal(await outcome(call(sender, site.origin, '/', wrong)), 'connection before');
      assert.equal(site.sockets.length, 0);
      assert.equal(await outcome(call(sender, site.origin, '/next')), '/next');
    });
  }

  it('sends headers that are called as what every object has', async () => {
    const site = await serve(({ head, socket }) => socket.write(whole(head)));
    const headers = ['constructor', 'a', 'toString', 'b', '__proto__', 'c'];

    const head = await outcome(call(senderWith(), site.origin, '/', { headers }));

    assert.match(head, /\r\nconstructor: a\r\ntoString: b\r\n__proto__: c\r\n/);
  });

  it('sends the Host header once, and Content-Length where there may be a body', async () => {
    const heads: string[] = [];
    const site = await serve(({ head, socket }) => {
      heads.push(head);
      socket.write(head.startsWith('HEAD') ? whole('no body').slice(0, -7) : whole(''));
    });
    const sender = senderWith();
    const body = new Uint8Array();

    await call(sender, site.origin, '/', { method: 'GET', headers: { Host: 'own' }, body });
    await call(sender, site.origin, '/', { method: 'HEAD', body });
    await call(sender, site.origin, '/', { method: 'POST', body });

    const host = `host: 127.0.0.1:${site.port}`;
    assert.deepEqual(heads, [
      'GET / HTTP/1.1\r\nhost: own\r\nconnection: keep-alive',
      `HEAD / HTTP/1.1\r\n${host}\r\nconnection: close`,
      `POST / HTTP/1.1\r\n${host}\r\nconnection: keep-alive\r\ncontent-length: 0`,
    ]);
    // undici closes the connection after HEAD, for servers that send a body nonetheless.
    assert.equal(site.sockets.length, 2);
  });

  it('does not send a request that is aborted while the connection is opened', async () => {
    const secure = await serve(({ path, socket }) => socket.write(whole(path)), { isTls: true });
    const wire = await wireTo(secure);
    const sender = senderWith();
    const first = new AbortController();
    wire.isHeld = true;
    const aborted = outcome(call(sender, wire.origin, '/first', first));
    await until(() => wire.held.length > 0);

    first.abort();
    assert.equal(await aborted, 'aborted before');
    const next = outcome(call(sender, wire.origin, '/next'));
    wire.isHeld = false;
    for (const chunk of wire.held) wire.near.sockets[0]?.write(chunk);

    assert.equal(await next, '/next');
    assert.deepEqual(secure.paths, ['/next']);
  });

  it('reports a call that has not begun when TLS ends as soon as it is established', async () => {
    // The server's last message and its end arrive in one piece, which TLS 1.2 allows.
    const isEnded: boolean[] = [];
    const site = await listen((socket) => socket.end(() => isEnded.push(true)), {
      isTls: true,
      maxVersion: 'TLSv1.2',
    });
    const wire = await wireTo(site);

    for (let i = 1; i <= 3; i++) {
      // A resumed handshake ends with the client's message.
      const sender = senderWith();
      const answer = outcome(call(sender, wire.origin, '/'));
      await until(() => (wire.near.sockets[i - 1]?.bytesWritten ?? 0) > 0);
      wire.isHeld = true;
      await until(() => isEnded.length === i && wire.upstreams[i - 1]?.readableEnded === true);
      wire.near.sockets[i - 1]?.write(Buffer.concat(wire.held.splice(0)));
      wire.isHeld = false;

      assert.equal(await answer, 'connection before');
      assert.equal(wire.near.sockets.length, i);
    }
  });

  it('fails when data that arrives over TLS is corrupt', async () => {
    const { site, held } = await serveByHand({ isTls: true });
    const wire = await wireTo(site);
    const sender = senderWith();
    const answer = outcome(call(sender, wire.origin, '/'));
    await until(() => held.has('/'));

    wire.near.sockets[0]?.write('no record of TLS '.repeat(9));

    assert.equal(await answer, 'connection after');
    await once(wire.near.sockets[0] as Socket, 'close');
  });

  for (const [how, headers] of [
    ['without a length', ''],
    ['of HTTP/1.0 without a length', 'connection: close\r\n'],
    ['with a length', 'content-length: 99\r\n'],
    ['in chunks', 'transfer-encoding: chunked\r\n'],
  ] as const) {
    it(`refuses an answer ${how} over TLS that ends without close_notify`, async () => {
      const { site, held } = await serveByHand({ isTls: true });
      const wire = await wireTo(site);
      const answer = outcome(call(senderWith(), wire.origin, '/'));
      await until(() => held.has('/'));
      const version = how.startsWith('of') ? '1.0' : '1.1';
      const text = `HTTP/${version} 200 OK\r\n${headers}\r\n9\r\nall of it\r\n`;
      const [upstream] = wire.upstreams;
      const before = upstream?.bytesRead ?? 0;

      held.get('/')?.socket.write(text);
      await until(() => (upstream?.bytesRead ?? 0) >= before + text.length);
      wire.near.sockets[0]?.end();

      assert.equal(await answer, 'connection after');
    });
  }

  it('does not use an idle connection that received corrupt TLS data', async () => {
    const secure = await serve(({ path, socket }) => socket.write(whole(path)), { isTls: true });
    const wire = await wireTo(secure);
    const sender = senderWith();
    await call(sender, wire.origin, '/first');

    wire.near.sockets[0]?.write('no record of TLS '.repeat(9));

    await once(wire.near.sockets[0] as Socket, 'close');
    assert.equal(await outcome(call(sender, wire.origin, '/next')), '/next');
  });

  it('never gives bytes that follow an answer to the next request', async () => {
    const { site, held } = await serveByHand({ isTls: true });
    const wire = await wireTo(site);
    const sender = senderWith({ connections: 1 });
    const [first, second] = ['/1', '/2'].map((path) => outcome(call(sender, wire.origin, path)));
    await until(() => held.has('/1'));
    wire.isHeld = true;
    const before = wire.upstreams[0]?.bytesRead ?? 0;

    // Two TLS records that arrive in one piece.
    held.get('/1')?.socket.write(whole('to /1'));
    await until(() => wire.held.length > 0);
    held.get('/1')?.socket.write(whole('forged'));
    const bytes = () => (wire.upstreams[0]?.bytesRead ?? 0) - before;
    await until(() => bytes() >= whole('to /1forged').length * 2);
    wire.isHeld = false;
    wire.near.sockets[0]?.write(Buffer.concat(wire.held));

    assert.equal(await first, 'to /1');
    await until(() => held.has('/2'));
    held.get('/2')?.socket.write(whole('to /2'));
    assert.equal(await second, 'to /2');
  });

  it('resumes its TLS session', async () => {
    const reused: string[] = [];
    const site = await serve(
      ({ socket }) => {
        reused.push(`${(socket as TLSSocket).isSessionReused()}`);
        socket.write(whole('', 'connection: close\r\n'));
      },
      { isTls: true },
    );
    const sender = senderWith();

    for (let i = 0; i < 3; i++) await call(sender, site.origin, '/');

    assert.deepEqual(reused, ['false', 'true', 'true']);
  });

  it('keeps a TLS connection whose answer arrives before the write completes', async () => {
    // The answer must come while this thread is in the same turn of its event loop, so it comes
    // from another one.
    const shared = new Int32Array(new SharedArrayBuffer(4));
    const { certPem: cert, keyPem: key } = certificate;
    const worker = new Worker(
      `const { parentPort, workerData } = require('node:worker_threads');
      let sockets = 0;
      const server = require('node:tls').createServer(workerData, (socket) => {
        const number = ++sockets;
        socket.on('data', () => socket.write(
          'HTTP/1.1 200 OK\\r\\ncontent-length: 1\\r\\n\\r\\n' + number,
          () => { Atomics.add(workerData.shared, 0, 1); Atomics.notify(workerData.shared, 0); },
        ));
      });
      server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port));`,
      { eval: true, workerData: { cert, key, shared } },
    );
    closers.push(() => worker.terminate());
    const [port] = await once(worker, 'message');
    const sender = senderWith();

    for (let i = 0; i < 5; i++) {
      const answer = call(sender, `https://127.0.0.1:${port}`, '/');
      // The first one has to connect.
      if (i > 0) setImmediate(() => Atomics.wait(shared, 0, i, 10_000));
      assert.equal(await outcome(answer), '1');
      await until(() => Atomics.load(shared, 0) === i + 1);
    }
  });

  onIpv6('connects to an IPv6 address', async () => {
    const site = await serve(({ head, socket }) => socket.write(whole(head)), { host: '::1' });

    const said = await outcome(call(senderWith(), site.origin, '/'));

    assert.match(said, new RegExp(`host: \\[::1\\]:${site.port}`));
  });

  it('keeps connections of a limited number of origins, and loses no call of an evicted origin', async () => {
    const { site, held, answer } = await serveByHand();
    const sender = senderWith();
    const answered = await serve(({ socket }) => socket.write(whole('')));
    const waiting = outcome(call(sender, site.origin, '/waits'));
    await until(() => held.has('/waits'));

    for (let i = 0; i < 1100; i++)
      await call(sender, `http://${i}@127.0.0.1:${answered.port}`, '/');

    assert.equal(answered.sockets.length, 1100);
    await until(() => answered.sockets.filter((socket) => !socket.destroyed).length <= 1024);
    let isClosed = false;
    const closing = sender.close().then(() => {
      isClosed = true;
    });
    await until(() => answered.sockets.every((socket) => socket.destroyed));
    assert.equal(isClosed, false);
    answer('/waits');
    assert.equal(await waiting, 'to /waits');
    await closing;
    await until(() => site.sockets.every((socket) => socket.destroyed));
  });
});

function reset(socket: Socket): void {
  // A TLS socket does not expose this itself.
  const { _parent: plain } = socket as Socket & { _parent?: Socket };
  (plain ?? socket).resetAndDestroy();
}

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** Numbers below `limit`, the same ones for the same seed (mulberry32). */
function randomFrom(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  };
}

/** Splits, delays, drops and ends. */
async function answerAtRandom(
  socket: Socket,
  body: string,
  next: (limit: number) => number,
): Promise<void> {
  const half = body.length >> 1;
  const inChunks = [body.slice(0, half), body.slice(half)]
    .filter((part) => part !== '')
    .map((part) => `${part.length.toString(16)}\r\n${part}\r\n`)
    .join('');
  const chunks = `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${inChunks}0\r\n\r\n`;
  if (next(3) === 0) await turns(next(5));
  switch (next(16)) {
    case 0:
      return void socket.destroy();
    case 1:
      return void socket.write(whole(body).slice(0, next(80)), () => socket.destroy());
    case 2:
      return void socket.write(whole(body, 'connection: close\r\n'), () => socket.end());
    case 3:
      return void socket.end(whole(body));
    case 4:
      return void socket.end(`HTTP/1.1 200 OK\r\n\r\n${body}`);
    case 5:
      return void socket.write(whole(body) + whole('forged'));
    case 6:
    case 7: {
      const text = next(2) === 0 ? chunks : whole(body);
      const at = [0, next(text.length), next(text.length), text.length].sort((a, b) => a - b);
      for (let i = 0; i < 3 && !socket.destroyed; i++) {
        socket.write(text.slice(at[i], at[i + 1]));
        await turns(next(3));
      }
      return;
    }
    case 8:
    case 9:
      return void socket.write(chunks);
    default:
      return void socket.write(whole(body));
  }
}

function hasIpv6(): boolean {
  const addresses = Object.values(networkInterfaces()).flat();
  return addresses.some((one) => one?.address === '::1');
}

function onIpv6(title: string, body: () => Promise<void>): void {
  if (hasIpv6()) it(title, body);
  else it.skip(`${title} (this machine has no ::1)`);
}
