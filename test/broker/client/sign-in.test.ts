// Signing in: the message is one that the reference library reads, and a session renews its token
// when it must.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { SiweMessage } from 'siwe';
import { connect } from '../../../broker/client/connection.ts';
import { createSession } from '../../../broker/client/session.ts';
import { signInMessage } from '../../../broker/client/sign-in.ts';
import { createKey } from '../../../contracts/keystore.ts';
import type { Address } from '../../../contracts/libraries/keccak.ts';
import { type HardhatChain, startHardhatChain } from '../../contracts/hardhat-chain.ts';

const at = (byte: string): Address => `0x${byte.repeat(20)}`;
const DOCUMENT = {
  gateway: at('9a'),
  chainId: 31337,
  contracts: {
    registry: at('01'),
    identity: at('02'),
    billing: at('03'),
    disputes: at('04'),
    beacon: at('05'),
    token: at('06'),
    deployedAtBlock: 1,
  },
  feeBps: 0,
  providers: ['local'],
};

describe('the sign-in message', () => {
  it('is an ERC-4361 message with the lane among its resources, valid for less than 5 minutes', async () => {
    const key = createKey();
    const issuedAtMs = Date.UTC(2026, 10, 22, 15, 0, 0);
    const message = signInMessage({
      connection: { origin: 'http://127.0.0.1:8080', document: DOCUMENT },
      address: key.address,
      nonce: '0123456789abcdef',
      issuedAtMs,
      lane: { payer: at('aa'), signer: key.address },
    });

    const parsed = new SiweMessage(message);

    assert.equal(parsed.domain, '127.0.0.1:8080');
    assert.equal(parsed.address.toLowerCase(), key.address);
    assert.equal(parsed.uri, 'http://127.0.0.1:8080');
    assert.equal(parsed.version, '1');
    assert.equal(parsed.chainId, 31337);
    assert.equal(parsed.nonce, '0123456789abcdef');
    assert.deepEqual(parsed.resources, [`urn:defaas:lane:${at('aa')}:${at('9a')}:${key.address}`]);
    const lifeMs = Date.parse(parsed.expirationTime ?? '') - Date.parse(parsed.issuedAt ?? '');
    assert.ok(lifeMs > 0 && lifeMs <= 300_000);
    assert.equal(parsed.toMessage(), message);
  });

  it('is readable without a lane too', () => {
    const message = signInMessage({
      connection: { origin: 'https://gateway.example', document: DOCUMENT },
      address: createKey().address,
      nonce: '0123456789abcdef',
      issuedAtMs: Date.now(),
    });

    assert.equal(new SiweMessage(message).toMessage(), message);
  });
});

describe('a session', function () {
  this.timeout(30_000);
  let chain: HardhatChain;
  let server: Server;
  let origin: string;
  let signIns: number;
  let valid: Set<string>;
  const seen: string[] = [];

  /** The gateway's HTTP interface, as far as tokens are concerned. */
  async function answer(request: IncomingMessage): Promise<[status: number, body: object]> {
    if (request.url === '/.well-known/defaas')
      return [200, { ...DOCUMENT, contracts: chain.contracts }];
    if (request.url === '/oauth/nonce') return [200, { nonce: '0123456789abcdef' }];
    if (request.url === '/oauth/token') {
      const form = new URLSearchParams(await text(request));
      const subject = Buffer.from(form.get('subject_token') ?? '', 'base64url').toString();
      const { message, signature } = JSON.parse(subject);
      await new SiweMessage(message).verify({ signature });
      signIns += 1;
      valid.add(`token-${signIns}`);
      return [200, { access_token: `token-${signIns}`, expires_in: 600 }];
    }
    const token = request.headers.authorization?.replace('Bearer ', '') ?? '';
    seen.push(token);
    return valid.has(token)
      ? [200, { token }]
      : [401, { code: 'TOKEN_INVALID', detail: 'sign in' }];
  }

  before(async () => {
    chain = await startHardhatChain();
  });
  after(() => chain?.close());
  beforeEach(async () => {
    signIns = 0;
    valid = new Set();
    seen.length = 0;
    server = createServer(async (request, reply) => {
      const [status, body] = await answer(request);
      reply.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterEach(() => new Promise((done) => server.close(done)));

  it('signs in once for requests that go out together', async () => {
    const connection = await connect(origin, { trust: chain.trust, gateway: at('9a') });
    const session = await createSession({ connection, key: createKey().privateKey });

    const replies = await Promise.all([1, 2, 3].map((n) => session.request(`/x/${n}`)));

    assert.deepEqual(
      replies.map(({ status }) => status),
      [200, 200, 200],
    );
    assert.equal(signIns, 1);
  });

  it('uses a stored token, and signs in again when it is refused', async () => {
    const connection = await connect(origin, { trust: chain.trust, gateway: at('9a') });
    const kept: string[] = [];
    const session = await createSession({
      connection,
      key: createKey().privateKey,
      token: { accessToken: 'old', expiresAtMs: Date.now() + 500_000 },
      onToken: ({ accessToken }) => kept.push(accessToken),
    });

    const reply = await session.request('/x');

    assert.deepEqual(await reply.json(), { token: 'token-1' });
    assert.deepEqual(seen, ['old', 'token-1']);
    assert.deepEqual(kept, ['token-1']);
  });

  it('renews a token that is about to end before it is used', async () => {
    const connection = await connect(origin, { trust: chain.trust, gateway: at('9a') });
    const session = await createSession({
      connection,
      key: createKey().privateKey,
      token: { accessToken: 'ending', expiresAtMs: Date.now() + 1_000 },
    });

    await session.request('/x');

    assert.deepEqual(seen, ['token-1']);
  });

  it('gives up after one renewal', async () => {
    const connection = await connect(origin, { trust: chain.trust, gateway: at('9a') });
    const session = await createSession({ connection, key: createKey().privateKey });
    valid.add = () => valid;

    await assert.rejects(session.request('/x'), { code: 'TOKEN_INVALID', status: 401 });

    assert.equal(signIns, 2);
  });
});
