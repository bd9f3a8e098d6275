// The body of a reply within a bound: a hostile server may send one without end.

/**
 * Reads at most `maxBytes` of a body. The rest is not read, and its connection is given up.
 * @returns the bytes, and whether they are the whole body
 */
export async function readUpTo(
  reply: Response,
  maxBytes: number,
): Promise<{ readonly bytes: Uint8Array<ArrayBuffer>; readonly isWhole: boolean }> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  // Leaving the loop early cancels the stream.
  for await (const chunk of reply.body ?? []) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > maxBytes) break;
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return { bytes: bytes.subarray(0, maxBytes), isWhole: length <= maxBytes };
}
