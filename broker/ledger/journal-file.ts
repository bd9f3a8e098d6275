// The append-only file of the embedded ledger. Receipts and idempotency keys are durable here first
// and are indexed later. A record is its length, its CRC-32 and lines of UTF-8. Records that arrive
// while a write and its sync run go out together in the next write.
import {
  closeSync,
  constants,
  fdatasync,
  ftruncateSync,
  openSync,
  read,
  readSync,
  write,
} from 'node:fs';
import { crc32 } from 'node:zlib';

/** Length and CRC-32 of the lines, each 32 bits, big-endian. */
const PREFIX_BYTES = 8;
/** A longer record is refused: we never write one. */
const MAX_RECORD_BYTES = 0x7fff_ffff;
/** Bytes read at first per line; most lines are shorter. */
const LINE_BYTES = 4_096;
const NEWLINE = 0x0a;
/**
 * Zeros are written ahead of the end. A sync then writes data only, and not a new file length too:
 * on ext4 that halves its time and saves a third of its CPU (docs/decisions/journal-file.md).
 */
const ZEROS = Buffer.alloc(1024 * 1024);

/**
 * On Linux a write returns when its data is on disk, which saves the second trip to the thread pool
 * for a sync. Elsewhere the flag promises less than a sync, or does not exist
 * (docs/decisions/synced-writes.md).
 */
const WRITES_SYNCED = process.platform === 'linux' ? constants.O_DSYNC : 0;

/** Where a record is in the file. */
export interface Appended {
  /** Where the next record will begin. */
  readonly end: number;
  /** The byte where each line begins. */
  readonly at: readonly number[];
}

export interface JournalFile {
  /** Bytes of the file that are durable. */
  readonly end: number;
  /**
   * Resolves when the lines are on disk. After a rejection every call rejects, because the end of
   * the file is not known.
   */
  append(lines: readonly string[]): Promise<Appended>;
  /** Reads `count` lines from byte `at` on, without their newlines. */
  lines(at: number, count: number): Promise<string[]>;
  close(): Promise<void>;
}

/** One line, without its newline. */
export interface StoredLine {
  readonly at: number;
  readonly bytes: Buffer;
}

export interface StoredRecord {
  readonly at: number;
  readonly end: number;
  readonly lines: readonly StoredLine[];
}

