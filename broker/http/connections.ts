// Bounds the number of open connections, of one client and of all, before anything is read from
// them. A connection costs memory even while it is idle.
import type { Socket } from 'node:net';
import { DefaasError } from '../errors.ts';
import { clientOf, type Peers } from '../peers.ts';

export interface ConnectionLimits {
  /** Open connections of all clients. */
  readonly connectionsMax: number;
  /** Open connections of one client. A trusted proxy has many clients and is not counted. */
  readonly peerConnectionsMax: number;
  readonly peers: Pick<Peers, 'isProxy'>;
}

/** `onFull` closes what is idle. It looks at all connections, so it is not called for each one. */
const FULL_EVERY_MS = 1000;

/**
 * Counts a connection until it closes. Returns an error if there are too many. `onFull` is called
 * when there are too many of all clients, at most once a second.
 */
export function createConnectionLimits(
  { connectionsMax, peerConnectionsMax, peers }: ConnectionLimits,
  onFull: () => void,
): (socket: Socket) => DefaasError | undefined {
  const open = new Map<string, number>();
  let all = 0;
  let fullAtMs = Number.NEGATIVE_INFINITY;
  return (socket) => {
    const { remoteAddress = '' } = socket;
    const client = clientOf(remoteAddress);
    const own = open.get(client) ?? 0;
    if (all >= connectionsMax) {
      const nowMs = performance.now();
      if (nowMs >= fullAtMs + FULL_EVERY_MS) {
        fullAtMs = nowMs;
        onFull();
      }
      return new DefaasError('OVERLOADED', `${all} connections are open, try again shortly`, {
        retryAfterSec: 1,
      });
    }
    if (own >= peerConnectionsMax && !peers.isProxy(remoteAddress)) {
      return new DefaasError(
        'OVERLOADED',
        `${client} has ${own} connections open, close some or try again shortly`,
        { retryAfterSec: 1 },
      );
    }
    all += 1;
    open.set(client, own + 1);
    socket.once('close', () => {
      all -= 1;
      const left = (open.get(client) ?? 0) - 1;
      if (left > 0) open.set(client, left);
      else open.delete(client);
    });
    return undefined;
  };
}
