// What a sender takes for an HTTP/1.1 answer, wherever the network cuts it, and what it refuses.
// A hostile server on a real socket; Node's own client is the oracle.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { AnswerBody } from '../../../adapters/http/answer.ts';
import {
  createSender,
  SendError,
  type Sender,
  type UpstreamResponse,
} from '../../../adapters/http/send.ts';

const MAX_BYTES = 1024;
const MAX_HEAD_BYTES = 16 * 1024;

interface Sent {
  readonly method: string;
  readonly status: number;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: Buffer;
  readonly framing: 'none' | 'length' | 'chunked';
  /** As it goes over the wire. */
  readonly bytes: Buffer;
}

const name = fc.constantFrom('x-one', 'X-One', 'Set-Cookie', 'Date', '__proto__', 'toString', '7');
/** Begins and ends with what is no space. */
const value = fc
  .array(fc.oneof(fc.integer({ min: 0x21, max: 0x7e }), fc.integer({ min: 0x80, max: 0xff })))
  .chain((codes) =>
    fc.constantFrom('', ' ', '\t').map((gap) => {
      const text = String.fromCharCode(...codes);
      return text.length > 1 ? text[0] + gap + text.slice(1) : text;
    }),
  );
const headers = fc.array(fc.tuple(name, value), { maxLength: 6 });
const space = fc.constantFrom('', ' ', '\t', '  ');
const extension = fc.constantFrom('', ';a', ';a=b', ';a="b c"', ';a=1;b=2');
const interim = fc
  .tuple(fc.constantFrom('102 Processing', '103 Early Hints', '199 Other'), headers)
  .map(([line, own]) => `HTTP/1.1 ${line}\r\n${lines(own)}\r\n`);

const answers = answersWith(extension);
/** Versions of the parser differ in the grammar of extensions, which mean nothing. */
const plainAnswers = answersWith(fc.constant(''));

function answersWith(ext: fc.Arbitrary<string>): fc.Arbitrary<Sent> {
  return fc
    .record({
      method: fc.constantFrom('GET', 'POST', 'HEAD'),
      status: fc.constantFrom(200, 201, 204, 304, 404, 500, 599),
      headers,
      body: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
      framing: fc.constantFrom('length' as const, 'chunked' as const),
      reason: fc.constantFrom('', ' ', ' OK', ' Not \xe9t\xe9 ok'),
      before: space,
      interims: fc.array(interim, { maxLength: 2 }),
      chunks: fc.array(fc.tuple(fc.integer({ min: 1, max: 90 }), ext, fc.boolean())),
      trailers: headers,
    })
    .map((of) => {
      const isBare = of.method === 'HEAD' || of.status === 204 || of.status === 304;
      const framing = isBare ? 'none' : of.framing;
      const framed = {
        length: `Content-Length:${of.before}${of.body.length}\r\n`,
        chunked: `Transfer-Encoding:${of.before}Chunked\r\n`,
      }[of.framing];
      const head = `HTTP/1.1 ${of.status}${of.reason}\r\n${lines(of.headers, of)}${framed}\r\n`;
      const body = isBare ? Buffer.alloc(0) : of.body;
      const wired = framing === 'chunked' ? chunked(body, of) : body;
      return {
        method: of.method,
        status: of.status,
        headers: of.headers,
        body,
        framing,
        bytes: Buffer.concat([latin1(of.interims.join('') + head), wired]),
      };
    });
}

function lines(pairs: Sent['headers'], { before = ' ' } = {}): string {
  return pairs.map(([key, text]) => `${key}:${before}${text}\r\n`).join('');
}

function chunked(
  body: Buffer,
  of: { chunks: readonly (readonly [number, string, boolean])[]; trailers: Sent['headers'] },
): Buffer {
  const parts: Buffer[] = [];
  let at = 0;
  for (const [length, ext, isUpper] of [...of.chunks, [300, '', false] as const]) {
    const part = body.subarray(at, at + length);
    if (part.length === 0) break;
    const size = part.length.toString(16);
    parts.push(latin1(`${isUpper ? `0${size.toUpperCase()}` : size}${ext}\r\n`), part);
    parts.push(latin1('\r\n'));
    at += length;
  }
  return Buffer.concat([...parts, latin1(`0\r\n${lines(of.trailers)}\r\n`)]);
}

