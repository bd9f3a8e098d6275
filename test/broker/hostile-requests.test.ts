// Hostile requests: too slow, too many, too large, or ambiguous on purpose.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { createDpopKey } from '../../broker/client/dpop.ts';
import { signIn as signInBy } from '../../broker/client/sign-in.ts';
import type { Key } from '../../contracts/keystore.ts';
import { describeBothWays } from './both-ways.ts';
import { KEYS, ownHeaders, type SmallHouse, startSmallHouse } from './small-house.ts';

const MIRROR = `export default async (request, context) => {
  const url = new URL(request.url);
  const ask = url.searchParams.get('wait');
  if (ask) await fetch(ask);
  if (url.searchParams.has('large')) return new Response('x'.repeat(4_500_000));
  if (url.searchParams.has('error')) return Response.error();
  if (url.searchParams.has('redirect')) return new Response(null, { status: 302, headers: { location: 'https://evil.example/', 'set-cookie': 'a=1' } });
  return Response.json({ host: url.host, path: url.pathname, headers: Object.fromEntries(request.headers),
    remainingMs: context.remainingMs(), hasSignal: context.signal instanceof AbortSignal });
};`;
/** Its code runs beside the shim, so it can forge the shim's headers. */
const FORGER = `export default async (request) => {
  const status = new URL(request.url).searchParams.get('status');
  const response = new Response('<script>1</script>');
  if (status) Object.defineProperty(response, 'status', { value: Number(status) });
  const own = Headers.prototype[Symbol.iterator];
  Headers.prototype[Symbol.iterator] = function* () {
    Headers.prototype[Symbol.iterator] = own;
    yield ['Content-Type', 'text/html'];
    yield ['Set-Cookie', 'evil=1'];
    yield ['Content-Security-Policy', 'default-src *'];
    yield ['Defaas-Receipt', 'forged'];
    yield ['Access-Control-Allow-Origin', '*'];
    yield ['X-Split', 'a\\r\\nSet-Cookie: evil=2'];
    yield ['X-Wide', '\u0416'];
    yield ['X Name', 'b'];
  };
  return response;
};`;
const TIMEOUT_MS = 5000;
/** For requests that are cut off only: no answer depends on it. */
const IMPATIENT_MS = 300;
const INVOCATIONS_MAX = 2;
const APART = 'functions.example';