interface Waiting {
  readonly bytes: Buffer;
  readonly at: number[];
  readonly resolve: (appended: Appended) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Opens the file to append at `end`, where its last whole record ends, and cuts off what a crash
 * left behind that.
 */
export function openJournalFile(file: string, end: number): JournalFile {
  const descriptor = openSync(file, constants.O_RDWR | WRITES_SYNCED);
  ftruncateSync(descriptor, end);
  let durable = end;
  let filled = end;
  let waiting: Waiting[] = [];
  let writing: Promise<void> | undefined;
  let broken: { readonly cause: unknown } | undefined;

  const fillAhead = async (): Promise<void> => {
    const from = Math.max(filled, durable);
    await writeBytes(descriptor, ZEROS, from);
    filled = from + ZEROS.length;
  };
  const writeAll = async (): Promise<void> => {
    while (waiting.length > 0) {
      const batch = waiting;
      waiting = [];
      const [first] = batch;
      const bytes =
        first && batch.length === 1 ? first.bytes : Buffer.concat(batch.map((one) => one.bytes));
      try {
        if (filled - durable < ZEROS.length / 4) await fillAhead();
        await writeSynced(descriptor, bytes, durable);
      } catch (cause) {
        broken = { cause };
        for (const one of [...batch, ...waiting]) one.reject(cause);
        waiting = [];
        break;
      }
      for (const one of batch) {
        const at = one.at.map((offset) => durable + offset);
        durable += one.bytes.length;
        one.resolve({ end: durable, at });
      }
    }
    writing = undefined;
  };

  return {
    get end() {
      return durable;
    },
    append: (lines) =>
      new Promise((resolve, reject) => {
        if (broken !== undefined) return reject(broken.cause);
        waiting.push({ ...encode(lines), resolve, reject });
        writing ??= writeAll();
      }),
    lines: async (at, count) => {
      for (let bytes = LINE_BYTES * count; ; bytes *= 4) {
        const found = await readBytes(descriptor, at, bytes);
        const lines = found.toString('utf8').split('\n', count + 1);
        if (lines.length > count) return lines.slice(0, count);
        if (found.length < bytes) throw new Error(`no ${count} lines at ${at} of the journal`);
      }
    },
    close: async () => {
      await writing;
      closeSync(descriptor);
    },
  };
}

/**
 * The whole records from byte `from` on. It ends at a record that a crash cut short; such a record
 * was never acknowledged. The bytes of a record are valid until the next record is asked for.
 */
export function* readRecords(descriptor: number, from: number): Generator<StoredRecord, undefined> {
  const prefix = Buffer.alloc(PREFIX_BYTES);
  let room = Buffer.alloc(0);
  for (let at = from; ; ) {
    if (readSync(descriptor, prefix, 0, PREFIX_BYTES, at) < PREFIX_BYTES) return undefined;
    const length = prefix.readUInt32BE(0);
    if (length === 0 || length > MAX_RECORD_BYTES) return undefined;
    if (length > room.length) room = Buffer.allocUnsafe(2 * length);
    const body = room.subarray(0, length);
    if (readSync(descriptor, body, 0, length, at + PREFIX_BYTES) < length) return undefined;
    if (crc32(body) !== prefix.readUInt32BE(4)) return undefined;
    const end = at + PREFIX_BYTES + length;
    yield { at, end, lines: linesIn(body, at + PREFIX_BYTES) };
    at = end;
  }
}

function linesIn(body: Buffer, at: number): StoredLine[] {
  const lines: StoredLine[] = [];
  for (let begin = 0; begin < body.length; ) {
    const lineEnd = body.indexOf(NEWLINE, begin);
    lines.push({ at: at + begin, bytes: body.subarray(begin, lineEnd) });
    begin = lineEnd + 1;
  }
  return lines;
}

/**
 * The record's bytes, and where in them each line begins. A line is JSON, which has no raw newline.
 */
function encode(lines: readonly string[]): { bytes: Buffer; at: number[] } {
  const text = `${lines.join('\n')}\n`;
  const bytes = Buffer.allocUnsafe(PREFIX_BYTES + Buffer.byteLength(text));
  // Most records are ASCII: they need no conversion, and a line has as many bytes as characters.
  const isAscii = bytes.length === PREFIX_BYTES + text.length;
  bytes.write(text, PREFIX_BYTES, isAscii ? 'latin1' : 'utf8');
  bytes.writeUInt32BE(bytes.length - PREFIX_BYTES, 0);
  bytes.writeUInt32BE(crc32(bytes.subarray(PREFIX_BYTES)), 4);
  const at: number[] = [];
  let length = PREFIX_BYTES;
  for (const line of lines) {
    at.push(length);
    length += (isAscii ? line.length : Buffer.byteLength(line)) + 1;
  }
  return { bytes, at };
}

/** Writes and syncs in the thread pool. */
async function writeSynced(descriptor: number, bytes: Buffer, position: number): Promise<void> {
  await writeBytes(descriptor, bytes, position);
  if (WRITES_SYNCED !== 0) return;
  await new Promise<void>((resolve, reject) => {
    fdatasync(descriptor, (error) => (error ? reject(error) : resolve()));
  });
}

/** Writes again where the system wrote fewer bytes than it was given. */
function writeBytes(descriptor: number, bytes: Buffer, position: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const writeFrom = (offset: number): void => {
      write(descriptor, bytes, offset, bytes.length - offset, position + offset, (error, done) => {
        if (error) reject(error);
        else if (offset + done < bytes.length) writeFrom(offset + done);
        else resolve();
      });
    };
    writeFrom(0);
  });
}

function readBytes(descriptor: number, at: number, bytes: number): Promise<Buffer> {
  const target = Buffer.allocUnsafe(bytes);
  return new Promise((resolve, reject) => {
    read(descriptor, target, 0, bytes, at, (error, found) =>
      error ? reject(error) : resolve(target.subarray(0, found)),
    );
  });
}
