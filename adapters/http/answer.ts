// What of an HTTP answer undici's parser leaves open: whether the end of its body is certain, and
// its bytes in one piece.

/** By lower-case name; a repeated header is a list. */
export type AnswerHeaders = Readonly<Record<string, string | string[] | undefined>>;

/** Not an answer that can be relied on, or a longer one than is taken. */
export class AnswerError extends Error {
  override readonly name = 'AnswerError';
  readonly isTooLarge: boolean;

  constructor(message: string, isTooLarge = false) {
    super(message);
    this.isTooLarge = isTooLarge;
  }
}

const NO_BYTES = Buffer.alloc(0);

/** The body of one answer, copied as it comes. */
export class AnswerBody {
  readonly #maxBytes: number;
  /**
   * Filled up to `#length`. It is not a list of chunks, because a list of tiny ones would be a
   * hundred times the size of the body.
   */
  #room: Buffer = NO_BYTES;
  #length = 0;

  /**
   * Room for the body that the head announces.
   * @throws AnswerError  nothing says where the body ends, or it is larger than `maxBytes`
   */
  constructor(method: string, status: number, headers: AnswerHeaders, maxBytes: number) {
    this.#maxBytes = maxBytes;
    if (method === 'HEAD' || status === 204 || status === 304) return;
    const { 'content-length': length, 'transfer-encoding': encoding } = headers;
    if (length === undefined) {
      // A body that lasts as long as its connection looks the same whole and cut off: undici takes
      // a reset as its end.
      if (String(encoding).toLowerCase() !== 'chunked')
        throw new AnswerError('a body without an end');
    } else this.#grow(Number(length));
  }

  get bytes(): Buffer {
    return this.#room.subarray(0, this.#length);
  }

  /** @throws AnswerError  larger than `maxBytes` */
  add(chunk: Buffer): void {
    const size = this.#length + chunk.length;
    if (size > this.#room.length) this.#grow(size);
    chunk.copy(this.#room, this.#length);
    this.#length = size;
  }

  #grow(size: number): void {
    if (size > this.#maxBytes) {
      throw new AnswerError(`a body of more than ${this.#maxBytes} bytes`, true);
    }
    const room = Buffer.allocUnsafe(
      Math.max(size, Math.min(2 * this.#room.length, this.#maxBytes)),
    );
    this.#room.copy(room, 0, 0, this.#length);
    this.#room = room;
  }
}
