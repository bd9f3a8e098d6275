// The house's IPFS node: helia on disk, with bitswap and gossip over TCP, and no connection to the
// public network.
import { join } from 'node:path';
import type { HeliaWithLibp2p } from '@helia/libp2p';
import type { GossipSub } from '@libp2p/gossipsub';
import type { LevelDatastore } from 'datastore-level';
import type { HeliaInit } from 'helia';

type Blockstore = NonNullable<HeliaInit['blockstore']>;

export interface IpfsNodeOptions {
  /** Folder for blocks, pins and the node's key; without it everything is in memory. */
  readonly dir?: string;
  /** Multiaddrs to listen on, default any free port of 127.0.0.1. */
  readonly listen?: readonly string[];
  /**
   * Multiaddrs, ending in `/p2p/<peer id>`, of the nodes to stay connected to; the only ones
   * outside this machine it may dial.
   */
  readonly peers?: readonly string[];
}

export interface IpfsNode {
  readonly helia: HeliaWithLibp2p<{ pubsub: GossipSub }>;
  readonly pubsub: GossipSub;
  /** helia's raw block store; unlike helia, `put` here overwrites. */
  readonly blockstore: Blockstore;
  /** Multiaddrs of this node, with its peer id. */
  multiaddrs(): string[];
  close(): Promise<void>;
}

const LOOPBACK = /^\/(ip4\/127\.|ip6\/::1\/)/;

/**
 * Pause between two rounds of dialling peers that are not connected, and the time limit of one
 * dial, ms.
 */
const REDIAL_MS = 10_000;
const DIAL_MS = 5_000;

/**
 * Starts a node. helia is imported here, not before: it costs about a second and 80 MiB.
 * @throws Error  `dir` is in use by another process, or an address cannot be listened on
 */
export async function createIpfsNode(options: IpfsNodeOptions = {}): Promise<IpfsNode> {
  const { dir, listen = ['/ip4/127.0.0.1/tcp/0'], peers = [] } = options;
  const store = await openStore(dir);
  const helia = await composeHelia(listen, peers, store);
  let redial: NodeJS.Timeout | undefined;
  const close = async () => {
    clearInterval(redial);
    await helia.stop();
    await store.datastore?.close();
  };

  try {
    await helia.start();
    await dialMissing(helia, peers);
  } catch (error) {
    await close();
    throw error;
  }
  if (peers.length > 0) redial = setInterval(() => void dialMissing(helia, peers), REDIAL_MS);
  const { libp2p } = helia;
  return {
    helia,
    pubsub: libp2p.services.pubsub,
    blockstore: store.blockstore,
    multiaddrs: () => libp2p.getMultiaddrs().map(String),
    close,
  };
}

interface Store {
  readonly blockstore: Blockstore;
  /** Without it helia keeps its key and pins in memory. */
  readonly datastore?: LevelDatastore;
}

async function composeHelia(listen: readonly string[], peers: readonly string[], store: Store) {
  const [
    { createHeliaLight },
    { withBitswap },
    { withLibp2pLight },
    { tcp },
    { noise },
    { yamux },
    { identify },
    { ping },
    { gossipsub },
    dagCbor,
  ] = await Promise.all([
    import('helia'),
    import('@helia/bitswap'),
    import('@helia/libp2p'),
    import('@libp2p/tcp'),
    import('@libp2p/noise'),
    import('@libp2p/yamux'),
    import('@libp2p/identify'),
    import('@libp2p/ping'),
    import('@libp2p/gossipsub'),
    import('@ipld/dag-cbor'),
  ]);
  const light = createHeliaLight({ ...store, codecs: [dagCbor] });
  const connected = withLibp2pLight(light, {
    addresses: { listen: [...listen] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionGater: { denyDialMultiaddr: (address) => !mayDial(address.toString(), peers) },
    services: {
      identify: identify(),
      ping: ping(),
      pubsub: gossipsub({ allowPublishToZeroTopicPeers: true }),
    },
  });
  return withBitswap(connected);
}

async function openStore(dir: string | undefined): Promise<Store> {
  if (dir === undefined) {
    const { MemoryBlockstore } = await import('blockstore-core');
    return { blockstore: new MemoryBlockstore() };
  }
  const [{ FsBlockstore }, { LevelDatastore }] = await Promise.all([
    import('blockstore-fs'),
    import('datastore-level'),
  ]);
  const blockstore = new FsBlockstore(join(dir, 'blocks'));
  const datastore = new LevelDatastore(join(dir, 'data'));
  await blockstore.open();
  await datastore.open();
  return { blockstore, datastore };
}

/** An unreachable peer is dialled again in the next round. */
async function dialMissing({ libp2p }: IpfsNode['helia'], peers: readonly string[]): Promise<void> {
  if (peers.length === 0) return;
  const { multiaddr } = await import('@multiformats/multiaddr');
  const ids = libp2p.getPeers().map(String);
  const missing = peers.filter((peer) => !ids.some((id) => peer.endsWith(`/${id}`)));
  await Promise.allSettled(
    missing.map((peer) => libp2p.dial(multiaddr(peer), { signal: AbortSignal.timeout(DIAL_MS) })),
  );
}

function mayDial(address: string, peers: readonly string[]): boolean {
  const withoutId = (text: string) => text.replace(/\/p2p\/[^/]+$/, '');
  const isNamed = peers.some((peer) => withoutId(peer) === withoutId(address));
  return LOOPBACK.test(address) || isNamed;
}