function latin1(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

interface Turn {
  readonly pieces: readonly Buffer[];
  /** What becomes of the connection behind them. */
  readonly behind: 'kept' | 'ended';
}

let server: Server;
let sender: Sender;
const sockets = new Set<Socket>();
/** Connections that have come. */
let opened = 0;
/** What the next request is answered with. */
let turn: Turn = { pieces: [], behind: 'ended' };

before(async () => {
  server = createServer({ noDelay: true }, (socket) => {
    opened += 1;
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    // A request of these tests has no body and comes in one piece.
    socket.on('data', () => void play(socket, turn));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});

after(async () => {
  await new Promise((resolve) => server.close(resolve));
});

beforeEach(() => {
  sender = createSender({ connections: 1 });
});

afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  await sender.close();
});

async function play(socket: Socket, { pieces, behind }: Turn): Promise<void> {
  for (const piece of pieces) {
    if (socket.destroyed) return;
    socket.write(piece);
    // So that the next one is read by itself.
    if (pieces.length > 1) await new Promise((resolve) => setImmediate(resolve));
  }
  if (behind === 'ended') socket.end();
}

/** What the sender makes of an answer that comes in these pieces. */
async function sent(
  pieces: readonly Buffer[],
  { method = 'GET', maxBytes = MAX_BYTES, behind = 'ended' as Turn['behind'] } = {},
): Promise<UpstreamResponse | SendError> {
  turn = { pieces, behind };
  const { port } = server.address() as AddressInfo;
  const origin = `http://127.0.0.1:${port}`;
  const { signal } = new AbortController();
  const asked = { origin, path: '/', method, headers: [], body: Buffer.alloc(0) };
  try {
    return await sender.send(asked, { signal, maxResponseBytes: maxBytes });
  } catch (error) {
    if (!(error instanceof SendError)) throw error;
    return error;
  }
}

async function taken(...of: Parameters<typeof sent>): Promise<UpstreamResponse> {
  const answer = await sent(...of);
  if (answer instanceof SendError) throw answer;
  return answer;
}

/** Such an answer is none, and its request may have run. */
function assertRefused(
  answer: UpstreamResponse | SendError,
  reason: SendError['reason'] = 'connection',
) {
  assert.ok(answer instanceof SendError, `taken: ${JSON.stringify(answer)}`);
  assert.deepEqual({ reason: answer.reason, began: answer.began }, { reason, began: true });
}

function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const at = [0, ...places.map((place) => place % (bytes.length + 1)), bytes.length];
  at.sort((a, b) => a - b);
  return at.slice(1).map((end, i) => bytes.subarray(at[i], end));
}

/** The headers as a sender has them. */
function grouped(pairs: Sent['headers']): Record<string, string | string[]> {
  const found: Record<string, string | string[]> = Object.create(null);
  for (const [key, text] of pairs) {
    const known = found[key.toLowerCase()];
    found[key.toLowerCase()] = known === undefined ? text : [known, text].flat();
  }
  return found;
}

/** What Node's client makes of the bytes, or undefined when it refuses them. */
async function readByNode(bytes: Buffer, method: string) {
  let isAsked = false;
  const socket = new Duplex({
    read() {},
    write(_chunk, _encoding, done) {
      done();
      if (isAsked) return;
      isAsked = true;
      socket.push(bytes);
      socket.push(null);
    },
  });
  try {
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const asked = request({ method, createConnection: () => socket }, resolve);
      asked.on('error', reject);
      asked.on('upgrade', () => reject(new Error('another protocol')));
      asked.end();
    });
    const chunks: Buffer[] = [];
    for await (const chunk of answer) chunks.push(chunk);
    const raw = answer.rawHeaders;
    const pairs = raw.flatMap((key, i) => (i % 2 ? [] : [[key, raw[i + 1] ?? ''] as const]));
    const status = answer.statusCode;
    return { status, headers: grouped(pairs), body: Buffer.concat(chunks) };
  } catch {
    return undefined;
  } finally {
    socket.destroy();
  }
}

