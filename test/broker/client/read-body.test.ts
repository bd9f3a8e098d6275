// What a hostile server sends is read within a bound, errors too.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fetchBlockAt } from '../../../broker/client/artifacts.ts';
import { readProblem } from '../../../broker/client/errors.ts';
import { readJson } from '../../../broker/client/parse.ts';

const CHUNK = Buffer.alloc(256 * 1024, '{"code":"x",');

describe('a reply without end', () => {
  let server: Server;
  let origin = '';
  /** Resolves when the client has given up the connection. */
  let given: Promise<unknown>;
  beforeEach(async () => {
    server = createServer((request, response) => {
      given = once(response, 'close');
      response.writeHead(request.url === '/problem' ? 404 : request.url === '/json' ? 200 : 500);
      const send = (): void => {
        while (response.write(CHUNK));
      };
      response.on('drain', send);
      send();
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port } = server.address() as AddressInfo; // it listens on TCP
    origin = `http://127.0.0.1:${port}`;
  });
  afterEach(() => {
    server.close();
    server.closeAllConnections();
  });

  it('is refused when it should be JSON', async () => {
    const reply = await fetch(`${origin}/json`);

    await assert.rejects(readJson(reply, 'the document'), { code: 'GATEWAY_PROTOCOL' });
    await given;
  });

  it('is cut off when it is a problem', async () => {
    const problem = await readProblem(await fetch(`${origin}/problem`), 'GET /problem');

    assert.equal(problem.code, 'GATEWAY_PROTOCOL');
    assert.equal(problem.status, 404);
    await given;
  });

  it('ends a stranger’s refusal of a block', async () => {
    await assert.rejects(fetchBlockAt(origin, 'bafkqaaa'), { status: 500 });
    await given;
  });
});
