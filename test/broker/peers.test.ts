// Whose address a request has: the connection's, or what a trusted proxy says.
import assert from 'node:assert/strict';
import { clientOf, createPeers, type ForwardedHeader } from '../../broker/peers.ts';

const PROXY = '10.0.0.1';
const CLIENT = '203.0.113.7';

const peer = (
  from: string | undefined,
  line: string | undefined,
  header: ForwardedHeader = 'x-forwarded-for',
  trustedProxies: readonly string[] = ['10.0.0.0/8', '2001:db8::/32'],
) =>
  createPeers({ trustedProxies, forwardedHeader: header }).peerOf({
    headers: line === undefined ? {} : { [header]: line },
    socket: { remoteAddress: from },
  });

describe('the address of a client', () => {
  it('is that of its connection, whatever its headers say', () => {
    for (const header of ['x-forwarded-for', 'forwarded'] as const) {
      assert.equal(peer(CLIENT, '198.51.100.1', header), CLIENT);
      assert.equal(peer(PROXY, '198.51.100.1', header, []), PROXY);
    }
    assert.equal(peer(`::ffff:${CLIENT}`, undefined), CLIENT);
    assert.equal(peer(undefined, CLIENT), '');
  });

  it('is what a trusted proxy appended, not what the client wrote before it', () => {
    const rows: readonly (readonly [string, string, string])[] = [
      [CLIENT, `for=${CLIENT}`, CLIENT],
      [`198.51.100.1, ${CLIENT}`, `for=198.51.100.1, for=${CLIENT}`, CLIENT],
      [`198.51.100.1, ${CLIENT}, 10.9.9.9`, `for=${CLIENT};by=10.9.9.9, for=10.9.9.9`, CLIENT],
      [`${CLIENT}:4711`, `proto=https; For="${CLIENT}:4711";by=unknown`, CLIENT],
      ['2001:DB9::1', 'for="[2001:DB9::1]"', '2001:db9::1'],
      ['[2001:db9::1]:443', 'for="[2001:db9::1]:443"', '2001:db9::1'],
      [`"${CLIENT}`, `for="x, for=${CLIENT}, for=unknown`, PROXY],
      ['unknown', 'for=unknown', PROXY],
      ['', '', PROXY],
      [`${CLIENT}, _hidden`, `for=${CLIENT}, for=_hidden`, PROXY],
      ['not an address', 'by=10.0.0.2', PROXY],
    ];
    for (const [older, rfc, expected] of rows) {
      assert.equal(peer(PROXY, older), expected, older);
      assert.equal(peer(PROXY, rfc, 'forwarded'), expected, rfc);
    }
  });

  it('is read in the one header of the setting', () => {
    const peers = createPeers({ trustedProxies: [PROXY], forwardedHeader: 'x-forwarded-for' });
    const headers = { forwarded: `for=${CLIENT}` };

    assert.equal(peers.peerOf({ headers, socket: { remoteAddress: PROXY } }), PROXY);
  });

  it('is looked for behind at most 16 proxies', () => {
    const hops = Array.from({ length: 5_000 }, (_, n) => `10.0.${n >> 8}.${n & 255}`);

    assert.equal(peer(PROXY, [CLIENT, ...hops].join()), hops.at(-16));
  });

  it('counts in IPv6 as its network of 64 bits', () => {
    assert.equal(clientOf(CLIENT), CLIENT);
    assert.equal(clientOf(`::ffff:${CLIENT}`), CLIENT);
    for (const address of ['2001:db8:1:2:3:4:5:6', '2001:0db8:0001:2::', '2001:db8:1:2::a%eth0']) {
      assert.equal(clientOf(address), '2001:db8:1:2', address);
    }
    assert.equal(clientOf('2001:db8::1'), '2001:db8:0:0');
    assert.equal(clientOf('::1'), '0:0:0:0');
    assert.equal(clientOf('64:ff9b::192.0.2.1'), '64:ff9b:0:0');
  });

  it('is a trusted proxy’s also where it comes over an IPv6 socket', () => {
    const peers = createPeers({ trustedProxies: ['10.0.0.0/8'], forwardedHeader: 'forwarded' });

    assert.equal(peers.isProxy('::ffff:10.0.0.1'), true);
    assert.equal(peers.isProxy(`::ffff:${CLIENT}`), false);
    assert.equal(peers.isProxy(undefined), false);
  });

  it('needs proxies that are addresses or networks', () => {
    for (const proxy of ['proxy.example', '10.0.0.0/33', '10.0.0.0/x', '2001:db8::/129', '10.0']) {
      assert.throws(() => peer(PROXY, CLIENT, 'forwarded', [proxy]), proxy);
    }
  });
});
