// Stands in for `@helia/libp2p` in this house: libp2p runs exactly as it is configured. The
// original brings WebRTC (and with it react-native), a DHT, UPnP, mDNS and automatic TLS, none of
// which a node without public networking needs.
import type { Helia } from '@helia/interface';
import { loadOrCreateSelfKey } from '@libp2p/config';
import { type Libp2p, NotStartedError, type ServiceMap } from '@libp2p/interface';
import { createLibp2p, type Libp2pOptions } from 'libp2p';

/** Here the default is no service at all. */
export type DefaultLibp2pServices = ServiceMap;

export type CreateLibp2pOptions<Services extends ServiceMap = ServiceMap> = Libp2pOptions<Services>;

export interface HeliaWithLibp2p<Services extends ServiceMap = DefaultLibp2pServices>
  extends Helia {
  readonly libp2p: Libp2p<Services>;
}

/**
 * Gives a helia node a libp2p that starts and stops with it. What `options` does not name is
 * absent: no listener, no transport, no discovery, no router. The identity is kept in helia's
 * datastore, so it is the same after a restart.
 * @throws NotStartedError  `libp2p` is read before helia was started
 */
export function withLibp2pLight<Node extends Helia, Services extends ServiceMap = ServiceMap>(
  helia: Node,
  options: CreateLibp2pOptions<Services> = {},
): Node & HeliaWithLibp2p<Services> {
  let libp2p: Libp2p<Services> | undefined;
  helia.addMixin({
    name: 'libp2p',
    start: async ({ datastore, info }) => {
      if (libp2p) return await libp2p.start();
      libp2p = await createLibp2p({
        nodeInfo: info,
        datastore,
        ...options,
        privateKey: options.privateKey ?? (await loadOrCreateSelfKey(datastore)),
      });
    },
    stop: async () => await libp2p?.stop(),
  });
  return Object.defineProperty(helia, 'libp2p', {
    enumerable: true,
    get: () => {
      if (!libp2p) throw new NotStartedError('helia is not started, so it has no libp2p yet');
      return libp2p;
    },
  }) as Node & HeliaWithLibp2p<Services>; // the property is the one just defined
}

/** The same; helia's index asks for this name. */
export const withLibp2p = withLibp2pLight;
