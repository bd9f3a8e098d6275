// Collects the body of an answer and refuses one whose end undici's parser cannot prove.

/** By lower-case name; a repeated header is a list. */
export type AnswerHeaders = Readonly<Record<string, string | string[] | undefined>>;

/** The answer is incomplete, malformed, or larger than accepted. */
export class AnswerError extends Error {
  override readonly name = 'AnswerError';
  readonly isTooLarge: boolean;

  constructor(message: string, isTooLarge = false) {
    super(message);
    this.isTooLarge = isTooLarge;
  }
}

const NO_BYTES = Buffer.alloc(0);

/** The body of one answer. Chunks are copied as they arrive. */
export class AnswerBody {
  readonly #maxBytes: number;
  /**
   * Filled up to `#length`. One buffer, because a list of tiny chunks would take a hundred times
   * the memory of the body.
   */
  #room: Buffer = NO_BYTES;
  #length = 0;

  /**
   * Allocates the room that the head announces.
   * @throws AnswerError  nothing says where the body ends, or it is larger than `maxBytes`
   */
  constructor(method: string, status: number, headers: AnswerHeaders, maxBytes: number) {
    this.#maxBytes = maxBytes;
    if (method === 'HEAD' || status === 204 || status === 304) return;
    const { 'content-length': length, 'transfer-encoding': encoding } = headers;
    if (length === undefined) {
      // Without length or chunks a cut body looks like a whole one: undici takes a reset for its
      // end.
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
