import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { channel } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { createArtifactStore } from '../../ipfs/artifact-store.ts';
import { createIpfsNode, type IpfsNode } from '../../ipfs/node.ts';

const FILES = new Map([['handler.mjs', Buffer.from('export default () => 1;')]]);
const soon = () => ({ signal: AbortSignal.timeout(10_000) });

describe('the IPFS node', () => {
  let dir: string;
  const open: IpfsNode[] = [];

  async function start(options: Parameters<typeof createIpfsNode>[0] = {}): Promise<IpfsNode> {
    const node = await createIpfsNode(options);
    open.push(node);
    return node;
  }
  async function stop(node: IpfsNode): Promise<void> {
    open.splice(open.indexOf(node), 1);
    await node.close();
  }

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'defaas-ipfs-'));
  });
  afterEach(async () => {
    for (const node of open.splice(0)) await node.close();
    await rm(dir, { recursive: true, force: true });
  });

  it('is the same node with the same pins and blocks after a restart', async () => {
    const first = await start({ dir });
    const id = first.helia.libp2p.peerId.toString();
    const cid = await createArtifactStore(first).put(FILES);
    await stop(first);

    const second = await start({ dir });

    assert.equal(second.helia.libp2p.peerId.toString(), id);
    assert.deepEqual(await createArtifactStore(second).get(cid, soon()), FILES);
    const pins: string[] = [];
    for await (const pin of second.helia.pins.ls()) pins.push(pin.cid.toString());
    assert.deepEqual(pins, [cid]);
  });

  it('loses nothing that it had stored when it is killed', async () => {
    const program = `
      const { createIpfsNode } = await import(${JSON.stringify(new URL('../../ipfs/node.ts', import.meta.url))});
      const { createArtifactStore } = await import(${JSON.stringify(new URL('../../ipfs/artifact-store.ts', import.meta.url))});
      const node = await createIpfsNode({ dir: ${JSON.stringify(dir)} });
      const store = createArtifactStore(node);
      console.log(node.helia.libp2p.peerId.toString());
      for (let i = 0; ; i++) console.log(await store.put(new Map([['a', Buffer.from('a' + i)], ['b', Buffer.alloc(1_500_000, i)]])));`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const lines: string[] = [];
    for await (const line of createInterface({ input: child.stdout })) {
      lines.push(line);
      if (lines.length === 8) child.kill('SIGKILL');
    }
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');

    const node = await start({ dir });

    const [id, ...cids] = lines;
    assert.equal(node.helia.libp2p.peerId.toString(), id);
    const store = createArtifactStore(node);
    for (const cid of cids) assert.equal((await store.get(cid, soon())).size, 2);
  });

  it('fetches from a configured peer and gossips, and opens no socket beyond this machine', async () => {
    const dialled: string[] = [];
    const watch = (message: unknown) => {
      // Safe: the channel's documented message.
      const { socket } = message as { socket: Socket };
      socket.on('connectionAttempt', (ip: string) => dialled.push(ip));
    };
    channel('net.client.socket').subscribe(watch);
    try {
      const first = await start();
      const cid = await createArtifactStore(first).put(FILES);
      const second = await start({ peers: first.multiaddrs() });

      const fetched = await createArtifactStore(second).get(cid, soon());

      const heard = new Promise<string>((resolve) => {
        second.pubsub.addEventListener('gossipsub:message', ({ detail }) =>
          resolve(Buffer.from(detail.msg.data).toString()),
        );
      });
      second.pubsub.subscribe('test');
      await new Promise<void>((resolve) => {
        const look = () =>
          first.pubsub.getSubscribers('test').length > 0 ? resolve() : setImmediate(look);
        look();
      });
      await first.pubsub.publish('test', Buffer.from('hello'));
      assert.equal(await heard, 'hello');
      assert.deepEqual(fetched, FILES);
      assert.ok(dialled.length > 0 && dialled.every((ip) => ip === '127.0.0.1'), dialled.join());
      for (const handle of sockets()) {
        assert.equal(handle.type, 'tcp');
        assert.equal(handle.localEndpoint?.ip4, '127.0.0.1');
      }
    } finally {
      channel('net.client.socket').unsubscribe(watch);
    }
  });

  it('does not dial an unconfigured address beyond this machine', async () => {
    const { multiaddr } = await import('@multiformats/multiaddr');
    const node = await start();

    await assert.rejects(node.helia.libp2p.dial(multiaddr('/ip4/192.0.2.1/tcp/4001')), {
      name: 'DialDeniedError',
    });
  });

  it('starts although a configured peer is unreachable', async () => {
    const gone = await start();
    const peers = gone.multiaddrs();
    await stop(gone);

    const node = await start({ peers });

    assert.equal(node.helia.libp2p.getPeers().length, 0);
  });
});

interface Handle {
  readonly type: string;
  readonly is_active: boolean;
  readonly localEndpoint?: { readonly ip4?: string } | null;
}

/** Every TCP and UDP socket that libuv has open in this process. */
function sockets(): Handle[] {
  // Safe: the form of a diagnostic report, `libuv` section (Node.js documentation, "Diagnostic
  // report").
  const report = process.report.getReport() as unknown as { libuv: Handle[] };
  return report.libuv.filter(
    ({ type, is_active }) => is_active && (type === 'tcp' || type === 'udp'),
  );
}
