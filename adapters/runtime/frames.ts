// Length-framed messages over a pipe to an instance, for calls into a process that has no network.
// The other end runs untrusted code, so each size is checked before anything is kept.

import type { Duplex } from 'node:stream';

/** A JSON head and the bytes that go with it. */
export interface Frame {
  readonly head: Readonly<Record<string, unknown>>;
  readonly body: Uint8Array;
}

export interface FrameReader {
  /** Called once, at the first invalid or too large frame. The stream is destroyed. */
  readonly onFault: () => void;
  readonly onFrame: (frame: Frame) => void;
  readonly maxBodyBytes: number;
}

/** Most pieces of a frame: one that comes byte by byte costs as much as it is long. */
const MAX_PIECES = 4096;
/** Most bytes of a head: a status and the headers of an answer. */
const MAX_HEAD_BYTES = 256 * 1024;
/** Bytes of the head, bytes of the body: two uint32, big-endian. The head is JSON. */
const PREFIX_BYTES = 8;

/** Joins the chunks only when the frame is whole, so that a large body is copied once. */
export function readFrames(stream: Duplex, reader: FrameReader): void {
  let chunks: Buffer[] = [];
  let bytes = 0;
  const end = () => {
    stream.off('data', onData);
    stream.destroy();
    chunks = [];
    reader.onFault();
  };
  const onData = (chunk: Buffer) => {
    chunks.push(chunk);
    bytes += chunk.length;
    if (chunks.length > MAX_PIECES) return end();
    while (bytes >= PREFIX_BYTES) {
      let first = chunks[0];
      if (!first || first.length < PREFIX_BYTES) {
        first = Buffer.concat(chunks);
        chunks = [first];
      }
      const headBytes = first.readUInt32BE(0);
      const bodyBytes = first.readUInt32BE(4);
      if (headBytes > MAX_HEAD_BYTES || bodyBytes > reader.maxBodyBytes) return end();
      const frameBytes = PREFIX_BYTES + headBytes + bodyBytes;
      if (bytes < frameBytes) return;
      const all = chunks.length === 1 ? first : Buffer.concat(chunks);
      const head = parseHead(all.subarray(PREFIX_BYTES, PREFIX_BYTES + headBytes));
      if (!head) return end();
      chunks = all.length > frameBytes ? [all.subarray(frameBytes)] : [];
      bytes -= frameBytes;
      reader.onFrame({ head, body: all.subarray(PREFIX_BYTES + headBytes, frameBytes) });
    }
  };
  stream.on('data', onData);
}

export function writeFrame(
  stream: Duplex,
  head: Readonly<Record<string, unknown>>,
  body: Uint8Array = new Uint8Array(),
): void {
  const text = Buffer.from(JSON.stringify(head));
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt32BE(text.length, 0);
  prefix.writeUInt32BE(body.length, 4);
  stream.cork();
  stream.write(prefix);
  stream.write(text);
  if (body.length > 0) stream.write(body);
  stream.uncork();
}

function parseHead(bytes: Buffer): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(bytes.toString());
    // Safe: every object is a record of its members.
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    // Not JSON. The caller ends the instance.
    return undefined;
  }
}
