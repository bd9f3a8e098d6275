// A proxy between the command line and a real gateway: it passes everything on, and a test changes
// the replies.
import { createServer, type IncomingHttpHeaders, request } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A request on its way to the gateway. */
export interface Asking {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
}

/** An answer of the gateway on its way. */
export interface Passing {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly asked: IncomingHttpHeaders;
  /** Body of the request. */
  readonly sent: string;
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/**
 * What to answer instead; `cut` ends the connection after the body, or before anything where there
 * is none.
 */
export interface Lie {
  readonly status?: number;
  /** Undefined: none of that name. */
  readonly headers?: IncomingHttpHeaders;
  readonly body?: string | Uint8Array;
  readonly cut?: true;
}

export interface Between {
  readonly url: string;
  /** The request to send in place of the original; undefined sends the original. */
  ask: (asking: Asking) => Asking | undefined;
  /** Undefined passes on the gateway's own reply. */
  lie: (passing: Passing) => Lie | undefined;
  close(): Promise<void>;
}

/**
 * The gateway is asked for at each request: one that is to let callers sign in here must know this
 * origin before it starts.
 */
export async function startBetween(gateway: () => string): Promise<Between> {
  const server = createServer(async (asked, reply) => {
    const sent: Buffer[] = [];
    for await (const chunk of asked) sent.push(chunk);
    const path = asked.url ?? '/';
    const method = asked.method ?? 'GET';
    const asking = between.ask({ path, headers: asked.headers }) ?? {
      path,
      headers: asked.headers,
    };
    const passedOn = request(new URL(asking.path, gateway()), { method, headers: asking.headers });
    passedOn.on('response', async (answer) => {
      const received: Buffer[] = [];
      for await (const chunk of answer) received.push(chunk);
      const status = answer.statusCode ?? 0;
      const passing = { status, headers: answer.headers, body: Buffer.concat(received) };
      const request = { method, path, asked: asked.headers, sent: `${Buffer.concat(sent)}` };
      const lie = between.lie({ ...request, ...passing }) ?? {};
      const body = lie.body ?? (lie.cut ? undefined : passing.body);
      if (body === undefined) return asked.socket.destroy();
      const headers = { ...passing.headers, ...lie.headers };
      delete headers['transfer-encoding'];
      for (const name of Object.keys(headers))
        if (headers[name] === undefined) delete headers[name];
      const length = Buffer.byteLength(body);
      headers['content-length'] = `${lie.cut ? length + 1 : length}`;
      reply.writeHead(lie.status ?? status, headers);
      if (lie.cut) return reply.write(body, () => asked.socket.destroy());
      return reply.end(body);
    });
    passedOn.on('error', () => asked.socket.destroy());
    passedOn.end(Buffer.concat(sent));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  const between: Between = {
    url: `http://127.0.0.1:${port}`,
    ask: () => undefined,
    lie: () => undefined,
    close: () => {
      server.closeAllConnections();
      return new Promise((done) => server.close(() => done()));
    },
  };
  return between;
}
