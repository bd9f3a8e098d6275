// Bounds the number of open connections, of one client and of all, before anything is read from
// them. A connection costs memory even while it is idle.
import type { Socket } from 'node:net';
import { DefaasError } from '../errors.ts';
import { clientOf, type Peers } from '../peers.ts';

interface ConnectionLimits {
  /** Open connections of all clients. */
  readonly connectionsMax: number;
  /** Open connections of one client. A trusted proxy has many clients and is not counted. */
  readonly peerConnectionsMax: number;
  readonly peers: Pick<Peers, 'isProxy'>;
}

/** Counts a connection until it closes. Returns an error if there are too many. */
export function createConnectionLimits({
  connectionsMax,
  peerConnectionsMax,
  peers,
}: ConnectionLimits): (socket: Socket) => DefaasError | undefined {
  const open = new Map<string, number>();
  let all = 0;
  return (socket) => {
    const { remoteAddress = '' } = socket;
    const client = clientOf(remoteAddress);
    const own = open.get(client) ?? 0;
    if (all >= connectionsMax) return tooMany('all clients', all);
    if (own >= peerConnectionsMax && !peers.isProxy(remoteAddress)) return tooMany(client, own);
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

function tooMany(whose: string, count: number): DefaasError {
  return new DefaasError(
    'OVERLOADED',
    `${whose} has ${count} connections open, close some or try again shortly`,
    { retryAfterSec: 1 },
  );
}
