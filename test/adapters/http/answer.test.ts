// Which bytes are accepted as an HTTP/1.1 answer, wherever the network cuts them, and which are
// refused. Node's own client is the oracle.

import assert from 'node:assert/strict';
import { type IncomingMessage, request } from 'node:http';
import { Duplex } from 'node:stream';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { AnswerError, AnswerReader } from '../../../adapters/http/answer.ts';

const MAX_BYTES = 1024;
const MAX_HEAD_BYTES = 16 * 1024;

interface Sent {
  readonly method: string;
  readonly status: number;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: Buffer;
  readonly framing: 'none' | 'length' | 'chunked' | 'close';
  /** The bytes on the wire. */
  readonly bytes: Buffer;
}

const name = fc.constantFrom('x-one', 'X-One', 'Set-Cookie', 'Date', '__proto__', 'toString', '7');
/** The value begins and ends with a character that is no space. */
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
  .tuple(fc.constantFrom('100 Continue', '102', '103 Early Hints'), headers)
  .map(([line, own]) => `HTTP/1.1 ${line}\r\n${lines(own)}\r\n`);

const answers = answersWith(extension);
/** Node parses chunk extensions by another grammar than the reader, which skips them. */
const plainAnswers = answersWith(fc.constant(''));

function answersWith(ext: fc.Arbitrary<string>): fc.Arbitrary<Sent> {
  return fc
    .record({
      method: fc.constantFrom('GET', 'POST', 'HEAD'),
      status: fc.constantFrom(200, 201, 204, 304, 404, 500, 599),
      headers,
      body: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
      framing: fc.constantFrom('length' as const, 'chunked' as const, 'close' as const),
      reason: fc.constantFrom('', ' ', ' OK', ' Not \xe9t\xe9 ok'),
      before: space,
      after: space,
      interims: fc.array(interim, { maxLength: 2 }),
      chunks: fc.array(fc.tuple(fc.integer({ min: 1, max: 90 }), ext, fc.boolean())),
      trailers: headers,
    })
    .map((of) => {
      const isBare = of.method === 'HEAD' || of.status === 204 || of.status === 304;
      const framing = isBare ? 'none' : of.framing;
      const framed = {
        length: `Content-Length:${of.before}${of.body.length}${of.after}\r\n`,
        chunked: `Transfer-Encoding:${of.before}Chunked\r\n`,
        close: '',
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

function lines(pairs: Sent['headers'], { before = ' ', after = '' } = {}): string {
  return pairs.map(([key, text]) => `${key}:${before}${text}${after}\r\n`).join('');
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

/** Feeds the pieces to the reader, each in the same reused buffer. */
function readIn(pieces: readonly Buffer[], method = 'GET', maxBytes = MAX_BYTES) {
  const reader = new AnswerReader(method, maxBytes);
  const shared = Buffer.alloc(Math.max(1, ...pieces.map((piece) => piece.length)));
  let isWhole = false;
  let used = 0;
  for (const piece of pieces) {
    piece.copy(shared);
    isWhole = reader.read(shared.subarray(0, piece.length));
    shared.fill('X');
    used += 1;
    if (isWhole) break;
  }
  return { reader, isWhole, unread: pieces.slice(used) };
}

function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const at = [0, ...places.map((place) => place % (bytes.length + 1)), bytes.length];
  at.sort((a, b) => a - b);
  return at.slice(1).map((end, i) => bytes.subarray(at[i], end));
}

function read(text: string, method?: string, maxBytes?: number) {
  return readIn([latin1(text)], method, maxBytes);
}

/** The headers in the reader's form. */
function grouped(pairs: Sent['headers']): Record<string, string | string[]> {
  const found: Record<string, string | string[]> = Object.create(null);
  for (const [key, text] of pairs) {
    const known = found[key.toLowerCase()];
    found[key.toLowerCase()] = known === undefined ? text : [known, text].flat();
  }
  return found;
}

/** Node's reading of the bytes, or undefined when Node refuses them. */
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
  it('is read the same wherever the network cuts it', () => {
    fc.assert(
      fc.property(answers, fc.array(fc.nat(), { maxLength: 12 }), (sent, places) => {
        const { reader, isWhole } = readIn(cut(sent.bytes, places), sent.method);

        assert.equal(isWhole, sent.framing !== 'close');
        assert.equal(reader.end(), sent.framing === 'close');
        assert.equal(reader.status, sent.status);
        const { 'content-length': _, 'transfer-encoding': __, ...others } = reader.headers;
        assert.deepEqual({ ...others }, { ...grouped(sent.headers) });
        assert.ok(reader.body.equals(sent.body));
        assert.equal(reader.isLast, sent.framing === 'close');
      }),
      { numRuns: 500 },
    );
  });

  it('is read the same when it arrives byte by byte', () => {
    fc.assert(
      fc.property(answers, (sent) => {
        const bytes = [...sent.bytes].map((byte) => Buffer.of(byte));

        const { reader, isWhole, unread } = readIn(bytes, sent.method);

        assert.equal(isWhole, sent.framing !== 'close');
        assert.equal(unread.length, 0);
        assert.equal(reader.status, sent.status);
        assert.ok(reader.body.equals(sent.body));
      }),
      { numRuns: 100 },
    );
  });

  it('is not complete before its last byte', () => {
    fc.assert(
      fc.property(answers, fc.nat(), (sent, place) => {
        const { reader, isWhole } = readIn(
          [sent.bytes.subarray(0, place % sent.bytes.length)],
          sent.method,
        );

        assert.equal(isWhole, false);
        assert.ok(!reader.end() || sent.framing === 'close');
      }),
    );
  });

  it('is the last one of its connection when more bytes follow it', () => {
    fc.assert(
      fc.property(answers, fc.array(fc.nat()), (sent, places) => {
        fc.pre(sent.framing !== 'close');
        const more = Buffer.concat([sent.bytes, latin1(`${OK}content-length: 0\r\n\r\n`)]);

        const { reader, isWhole, unread } = readIn(cut(more, places), sent.method);

        assert.ok(isWhole);
        assert.ok(reader.body.equals(sent.body));
        const left = Buffer.concat(unread).length;
        assert.equal(reader.isLast, left < more.length - sent.bytes.length);
      }),
    );
  });

  it('is read as Node reads it', async () => {
    await fc.assert(
      fc.asyncProperty(answers, async (sent) => {
        const { reader } = readIn([sent.bytes], sent.method);

        const oracle = await readByNode(sent.bytes, sent.method);

        assert.deepEqual(
          { status: reader.status, headers: { ...reader.headers }, body: reader.body },
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
    let taken = 0;
    await fc.assert(
      fc.asyncProperty(plainAnswers, faults, async (sent, { at, gone, put }) => {
        const place = at % sent.bytes.length;
        const bytes = Buffer.concat([
          sent.bytes.subarray(0, place),
          latin1(put),
          sent.bytes.subarray(place + gone),
        ]);
        let ours: ReturnType<typeof readIn>;
        try {
          ours = readIn([bytes], sent.method);
        } catch (error) {
          assert.ok(error instanceof AnswerError);
          return;
        }
        if (!ours.isWhole && !ours.reader.end()) return;

        const oracle = await readByNode(bytes, sent.method);

        // Node reports bytes behind an answer as an error or ignores them; they are no part of the
        // answer.
        if (ours.reader.isLast && oracle === undefined) return;
        taken += 1;
        assert.equal(oracle?.status, ours.reader.status);
        assert.deepEqual({ ...ours.reader.headers }, { ...oracle?.headers });
        assert.deepEqual(ours.reader.body, oracle?.body);
      }),
      { numRuns: 1500 },
    );
    assert.ok(taken > 0);
  });

  it('is the last one of its connection when its headers say so', () => {
    const isLast = (head: string) => read(`${head}content-length: 0\r\n\r\n`).reader.isLast;

    assert.equal(isLast(OK), false);
    assert.equal(isLast(`${OK}Connection: keep-alive\r\n`), false);
    assert.equal(isLast(`${OK}Connection: closed, not-close\r\n`), false);
    assert.equal(isLast(`${OK}Connection: CLOSE\r\n`), true);
    assert.equal(isLast(`${OK}Connection: keep-alive,\tclose\t, x\r\n`), true);
    assert.equal(isLast(`${OK}Connection: x\r\nConnection: close\r\n`), true);
    assert.equal(isLast('HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n'), true);
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
    'an empty line before it': `\r\n${OK}content-length: 0\r\n\r\n`,
    'a NUL in the reason': 'HTTP/1.1 200 O\0K\r\n\r\n',
    'a 1xx of HTTP/1.0': `HTTP/1.0 100 Continue\r\n\r\n${OK}content-length: 0\r\n\r\n`,
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
    'chunks of HTTP/1.0': 'HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
    'a chunk without a size': `${CHUNKED}\r\n\r\n`,
    'a negative size': `${CHUNKED}-1\r\n\r\n`,
    'a signed size': `${CHUNKED}+1\r\na\r\n0\r\n\r\n`,
    'a size with 0x': `${CHUNKED}0x1\r\na\r\n0\r\n\r\n`,
    'a space before the size': `${CHUNKED} 1\r\na\r\n0\r\n\r\n`,
    'a space behind the size': `${CHUNKED}1 \r\na\r\n0\r\n\r\n`,
    'a space before an extension': `${CHUNKED}1 ;a\r\na\r\n0\r\n\r\n`,
    'a size that is no number': `${CHUNKED}g\r\n\r\n`,
    'two sizes': `${CHUNKED}1 1\r\na\r\n0\r\n\r\n`,
    'a size of nine digits': `${CHUNKED}000000001\r\na\r\n0\r\n\r\n`,
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
    'a head without an end': OK + 'a: b\r\n'.repeat(MAX_HEAD_BYTES / 6),
    'an extension too long': `${CHUNKED}1;${'a'.repeat(MAX_HEAD_BYTES)}\r\na\r\n0\r\n\r\n`,
    'an extension without an end': `${CHUNKED}1;${'a'.repeat(MAX_HEAD_BYTES)}`,
    'trailers too long': `${CHUNKED}0\r\n${'a: bcdefg\r\n'.repeat(MAX_HEAD_BYTES / 9 + 1)}\r\n`,
  };
  for (const [title, text] of Object.entries(refused)) {
    it(`is refused as malformed: ${title}`, () => {
      const bytes = latin1(text);
      const one = [...bytes].map((byte) => Buffer.of(byte));

      assert.throws(() => readIn([bytes]), isRefused);
      // Read byte by byte it must be refused too, and not accepted before the fault is seen.
      if (bytes.length < 1000) assert.throws(() => readIn(one), isRefused);
    });
  }

  const tooLarge: Record<string, string> = {
    'by its length': `${OK}content-length: ${MAX_BYTES + 1}\r\n\r\n`,
    'by one chunk': `${CHUNKED}${(MAX_BYTES + 1).toString(16)}\r\n`,
    'by the largest chunk': `${CHUNKED}ffffffff\r\n`,
    'by many chunks': CHUNKED + '1\r\na\r\n'.repeat(MAX_BYTES + 1),
    'until its end': `${OK}\r\n${'a'.repeat(MAX_BYTES + 1)}`,
  };
  for (const [title, text] of Object.entries(tooLarge)) {
    it(`is refused as too large ${title}`, () => {
      const bytes = latin1(text);

      for (const pieces of [[bytes], [...bytes].map((byte) => Buffer.of(byte))]) {
        assert.throws(
          () => readIn(pieces),
          (error) => error instanceof AnswerError && error.isTooLarge,
        );
      }
    });
  }

  it('is accepted at exactly the size limit', () => {
    const body = 'a'.repeat(MAX_BYTES);

    const sized = read(`${OK}content-length: ${MAX_BYTES}\r\n\r\n${body}`);
    const inChunks = read(`${CHUNKED}${'1\r\na\r\n'.repeat(MAX_BYTES)}0\r\n\r\n`);
    const untilEnd = read(`${OK}\r\n${body}`);

    for (const { reader } of [sized, inChunks, untilEnd]) assert.equal(`${reader.body}`, body);
    assert.ok(sized.isWhole && inChunks.isWhole && untilEnd.reader.end());
  });

  it('is accepted with a head at exactly the limit, wherever the head is cut', () => {
    const value = 'b'.repeat(MAX_HEAD_BYTES - OK.length - 'content-length: 0\r\na: '.length);
    const bytes = latin1(`${OK}content-length: 0\r\na: ${value}\r\n\r\n`);
    assert.equal(bytes.length, MAX_HEAD_BYTES + 4);

    for (const place of [bytes.length, bytes.length - 1, bytes.length - 2, bytes.length - 3, 9]) {
      assert.ok(readIn(cut(bytes, [place])).isWhole);
    }
  });

  it('is accepted with a chunk extension at exactly the limit, wherever it is cut', () => {
    const line = `0;${'a'.repeat(MAX_HEAD_BYTES - 2)}\r\n`;
    const bytes = latin1(`${CHUNKED}${line}\r\n`);

    for (const place of [bytes.length, bytes.length - 2, bytes.length - 3, bytes.length - 4]) {
      assert.ok(readIn(cut(bytes, [place])).isWhole);
    }
  });

  it('has no body in answer to HEAD, nor with 204 or 304, whatever its head says', () => {
    for (const [status, method] of [
      [200, 'HEAD'],
      [204, 'GET'],
      [304, 'GET'],
    ] as const) {
      for (const framed of ['content-length: 9', 'transfer-encoding: chunked']) {
        const { reader, isWhole } = read(`HTTP/1.1 ${status} X\r\n${framed}\r\n\r\n`, method);

        assert.ok(isWhole);
        assert.equal(reader.body.length, 0);
        assert.equal(reader.isLast, false);
      }
    }
  });

  it('uses little more memory than its body, however small its chunks are', () => {
    const size = 200_000;
    const reader = new AnswerReader('GET', size);
    reader.read(latin1(CHUNKED));
    const some = latin1('1\r\na\r\n'.repeat(1000));
    const before = memoryBytes();

    for (let chunks = 0; chunks < size; chunks += 1000) reader.read(some);

    const kept = memoryBytes() - before;
    assert.equal(reader.read(latin1('0\r\n\r\n')), true);
    assert.equal(reader.body.length, size);
    assert.ok(kept < 5 * size, `${kept} bytes`);
  });
});

/** Memory in use, after garbage collection. */
function memoryBytes(): number {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

function isRefused(error: unknown): boolean {
  return error instanceof AnswerError && !error.isTooLarge;
}
