// One HTTP/1.1 answer out of the bytes of a connection (RFC 9112). Strict: what could be read in two ways is refused.
import { HEADER_LINE, HEADER_LINES, headersIn } from './message.ts';

const HEAD_END = Buffer.from('\r\n\r\n');
const LINE_END = Buffer.from('\r\n');
/** Of a head, of the line before a chunk, and of all trailers, bytes: what Node takes of a head. */
const MAX_HEAD_BYTES = 16 * 1024;
const HEAD = new RegExp(
  `^HTTP/1\\.([01]) ([1-5]\\d\\d)(?: [\\t\\x20-\\x7e\\x80-\\xff]*)?${HEADER_LINES}$`,
);
const CHUNK_LINE = /^([0-9A-Fa-f]{1,8})(?:;[\t\x20-\x7e\x80-\xff]*)?$/;
const LENGTH = /^\d{1,15}$/;
const NO_BYTES = Buffer.alloc(0);

/** By lower-case name; a repeated header is a list. */
export type AnswerHeaders = Readonly<Record<string, string | string[] | undefined>>;

/** Not what HTTP/1.1 says, or longer than is taken. */
export class AnswerError extends Error {
  override readonly name = 'AnswerError';
  readonly isTooLarge: boolean;

  constructor(message: string, isTooLarge = false) {
    super(message);
    this.isTooLarge = isTooLarge;
  }
}

type Framing = 'none' | 'length' | 'chunked' | 'close';

export class AnswerReader {
  status = 0;
  headers: AnswerHeaders = {};
  /** The connection cannot be used after this answer. */
  isLast = false;
  readonly #method: string;
  readonly #maxBytes: number;
  /** Undefined while the head is read. */
  #framing: Framing | undefined;
  /** Of a body with a length, or of the current chunk, what is still to come, bytes. */
  #left = 0;
  #expected: 'size' | 'end of chunk' | 'trailer' = 'size';
  #trailerBytes = 0;
  /** The begin of a head or line that has not come whole. */
  #held: Buffer = NO_BYTES;
  /** Room for the body, which is filled up to `#bodyBytes`. Not a list: a body of tiny chunks would be a hundred times its size. */
  #room: Buffer = NO_BYTES;
  #bodyBytes = 0;

  /** `method` is the request's: an answer to HEAD has no body, whatever its head says. */
  constructor(method: string, maxBytes: number) {
    this.#method = method;
    this.#maxBytes = maxBytes;
  }

  get body(): Buffer {
    return this.#room.subarray(0, this.#bodyBytes);
  }

  /**
   * Takes what has come; nothing of `chunk` is kept but as a copy. True when the answer is whole.
   * @throws AnswerError  the connection is of no use any more
   */
  read(chunk: Buffer): boolean {
    const bytes = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    this.#held = NO_BYTES;
    const bodyAt = this.#framing === undefined ? this.#readHeads(bytes) : 0;
    if (bodyAt === undefined) return false;
    const end = this.#readBody(bytes, bodyAt);
    if (end === undefined) return false;
    // More than was asked for: whose answer that is nobody knows.
    if (end < bytes.length) this.isLast = true;
    return true;
  }

  /** The other side has ended: whether the answer is whole by that. */
  end(): boolean {
    return this.#framing === 'close';
  }

