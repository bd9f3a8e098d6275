// How many connections a gateway keeps, of one client and of all.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { describeBothWays } from '../both-ways.ts';
import { type SmallHouse, startSmallHouse } from '../small-house.ts';

describeBothWays('the connections of a gateway', function (fastPath) {
  this.timeout(60_000);
  let house: SmallHouse;
  let sockets: Socket[] = [];
  before(async () => {
    house = await startSmallHouse({ fastPath });
  });
  after(() => house.close());
  afterEach(() => {
    for (const socket of sockets) socket.destroy();
    sockets = [];
  });

  const open = (text: string): Socket => {
    const socket = connect(Number(new URL(house.url()).port), '127.0.0.1');
    sockets.push(socket.on('error', () => {}));
    socket.write(text);
    return socket;
  };
  /** Opens a connection, sends one request on it, and returns the beginning of the answer. */
  const ask = async (path = '/healthz') => {
    const socket = open(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
    const [answer] = await once(socket, 'data');
    return { socket, status: Number(/^HTTP\/1\.1 (\d+)/.exec(`${answer}`)?.[1]), answer };
  };
  const statuses = async (count: number, path?: string): Promise<number[]> => {
    const all: number[] = [];
    while (all.length < count) all.push((await ask(path)).status);
    return all;
  };
  const connectionsAre = async (isSo: (count: number) => boolean) => {
    while (!isSo(await house.connections())) await new Promise(setImmediate);
  };

  it('are refused above the limit of one client, until one closes', async () => {
    await house.restart({ peerConnectionsMax: 3 });
    const first = await ask();
    assert.deepEqual(await statuses(3), [200, 200, 503]);
    const { answer, socket } = await ask();

    assert.match(`${answer}`, /\r\nretry-after: 1\r\n.*"code":"OVERLOADED"/s);
    await once(socket, 'close');
    first.socket.destroy();
    // The gateway learns of it when it reads the socket.
    await connectionsAre((count) => count <= 2);
    assert.equal((await ask()).status, 200);
  });

  it('of a trusted proxy are bounded by the limit of all clients alone', async () => {
    await house.restart({
      peerConnectionsMax: 1,
      connectionsMax: 3,
      trustedProxies: ['127.0.0.0/8'],
    });
    for (let n = 0; n < 3; n += 1) {
      const head = 'POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n';
      // The request has been read, and its body is still to come.
      await once(open(`${head}Expect: 100-continue\r\n\r\n`), 'data');
    }

    assert.deepEqual(await statuses(2), [503, 503]);
  });

  it('make room when all are in use, if they only wait for a further request', async () => {
    for (const [path, status] of [
      ['/healthz', 200],
      ['/functions/0xab/no-such', 404],
    ] as const) {
      await house.restart({ peerConnectionsMax: 4, connectionsMax: 3, trustedProxies: [] });
      assert.deepEqual(await statuses(4, path), [status, status, status, 503]);
      const waiting = sockets.slice(0, 3);

      await Promise.all(waiting.map((socket) => socket.destroyed || once(socket, 'close')));

      assert.equal((await ask(path)).status, status);
      sockets = [];
    }
  });
});
