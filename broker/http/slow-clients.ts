// What clients make the gateway hold: bodies that still arrive, replies that nobody reads. Bounded;
// where it is too much, the oldest goes.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/**
 * One exchange, named by its request while that arrives and by its response after; on the plain
 * lane by its connection.
 */
type Client = IncomingMessage | ServerResponse | Socket;

export interface SlowClients {
  /** Counts bytes of a request's body that the gateway has, while more of it is to come. */
  hold(client: Client, bytes: number): void;
  /** The body is complete: what holds it now is a call under way. */
  release(client: Client): void;
  /**
   * Counts what of a reply is still here after its end, until it is read, or its reader does
   * nothing for too long.
   */
  awaitReader(response: ServerResponse): void;
  /**
   * As `awaitReader`, of what was written to a connection that stays, and tells when all of it is
   * out, or the connection gone.
   */
  awaitSent(socket: Socket, onSent: () => void): void;
  /**
   * The chunks of a reply, each counted until the next is asked for; a reader that does nothing for
   * too long is cut off.
   */
  stream(response: ServerResponse, chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array>;
}

interface SlowClientsOptions {
  /** Of all of them together, bytes. */
  readonly maxBytes: number;
  /** A connection on which nothing moves for so long is closed, ms. */
  readonly stallMs: number;
}

export function createSlowClients({ maxBytes, stallMs }: SlowClientsOptions): SlowClients {
  // Oldest first: who is slowest has been here for longest.
  const held = new Map<Client, number>();
  let heldBytes = 0;

  const release = (client: Client): void => {
    heldBytes -= held.get(client) ?? 0;
    held.delete(client);
  };
  const hold = (client: Client, bytes: number): void => {
    heldBytes += bytes;
    held.set(client, (held.get(client) ?? 0) + bytes);
    for (const [oldest] of held) {
      if (heldBytes <= maxBytes) return;
      release(oldest);
      oldest.destroy();
    }
  };

  return {
    hold,
    release,
    awaitReader: (response) => {
      const bytes = response.writableLength;
      if (bytes === 0) return;
      response.once('close', () => release(response));
      // Without a listener Node closes the connection; each byte that goes out begins the time
      // anew.
      response.setTimeout(stallMs);
      hold(response, bytes);
    },
    awaitSent: (socket, onSent) => {
      hold(socket, socket.writableLength);
      socket.setTimeout(stallMs);
      // Behind the rest: when it is out, so is that.
      socket.write('', () => {
        release(socket);
        onSent();
      });
    },
    async *stream(response, chunks) {
      response.setTimeout(stallMs);
      try {
        for await (const chunk of chunks) {
          hold(response, chunk.length);
          yield chunk;
          release(response);
        }
      } finally {
        release(response);
      }
    },
  };
}
