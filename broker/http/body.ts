// Reads a request's body as bytes, bounded. A body sent in small pieces costs the gateway no more
// memory than one sent at once.
import type { IncomingMessage } from 'node:http';
import { DefaasError } from '../errors.ts';
import type { SlowClients } from './slow-clients.ts';

const NO_BODY = new Uint8Array();
/** Smallest buffer for a body of more than one piece, bytes. */
const LEAST_BYTES = 16 * 1024;

interface BodyOptions {
  /** Counts the memory of bodies that are still arriving. */
  readonly slowClients: SlowClients;
  readonly maxBytes: number;
}

/**
 * Reads the whole body; returns synchronously if there is none. A body above the limit is rejected
 * and the rest of it discarded, so that a client that is still sending can read the error.
 * @throws DefaasError BODY_TOO_LARGE
 * @throws DefaasError REQUEST_INVALID  it ended early
 */
export function readBody(
  request: IncomingMessage,
  { slowClients, maxBytes }: BodyOptions,
): Promise<Uint8Array> | Uint8Array {
  const { 'content-length': length, 'transfer-encoding': encoding } = request.headers;
  if (Number(length ?? 0) > maxBytes) throw tooLarge(maxBytes);
  if ((length === undefined || length === '0') && encoding === undefined) return NO_BODY;
  return new Promise((resolve, reject) => {
    let body: Uint8Array = NO_BODY;
    let bytes = 0;
    let isRefused = false;
    request.on('data', (chunk: Buffer) => {
      const end = bytes + chunk.length;
      isRefused ||= end > maxBytes;
      if (isRefused) {
        body = NO_BODY;
        return reject(tooLarge(maxBytes));
      }
      if (bytes === 0) {
        body = chunk;
        slowClients.hold(request, chunk.length);
      } else {
        if (end > body.length) {
          const wider = Buffer.allocUnsafe(Math.min(maxBytes, Math.max(2 * end, LEAST_BYTES)));
          wider.set(body.subarray(0, bytes));
          slowClients.hold(request, wider.length - body.length);
          body = wider;
        }
        body.set(chunk, bytes);
      }
      bytes = end;
    });
    request.once('close', () => slowClients.release(request));
    request.once('end', () => resolve(body.subarray(0, bytes)));
    request.once('error', (cause) =>
      reject(new DefaasError('REQUEST_INVALID', 'the body ended before its time', { cause })),
    );
  });
}

export function tooLarge(maxBytes: number): DefaasError {
  return new DefaasError('BODY_TOO_LARGE', `the body is larger than ${maxBytes} bytes, send less`);
}
