// A sender behind a forward proxy: by CONNECT, with the end-to-end TLS inside, and what `began` is
// when the proxy does not do its part.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer as createHttpServer, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { issueCertificate } from '../../../adapters/azure/emulator/certificate.ts';
import { createSender, SendError, type Sender } from '../../../adapters/http/send.ts';

const VARIABLES = [
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'NO_PROXY',
  'http_proxy',
  'https_proxy',
  'no_proxy',
];
/** The fully qualified name of this machine, which is not exempt from proxies as `localhost` is. */
const NAME = 'localhost.';
const { caPem: ca, certPem: cert, keyPem: key } = issueCertificate();
const closers: (() => Promise<unknown>)[] = [];
let kept: Record<string, string | undefined> = {};

beforeEach(() => {
  kept = Object.fromEntries(VARIABLES.map((name) => [name, process.env[name]]));
  for (const name of VARIABLES) delete process.env[name];
});

afterEach(async () => {
  for (const [name, value] of Object.entries(kept)) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
  await Promise.all(closers.splice(0).map((close) => close()));
});

async function listen(server: Server): Promise<number> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return (server.address() as AddressInfo).port;
}

/** Answers each head with itself, except on `/silent`. */
async function serve(isTls = true) {
  const sockets: Socket[] = [];
  const take = (socket: Socket): void => {
    sockets.push(socket);
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      const [head = ''] = `${chunk}`.split('\r\n\r\n');
      if (head.includes(' /silent ')) return;
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${head.length}\r\n\r\n${head}`);
    });
  };
  const port = await listen(isTls ? createTlsServer({ cert, key }, take) : createServer(take));
  return { port, sockets, origin: `${isTls ? 'https' : 'http'}://${NAME}:${port}` };
}

interface Proxy {
  readonly url: string;
  /** Of each CONNECT. */
  readonly asked: IncomingMessage[];
  readonly tunnels: Socket[];
}

/** A proxy that connects to this machine whatever name it is asked for. */
async function serveProxy(
  answer: (socket: Socket, port: number) => Socket | undefined = tunnel,
): Promise<Proxy> {
  const asked: IncomingMessage[] = [];
  const tunnels: Socket[] = [];
  const server = createHttpServer((_, response) => void response.writeHead(500).end());
  server.on('connect', (request, socket: Socket) => {
    asked.push(request);
    socket.on('error', () => {});
    const upstream = answer(socket, Number(request.url?.split(':').at(-1)));
    if (upstream) tunnels.push(upstream);
  });
  return { url: `http://127.0.0.1:${await listen(server)}`, asked, tunnels };
}

function tunnel(socket: Socket, port: number): Socket {
  const upstream = connect(port, '127.0.0.1', () => {
    socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
    socket.pipe(upstream).pipe(socket);
  });
  upstream.on('error', () => socket.destroy());
  upstream.on('close', () => socket.destroy());
  return upstream;
}

function senderOf(options: { connections?: number } = {}): Sender {
  const sender = createSender({ ca, ...options });
  closers.push(() => sender.close());
  return sender;
}

async function outcome(
  sender: Sender,
  origin: string,
  { path = '/', headers = [] as readonly string[], signal = new AbortController().signal } = {},
): Promise<string> {
  try {
    const asked = { origin, path, method: 'POST', headers, body: Buffer.alloc(0) };
    return `${(await sender.send(asked, { signal, maxResponseBytes: 10_000 })).body}`;
  } catch (error) {
    if (!(error instanceof SendError)) throw error;
    return `${error.reason} ${error.began ? 'after' : 'before'}`;
  }
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setImmediate(resolve));
}

