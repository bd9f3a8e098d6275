// Request bodies of the gateway's own routes: held within the same bound as those of functions.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { describeBothWays } from '../both-ways.ts';
import { type SmallHouse, startSmallHouse } from '../small-house.ts';

const WAITING_MAX_BYTES = 16 * 1024 * 1024;
const SENT_BYTES = 250_000;

describeBothWays('bodies of the gateway’s own routes', function (fastPath) {
  this.timeout(60_000);
  let house: SmallHouse;
  const sockets: Socket[] = [];
  before(async () => {
    house = await startSmallHouse({ fastPath, waitingMaxBytes: WAITING_MAX_BYTES });
  });
  after(async () => {
    for (const socket of sockets) socket.destroy();
    await house.close();
  });

  it('are cut off, the oldest first, when together they hold too much memory', async () => {
    const head =
      'POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Type: a/b\r\nContent-Length: 262000\r\n\r\n';
    const open = () => {
      const socket = connect(Number(new URL(house.url()).port), '127.0.0.1');
      sockets.push(socket.on('error', () => {}));
      socket.write(head + 'x'.repeat(SENT_BYTES));
      return socket;
    };
    const first = open();
    const closed = once(first, 'close');
    await new Promise((resolve) => first.once('drain', resolve));

    for (let bytes = SENT_BYTES; bytes <= WAITING_MAX_BYTES; bytes += SENT_BYTES) open();
    await closed;

    assert.equal((await fetch(`${house.url()}/healthz`)).status, 200);
  });
});