describeBothWays('hostile requests', function (fastPath) {
  this.timeout(120_000);
  let house: SmallHouse;
  let mirror: string;
  let forger: string;
  let sponsor: Key;
  let sockets: Socket[] = [];
  before(async () => {
    house = await startSmallHouse({
      fastPath,
      invocationsMax: INVOCATIONS_MAX,
      functionsOrigin: `https://${APART}`,
    });
    const published = await house.publish('mirror', MIRROR, { payer: 'publisher' });
    mirror = `/functions/${published}`;
    const forging = await house.publish('forger', FORGER, { payer: 'publisher' });
    forger = `/functions/${forging}`;
    sponsor = await house.sponsor(published);
    await house.sponsor(forging);
  });
  after(() => house.close());
  afterEach(() => {
    for (const socket of sockets) socket.destroy();
    sockets = [];
  });

  const open = (text: string): Socket => {
    const socket = connect(Number(new URL(house.url()).port), '127.0.0.1');
    sockets.push(socket.on('error', () => {}));
    socket.write(text, 'latin1');
    return socket;
  };
  /** Sends the lines as they are, and reads one answer, or until the gateway closes. */
  const send = async (...lines: readonly string[]) =>
    answerOf(open([...lines, '', ''].join('\r\n')));
  const answerOf = async (socket: Socket) => {
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      const [head = '', ...rest] = text.split('\r\n\r\n');
      const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1];
      if (rest.join('\r\n\r\n').length === Number(length)) socket.destroy();
    });
    await once(socket, 'close');
    const [head = '', body = ''] = text.split('\r\n\r\n', 2);
    return { status: Number(/^HTTP\/1.1 (\d+)/.exec(head)?.[1] ?? 0), head, body };
  };
  const seen = async (...lines: readonly string[]) => {
    const { status, body } = await send(...lines);
    assert.equal(status, 200, body);
    return JSON.parse(body);
  };

  const signIn = async (body: string) => {
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const reply = await fetch(`${house.url()}/oauth/token`, { method: 'POST', headers, body });
    return { status: reply.status, ...(await reply.json()) };
  };

  it('that send their bodies slowly use up no place of other callers', async () => {
    const head = `POST ${mirror} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc`;
    const slow = Array.from({ length: INVOCATIONS_MAX + 1 }, () => open(head));
    await Promise.all(slow.map((socket) => once(socket, 'connect')));

    const other = await fetch(`${house.url()}${mirror}`);

    assert.equal(other.status, 200);
  });

  describe('on a gateway with short timeouts', () => {
    before(() => house.restart({ requestTimeoutMs: IMPATIENT_MS }));
    after(() => house.restart());

    it('that send their headers slowly are cut off', async () => {
      for (const text of ['', 'GET ', `GET ${mirror} HTTP/1.1\r\nHost: x\r\nX-A`]) {
        const { status } = await answerOf(open(text));

        assert.ok([0, 408].includes(status), `${status}`);
      }
    });

    it('that are slow to send their bodies are cut off', async () => {
      const head = `POST ${mirror} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc`;

      const { status, body } = await answerOf(open(head));

      assert.ok([0, 408].includes(status), `${status}`);
      assert.doesNotMatch(body, /"path"/);
    });

    it('whose replies are not read are cut off', async () => {
      const deadlineMs = Date.now() + 30_000;
      const seq = () =>
        house.gateway().lanes.lane(KEYS.publisher.address, sponsor.address)?.seq ?? 0;
      const before = seq();
      const isCutOff = async () => (await house.connections()) === 0;

      // A request of which a busy machine reads nothing in time is cut off too, and not counted.
      while (seq() === before) {
        const socket = open(`GET ${mirror}?large HTTP/1.1\r\nHost: x\r\n\r\n`).pause();
        await once(socket, 'connect');
        do {
          assert.ok(Date.now() < deadlineMs, 'the connection is still open');
          await setTimeout(20);
        } while (!(await isCutOff()));
      }

      assert.equal(seq(), before + 1);
    });
  });

  it('above the limit of concurrent calls are refused at once, and none of them waits', async () => {
    let waiting: ServerResponse[] = [];
    const gate: Server = createServer((_request, response) => waiting.push(response));
    await once(gate.listen(0, '127.0.0.1'), 'listening');
    const { port } = gate.address() as AddressInfo; // it listens on TCP
    const ask = () => fetch(`${house.url()}${mirror}?wait=http://127.0.0.1:${port}/`);

    const calls = Array.from({ length: 5 * INVOCATIONS_MAX }, ask);
    const refused: Response[] = [];
    await new Promise<void>((resolve) => {
      for (const call of calls) {
        call.then((reply) => {
          refused.push(reply);
          if (refused.length === 4 * INVOCATIONS_MAX) resolve();
        });
      }
    });
    const early = refused.slice();
    // Only now the accepted requests may end.
    gate.on('request', (_request, response) => response.end());
    for (const response of waiting) response.end();
    const replies = await Promise.all(calls);
    waiting = [];
    gate.close();

    for (const reply of early) {
      assert.deepEqual([reply.status, reply.headers.get('retry-after')], [503, '1']);
      assert.equal((await reply.json()).code, 'OVERLOADED');
    }
    assert.equal(replies.filter(({ status }) => status === 200).length, INVOCATIONS_MAX);
  });

  it('with bodies above the limit are refused, whether they say so before or not', async () => {
    const large = 'x'.repeat(house.gateway().config.bodyMaxBytes + 1);
    const chunked = new ReadableStream({
      start: (controller) => {
        controller.enqueue(Buffer.from(large));
        controller.close();
      },
    });

    const told = await fetch(`${house.url()}${mirror}`, { method: 'POST', body: large });
    const untold = await fetch(`${house.url()}${mirror}`, {
      method: 'POST',
      body: chunked,
      duplex: 'half',
    } as RequestInit); // undici's `duplex` is not in TypeScript's DOM
    const own = await fetch(`${house.url()}/oauth/token`, { method: 'POST', body: large });
    const artifact = await fetch(`${house.url()}/artifacts`, { method: 'POST', body: large });

    for (const reply of [told, untold, own]) {
      assert.deepEqual([reply.status, (await reply.json()).code], [413, 'BODY_TOO_LARGE']);
    }
    assert.equal((await artifact.json()).code, 'TOKEN_MISSING');
  });

  it('pass to the function no header in the name of the gateway or of a proxy', async () => {
    const { host, headers } = await seen(
      `GET ${mirror} HTTP/1.1`,
      'Host: evil.example',
      'X-Forwarded-Host: evil.example',
      'X-Forwarded-For: 10.0.0.1',
      'X-Forwarded-Proto: http',
      'Forwarded: for=10.0.0.1;host=evil.example',
      'X-Real-IP: 10.0.0.1',
      'Defaas-Receipt: 0x00',
      'Defaas-Anything: forged',
      'Proxy-Authorization: Basic YTpi',
      'Keep-Alive: timeout=5',
      'TE: trailers',
      'Upgrade: websocket',
      'X-Named: of the connection',
      'Cookie: name=secret',
      'X-Mine: passes',
      'Connection: X-Named',
    );

    assert.equal(headers['x-mine'], 'passes');
    const names = Object.keys(headers).filter((name) =>
      /^(host|forwarded|x-forwarded|x-real|defaas|proxy|keep-alive|te$|upgrade|connection|x-named|cookie)/.test(
        name,
      ),
    );
    // The gateway's own (test/broker/public-url.test.ts).
    assert.deepEqual(names.sort(), ['forwarded', 'x-forwarded-prefix']);
    assert.equal(headers['x-forwarded-prefix'], mirror);
    assert.doesNotMatch(`${host} ${headers.forwarded}`, /evil/);
  });

  it('cannot leave the function by their path, nor make the gateway fetch or redirect anything', async () => {
    const paths: Record<string, string> = {
      '/../../../settlements': '/settlements',
      '/%2e%2e/%2e%2e/oauth/token': '/oauth/token',
      '/a%2f..%2fb': '/a%2f..%2fb',
      '//evil.example/': '//evil.example/',
      '/http://evil.example/': '/http://evil.example/',
      '/@evil.example': '/@evil.example',
    };
    for (const [path, expected] of Object.entries(paths)) {
      const { path: found, host } = await seen(`GET ${mirror}${path} HTTP/1.1`, 'Host: x');

      // The path that remains after dot segments are resolved is below the function's own root.
      assert.equal(found, expected);
      assert.doesNotMatch(host, /evil/);
    }
    for (const target of [
      'http://evil.example/functions/a/b',
      'http://169.254.169.254/latest/meta-data/',
      '/functions/..%2f..%2foauth/token',
      '/functions/a/../oauth/token',
      '//evil.example/%2e%2e',
    ]) {
      const { status, head } = await send(`GET ${target} HTTP/1.1`, 'Host: x');

      assert.ok([400, 404].includes(status), `${target}: ${status}`);
      assert.doesNotMatch(head, /^location:/im);
    }
    assert.equal((await send('CONNECT evil.example:443 HTTP/1.1', 'Host: x')).status, 501);
  });

  it('cannot smuggle a second request', async () => {
    for (const lines of [
      [`GET ${mirror} HTTP/1.1`, 'Host: x', 'X-A: b\rX-B: c'],
      [`GET ${mirror} HTTP/1.1`, 'Host: x', 'X-A: b\nEvil'],
      [`POST ${mirror} HTTP/1.1`, 'Host: x', 'Content-Length: 3', 'Transfer-Encoding: chunked'],
      [`POST ${mirror} HTTP/1.1`, 'Host: x', 'Content-Length: 3', 'Content-Length: 4'],
      [`GET ${mirror} HTTP/1.1`],
      [`GET ${mirror}/\x00 HTTP/1.1`, 'Host: x'],
      [`GET ${mirror} HTTP/1.1`, 'Host: x', `X-Long: ${'x'.repeat(20_000)}`],
    ]) {
      const { status } = await send(...lines);

      assert.ok([400, 431].includes(status), `${lines.join(' | ').slice(0, 200)}: ${status}`);
    }
  });

  it('with two Idempotency-Keys or an empty one are refused', async () => {
    for (const lines of [['Idempotency-Key: a', 'idempotency-key: b'], ['Idempotency-Key:']]) {
      const { status, body } = await send(`POST ${mirror} HTTP/1.1`, 'Host: x', ...lines);

      assert.equal(status, 400);
      assert.match(body, /"code":"REQUEST_INVALID".*Idempotency-Key is empty or came twice/);
    }
  });

  it('get a function’s own redirect unchanged, which the gateway does not follow', async () => {
    const reply = await fetch(`${house.url()}${mirror}?redirect`, { redirect: 'manual' });

    assert.deepEqual([reply.status, reply.headers.get('location')], [302, 'https://evil.example/']);
    assert.match(reply.headers.get('defaas-receipt') ?? '', /^0x/);
  });

  it('are passed on with a deadline within the version’s timeout', async () => {
    const { remainingMs, hasSignal } = await seen(`GET ${mirror} HTTP/1.1`, 'Host: x');

    assert.ok(remainingMs > 0 && remainingMs <= TIMEOUT_MS, `${remainingMs}`);
    assert.equal(hasSignal, true);
  });

  it('can use the function’s own cookies and pages on the origin for functions, and only there', async () => {
    const ask = (host: string) =>
      send(`GET ${mirror}?redirect HTTP/1.1`, `Host: ${host}`, 'Cookie: name=own');

    const here = await ask(new URL(house.url()).host);
    const apart = await ask(APART);
    const { headers } = await seen(`GET ${mirror} HTTP/1.1`, `Host: ${APART}`, 'Cookie: name=own');

    assert.match(here.head, /^content-security-policy: sandbox/im);
    assert.doesNotMatch(here.head, /^set-cookie:/im);
    assert.doesNotMatch(apart.head, /^content-security-policy:/im);
    assert.match(apart.head, /^set-cookie: a=1/im);
    assert.equal(headers.cookie, 'name=own');
  });

  it('get no header that the function forges in the name of the shim', async () => {
    const { status, head } = await send(`GET ${forger} HTTP/1.1`, 'Host: x');

    const names = head.split('\r\n').map((line) => line.split(':', 1)[0]?.toLowerCase() ?? '');
    assert.equal(status, 200, head);
    assert.equal(names.filter((name) => name === 'content-security-policy').length, 1);
    assert.match(head, /^content-security-policy: sandbox allow-scripts allow-forms$/im);
    assert.match(head, /^defaas-receipt: 0x[0-9a-f]{64}$/im);
    assert.match(head, /^content-type: text\/html$/im);
    for (const name of [
      'set-cookie',
      'access-control-allow-origin',
      'x-split',
      'x-wide',
      'x name',
    ]) {
      assert.ok(!names.includes(name), name);
    }
  });

  it('get no answer when the function returns an invalid status, and pay nothing', async () => {
    for (const status of [0, 99, 101, 600, 200.5]) {
      const reply = await fetch(`${house.url()}${forger}?status=${status}`);

      assert.deepEqual([reply.status, reply.headers.get('defaas-price')], [502, '0'], `${status}`);
    }
  });

  it('by a path that leads out of the function are not sent by the client library', async () => {
    const lane = await house.openLane(KEYS.user);
    const caller = await house.caller(KEYS.user, lane);
    const name = mirror.slice('/functions/'.length);

    for (const path of ['/../../../settlements', '/.%2e/mirror2', '\\..\\..\\x', '/.\t./x']) {
      await assert.rejects(caller.invoke({ function: name, path }), { code: 'REQUEST_INVALID' });
    }
    await assert.rejects(caller.invoke({ function: '../oauth' }), { code: 'REQUEST_INVALID' });
    const inside = await caller.invoke({ function: name, path: '/a/../b?x=/../..' });
    assert.equal((await inside.response.json()).path, '/b');
  });

  it('to sign in are refused before a long message is parsed', async () => {
    const names = Array.from({ length: 7_000 }, (_, i) => i.toString(36)).join('&');
    const message = `${'a.'.repeat(3_000)} wants you to sign in with your Ethereum account:`;
    const token = Buffer.from(JSON.stringify({ message, signature: '0x00' })).toString('base64url');
    const listed = Buffer.from(JSON.stringify({ message: 'x', signature: ['0x00'] }));
    const exchange = (subject: string) =>
      `grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token_type=urn:defaas:params:oauth:token-type:siwe&subject_token=${subject}`;

    for (const body of [
      names,
      exchange(token),
      exchange(listed.toString('base64url')),
      `${names}&0`,
    ]) {
      const { status, code } = await signIn(body);

      assert.deepEqual([status, code], [400, 'SIGN_IN_REFUSED']);
    }
    const { status, code } = await signIn(names.repeat(2));
    assert.deepEqual([status, code], [413, 'BODY_TOO_LARGE']);
  });

  it('may carry DPoP proofs on the origin for functions too, where nobody signs in', async () => {
    const key = await createDpopKey();
    const signer = await house.openLane(KEYS.user);
    const lane = { payer: KEYS.user.address, signer: signer.address };
    const { connection, key: laneKey } = await house.session(signer, {
      payer: KEYS.user,
      signer,
    });
    const fn = mirror.slice('/functions/'.length);
    await (await house.caller(KEYS.user, signer)).invoke({ function: fn });
    const { accessToken } = await signInBy(connection, laneKey, lane, key);
    const proof = (origin: string) => key.prove('GET', `${origin}${mirror}`, accessToken);
    const ask = (dpop: string) =>
      send(
        `GET ${mirror} HTTP/1.1`,
        `Host: ${APART}`,
        `Authorization: DPoP ${accessToken}`,
        `DPoP: ${dpop}`,
        ...Object.entries(ownHeaders(signer, fn)).map(([name, value]) => `${name}: ${value}`),
      );

    const apart = await ask(await proof(`https://${APART}`));
    const stranger = await ask(await proof('https://evil.example'));

    assert.deepEqual([apart.status, stranger.status], [200, 401]);
  });

  it('with HEAD for an artifact read nothing of the artifact', async () => {
    const cid = await house.gateway().artifacts.put(new Map([['a', new Uint8Array(100)]]));
    const url = `${house.url()}/ipfs/${cid}?format=car`;

    const [whole, head] = [await fetch(url), await fetch(url, { method: 'HEAD' })];

    assert.deepEqual([whole.status, head.status], [200, 405]);
  });

  it('for which the function returns no valid Response report that the function failed', async () => {
    const reply = await fetch(`${house.url()}${mirror}?error`);

    assert.deepEqual([reply.status, (await reply.json()).code], [502, 'FUNCTION_FAILED']);
    assert.equal(reply.headers.get('defaas-price'), '0');
  });
});
