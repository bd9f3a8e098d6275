// Bounds the memory that slow clients use: bodies still arriving and replies not yet read. Above
// the limit, the oldest connection is closed.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/**
 * One exchange: its request while that arrives, its response afterwards; on the plain lane its
 * socket.
 */
type Client = IncomingMessage | ServerResponse | Socket;

export interface SlowClients {
  /** Counts buffered bytes of a request body that is still arriving. */
  hold(client: Client, bytes: number): void;
  /** The body is complete: stop counting it. */
  release(client: Client): void;
  /**
   * Counts the unsent rest of a finished reply until the client has read it. Closes the connection
   * if the client reads nothing for too long.
   */
  awaitReader(response: ServerResponse): void;
  /**
   * Like `awaitReader`, for a connection that stays open. Calls `onSent` when all bytes are sent or
   * the connection is closed.
   */
  awaitSent(socket: Socket, onSent: () => void): void;
  /**
   * Yields the chunks of a reply and counts each until the next is requested. Closes the connection
   * of a client that reads nothing for too long.
   */
  stream(response: ServerResponse, chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array>;
}

interface SlowClientsOptions {
  /** Limit for all exchanges together, bytes. */
  readonly maxBytes: number;
  /** A connection without any progress for this long is closed, ms. */
  readonly stallMs: number;
}

export function createSlowClients({ maxBytes, stallMs }: SlowClientsOptions): SlowClients {
  // Oldest first: the slowest client has been here the longest.
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
      // Without a listener Node closes the connection on timeout; each byte sent restarts the
      // timer.
      response.setTimeout(stallMs);
      hold(response, bytes);
    },
    awaitSent: (socket, onSent) => {
      hold(socket, socket.writableLength);
      socket.setTimeout(stallMs);
      // An empty write behind the rest: its callback runs when everything before it is sent.
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