describe('a sender behind a proxy', () => {
  it('connects through HTTPS_PROXY by CONNECT, and keeps the tunnel', async () => {
    const [site, proxy] = [await serve(), await serveProxy()];
    process.env.HTTPS_PROXY = proxy.url;
    const sender = senderOf();

    for (let i = 0; i < 3; i++) {
      const head = await outcome(sender, site.origin, { path: `/${i}` });
      assert.match(head, new RegExp(`^POST /${i} HTTP/1.1\r\nhost: ${NAME}:${site.port}`));
    }

    assert.deepEqual(
      proxy.asked.map(({ url }) => url),
      [`${NAME}:${site.port}`],
    );
    assert.equal(site.sockets.length, 1);
  });

  it('connects by CONNECT for plain HTTP too', async () => {
    const [site, proxy] = [await serve(false), await serveProxy()];
    process.env.HTTP_PROXY = proxy.url;

    assert.match(await outcome(senderOf(), site.origin), /^POST \/ HTTP/);
    assert.equal(proxy.asked.length, 1);
  });

  it('sends repeated headers through a proxy as it does without', async () => {
    const [site, proxy] = [await serve(), await serveProxy()];
    process.env.HTTPS_PROXY = proxy.url;

    const head = await outcome(senderOf(), site.origin, { headers: ['x', '1', 'x', '2'] });

    assert.match(head, /\r\nx: 1\r\nx: 2\r\n/);
  });

  it('sends the credentials of the proxy URL to the proxy only', async () => {
    const [site, proxy] = [await serve(), await serveProxy()];
    process.env.HTTPS_PROXY = proxy.url.replace('//', '//user:p%40ss@');

    const head = await outcome(senderOf(), site.origin);

    const [asked] = proxy.asked;
    const credentials = Buffer.from('user:p@ss').toString('base64');
    assert.equal(asked?.headers['proxy-authorization'], `Basic ${credentials}`);
    assert.doesNotMatch(head, /proxy/i);
  });

  it('does not ask the proxy for what NO_PROXY names', async () => {
    const [site, proxy] = [await serve(), await serveProxy()];
    process.env.HTTPS_PROXY = proxy.url;

    for (const names of ['localhost', 'example.org, localhost', '*']) {
      process.env.NO_PROXY = names;
      // Not every resolver knows the name, so the call itself may fail.
      await outcome(senderOf(), site.origin);
      assert.equal(proxy.asked.length, 0, names);
    }
    process.env.NO_PROXY = 'example.org';
    await outcome(senderOf(), site.origin);
    assert.equal(proxy.asked.length, 1);
  });

  it('connects directly to an emulator on this machine, whatever the environment says', async () => {
    const [site, proxy] = [await serve(), await serveProxy()];
    process.env.HTTPS_PROXY = proxy.url;

    for (const host of ['127.0.0.1', 'localhost']) {
      const head = await outcome(senderOf(), `https://${host}:${site.port}`);
      assert.match(head, /^POST \/ HTTP/);
    }
    assert.equal(proxy.asked.length, 0);
  });

  for (const [title, answer] of [
    ['refuses', (socket: Socket) => void socket.end('HTTP/1.1 403 Forbidden\r\n\r\n')],
    ['wants credentials', (socket: Socket) => void socket.end('HTTP/1.1 407 Who\r\n\r\n')],
    ['ends the connection', (socket: Socket) => void socket.destroy()],
    ['speaks no HTTP', (socket: Socket) => void socket.end('SSH-2.0-x\r\n')],
    [
      'ends the tunnel within the TLS handshake',
      (socket: Socket) => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        socket.once('data', () => socket.destroy());
      },
    ],
  ] as const) {
    it(`reports a proxy that ${title} as a call that has not begun, and asks it once`, async () => {
      const [site, proxy] = [
        await serve(),
        await serveProxy((socket) => {
          answer(socket);
          return undefined;
        }),
      ];
      process.env.HTTPS_PROXY = proxy.url;

      assert.equal(await outcome(senderOf(), site.origin), 'connection before');
      assert.equal(proxy.asked.length, 1);
      assert.equal(site.sockets.length, 0);
    });
  }

  it('reports a proxy that is not there, or is no URL, as a call that has not begun', async () => {
    const site = await serve();

    for (const url of ['http://127.0.0.1:1', 'nonsense']) {
      process.env.HTTPS_PROXY = url;
      assert.equal(await outcome(senderOf(), site.origin), 'connection before');
    }
  });

  it('does not send a request that is aborted while the proxy connects', async () => {
    const waiting: (() => void)[] = [];
    const site = await serve();
    const proxy = await serveProxy((socket, port) => {
      waiting.push(() => void tunnel(socket, port));
      return undefined;
    });
    process.env.HTTPS_PROXY = proxy.url;
    const sender = senderOf({ connections: 1 });
    const aborting = new AbortController();
    const answer = outcome(sender, site.origin, { path: '/given-up', signal: aborting.signal });
    await until(() => waiting.length === 1);

    aborting.abort();
    assert.equal(await answer, 'aborted before');
    waiting[0]?.();

    assert.match(await outcome(sender, site.origin, { path: '/next' }), /^POST \/next /);
    assert.equal(site.sockets.length, 1);
  });

  it('reports a tunnel that breaks before the answer as a call that has begun', async () => {
    const [site, proxy] = [await serve(), await serveProxy()];
    process.env.HTTPS_PROXY = proxy.url;
    const answer = outcome(senderOf(), site.origin, { path: '/silent' });
    await until(() => (site.sockets[0]?.bytesRead ?? 0) > 0);

    proxy.tunnels[0]?.resetAndDestroy();

    assert.equal(await answer, 'connection after');
  });
});
