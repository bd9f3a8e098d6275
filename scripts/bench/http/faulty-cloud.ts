// A misbehaving cloud for `bench once` and `bench failover`: answers like the Azure shim, or drops,
// delays and fails. It records what has really run.
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

/** Fate of one request; `bench once` has a table with the shares. */
export type Mood = 'answer' | 'delay' | 'drop-before' | 'drop-after' | 'refuse' | 'throw';

export interface Ran {
  /** The call's body, which names it. */
  readonly call: string;
  readonly atMs: number;
}

export interface FaultyCloud {
  readonly url: string;
  /** Everything that ran, in order. */
  readonly ran: readonly Ran[];
  /** Refuses connections, and drops those it has. */
  switchOff(): Promise<void>;
  switchOn(): Promise<void>;
  close(): Promise<void>;
}

interface FaultyCloudOptions {
  readonly name: string;
  /** Asked for each request. */
  readonly mood: () => Mood;
  readonly delayMs?: number;
}

export async function startFaultyCloud(options: FaultyCloudOptions): Promise<FaultyCloud> {
  const { delayMs = 50 } = options;
  const ran: Ran[] = [];
  const sockets = new Set<Socket>();

  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const call = Buffer.concat(chunks).toString('utf8');
    const mood = options.mood();
    if (mood === 'drop-before') return void request.socket.destroy();
    if (mood === 'refuse') return void response.writeHead(503).end();
    ran.push({ call, atMs: performance.now() });
    const run = ran.length;
    if (mood === 'drop-after') return void request.socket.destroy();
    if (mood === 'delay') await new Promise((resolve) => setTimeout(resolve, delayMs));
    if (mood === 'throw') {
      send(
        response,
        500,
        'error',
        JSON.stringify({ kind: 'thrown', type: 'Error', message: 'on purpose' }),
      );
    } else {
      send(response, 200, 'ok', JSON.stringify({ call, run, cloud: options.name }));
    }
  };
  const open = async (port: number): Promise<Server> => {
    const opened = createServer((request, response) => {
      serve(request, response).catch(() => request.socket.destroy());
    });
    opened.keepAliveTimeout = 60_000;
    opened.on('connection', (socket) => {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
    });
    opened.listen(port, '127.0.0.1');
    await once(opened, 'listening');
    return opened;
  };
  const shut = async (running: Server): Promise<void> => {
    const closed = once(running, 'close');
    running.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  };

  let server: Server | undefined = await open(0);
  // A server that listens on a port has an address object.
  const { port } = server.address() as AddressInfo;
  const switchOff = async (): Promise<void> => {
    const running = server;
    server = undefined;
    if (running !== undefined) await shut(running);
  };
  return {
    url: `http://127.0.0.1:${port}`,
    ran,
    switchOff,
    switchOn: async () => {
      server ??= await open(port);
    },
    close: switchOff,
  };
}

/** Adds the headers by which the Azure adapter recognises its shim. */
function send(response: ServerResponse, status: number, outcome: string, body: string): void {
  const own = Buffer.from(JSON.stringify([['content-type', 'application/json']]));
  response
    .writeHead(status, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      'x-defaas-outcome': outcome,
      'x-defaas-duration-ms': '1',
      'x-defaas-memory-mib': '32',
      'x-defaas-request-id': crypto.randomUUID(),
      'x-defaas-headers': own.toString('base64url'),
    })
    .end(body);
}
