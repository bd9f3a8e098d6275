// The function behind all targets of `bench http`: a process that answers like the Azure shim after
// the whole body has arrived. Raw sockets keep its own cost low; nginx gets the same bytes.
import { createServer, type Socket } from 'node:net';

/** 46 bytes. */
const REPLY = replyBytes('{"ok":true,"temperature":215,"unit":"celsius"}');
const HEAD_END = Buffer.from('\r\n\r\n');
/** Limit of a request; this benchmark sends no larger ones. */
const MAX_REQUEST_BYTES = 64 * 1024;

/**
 * 200 with a JSON body, and the marks by which the Azure adapter knows its shim
 * (adapters/shims/azure.cjs).
 */
function replyBytes(body: string): Buffer {
  const own = Buffer.from(JSON.stringify([['content-type', 'application/json']]));
  const head = [
    'HTTP/1.1 200 OK',
    'content-type: application/json',
    `content-length: ${body.length}`,
    'x-defaas-outcome: ok',
    'x-defaas-duration-ms: 1',
    'x-defaas-memory-mib: 32',
    'x-defaas-request-id: 6f1a2c52-9d1e-4f0b-8f43-2f3f1d0c7a11',
    `x-defaas-headers: ${own.toString('base64url')}`,
  ];
  return Buffer.from(`${head.join('\r\n')}\r\n\r\n${body}`);
}

function serve(socket: Socket): void {
  let pending: Buffer | undefined;
  socket.on('data', (chunk: Buffer) => {
    let bytes = pending === undefined ? chunk : Buffer.concat([pending, chunk]);
    for (;;) {
      const requestBytes = lengthOf(bytes);
      if (requestBytes === undefined || bytes.length < requestBytes) break;
      socket.write(REPLY);
      bytes = bytes.subarray(requestBytes);
    }
    pending = bytes.length > 0 ? bytes : undefined;
    if (bytes.length > MAX_REQUEST_BYTES) socket.destroy();
  });
  socket.on('error', () => socket.destroy());
}

/**
 * Bytes of the first request, its body by `content-length`; undefined while its head is not all
 * there.
 */
function lengthOf(bytes: Buffer): number | undefined {
  const headEnd = bytes.indexOf(HEAD_END);
  if (headEnd < 0) return undefined;
  const [, length = '0'] =
    /\r\ncontent-length: *(\d+)/i.exec(bytes.toString('latin1', 0, headEnd)) ?? [];
  return headEnd + HEAD_END.length + Number(length);
}

const server = createServer({ noDelay: true }, serve);
server.listen(0, '127.0.0.1', () => process.send?.({ ready: server.address() }));
process.on('disconnect', () => process.exit(0));
