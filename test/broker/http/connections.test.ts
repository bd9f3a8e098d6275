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

  /** Opens a connection, sends one request on it, and returns the beginning of the answer. */
  const ask = async () => {
    const socket = connect(Number(new URL(house.url()).port), '127.0.0.1');
    sockets.push(socket.on('error', () => {}));
    socket.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
    const [answer] = await once(socket, 'data');
    return { socket, status: Number(/^HTTP\/1\.1 (\d+)/.exec(`${answer}`)?.[1]), answer };
  };
  const statuses = async (count: number): Promise<number[]> => {
    const all: number[] = [];
    while (all.length < count) all.push((await ask()).status);
    return all;
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
    while ((await house.connections()) > 2) await new Promise(setImmediate);
    assert.equal((await ask()).status, 200);
  });

  it('of a trusted proxy are bounded by the limit of all clients alone', async () => {
    await house.restart({
      peerConnectionsMax: 1,
      connectionsMax: 3,
      trustedProxies: ['127.0.0.0/8'],
    });

    assert.deepEqual(await statuses(5), [200, 200, 200, 503, 503]);
  });
});
