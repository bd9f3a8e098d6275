// Reads the body of a request to an emulator, up to a limit.

import type { IncomingMessage } from 'node:http';

/** The whole body, or undefined when it is longer than `maxBytes`. The rest is then not read. */
export async function readBody(
  request: IncomingMessage,
  maxBytes: number,
): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  // Keep the socket open when we stop early: the answer still goes out on it.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    bytes += chunk.length;
    if (bytes > maxBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, bytes);
}
