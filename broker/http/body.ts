// A request's body as bytes, bounded: what a client sends in small pieces costs the gateway no more
// than what it sends at once.
import type { IncomingMessage } from 'node:http';
import { DefaasError } from '../errors.ts';
import type { SlowClients } from './slow-clients.ts';

const NO_BODY = new Uint8Array();
/** Least that is set aside for a body of more than one piece, bytes. */
const LEAST_BYTES = 16 * 1024;

interface BodyOptions {
  /** Counts what is held of bodies that still arrive. */
  readonly slowClients: SlowClients;
  readonly maxBytes: number;
}

/**
 * The whole body; at once where there is none. What is above the limit is let run out, so that a
 * client that still sends reads why.
 * @throws DefaasError BODY_TOO_LARGE; REQUEST_INVALID  it ended before its time
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

function tooLarge(maxBytes: number): DefaasError {
  return new DefaasError('BODY_TOO_LARGE', `the body is larger than ${maxBytes} bytes, send less`);
}
