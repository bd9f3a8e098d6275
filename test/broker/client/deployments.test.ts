// Following a deployment: each step once, also when the stream breaks off, and the end as the
// gateway tells it.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Connection } from '../../../broker/client/connection.ts';
import { type DeploymentStep, deploy } from '../../../broker/client/deployments.ts';
import type { Session } from '../../../broker/client/session.ts';

const step = (resource: string): DeploymentStep => ({
  provider: 'aws-lambda',
  action: 'create',
  resource,
  state: 'done',
  message: '',
});
const event = (type: string, data: unknown) => `event: ${type}\ndata: ${JSON.stringify(data)}\n\n`;

describe('deploy', () => {
  let server: Server;
  let session: Session;
  let streams: ((reply: ServerResponse) => void)[];

  beforeEach(async () => {
    server = createServer((request, reply) => {
      if (request.method === 'PUT') {
        reply.writeHead(202, { location: '/deployments/7' }).end('{}');
        return;
      }
      reply.writeHead(200, { 'content-type': 'text/event-stream' });
      streams.shift()?.(reply);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const request: Session['request'] = (path, options) => fetch(new URL(path, origin), options);
    session = { connection: { origin } as Connection, request } as Session;
  });
  afterEach(() => new Promise((done) => server.close(done)));

  const run = async () => {
    const steps: string[] = [];
    const outcome = await deploy(session, {
      owner: '0xabc',
      name: 'hello',
      version: 'latest',
      providers: ['aws-lambda'],
      onStep: ({ resource }) => steps.push(resource),
    });
    return { steps, outcome };
  };
  const live = {
    state: 'live',
    providers: [{ provider: 'aws-lambda', region: 'r', state: 'live' }],
  };

  it('reports each step once when the stream breaks off and is resumed', async () => {
    streams = [
      (reply) => {
        reply.write(event('step', step('role')) + event('step', step('function')));
        setImmediate(() => reply.destroy());
      },
      (reply) => {
        // In pieces, as a network may cut them.
        const all = ['role', 'function', 'alias'].map((name) => event('step', step(name))).join('');
        const text = all + event('done', live);
        reply.write(text.slice(0, 37));
        reply.end(text.slice(37));
      },
    ];

    const { steps, outcome } = await run();

    assert.deepEqual(steps, ['role', 'function', 'alias']);
    assert.deepEqual(outcome, live);
  });

  it('reports which cloud failed, and why', async () => {
    const error = { code: 'PROVIDER_QUOTA', message: 'no room, on aws-lambda, raise it' };
    const failed = {
      state: 'failed',
      providers: [{ provider: 'aws-lambda', region: 'r', state: 'failed', error }],
    };
    streams = [(reply) => reply.end(event('done', failed))];

    const { outcome } = await run();

    assert.deepEqual(outcome, failed);
  });

  it('gives up on a stream that only breaks', async () => {
    streams = Array.from({ length: 20 }, () => (reply: ServerResponse) => reply.end());

    await assert.rejects(run(), { code: 'GATEWAY_PROTOCOL' });
  });
});