const OK = 'HTTP/1.1 200 OK\r\n';
const CHUNKED = `${OK}transfer-encoding: chunked\r\n\r\n`;

describe('an HTTP answer', () => {
  it('is read the same wherever the network cuts it', async () => {
    await fc.assert(
      fc.asyncProperty(answers, fc.array(fc.nat(), { maxLength: 6 }), async (of, places) => {
        const { method } = of;

        const answer = await taken(cut(of.bytes, places), { method, behind: 'kept' });

        assert.equal(answer.status, of.status);
        const { 'content-length': _, 'transfer-encoding': __, ...others } = answer.headers;
        assert.deepEqual({ ...others }, { ...grouped(of.headers) });
        assert.ok(answer.body.equals(of.body));
      }),
      { numRuns: 300 },
    );
  });

  it('is read the same when it arrives byte by byte', async () => {
    await fc.assert(
      fc.asyncProperty(answers, async (of) => {
        const answer = await taken(bytewise(of.bytes), { method: of.method, behind: 'kept' });

        assert.equal(answer.status, of.status);
        assert.ok(answer.body.equals(of.body));
      }),
      { numRuns: 30 },
    );
  });

  it('is not complete before its last byte', async () => {
    await fc.assert(
      fc.asyncProperty(answers, fc.nat(), async (of, place) => {
        const part = of.bytes.subarray(0, place % of.bytes.length);

        assertRefused(await sent([part], { method: of.method }));
      }),
      { numRuns: 200 },
    );
  });

  it('is the last one of its connection when more bytes follow it', async () => {
    await fc.assert(
      fc.asyncProperty(answers, fc.array(fc.nat(), { maxLength: 6 }), async (of, places) => {
        const { method } = of;
        const forged = latin1(`${OK}content-length: 6\r\n\r\nforged`);
        const more = cut(Buffer.concat([of.bytes, forged]), places);

        const answer = await taken(more, { method, behind: 'kept' });
        const before = opened;
        const next = await taken([latin1(`${OK}content-length: 2\r\n\r\nok`)], { behind: 'kept' });

        assert.ok(answer.body.equals(of.body));
        assert.equal(`${next.body}`, 'ok');
        // What comes in the same piece is seen before the connection is used again.
        if (places.length === 0) assert.equal(opened, before + 1);
      }),
      { numRuns: 200 },
    );
  });

  it('is read as Node reads it', async () => {
    await fc.assert(
      fc.asyncProperty(answers, async (of) => {
        const { status, headers, body } = await taken([of.bytes], { method: of.method });

        const oracle = await readByNode(of.bytes, of.method);

        assert.deepEqual(
          { status, headers: { ...headers }, body },
          oracle && { ...oracle, headers: { ...oracle.headers } },
        );
      }),
      { numRuns: 200 },
    );
  });

  it('that is malformed is refused or read as Node reads it', async () => {
    const faults = fc.record({
      at: fc.nat(),
      gone: fc.nat({ max: 3 }),
      put: fc.constantFrom('', '\r', '\n', '\r\n', ' ', '\0', ':', '0', 'f', '-', ','),
    });
    let others = 0;
    await fc.assert(
      fc.asyncProperty(plainAnswers, faults, async (of, { at, gone, put }) => {
        const place = at % of.bytes.length;
        const bytes = Buffer.concat([
          of.bytes.subarray(0, place),
          latin1(put),
          of.bytes.subarray(place + gone),
        ]);
        const ours = await sent([bytes], { method: of.method });
        if (ours instanceof SendError) return assertRefused(ours, ours.reason);

        const oracle = await readByNode(bytes, of.method);

        // Node refuses an answer for what stands behind it.
        if (oracle === undefined) return;
        others += 1;
        assert.equal(oracle.status, ours.status);
        assert.deepEqual(trimmed(ours.headers), { ...oracle.headers });
        assert.deepEqual(ours.body, oracle.body);
      }),
      { numRuns: 1000 },
    );
    assert.ok(others > 0);
  });

  it('is the last one of its connection when its headers say so', async () => {
    const isLast = async (head: string) => {
      const whole = [latin1(`${head}content-length: 0\r\n\r\n`)];
      await taken(whole, { behind: 'kept' });
      const before = opened;
      await taken(whole, { behind: 'kept' });
      return opened > before;
    };

    assert.equal(await isLast(OK), false);
    assert.equal(await isLast(`${OK}Connection: keep-alive\r\n`), false);
    assert.equal(await isLast(`${OK}Connection: closed, not-close\r\n`), false);
    assert.equal(await isLast(`${OK}Connection: CLOSE\r\n`), true);
    assert.equal(await isLast(`${OK}Connection: keep-alive, close , x\r\n`), true);
    assert.equal(await isLast(`${OK}Connection: x\r\nConnection: close\r\n`), true);
    assert.equal(await isLast('HTTP/1.0 200 OK\r\n'), true);
  });

  const refused: Record<string, string> = {
    'no HTTP': 'SSH-2.0-OpenSSH\r\n\r\n',
    'HTTP/2': 'HTTP/2 200 OK\r\n\r\n',
    'HTTP/1.2': 'HTTP/1.2 200 OK\r\n\r\n',
    'a small http': 'http/1.1 200 OK\r\n\r\n',
    'a status of two digits': 'HTTP/1.1 20 OK\r\n\r\n',
    'a status of four digits': 'HTTP/1.1 2000 OK\r\n\r\n',
    'a status of no class': 'HTTP/1.1 600 OK\r\n\r\n',
    'two spaces before the status': 'HTTP/1.1  200 OK\r\n\r\n',
    'a NUL in the reason': 'HTTP/1.1 200 O\0K\r\n\r\n',
    'a 1xx of HTTP/1.0': `HTTP/1.0 100 Continue\r\n\r\n${OK}content-length: 0\r\n\r\n`,
    'a 100 that nobody asked for': `HTTP/1.1 100 Continue\r\n\r\n${OK}content-length: 0\r\n\r\n`,
    'a switch of protocols': 'HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n',
    'LF as the end of a line': `${OK}a: b\nc: d\r\n\r\n`,
    'LF behind the status': 'HTTP/1.1 200 OK\na: b\r\n\r\n',
    'LF in front of the end': `${OK}content-length: 1\n\r\n\r\n`,
    'CR in a value': `${OK}a: b\rc\r\n\r\n`,
    'NUL in a value': `${OK}a: b\0c\r\n\r\n`,
    'DEL in a value': `${OK}a: b\x7fc\r\n\r\n`,
    'a folded line': `${OK}a: b\r\n c\r\n\r\n`,
    'a folded first line': `${OK} a: b\r\n\r\n`,
    'a space before the colon': `${OK}content-length : 0\r\n\r\n`,
    'a space in a name': `${OK}a b: 0\r\n\r\n`,
    'no name': `${OK}: b\r\n\r\n`,
    'no colon': `${OK}abc\r\n\r\n`,
    'a name above 0x7f': `${OK}\xe9: b\r\n\r\n`,
    'two lengths': `${OK}content-length: 1\r\ncontent-length: 2\r\n\r\na`,
    'the same length twice': `${OK}content-length: 1\r\ncontent-length: 1\r\n\r\na`,
    'a list of lengths': `${OK}content-length: 1, 1\r\n\r\na`,
    'a length and chunks': `${OK}content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
    'a negative length': `${OK}content-length: -1\r\n\r\n`,
    'a signed length': `${OK}content-length: +1\r\n\r\na`,
    'a hexadecimal length': `${OK}content-length: 0x1\r\n\r\na`,
    'a length with an exponent': `${OK}content-length: 1e1\r\n\r\na`,
    'a broken length': `${OK}content-length: 1.0\r\n\r\na`,
    'an empty length': `${OK}content-length:\r\n\r\n`,
    'a length beyond 2^53': `${OK}content-length: 99999999999999999999\r\n\r\n`,
    'another encoding': `${OK}transfer-encoding: gzip\r\n\r\n`,
    'an encoding before chunks': `${OK}transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
    'chunks twice': `${OK}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
    'chunks with a parameter': `${OK}transfer-encoding: chunked;q=1\r\n\r\n0\r\n\r\n`,
    'an empty encoding': `${OK}transfer-encoding:\r\n\r\n`,
    'identity as an encoding': `${OK}transfer-encoding: identity\r\n\r\n`,
    'a chunk without a size': `${CHUNKED}\r\n\r\n`,
    'a negative size': `${CHUNKED}-1\r\n\r\n`,
    'a signed size': `${CHUNKED}+1\r\na\r\n0\r\n\r\n`,
    'a size with 0x': `${CHUNKED}0x1\r\na\r\n0\r\n\r\n`,
    'a space before the size': `${CHUNKED} 1\r\na\r\n0\r\n\r\n`,
    'a space behind the size': `${CHUNKED}1 \r\na\r\n0\r\n\r\n`,
    'a space before an extension': `${CHUNKED}1 ;a\r\na\r\n0\r\n\r\n`,
    'a size that is no number': `${CHUNKED}g\r\n\r\n`,
    'two sizes': `${CHUNKED}1 1\r\na\r\n0\r\n\r\n`,
    'a size of seventeen digits': `${CHUNKED}10000000000000001\r\na\r\n0\r\n\r\n`,
    'LF behind a size': `${CHUNKED}1\na\r\n0\r\n\r\n`,
    'CR in an extension': `${CHUNKED}1;a\rb\r\na\r\n0\r\n\r\n`,
    'a chunk longer than its size': `${CHUNKED}1\r\nab\r\n0\r\n\r\n`,
    'a chunk that LF ends': `${CHUNKED}1\r\na\n0\r\n\r\n`,
    'a trailer without a colon': `${CHUNKED}0\r\nabc\r\n\r\n`,
    'a folded trailer': `${CHUNKED}0\r\na: b\r\n c\r\n\r\n`,
    'NUL in a trailer': `${CHUNKED}0\r\na: \0\r\n\r\n`,
    'LF in a trailer': `${CHUNKED}0\r\na: b\nc: d\r\n\r\n`,
    'a fault in a head before it': `HTTP/1.1 100 Continue\r\na\r\n\r\n${OK}\r\n`,
    'a head too long': `${OK}a: ${'b'.repeat(MAX_HEAD_BYTES)}\r\n\r\n`,
    // Names and values count, not what stands between them.
    'a head without an end': OK + 'a: b\r\n'.repeat(MAX_HEAD_BYTES / 2),
    'trailers too long': `${CHUNKED}0\r\n${'a: bcdefg\r\n'.repeat(MAX_HEAD_BYTES / 7 + 1)}\r\n`,
    'a body without an end': `${OK}\r\na`,
  };
  for (const [title, text] of Object.entries(refused)) {
    it(`is refused as malformed: ${title}`, async () => {
      const bytes = latin1(text);

      assertRefused(await sent([bytes], { behind: endOf(title) }));
      // Byte by byte it must be refused as well, and not taken before the fault is seen.
      if (bytes.length >= 1000) return;
      assertRefused(await sent(bytewise(bytes), { behind: endOf(title) }));
    });
  }

  // What the parser is lenient in. None of it moves the place where the next answer begins.
  const lenient: Record<string, readonly [text: string, body: string]> = {
    'an empty line before it': [`\r\n${OK}content-length: 0\r\n\r\n`, ''],
    'chunks of HTTP/1.0': [`HTTP/1.0${CHUNKED.slice(8)}1\r\na\r\n0\r\n\r\n`, 'a'],
    'zeros before a size': [`${CHUNKED}000000001\r\na\r\n0\r\n\r\n`, 'a'],
    'a long extension': [`${CHUNKED}1;${'a'.repeat(MAX_HEAD_BYTES)}\r\na\r\n0\r\n\r\n`, 'a'],
  };
  for (const [title, [text, body]] of Object.entries(lenient)) {
    it(`is accepted with ${title}`, async () => {
      assert.equal(`${(await taken([latin1(text)], { behind: 'kept' })).body}`, body);
    });
  }

  const tooLarge: Record<string, string> = {
    'by its length': `${OK}content-length: ${MAX_BYTES + 1}\r\n\r\n`,
    'by one chunk': `${CHUNKED}${(MAX_BYTES + 1).toString(16)}\r\n${'a'.repeat(MAX_BYTES + 1)}`,
    'by the largest chunk': `${CHUNKED}ffffffff\r\n${'a'.repeat(MAX_BYTES + 1)}`,
    'by many chunks': CHUNKED + '1\r\na\r\n'.repeat(MAX_BYTES + 1),
  };
  for (const [title, text] of Object.entries(tooLarge)) {
    it(`is refused as too large ${title}`, async () => {
      assertRefused(await sent([latin1(text)], { behind: 'kept' }), 'too-large');
    });
  }

  it('is accepted at exactly the size limit', async () => {
    const body = 'a'.repeat(MAX_BYTES);

    const sized = await taken([latin1(`${OK}content-length: ${MAX_BYTES}\r\n\r\n${body}`)]);
    const inChunks = await taken([latin1(`${CHUNKED}${'1\r\na\r\n'.repeat(MAX_BYTES)}0\r\n\r\n`)]);

    for (const answer of [sized, inChunks]) assert.equal(`${answer.body}`, body);
  });

  it('is accepted with a head of nearly 16 KiB, wherever the head is cut', async () => {
    const long = 'b'.repeat(MAX_HEAD_BYTES - 'content-length0a'.length - 1);
    const bytes = latin1(`${OK}content-length: 0\r\na: ${long}\r\n\r\n`);

    for (const place of [bytes.length, bytes.length - 1, bytes.length - 2, bytes.length - 3, 9]) {
      assert.equal((await taken(cut(bytes, [place]), { behind: 'kept' })).status, 200);
    }
  });

  it('has no body in answer to HEAD, nor with 204 or 304, whatever its head says', async () => {
    for (const [status, method] of [
      [200, 'HEAD'],
      [204, 'GET'],
      [304, 'GET'],
    ] as const) {
      for (const framed of ['content-length: 9', 'transfer-encoding: chunked']) {
        const bytes = latin1(`HTTP/1.1 ${status} X\r\n${framed}\r\n\r\n`);

        const answer = await taken([bytes], { method, behind: 'kept' });

        assert.equal(answer.body.length, 0);
      }
    }
  });

  it('uses little more memory than its body, however small its chunks are', () => {
    const size = 200_000;
    const shared = Buffer.alloc(64 * 1024, 'a');
    const body = new AnswerBody('GET', 200, { 'transfer-encoding': 'chunked' }, size);
    const before = memoryBytes();

    for (let at = 0; at < size; at += 1) body.add(shared.subarray(at % 1000, (at % 1000) + 1));

    const kept = memoryBytes() - before;
    shared.fill('b');
    assert.equal(`${body.bytes}`, 'a'.repeat(size));
    assert.ok(kept < 5 * size, `${kept} bytes`);
  });
});

/** What is held, without what only waits to be collected. */
function memoryBytes(): number {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

/** undici keeps the blanks behind a value, which are none of it (RFC 9110 section 5.5). */
function trimmed(headers: UpstreamResponse['headers']): Record<string, string | string[]> {
  const trim = (text: string) => text.replace(/[\t ]+$/, '');
  const pairs = Object.entries(headers).map(([key, text = '']) => [
    key,
    typeof text === 'string' ? trim(text) : text.map(trim),
  ]);
  return Object.fromEntries(pairs);
}

function bytewise(bytes: Buffer): Buffer[] {
  return [...bytes].map((byte) => Buffer.of(byte));
}

/** Only an answer that may still go on needs the end of its connection to be refused. */
function endOf(title: string): Turn['behind'] {
  return ['a switch of protocols', 'a chunk without a size', 'chunks twice'].includes(title)
    ? 'ended'
    : 'kept';
}