  /** Where the body begins; undefined when the head is not all there. */
  #readHeads(bytes: Buffer): number | undefined {
    let at = 0;
    // 1xx are heads before the answer (RFC 9110 section 15.2).
    do {
      const headEnd = bytes.indexOf(HEAD_END, at);
      if ((headEnd < 0 ? bytes.length - 3 : headEnd) - at > MAX_HEAD_BYTES) {
        throw new AnswerError(`a head of more than ${MAX_HEAD_BYTES} bytes`);
      }
      if (headEnd < 0) return this.#hold(bytes, at);
      this.#readHead(bytes.toString('latin1', at, headEnd));
      at = headEnd + HEAD_END.length;
    } while (this.status < 200);
    return at;
  }

  #readHead(text: string): void {
    const [, minor, status] = HEAD.exec(text) ?? [];
    if (status === undefined) throw new AnswerError('no head of HTTP/1.1');
    this.status = Number(status);
    const isOld = minor === '0';
    if (this.status === 101 || (this.status < 200 && isOld)) {
      throw new AnswerError('a switch of protocols that nobody asked for');
    }
    // No prototype: a header may be called as what every object has.
    const headers: Record<string, string | string[]> = Object.create(null);
    const pairs = headersIn(text, text.indexOf('\r\n'));
    for (let i = 0; i + 1 < pairs.length; i += 2) {
      const name = pairs[i] ?? '';
      const value = pairs[i + 1] ?? '';
      const known = headers[name];
      headers[name] = known === undefined ? value : [known, value].flat();
    }
    this.headers = headers;
    if (this.status >= 200) this.#frame(headers, isOld);
  }

  /** RFC 9112 section 6.3. */
  #frame(headers: Record<string, string | string[]>, isOld: boolean): void {
    const { connection, 'transfer-encoding': encoding, 'content-length': length } = headers;
    const options = String(connection ?? '').toLowerCase();
    this.isLast = isOld || /(?:^|[\t ,])close(?:$|[\t ,])/.test(options);
    const isLength = length === undefined || (typeof length === 'string' && LENGTH.test(length));
    const isEncoding =
      encoding === undefined ||
      (String(encoding).toLowerCase() === 'chunked' && length === undefined && !isOld);
    if (!isLength || !isEncoding) {
      throw new AnswerError('a body whose end cannot be known for sure');
    }
    if (this.#method === 'HEAD' || this.status === 204 || this.status === 304) {
      this.#framing = 'none';
    } else if (encoding !== undefined) {
      this.#framing = 'chunked';
    } else if (length !== undefined) {
      this.#framing = 'length';
      this.#expect(Number(length));
    } else {
      this.#framing = 'close';
      this.isLast = true;
    }
  }

  /** Where the body ends; undefined when more of it is to come. */
  #readBody(bytes: Buffer, bodyAt: number): number | undefined {
    switch (this.#framing) {
      case 'length': {
        const end = this.#keep(bytes, bodyAt);
        return this.#left === 0 ? end : undefined;
      }
      case 'chunked':
        return this.#readChunks(bytes, bodyAt);
      case 'close':
        this.#expect(bytes.length - bodyAt);
        this.#keep(bytes, bodyAt);
        return undefined;
      default:
        return bodyAt;
    }
  }

  /** RFC 9112 section 7.1. */
  #readChunks(bytes: Buffer, bodyAt: number): number | undefined {
    let at = bodyAt;
    while (at < bytes.length) {
      if (this.#left > 0) {
        at = this.#keep(bytes, at);
        continue;
      }
      const lineEnd = bytes.indexOf(LINE_END, at);
      if ((lineEnd < 0 ? bytes.length - 1 : lineEnd) - at > MAX_HEAD_BYTES) {
        throw new AnswerError(`a line of more than ${MAX_HEAD_BYTES} bytes`);
      }
      if (lineEnd < 0) return this.#hold(bytes, at);
      const line = bytes.toString('latin1', at, lineEnd);
      at = lineEnd + LINE_END.length;
      if (this.#readLine(line)) return at;
    }
    return undefined;
  }

  /** Whether it was the last one. */
  #readLine(line: string): boolean {
    if (this.#expected === 'size') {
      const [, digits] = CHUNK_LINE.exec(line) ?? [];
      if (digits === undefined) throw new AnswerError('no size of a chunk');
      this.#expect(Number.parseInt(digits, 16));
      this.#expected = this.#left === 0 ? 'trailer' : 'end of chunk';
    } else if (this.#expected === 'end of chunk') {
      if (line !== '') throw new AnswerError('a chunk longer than its size');
      this.#expected = 'size';
    } else {
      if (line === '') return true;
      if (!HEADER_LINE.test(line)) throw new AnswerError('a trailer that is no header');
      this.#trailerBytes += line.length;
      if (this.#trailerBytes > MAX_HEAD_BYTES) throw new AnswerError('trailers without an end');
    }
    return false;
  }

  /** So much of the body comes next. */
  #expect(bytes: number): void {
    const size = this.#bodyBytes + bytes;
    if (size > this.#maxBytes) {
      throw new AnswerError(`a body of more than ${this.#maxBytes} bytes`, true);
    }
    this.#left = bytes;
    if (size <= this.#room.length) return;
    const room = Buffer.allocUnsafe(
      Math.max(size, Math.min(2 * this.#room.length, this.#maxBytes)),
    );
    this.#room.copy(room, 0, 0, this.#bodyBytes);
    this.#room = room;
  }

  /** Copies what is left of the body or chunk, as far as it has come. Where that ends. */
  #keep(bytes: Buffer, at: number): number {
    const end = Math.min(bytes.length, at + this.#left);
    this.#bodyBytes += bytes.copy(this.#room, this.#bodyBytes, at, end);
    this.#left -= end - at;
    return end;
  }

  #hold(bytes: Buffer, at: number): undefined {
    this.#held = Buffer.from(bytes.subarray(at));
  }
}
