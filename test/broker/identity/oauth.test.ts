// Authentication over HTTP: sign-in, tokens with and without DPoP, and what is refused.
import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { createDpopKey, type DpopKey } from '../../../broker/client/dpop.ts';
import { createSession } from '../../../broker/client/session.ts';
import { signIn, type Token } from '../../../broker/client/sign-in.ts';
import { FUNCTION_DETAIL } from '../../../broker/identity/authorization-details.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../small-house.ts';

async function refusal(reply: Response): Promise<readonly [number, string]> {
  const { code } = await reply.json();
  return [reply.status, code];
}

describe('tokens', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let lane: Awaited<ReturnType<SmallHouse['openLane']>>;
  before(async () => {
    house = await startSmallHouse();
    lane = await house.openLane(KEYS.user);
  });
  after(() => house.close());

  const lanePath = () => `/lanes/${KEYS.user.address}/${lane.address}`;
  const tokenOf = async (dpop?: DpopKey): Promise<Token> => {
    const { connection, key } = await house.session(KEYS.user);
    return signIn(connection, key, undefined, dpop);
  };
  const ask = (headers: Record<string, string>, path = lanePath()) =>
    fetch(`${house.url()}${path}`, { headers });

  it('are bound to the key of a DPoP proof, and are bearer tokens without one', async () => {
    const bearer = await tokenOf();
    const bound = await tokenOf(await createDpopKey());

    const claims = (token: Token) =>
      JSON.parse(Buffer.from(token.accessToken.split('.')[1] ?? '', 'base64url').toString());
    assert.equal(bearer.dpop, undefined);
    assert.equal(claims(bearer).cnf, undefined);
    assert.deepEqual(Object.keys(claims(bearer).chain), ['id', 'billing', 'block']);
    assert.ok(bound.dpop);
    assert.match(claims(bound).cnf.jkt, /^[\w-]{43}$/);
    assert.equal((await ask({ authorization: `Bearer ${bearer.accessToken}` })).status, 200);
  });

  it('are refused as Bearer when bound, and as DPoP when not', async () => {
    const key = await createDpopKey();
    const bearer = await tokenOf();
    const bound = await tokenOf(key);
    const url = `${house.url()}${lanePath()}`;

    const stolen = await ask({ authorization: `Bearer ${bound.accessToken}` });
    const mixed = await ask({
      authorization: `DPoP ${bearer.accessToken}`,
      dpop: await key.prove('GET', url, bearer.accessToken),
    });

    assert.match(stolen.headers.get('www-authenticate') ?? '', /^Bearer error="invalid_token"/);
    assert.match(stolen.headers.get('www-authenticate') ?? '', /DPoP algs="ES256 EdDSA"/);
    assert.deepEqual(await refusal(stolen), [401, 'TOKEN_INVALID']);
    assert.deepEqual(await refusal(mixed), [401, 'TOKEN_INVALID']);
  });

  it('that the gateway did not issue are reported as invalid, in both schemes', async () => {
    const key = await createDpopKey();
    const url = `${house.url()}${lanePath()}`;

    const bearer = await ask({ authorization: 'Bearer nonsense' });
    const bound = await ask({
      authorization: 'DPoP nonsense',
      dpop: await key.prove('GET', url, 'nonsense'),
    });

    assert.match(bearer.headers.get('www-authenticate') ?? '', /^Bearer error="invalid_token", /);
    assert.match(
      bound.headers.get('www-authenticate') ?? '',
      /DPoP algs=.*, error="invalid_token"/,
    );
    assert.deepEqual(await refusal(bearer), [401, 'TOKEN_INVALID']);
    assert.deepEqual(await refusal(bound), [401, 'TOKEN_INVALID']);
  });

  it('that are narrowed to some functions see their own lane and no other one', async () => {
    const payer = KEYS.user.address;
    const other = await house.openLane(KEYS.user);
    const details = [
      { type: FUNCTION_DETAIL, function: `${KEYS.publisher.address}/echo`, actions: ['invoke'] },
    ] as const;
    const lanes = async (narrowed: boolean, own: string) => {
      const token = await house.gateway().tokens.issue({
        signedBy: payer,
        lane: { payer, signer: other.address },
        ...(narrowed && { details }),
      });
      const authorization = `Bearer ${token}`;
      const paths = [`/lanes/${payer}/${own}`, `/receipts?lane=${payer}:${own}`];
      return Promise.all(paths.map(async (path) => (await ask({ authorization }, path)).status));
    };
    assert.deepEqual(await lanes(false, lane.address), [200, 200]);
    assert.deepEqual(await lanes(true, other.address), [200, 200]);
    assert.deepEqual(await lanes(true, lane.address), [404, 404]);
  });

  it('need a fresh proof of their own key for each request', async () => {
    const key = await createDpopKey();
    const stranger = await createDpopKey();
    const { accessToken } = await tokenOf(key);
    const url = `${house.url()}${lanePath()}`;
    const send = (dpop?: string) =>
      ask({ authorization: `DPoP ${accessToken}`, ...(dpop !== undefined && { dpop }) });
    const good = await key.prove('GET', url, accessToken);

    assert.equal((await send(good)).status, 200);
    const bad = [
      good,
      await key.prove('PUT', url, accessToken),
      await key.prove('GET', `${house.url()}/receipts`, accessToken),
      await key.prove('GET', `http://evil.example${lanePath()}`, accessToken),
      await key.prove('GET', url, `${accessToken}x`),
      await key.prove('GET', url),
      await stranger.prove('GET', url, accessToken),
      'nonsense',
      undefined,
    ];
    for (const [index, proof] of bad.entries()) {
      const reply = await send(proof);
      assert.match(reply.headers.get('www-authenticate') ?? '', /DPoP algs=.*error="/, `${index}`);
      assert.deepEqual(await refusal(reply), [401, 'DPOP_INVALID'], `${index}`);
    }
  });

  it('are refused with a used proof after a restart too, and the proof of a refused request is not used', async () => {
    const origin = 'https://gateway.example';
    await house.restart({ publicOrigins: [origin] });
    const [key, stranger] = [await createDpopKey(), await createDpopKey()];
    const { accessToken } = await tokenOf(key);
    const send = (dpop: string) => ask({ authorization: `DPoP ${accessToken}`, dpop });
    const proof = await key.prove('GET', `${origin}${lanePath()}`, accessToken);
    const file = join(house.dir, 'gateway', 'used-proofs');
    const sizeOf = () => statSync(file).size;

    const before = sizeOf();
    const foreign = await send(await stranger.prove('GET', `${origin}${lanePath()}`, accessToken));
    const afterForeign = sizeOf();
    const first = await send(proof);
    await house.restart({ publicOrigins: [origin] });
    const again = await send(proof);
    const next = await send(await key.prove('GET', `${origin}${lanePath()}`, accessToken));

    assert.deepEqual([foreign.status, first.status, next.status], [401, 200, 200]);
    assert.equal(afterForeign, before);
    assert.deepEqual(await refusal(again), [401, 'DPOP_INVALID']);
  });

  it('accept a proof for the gateway’s own hosts only, whatever the Host header says', async () => {
    const key = await createDpopKey();
    const { accessToken } = await tokenOf(key);
    const { hostname, port } = new URL(house.url());
    const proof = await key.prove('GET', `http://evil.example${lanePath()}`, accessToken);

    const status = await new Promise<number>((resolve, reject) => {
      import('node:http').then(({ request }) =>
        request(
          {
            hostname,
            port,
            path: lanePath(),
            headers: { host: 'evil.example', authorization: `DPoP ${accessToken}`, dpop: proof },
          },
          (reply) => resolve(reply.resume().statusCode ?? 0),
        )
          .on('error', reject)
          .end(),
      );
    });

    assert.equal(status, 401);
  });

  it('are bound by default in the client library, which proves each request', async () => {
    const { connection } = await house.session(KEYS.user);
    const tokens: Token[] = [];
    const session = await createSession({
      connection,
      key: KEYS.user.privateKey,
      onToken: (token) => tokens.push(token),
    });

    await session.request(lanePath());
    await session.request(`${lanePath()}?again=1`);

    assert.deepEqual(
      tokens.map(({ dpop }) => dpop !== undefined),
      [true],
    );
  });

  it('are refused with a malformed proof by OAuth’s own error code', async () => {
    const { connection } = await house.session(KEYS.user);
    const reply = await connection.send('/oauth/token', {
      method: 'POST',
      headers: { dpop: 'a.b.c' },
      body: new URLSearchParams({
        grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
        subject_token_type: 'urn:defaas:params:oauth:token-type:siwe',
        subject_token: Buffer.from('{"message":"x","signature":"0x00"}').toString('base64url'),
      }),
    });

    assert.equal(reply.status, 400);
    assert.equal((await reply.json()).error, 'invalid_dpop_proof');
  });
});
