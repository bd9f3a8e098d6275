// Reads what a client sends to an emulator, within a bound.

import type { IncomingMessage } from 'node:http';

/** The whole body; `undefined` when it is longer than `maxBytes`, and then the rest is left unread. */
export async function readBody(
  request: IncomingMessage,
  maxBytes: number,
): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  // Left open when we stop early: the answer still has to go out on it.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    bytes += chunk.length;
    if (bytes > maxBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, bytes);
}
