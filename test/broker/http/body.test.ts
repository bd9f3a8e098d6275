// Request bodies over real sockets: in pieces of any size, too long, or broken off.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { readBody } from '../../../broker/http/body.ts';
import { createSlowClients } from '../../../broker/http/slow-clients.ts';

const MAX_BYTES = 100_000;

describe('readBody', () => {
  let server: Server;
  let socket: Socket;
  afterEach(() => {
    socket.destroy();
    server.close();
    server.closeAllConnections();
  });

  /** Sends what comes after the head's first line, and reads its body. */
  const read = async (headers: string, ...pieces: readonly string[]) => {
    server = createServer();
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port } = server.address() as AddressInfo; // it listens on TCP
    socket = connect(port, '127.0.0.1').on('error', () => {});
    socket.write(`POST / HTTP/1.1\r\nHost: x\r\n${headers}\r\n\r\n`);
    const [request]: IncomingMessage[] = await once(server, 'request');
    const counting = createSlowClients({ maxBytes: Number.MAX_SAFE_INTEGER, stallMs: 60_000 });
    let heldBytes = 0;
    const slowClients = {
      ...counting,
      hold: (_client: unknown, bytes: number) => {
        heldBytes += bytes;
      },
    };
    const body = Promise.resolve(
      readBody(request ?? assert.fail(), { slowClients, maxBytes: MAX_BYTES }),
    );
    body.catch(() => {});
    for (const piece of pieces) socket.write(piece);
    return { body, held: () => heldBytes };
  };
  const chunks = (text: string, bytes: number) => {
    const cut = text.match(new RegExp(`.{1,${bytes}}`, 'g')) ?? [];
    return `${cut.map((one) => `${one.length.toString(16)}\r\n${one}\r\n`).join('')}0\r\n\r\n`;
  };

  it('returns the bytes as they were sent, however they were split, and counts all memory that it reserves for them', async () => {
    const text = Array.from({ length: 30_000 }, (_, i) => i % 10).join('');
    for (const bytes of [1, 7, 1_000, 30_000]) {
      const { body, held } = await read('Transfer-Encoding: chunked', chunks(text, bytes));

      assert.equal(Buffer.from(await body).toString(), text);
      assert.ok(held() >= text.length && held() <= MAX_BYTES, `${held()}`);
      socket.destroy();
      server.close();
    }
  });

  it('returns nothing for a request without a body', async () => {
    const { body } = await read('Content-Length: 0');

    assert.equal((await body).length, 0);
  });

  it('refuses a body that is too long, by its Content-Length or while it arrives', async () => {
    const long = 'x'.repeat(MAX_BYTES + 1);

    const { body } = await read('Transfer-Encoding: chunked', chunks(long, 5_000));

    await assert.rejects(body, { code: 'BODY_TOO_LARGE' });
  });

  it('refuses a body that breaks off', async () => {
    const { body } = await read('Content-Length: 10', 'abc');
    socket.destroy();

    await assert.rejects(body, { code: 'REQUEST_INVALID' });
  });
});
