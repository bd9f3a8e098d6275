// Reads a body up to a limit: of a request to an emulator, or of the answer of a function in it.

import type { Readable } from 'node:stream';

/** The whole body, or undefined when it is longer than `maxBytes`. The rest is then not read. */
export async function readBody(message: Readable, maxBytes: number): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  // Keep the socket open when we stop early: the answer still goes out on it.
  for await (const chunk of message.iterator({ destroyOnReturn: false })) {
    bytes += chunk.length;
    if (bytes > maxBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, bytes);
}
