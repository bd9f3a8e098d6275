// What RFC 9110 and RFC 9112 say of methods, statuses, heads and bodies, seen on the wire, with and
// without the fast path.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { describeBothWays } from '../both-ways.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../small-house.ts';

const MIRROR = `export default async (request) => {
  const { searchParams } = new URL(request.url);
  const status = Number(searchParams.get('status') ?? 200);
  const bare = [204, 205, 304].includes(status);
  return new Response(bare ? null : request.method + ' ' + await request.text(), { status, headers: { 'x-own': '1' } });
};`;
const SEPARATOR = '\r\n\r\n';

interface Reply {
  readonly status: number;
  /** In lower case. */
  readonly head: string;
  readonly body: string;
  readonly code: string | undefined;
}

describeBothWays('the rules of HTTP', function (fastPath) {
  this.timeout(120_000);
  let house: SmallHouse;
  let mirror: string;
  let sponsor: string;
  const sockets: Socket[] = [];
  before(async () => {
    house = await startSmallHouse({ fastPath });
    const published = await house.publish('mirror', MIRROR, { payer: 'publisher' });
    mirror = `/functions/${published}`;
    sponsor = (await house.sponsor(published)).address;
  });
  after(async () => {
    for (const socket of sockets) socket.destroy();
    await house.close();
  });

  const open = (): Socket => {
    const port = Number(new URL(house.url()).port);
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    sockets.push(socket.on('error', () => {}));
    return socket;
  };
  /** Everything until the gateway closes; the replies are one after the other. */
  const textOf = async (socket: Socket): Promise<string> => {
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
    });
    socket.once('end', () => socket.end());
    await new Promise((closed) => socket.once('close', closed));
    return text;
  };
  /** Sends the request and then the end of the client's side, so that the gateway closes. */
  const ask = async (text: string): Promise<Reply> => {
    const socket = open();
    socket.end(text.replaceAll('MIRROR', mirror), 'latin1');
    return replyIn(await textOf(socket));
  };
  const calls = () =>
    house.gateway().lanes.lane(KEYS.publisher.address, sponsor as `0x${string}`)?.seq ?? 0;

  const head = (line: string, ...more: readonly string[]) =>
    [line, 'Host: x', ...more, '', ''].join('\r\n');
  const chunked = (encoding: string) =>
    `${head('POST MIRROR HTTP/1.1', `Transfer-Encoding: ${encoding}`)}3\r\nabc\r\n0\r\n\r\n`;

  it('refuses what has no one meaning, in a problem document with a code, and charges nothing', async () => {
    const rows: readonly (readonly [string, number, string])[] = [
      ['GET MIRROR HTTP/1.1\r\n\r\n', 400, 'REQUEST_INVALID'],
      ['GET MIRROR HTTP/1.1\r\nHost:\r\n\r\n', 400, 'REQUEST_INVALID'],
      ['GET MIRROR HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n', 400, 'REQUEST_INVALID'],
      ['GET MIRROR HTTP/1.1\r\nhost: x\r\nX-A: 1\r\nHOST: y\r\n\r\n', 400, 'REQUEST_INVALID'],
      ['GET MIRROR HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n', 400, 'REQUEST_INVALID'],
      ['GET MIRROR HTTP/1.1\r\nHost: a b\r\n\r\n', 400, 'REQUEST_INVALID'],
      ['GET MIRROR HTTP/1.1\r\nHost: user@x\r\n\r\n', 400, 'REQUEST_INVALID'],
      ['GET MIRROR HTTP/1.1\r\nHost: x/y\r\n\r\n', 400, 'REQUEST_INVALID'],
      ['GET MIRROR HTTP/1.1\r\nHost: x:y\r\n\r\n', 400, 'REQUEST_INVALID'],
      ['GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n', 400, 'REQUEST_INVALID'],
      ['GET http://xMIRROR HTTP/1.1\r\n\r\n', 400, 'REQUEST_INVALID'],
      [head('GET http://MIRROR HTTP/1.1'), 400, 'REQUEST_INVALID'],
      [head('GET http://user@xMIRROR HTTP/1.1'), 400, 'REQUEST_INVALID'],
      [head('GET MIRROR/\xc3\xa9 HTTP/1.1'), 400, 'REQUEST_INVALID'],
      [head('GET /\xc3\xa9 HTTP/1.1'), 400, 'REQUEST_INVALID'],
      [head('GET MIRROR?a=\xff HTTP/1.1'), 400, 'REQUEST_INVALID'],
      [head('GET MIRROR/\x00 HTTP/1.1'), 400, 'REQUEST_INVALID'],
      [head('GET\tMIRROR HTTP/1.1'), 400, 'REQUEST_INVALID'],
      [head('GET MIRROR HTTP/1.1 '), 400, 'REQUEST_INVALID'],
      [head('GET MIRROR HTTP/1.1', 'X Name: a'), 400, 'REQUEST_INVALID'],
      [head('GET MIRROR HTTP/1.1', 'X-Name : a'), 400, 'REQUEST_INVALID'],
      [head('GET MIRROR HTTP/1.1', 'X-Folded: a', ' b'), 400, 'REQUEST_INVALID'],
      ['\x16\x03\x01\x02\x00\x01\x00\x01', 400, 'REQUEST_INVALID'],
      ['GET MIRROR\r\n\r\n', 505, 'HTTP_VERSION'],
      [head('GET MIRROR HTTP/2.0'), 505, 'HTTP_VERSION'],
      [head('GET MIRROR HTTP/0.9'), 505, 'HTTP_VERSION'],
      [head('GET MIRROR HTTP/1.2'), 400, 'REQUEST_INVALID'],
      [head('BREW MIRROR HTTP/1.1'), 501, 'HTTP_UNSUPPORTED'],
      [head('get MIRROR HTTP/1.1'), 501, 'HTTP_UNSUPPORTED'],
      [head('TRACE MIRROR HTTP/1.1'), 501, 'HTTP_UNSUPPORTED'],
      [head('TRACE / HTTP/1.1'), 501, 'HTTP_UNSUPPORTED'],
      [head('CONNECT x:443 HTTP/1.1'), 501, 'HTTP_UNSUPPORTED'],
      [chunked('gzip, chunked'), 501, 'HTTP_UNSUPPORTED'],
      [chunked('gzip'), 400, 'REQUEST_INVALID'],
      [chunked('gzip, Chunked '), 501, 'HTTP_UNSUPPORTED'],
      [chunked('chunked, gzip'), 400, 'REQUEST_INVALID'],
      [chunked('xchunked'), 400, 'REQUEST_INVALID'],
      [head('POST MIRROR HTTP/1.1', 'Transfer-Encoding: identity'), 400, 'REQUEST_INVALID'],
      [chunked('chunked').replace('HTTP/1.1', 'HTTP/1.0'), 400, 'REQUEST_INVALID'],
      [chunked('chunked\r\nContent-Length: 3'), 400, 'REQUEST_INVALID'],
      [chunked('chunked\r\nTransfer-Encoding: chunked'), 400, 'REQUEST_INVALID'],
      [
        head('POST MIRROR HTTP/1.1', 'Content-Length: 3', 'Content-Length: 4'),
        400,
        'REQUEST_INVALID',
      ],
      [head('POST MIRROR HTTP/1.1', 'Content-Length: +3'), 400, 'REQUEST_INVALID'],
      [head('POST MIRROR HTTP/1.1', 'Content-Length: 3'), 400, 'REQUEST_INVALID'],
      [`${head('POST MIRROR HTTP/1.1', 'Content-Length: 3')}ab`, 400, 'REQUEST_INVALID'],
      [
        `${head('POST MIRROR HTTP/1.1', 'Transfer-Encoding: chunked')}3\r\nab`,
        400,
        'REQUEST_INVALID',
      ],
      [
        `${head('POST MIRROR HTTP/1.1', 'Connection: close', 'Content-Length: 3')}ab`,
        400,
        'REQUEST_INVALID',
      ],
      ['GET MIRROR HTTP/1.1\r\nHost: x\r\nX-A', 400, 'REQUEST_INVALID'],
      [head('GET MIRROR HTTP/1.1', `X-Long: ${'x'.repeat(20_000)}`), 431, 'HEAD_TOO_LARGE'],
      [head(`GET MIRROR?${'x'.repeat(20_000)} HTTP/1.1`), 431, 'HEAD_TOO_LARGE'],
      [head('GET / HTTP/1.1', `Cookie: ${'x'.repeat(20_000)}`), 431, 'HEAD_TOO_LARGE'],
      [head('POST MIRROR HTTP/1.1', 'Expect: tea', 'Content-Length: 0'), 417, 'EXPECTATION_FAILED'],
      [head('GET / HTTP/1.1', 'Expect: 200-ok'), 417, 'EXPECTATION_FAILED'],
      [
        head('POST MIRROR HTTP/1.1', 'Expect: 100-continue', 'Content-Length: 99999999'),
        413,
        'BODY_TOO_LARGE',
      ],
      [head('POST MIRROR HTTP/1.1', 'Content-Length: 99999999'), 413, 'BODY_TOO_LARGE'],
      [head('GET MIRROR HTTP/1.1', `Connection: ${'a,'.repeat(6_000)}b`), 400, 'REQUEST_INVALID'],
      [head('GET MIRROR HTTP/1.1', ...Array(33).fill('Connection: a')), 400, 'REQUEST_INVALID'],
      [head('GET MIRROR HTTP/1.1', 'Range: bytes=0-0', 'Idempotency-Key:'), 400, 'REQUEST_INVALID'],
    ];
    const before = calls();
    for (const [text, status, code] of rows) {
      const reply = await ask(text);

      const where = JSON.stringify(text.slice(0, 120));
      assert.deepEqual([reply.status, reply.code], [status, code], where);
      assert.match(reply.head, /\r\ncontent-type: application\/problem\+json/, where);
      assert.match(reply.head, /\r\ndate: /, where);
      assert.doesNotMatch(reply.body, /HTTP\/1\.1 /, `one answer to ${where}`);
    }
    assert.equal(calls(), before);
  });

  it('runs nothing that follows a refused request, but what came before it', async () => {
    const next = head('POST MIRROR HTTP/1.1', 'Content-Length: 0');
    for (const first of [
      head('POST MIRROR HTTP/1.1', 'Transfer-Encoding: gzip, chunked').concat('0\r\n\r\n'),
      'GET MIRROR HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n',
      head('POST MIRROR HTTP/1.1', 'Expect: tea'),
      head('BREW MIRROR HTTP/1.1'),
      head('POST MIRROR HTTP/1.1', 'Content-Length: +1'),
    ]) {
      const before = calls();
      const alone = await ask(first + next);
      assert.ok([400, 417, 501].includes(alone.status), first);
      assert.equal(alone.body.split('HTTP/1.1 ').length, 1, alone.body);
      assert.equal(calls(), before);

      const behind = await ask(next + first + next);
      assert.equal(behind.status, 200, first);
      assert.equal(behind.body.split('HTTP/1.1 ').length, 2, behind.body);
      assert.equal(calls(), before + 1);
    }
  });

  it('takes what is unusual and has one meaning', async () => {
    const rows: readonly (readonly [string, number, string])[] = [
      ['GET MIRROR HTTP/1.0\r\n\r\n', 200, 'GET '],
      [head('GET http://x:80MIRROR HTTP/1.1'), 200, 'GET '],
      [head('GET HTTPS://xMIRROR?a HTTP/1.1'), 200, 'GET '],
      ['\r\nGET MIRROR HTTP/1.1\r\nHost: x\r\n\r\n', 200, 'GET '],
      // RFC 9112 section 3: a recipient may take several spaces for one.
      [head('GET  MIRROR HTTP/1.1'), 200, 'GET '],
      [head('GET MIRROR  HTTP/1.1'), 200, 'GET '],
      ['GET MIRROR HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n', 200, 'GET '],
      ['GET MIRROR HTTP/1.1\r\nHost: a.example:\r\n\r\n', 200, 'GET '],
      // RFC 9110 section 10.1.4: what the client would take in the answer.
      [head('GET MIRROR HTTP/1.1', 'TE: gzip, chunked', 'Connection: TE'), 200, 'GET '],
      [head('GET MIRROR HTTP/1.1', 'Range: bytes=0-0'), 200, 'GET '],
      [head('GET MIRROR HTTP/1.1', 'Upgrade: h2c', 'Connection: Upgrade'), 200, 'GET '],
      [chunked('chunked'), 200, 'POST abc'],
      [chunked('Chunked'), 200, 'POST abc'],
      [
        `${head('POST MIRROR HTTP/1.1', 'Expect: 100-continue', 'Content-Length: 3')}abc`,
        200,
        'POST abc',
      ],
      [head('POST MIRROR HTTP/1.1'), 200, 'POST '],
      [`${head('DELETE MIRROR HTTP/1.1', 'Content-Length: 3')}abc`, 200, 'DELETE abc'],
      [head('OPTIONS MIRROR HTTP/1.1'), 200, 'OPTIONS '],
      [head('PROPFIND MIRROR HTTP/1.1'), 200, 'PROPFIND '],
    ];
    for (const [text, status, body] of rows) {
      const reply = await ask(text);

      assert.deepEqual([reply.status, reply.body], [status, body], JSON.stringify(text));
    }
  });

  it('sends a body exactly where the method and the status have one', async () => {
    for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
      for (const status of [200, 201, 204, 205, 206, 304, 400, 404, 405, 412, 416, 500, 503]) {
        const reply = await ask(head(`${method} MIRROR?status=${status} HTTP/1.1`));

        const where = `${method} ${status}`;
        const length = /\r\ncontent-length: (\d+)/.exec(reply.head)?.[1];
        const full = `${method} `;
        const isBare = method === 'HEAD' || [204, 304].includes(status);
        const expected = status === 205 ? '' : full;
        assert.equal(reply.status, status, where);
        // RFC 9110 section 8.6: to HEAD the length of the answer to GET, or none.
        if (method !== 'HEAD' || length !== undefined) {
          assert.equal(
            length,
            [204, 304].includes(status) ? undefined : `${expected.length}`,
            where,
          );
        }
        assert.equal(reply.body, isBare ? '' : expected, where);
        assert.match(reply.head, /\r\nx-own: 1/, where);
        assert.doesNotMatch(reply.head, /\r\ntransfer-encoding/, where);
      }
    }
  });

  it('tells the methods of its own addresses', async () => {
    const rows: readonly (readonly [string, string, number, string | undefined])[] = [
      ['GET', '/healthz', 200, undefined],
      ['HEAD', '/healthz', 200, undefined],
      ['POST', '/healthz', 405, 'GET, HEAD, OPTIONS'],
      ['DELETE', '/', 405, 'GET, HEAD, OPTIONS'],
      ['GET', '/oauth/token', 405, 'OPTIONS, POST'],
      ['PUT', '/.well-known/defaas', 405, 'GET, HEAD, OPTIONS'],
      ['PATCH', `/lanes/0x${'11'.repeat(20)}/0x${'22'.repeat(20)}`, 405, 'GET, HEAD, OPTIONS'],
      ['PROPFIND', '/healthz', 405, 'GET, HEAD, OPTIONS'],
      ['OPTIONS', '/healthz', 204, 'GET, HEAD, OPTIONS'],
      ['OPTIONS', '*', 204, 'OPTIONS'],
      ['GET', '/nowhere', 404, undefined],
      ['OPTIONS', '/nowhere', 404, undefined],
      ['PROPFIND', '/nowhere', 404, undefined],
    ];
    for (const [method, path, status, allow] of rows) {
      const reply = await ask(head(`${method} ${path} HTTP/1.1`));

      assert.deepEqual(
        [reply.status, /\r\nallow: ([^\r]*)/i.exec(reply.head)?.[1]?.toUpperCase()],
        [status, allow],
        `${method} ${path}`,
      );
      if (status >= 400) assert.match(reply.code ?? '', /^[A-Z_]+$/);
    }
  });

  it('takes no compressed body at its own addresses', async () => {
    const body = 'grant_type=client_credentials';
    const length = `Content-Length: ${body.length}`;
    const post = (encoding: string) =>
      ask(`${head('POST /oauth/token HTTP/1.1', length, `Content-Encoding: ${encoding}`)}${body}`);

    assert.notEqual((await post('identity')).status, 415);
    for (const encoding of ['gzip', 'br', 'gzip, identity']) {
      const { status, code } = await post(encoding);
      assert.deepEqual([status, code], [415, 'MEDIA_TYPE_UNSUPPORTED'], encoding);
    }
  });

  it('answers a whole request whose client has closed its side, however the segments fall', async () => {
    const text = head(`POST ${mirror} HTTP/1.1`, 'Content-Length: 3').concat('abc');
    const before = calls();
    const replies: Reply[] = [];
    for (const cut of [0, 20, text.length - 1, text.length]) {
      const socket = open();
      const all = textOf(socket);
      if (cut > 0) {
        await new Promise((sent) => socket.write(text.slice(0, cut), 'latin1', sent));
        await new Promise(setImmediate);
      }
      socket.end(text.slice(cut), 'latin1');
      replies.push(replyIn(await all));
    }

    assert.deepEqual(
      replies.map(({ status, body }) => [status, body]),
      replies.map(() => [200, 'POST abc']),
    );
    assert.equal(calls(), before + replies.length);
  });

  it('answers a request that waits for 100 Continue, and one that need not', async () => {
    const socket = open();
    const all = textOf(socket);
    const answered = once(socket, 'data');
    socket.write(
      head(`POST ${mirror} HTTP/1.1`, 'Expect: 100-continue', 'Content-Length: 3'),
      'latin1',
    );
    await answered;
    socket.end('abc');

    const [first = '', ...rest] = (await all).split(SEPARATOR);
    assert.match(first, /^HTTP\/1\.1 100 /);
    assert.equal(replyIn(rest.join(SEPARATOR)).body, 'POST abc');
  });
});

function replyIn(text: string): Reply {
  const final = text.replace(/^HTTP\/1\.1 100 Continue\r\n\r\n/, '');
  const [head = '', ...rest] = final.split(SEPARATOR);
  const body = rest.join(SEPARATOR);
  const isProblem = /\r\ncontent-type: application\/problem\+json/i.test(head);
  return {
    status: Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1] ?? 0),
    head: head.toLowerCase(),
    body,
    code: isProblem ? /"code":"([A-Z_]+)"/.exec(body)?.[1] : undefined,
  };
}
