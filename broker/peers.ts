// The address of a client. It is that of the connection, unless the connection comes from a proxy
// that the operator trusts: then that proxy's header says it. Anybody else could write the header.
import type { IncomingHttpHeaders } from 'node:http';
import { BlockList, isIP } from 'node:net';

/** Headers that name the client: the one of RFC 7239, and the older one. */
export const FORWARDED_HEADERS = ['x-forwarded-for', 'forwarded'] as const;

export type ForwardedHeader = (typeof FORWARDED_HEADERS)[number];

/** A request of Node's server, or one read by the fast path. */
interface PeerRequest {
  readonly headers: IncomingHttpHeaders;
  readonly socket: { readonly remoteAddress?: string | undefined };
}

export interface Peers {
  /** Whether a connection comes from a trusted proxy. */
  isProxy(address: string | undefined): boolean;
  /** The client's address; empty if the connection is gone. */
  peerOf(request: PeerRequest): string;
}

export interface PeersOptions {
  /** Addresses and networks (`10.0.0.0/8`) of trusted proxies. */
  readonly trustedProxies: readonly string[];
  /** The only header that is read: a proxy passes the other one on as the client wrote it. */
  readonly forwardedHeader: ForwardedHeader;
}

/** Most proxies between a client and the gateway. */
const MAX_HOPS = 16;
/** IPv6 clients get a whole network of this size. */
const CLIENT_BITS = 64;
const GROUP_BITS = 16;

/** @throws TypeError, RangeError  one of the proxies is neither an address nor a network */
export function createPeers({ trustedProxies, forwardedHeader }: PeersOptions): Peers {
  const proxies = new BlockList();
  for (const one of trustedProxies) {
    const [address = '', bits] = one.split('/');
    const family = familyOf(address);
    if (bits === undefined) proxies.addAddress(address, family);
    else proxies.addSubnet(address, Number(bits), family);
  }
  const isProxy = (written = ''): boolean => {
    const address = plain(written);
    return isIP(address) > 0 && proxies.check(address, familyOf(address));
  };
  return {
    isProxy,
    peerOf: ({ headers, socket }) => {
      let peer = plain(socket.remoteAddress ?? '');
      if (!isProxy(peer)) return peer;
      const line = headers[forwardedHeader];
      // From the right: each proxy appends the address that it saw.
      let rest = Array.isArray(line) ? line.join(',') : (line ?? '');
      for (let hop = 0; hop < MAX_HOPS && rest !== '' && isProxy(peer); hop += 1) {
        const comma = rest.lastIndexOf(',');
        const named = addressIn(rest.slice(comma + 1), forwardedHeader);
        if (named === undefined) return peer;
        peer = named;
        rest = rest.slice(0, Math.max(comma, 0));
      }
      return peer;
    },
  };
}

/**
 * What limits per client count by: an IPv4 address, or the network of an IPv6 address, of which a
 * client has all.
 */
export function clientOf(written: string): string {
  const address = plain(written);
  if (isIP(address) !== 6) return address;
  const [head = '', tail] = address.split('%', 1)[0]?.split('::') ?? [];
  const groups = head === '' ? [] : head.split(':');
  const behind = tail ? tail.split(':').length + (tail.includes('.') ? 1 : 0) : 0;
  while (tail !== undefined && groups.length + behind < 8) groups.push('0');
  return groups
    .slice(0, CLIENT_BITS / GROUP_BITS)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':');
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 6 ? 'ipv6' : 'ipv4';
}

/** An IPv4 address that came over an IPv6 socket is the same client. */
function plain(address: string): string {
  return /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1] ?? address.toLowerCase();
}

/** The address in one element of the header, without its port; undefined for names. */
function addressIn(element: string, header: ForwardedHeader): string | undefined {
  const node = header === 'forwarded' ? forIn(element) : element.trim();
  const [, v6, v4 = node] =
    /^(?:\[([0-9a-f:.]+)\]|(\d+\.\d+\.\d+\.\d+))(?::\d+)?$/i.exec(node) ?? [];
  const address = v6 ?? v4;
  return isIP(address) > 0 ? plain(address) : undefined;
}

/** The `for` parameter of an element of `Forwarded` (RFC 7239 section 4), without its quotes. */
function forIn(element: string): string {
  for (const pair of element.split(';', MAX_HOPS)) {
    const [, quoted, token] = /^\s*for=(?:"([^"\\]*)"|([^"\s]+))\s*$/i.exec(pair) ?? [];
    if (quoted !== undefined || token !== undefined) return quoted ?? token ?? '';
  }
  return '';
}
