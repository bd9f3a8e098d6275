// A gateway or a house that cannot listen says on which address, and which variable is wrong.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import fastify from 'fastify';
import { listenOn } from '../../broker/listen.ts';
import { requireLoopback } from '../../scripts/house/loopback.ts';

/** RFC 5737: the address of no machine. */
const NOWHERE = '192.0.2.1';

describe('listening', () => {
  it('names the host that is no address of this machine, or the port that is taken', async () => {
    const taken = createServer();
    await once(taken.listen(0, '127.0.0.1'), 'listening');
    const { port } = taken.address() as AddressInfo; // it listens on TCP
    try {
      await assert.rejects(listenOn(fastify(), { host: NOWHERE, port: 0 }, 'DEFAAS_PORT'), {
        code: 'CONFIG_INVALID',
        message: /^192\.0\.2\.1 is no address of this machine, set DEFAAS_LISTEN_HOST/,
      });
      await assert.rejects(listenOn(fastify(), { host: '127.0.0.1', port }, 'DEFAAS_SECOND_PORT'), {
        code: 'PORT_TAKEN',
        message: /set DEFAAS_SECOND_PORT$/,
      });
    } finally {
      taken.close();
    }
  });

  it('needs a loopback interface with IPv4', async () => {
    await requireLoopback();
    await assert.rejects(requireLoopback(NOWHERE), { code: 'LOOPBACK_MISSING' });
  });
});
