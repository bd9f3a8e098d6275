// A loopback port of an emulator. It refuses connections during an outage and then listens again
// under the same number.

import { once } from 'node:events';
import type { AddressInfo, Server } from 'node:net';

export interface Port {
  readonly port: number;
  /** Stops listening and resets open connections, or listens again. */
  refuse(isOut: boolean): Promise<void>;
  close(): Promise<void>;
}

/** An http or https server. */
interface ConnectionServer extends Server {
  closeAllConnections(): void;
}

/** Listens on 127.0.0.1. Port 0 takes any free one. @throws Error EADDRINUSE */
export async function openPort(server: ConnectionServer, wanted = 0): Promise<Port> {
  await listen(server, wanted);
  // A server that listens on a port has an address object.
  const { port } = server.address() as AddressInfo;
  let change = Promise.resolve();

  async function turn(on: boolean): Promise<void> {
    if (server.listening === on) return;
    if (on) return listen(server, port);
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  }

  function queue(on: boolean): Promise<void> {
    change = change.then(() => turn(on));
    return change;
  }

  return { port, refuse: (isOut) => queue(!isOut), close: () => queue(false) };
}

async function listen(server: Server, port: number): Promise<void> {
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
}
