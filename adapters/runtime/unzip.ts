// Unpacks an uploaded zip for the instances that run it. Refuses a zip that would write outside its
// folder or fill the disk.
//
// Not by fflate's unzipSync, which checks no CRC and whose filter sees neither the mode of an entry
// (which tells a link) nor the encryption flag. We would read the central directory ourselves all
// the same, and a zip that two readers read differently gets past the checks of one. It also
// inflates an entry to its end whatever size it claims: half a megabyte that unpacks to 512 MiB and
// claims 5 bytes took 4.2 s of CPU, and came back as 5 bytes without an error. Here zlib stops at
// the claimed size, after 2 ms.

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { crc32, inflateRawSync } from 'node:zlib';

/**
 * Why a zip is refused. `broken`: it cannot be read. `unsafe-path`: an entry is a link, or its path
 * leads outside. `too-large`: it unpacks to more than the limit.
 */
export class UnzipError extends Error {
  override readonly name = 'UnzipError';
  readonly reason: 'broken' | 'unsafe-path' | 'too-large';

  constructor(reason: UnzipError['reason'], message: string, cause?: unknown) {
    super(message, { cause });
    this.reason = reason;
  }
}

/** Signatures and sizes from APPNOTE.TXT 4.3.7, 4.3.12 and 4.3.16. */
const LOCAL_SIGNATURE = 0x04034b50;
const CENTRAL_SIGNATURE = 0x02014b50;
const END_SIGNATURE = 0x06054b50;
const END_BYTES = 22;
const MAX_COMMENT_BYTES = 0xffff;
const MAX_ENTRIES = 65_535;

interface Entry {
  readonly path: string;
  readonly method: number;
  readonly crc: number;
  readonly packedBytes: number;
  readonly bytes: number;
  readonly offset: number;
}

/**
 * The files of a zip without its folders, path -> bytes. Reads stored and deflated entries. Refuses
 * zip64 and encryption as broken.
 * @throws UnzipError
 */
export function readZip(zip: Uint8Array, maxUnpackedBytes: number): Map<string, Uint8Array> {
  try {
    const buffer = Buffer.from(zip.buffer, zip.byteOffset, zip.byteLength);
    const entries = readDirectory(buffer);
    const total = entries.reduce((sum, entry) => sum + entry.bytes, 0);
    if (total > maxUnpackedBytes) {
      throw new UnzipError('too-large', `${total} bytes unpacked, limit ${maxUnpackedBytes}`);
    }
    return new Map(entries.map((entry) => [entry.path, readEntry(buffer, entry)]));
  } catch (error) {
    if (error instanceof UnzipError) throw error;
    throw new UnzipError('broken', 'not a zip file', error);
  }
}

/** Writes the files below `dir`, which should be new. @throws UnzipError  nothing was written */
export function unzip(zip: Uint8Array, dir: string, maxUnpackedBytes: number): void {
  for (const [path, bytes] of readZip(zip, maxUnpackedBytes)) {
    const target = join(dir, path);
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, bytes, { mode: 0o644 });
  }
}

function readDirectory(zip: Buffer): Entry[] {
  const end = findEnd(zip);
  const count = zip.readUInt16LE(end + 10);
  let at = zip.readUInt32LE(end + 16);
  if (count === MAX_ENTRIES) throw new UnzipError('broken', 'zip64 is not read');

  const entries: Entry[] = [];
  for (let index = 0; index < count; index += 1) {
    if (zip.readUInt32LE(at) !== CENTRAL_SIGNATURE) throw new UnzipError('broken', 'bad directory');
    const nameBytes = zip.readUInt16LE(at + 28);
    const path = zip.toString('utf8', at + 46, at + 46 + nameBytes);
    const mode = zip.readUInt32LE(at + 38) >>> 16;
    if (!path.endsWith('/')) {
      checkPath(path, mode);
      if ((zip.readUInt16LE(at + 8) & 1) !== 0) throw new UnzipError('broken', `${path} encrypted`);
      entries.push({
        path,
        method: zip.readUInt16LE(at + 10),
        crc: zip.readUInt32LE(at + 16),
        packedBytes: zip.readUInt32LE(at + 20),
        bytes: zip.readUInt32LE(at + 24),
        offset: zip.readUInt32LE(at + 42),
      });
    }
    at += 46 + nameBytes + zip.readUInt16LE(at + 30) + zip.readUInt16LE(at + 32);
  }
  return entries;
}

function findEnd(zip: Buffer): number {
  const first = Math.max(0, zip.length - END_BYTES - MAX_COMMENT_BYTES);
  for (let at = zip.length - END_BYTES; at >= first; at -= 1) {
    if (zip.readUInt32LE(at) === END_SIGNATURE) return at;
  }
  throw new UnzipError('broken', 'no end of the central directory');
}

function checkPath(path: string, mode: number): void {
  const isLink = (mode & 0o170000) === 0o120000;
  const isPlain = path.split('/').every((part) => part !== '' && part !== '.' && part !== '..');
  if (isLink || !isPlain || /[\\\0]|^[A-Za-z]:/.test(path)) {
    throw new UnzipError('unsafe-path', `entry ${JSON.stringify(path)} is a link or leads outside`);
  }
}

function readEntry(zip: Buffer, entry: Entry): Uint8Array {
  const { offset, packedBytes, method, bytes, path } = entry;
  if (zip.readUInt32LE(offset) !== LOCAL_SIGNATURE) throw new UnzipError('broken', `bad ${path}`);
  const start = offset + 30 + zip.readUInt16LE(offset + 26) + zip.readUInt16LE(offset + 28);
  const packed = zip.subarray(start, start + packedBytes);
  if (packed.length !== packedBytes) throw new UnzipError('broken', `${path} is cut off`);

  const plain = unpack(packed, method, bytes);
  if (plain.length !== bytes || crc32(plain) !== entry.crc) {
    throw new UnzipError('broken', `${path} does not match its checksum`);
  }
  return plain;
}

function unpack(packed: Buffer, method: number, bytes: number): Buffer {
  if (method === 0) return packed;
  if (method !== 8) throw new UnzipError('broken', `compression method ${method} is not read`);
  // The limit was checked with the claimed sizes. zlib stops at the claimed size, so that no entry
  // unpacks to more.
  return inflateRawSync(packed, { maxOutputLength: Math.max(1, bytes) });
}
