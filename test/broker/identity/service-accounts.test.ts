// Service accounts: a registered key asks for tokens of one lane, and reaches nothing else.
import assert from 'node:assert/strict';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { TOKEN_KIND, tokenSubject } from '../../../broker/client/mandates.ts';
import {
  createServiceSender,
  registerServiceAccount,
  signAssertion,
} from '../../../broker/client/service-account.ts';
import type { Session } from '../../../broker/client/session.ts';
import {
  createClientAssertions,
  USED_ASSERTIONS,
} from '../../../broker/identity/client-assertions.ts';
import { createOnce } from '../../../broker/identity/once.ts';
import { publicKeyIn } from '../../../broker/identity/public-jwk.ts';
import type { Key } from '../../../contracts/keystore.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../small-house.ts';

const ECHO = 'export default async (request) => new Response(await request.text());';
const P256 = { name: 'ECDSA', namedCurve: 'P-256' } as const;

async function codeOf(reply: Response): Promise<readonly [number, string]> {
  const { code } = await reply.json();
  return [reply.status, code];
}

describe('service accounts', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let echo: string;
  let lane: Key;
  let payer: Session;
  let keys: CryptoKeyPair;
  const clientId = `${KEYS.user.address}:ci`;
  before(async () => {
    house = await startSmallHouse();
    echo = await house.publish('echo', ECHO);
    lane = await house.openLane(KEYS.user);
    // A service account signs nothing: the payer mandates what it may spend.
    const subject = tokenSubject(clientId);
    await house.mandate({
      payer: KEYS.user,
      signer: lane,
      terms: { kind: TOKEN_KIND, subject },
    });
    const backup = tokenSubject(`${KEYS.user.address}:backup`);
    await house.mandate({
      payer: KEYS.user,
      signer: lane,
      terms: { kind: TOKEN_KIND, subject: backup },
    });
    payer = await house.session(KEYS.user);
    keys = await crypto.subtle.generateKey(P256, false, ['sign', 'verify']);
    await register('ci', keys.publicKey);
  });
  after(() => house.close());

  const register = (id: string, publicKey: CryptoKey, signer: string = lane.address) =>
    registerServiceAccount(payer, { id, publicKey, signer });
  const sender = (dpop = true, privateKey = keys.privateKey) =>
    createServiceSender({ connection: payer.connection, clientId, privateKey, dpop });
  const ask = (assertion: string, changes: Record<string, string> = {}) =>
    payer.connection.send('/oauth/token', {
      method: 'POST',
      body: new URLSearchParams({
        grant_type: 'client_credentials',
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion: assertion,
        ...changes,
      }),
    });
  /** An assertion with other claims or another header. */
  const assertionWith = async (
    claims: Record<string, unknown>,
    header: Record<string, unknown> = {},
  ): Promise<string> => {
    const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const [head = '', body = ''] = (
      await signAssertion(payer.connection, { clientId, privateKey: keys.privateKey })
    ).split('.');
    const decode = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString());
    const signed = `${encode({ ...decode(head), ...header })}.${encode({ ...decode(body), ...claims })}`;
    const mark = await crypto.subtle.sign(
      { name: 'ECDSA', hash: 'SHA-256' },
      keys.privateKey,
      Buffer.from(signed),
    );
    return `${signed}.${Buffer.from(mark).toString('base64url')}`;
  };

  it('invoke from their lane and read it, by bound tokens and by bearer tokens', async () => {
    for (const dpop of [true, false]) {
      const account = sender(dpop);

      const reply = await account.send(`/functions/${echo}`, { method: 'POST', body: 'hi' });
      const shown = await (
        await account.request(`/lanes/${KEYS.user.address}/${lane.address}`)
      ).json();
      const receipt = await (
        await account.request(`/receipts/${reply.headers.get('defaas-receipt')}`)
      ).json();

      assert.deepEqual([reply.status, await reply.text()], [200, 'hi']);
      assert.equal(shown.signer, lane.address);
      assert.match(receipt.salt, /^0x/);
    }
  });

  it('spend by a mandate alone: without a mandate in force their calls are refused', async () => {
    await register('unbound', keys.publicKey);
    const account = createServiceSender({
      connection: payer.connection,
      clientId: `${KEYS.user.address}:unbound`,
      privateKey: keys.privateKey,
    });
    const headers = { 'defaas-nonce': `0x${'17'.repeat(32)}`, 'defaas-max-price': '1000000' };

    const reply = await account.send(`/functions/${echo}`, { method: 'POST', body: 'hi', headers });

    assert.deepEqual(await codeOf(reply), [402, 'MANDATE_EMPTY']);
  });

  it('get tokens of at most 10 minutes that name them, for the lane of their payer', async () => {
    const reply = await ask(await assertionWith({}));

    const { access_token, expires_in, issued_token_type } = await reply.json();
    const claims = JSON.parse(Buffer.from(access_token.split('.')[1], 'base64url').toString());
    assert.ok(expires_in <= 600 && claims.exp - claims.iat <= 600);
    assert.equal(claims.client_id, clientId);
    assert.equal(claims.sub, `did:pkh:eip155:31337:${KEYS.user.address}`);
    assert.equal(claims.lane.signer, lane.address);
    assert.equal(issued_token_type, undefined);
  });

  it('reach no route that needs an account, not even for their own payer', async () => {
    const account = sender();
    const other = await house.openLane(KEYS.user);

    const refused = [
      await account.send('/oauth/clients'),
      await account.send('/oauth/clients/ci', { method: 'DELETE' }),
      await account.send('/settlements', { method: 'POST' }),
      await account.send(`/functions/${echo}/deployments`, {
        method: 'PUT',
        body: '{"providers":["aws-lambda"]}',
      }),
    ];
    const otherLane = await account.send(`/lanes/${KEYS.user.address}/${other.address}`);

    for (const reply of refused) assert.deepEqual(await codeOf(reply), [403, 'ACCOUNT_ONLY']);
    assert.deepEqual(await codeOf(otherLane), [404, 'LANE_UNKNOWN']);
  });

  it('cannot be made for an account that never agreed: its lane gives them nothing of the account', async () => {
    // The payer opens a lane whose signer is the gateway's own account, and registers a key for it.
    const writer = house.view.connect(KEYS.user);
    const block = await writer.openLane(KEYS.gateway.address, {
      signer: KEYS.gateway.address,
      cap: 1n,
      expirySec: Math.floor(Date.now() / 1000) + 30 * 86_400,
      mode: 1,
    });
    await house.gateway().chain.synced(block);
    await register('sneaky', keys.publicKey, KEYS.gateway.address);
    const account = createServiceSender({
      connection: payer.connection,
      clientId: `${KEYS.user.address}:sneaky`,
      privateKey: keys.privateKey,
    });

    const reply = await account.send('/settlements', { method: 'POST' });

    assert.deepEqual(await codeOf(reply), [403, 'ACCOUNT_ONLY']);
  });

  it('can use each client assertion once', async () => {
    const assertion = await assertionWith({});

    assert.equal((await ask(assertion)).status, 200);
    const again = await (await ask(assertion)).json();
    assert.deepEqual([again.code, again.error], ['SIGN_IN_REFUSED', 'invalid_client']);
  });

  it('can use no client assertion again after a restart, though one made before it', async () => {
    const aud = 'https://gateway.example';
    const restart = async () => {
      await house.restart({ publicOrigins: [aud] });
      payer = await house.session(KEYS.user);
    };
    await restart();
    const nowSec = Math.floor(Date.now() / 1000);
    // By a clock that is ahead, as far as that is allowed.
    const used = await assertionWith({ aud, iat: nowSec + 9, exp: nowSec + 200 });
    const unused = await assertionWith({ aud, iat: nowSec - 30 });
    assert.equal((await ask(used)).status, 200);

    await restart();

    const again = await (await ask(used)).json();
    assert.deepEqual([again.code, again.error], ['SIGN_IN_REFUSED', 'invalid_client']);
    assert.match(again.error_description, /jti was used/);
    assert.equal((await ask(unused)).status, 200);
  });

  it('are refused when the assertion does not follow RFC 7523', async () => {
    const nowSec = Math.floor(Date.now() / 1000);
    const cases: Record<string, unknown>[] = [
      { aud: 'https://evil.example' },
      { aud: undefined },
      { iss: `${KEYS.publisher.address}:ci` },
      { sub: `${KEYS.user.address}:none` },
      { sub: 'ci' },
      { exp: nowSec - 60 },
      { exp: nowSec + 3_600 },
      { exp: undefined },
      { iat: nowSec + 600 },
      { iat: nowSec - 86_400 },
      { iat: undefined },
      { jti: undefined },
      { jti: '' },
      { nbf: nowSec + 600 },
    ];
    for (const claims of cases) {
      const reply = await (await ask(await assertionWith(claims))).json();
      assert.deepEqual(
        [reply.code, reply.error],
        ['SIGN_IN_REFUSED', 'invalid_client'],
        JSON.stringify(claims),
      );
    }
    const stranger = await crypto.subtle.generateKey(P256, false, ['sign', 'verify']);
    const forged = await signAssertion(payer.connection, {
      clientId,
      privateKey: stranger.privateKey,
    });
    const none = await assertionWith({}, { alg: 'none' });
    for (const assertion of [forged, none, 'nonsense', '']) {
      assert.equal((await (await ask(assertion)).json()).error, 'invalid_client');
    }
    const token = await ask(await assertionWith({ aud: `${house.url()}/oauth/token` }));
    assert.equal(token.status, 200);
  });

  it('get tokens for some functions only when they ask for that (RFC 9396)', async () => {
    const type = 'urn:defaas:function';
    const askFor = async (details: unknown) =>
      ask(await assertionWith({}), {
        authorization_details: typeof details === 'string' ? details : JSON.stringify(details),
      });
    const other = await house.publish('other', ECHO);

    const granted = await (await askFor([{ type, function: echo, actions: ['invoke'] }])).json();

    const send = (path: string) =>
      fetch(`${house.url()}${path}`, {
        headers: { authorization: `Bearer ${granted.access_token}` },
      });
    assert.deepEqual(granted.authorization_details, [
      { type, function: echo, actions: ['invoke'] },
    ]);
    assert.equal((await send(`/functions/${echo}`)).status, 200);
    for (const path of [`/functions/${other}`, '/oauth/clients']) {
      const beyond = await send(path);
      const challenge = beyond.headers.get('www-authenticate') ?? '';
      assert.match(challenge, /^Bearer error="insufficient_scope", DPoP /, path);
      assert.deepEqual(await codeOf(beyond), [403, 'TOKEN_SCOPE']);
    }
    assert.equal((await send(`/lanes/${KEYS.user.address}/${lane.address}`)).status, 200);
    for (const details of [
      'nonsense',
      {},
      [],
      [7],
      [{ type: 'x', function: echo, actions: ['invoke'] }],
      [{ type, function: `${echo}x`, actions: ['invoke'] }],
      [{ type, function: echo, actions: ['deploy'] }],
      [{ type, function: echo, actions: ['invoke'], locations: ['https://gateway.example'] }],
      [{ type, function: echo, actions: ['invoke'], maxPrice: '1' }],
      `[{"type":"${type}","function":"${echo}","actions":["invoke"],"__proto__":{}}]`,
      Array.from({ length: 17 }, () => ({ type, function: echo, actions: ['invoke'] })),
    ]) {
      const { error } = await (await askFor(details)).json();
      assert.equal(error, 'invalid_authorization_details', JSON.stringify(details));
    }
  });

  it('are refused with OAuth’s error codes for a wrong request', async () => {
    const assertion = await assertionWith({});
    const errorOf = async (reply: Response) => (await reply.json()).error;

    assert.equal(
      await errorOf(await ask(assertion, { grant_type: 'password' })),
      'unsupported_grant_type',
    );
    assert.equal(
      await errorOf(await ask(assertion, { client_assertion_type: 'x' })),
      'invalid_client',
    );
    const twice = await payer.connection.send('/oauth/token', {
      method: 'POST',
      body: 'grant_type=client_credentials&grant_type=client_credentials',
    });
    assert.equal(await errorOf(twice), 'invalid_request');
  });

  it('are registered, shown, given another key and removed by their payer only, and outlast a restart', async () => {
    const ed25519 = await crypto.subtle.generateKey({ name: 'Ed25519' }, false, ['sign', 'verify']);
    const publicKey = (ed25519 as CryptoKeyPair).publicKey;
    await register('backup', keys.publicKey);
    await register('backup', publicKey);
    await house.restart();
    payer = await house.session(KEYS.user);
    const stranger = await house.session(KEYS.publisher);

    const shown = await (await payer.request('/oauth/clients/backup')).json();
    const account = createServiceSender({
      connection: payer.connection,
      clientId: shown.client_id,
      privateKey: (ed25519 as CryptoKeyPair).privateKey,
    });
    const reply = await account.send(`/functions/${echo}`, { method: 'POST', body: 'ed' });

    assert.deepEqual([shown.client_id, shown.jwk.crv], [`${KEYS.user.address}:backup`, 'Ed25519']);
    assert.equal(await reply.text(), 'ed');
    assert.deepEqual(await codeOf(await stranger.send('/oauth/clients/backup')), [
      404,
      'CLIENT_UNKNOWN',
    ]);
    assert.equal((await payer.request('/oauth/clients/backup', { method: 'DELETE' })).status, 204);
    const gone = createServiceSender({
      connection: payer.connection,
      clientId: shown.client_id,
      privateKey: (ed25519 as CryptoKeyPair).privateKey,
    });
    await assert.rejects(gone.send('/'), { code: 'SIGN_IN_REFUSED' });
    const { clients } = await (await payer.request('/oauth/clients')).json();
    assert.ok(clients.every((one: { client_id: string }) => one.client_id !== shown.client_id));
  });

  it('are registered with a public key, for an open prepaid lane, under a plain name', async () => {
    const put = (id: string, body: object) =>
      payer.send(`/oauth/clients/${id}`, { method: 'PUT', body: JSON.stringify(body) });
    const jwk = await crypto.subtle.exportKey('jwk', keys.publicKey);
    const signer = { signer: lane.address };

    assert.deepEqual(await codeOf(await put('A_b', { jwk, lane: signer })), [400, 'NAME_INVALID']);
    for (const bad of [{ ...jwk, d: 'x' }, {}, { kty: 'oct', k: 'x' }, { ...jwk, y: undefined }]) {
      assert.deepEqual(await codeOf(await put('x', { jwk: bad, lane: signer })), [
        400,
        'REQUEST_INVALID',
      ]);
    }
    const nowhere = await put('x', { jwk, lane: { signer: KEYS.settler.address } });
    assert.deepEqual(await codeOf(nowhere), [404, 'LANE_UNKNOWN']);
    const signed = await house.openLane(KEYS.user, undefined, 'signed');
    const ofSigned = await put('x', { jwk, lane: { signer: signed.address } });
    assert.deepEqual(await codeOf(ofSigned), [404, 'LANE_UNKNOWN']);
  });

  it('are limited to 100 of one payer, also when many are registered at once', async () => {
    const jwk = await crypto.subtle.exportKey('jwk', keys.publicKey);
    const body = JSON.stringify({ jwk, lane: { signer: lane.address } });
    const ids = Array.from({ length: 104 }, (_, number) => `many-${number}`);

    const replies = await Promise.all(
      ids.map((id) => payer.send(`/oauth/clients/${id}`, { method: 'PUT', body })),
    );
    const { clients } = await (await payer.request('/oauth/clients')).json();
    const ofNow = ids.filter((_, index) => replies[index]?.status === 201);
    for (const id of ofNow) await payer.request(`/oauth/clients/${id}`, { method: 'DELETE' });

    assert.equal(clients.length, 100);
    assert.equal(replies.filter(({ status }) => status === 400).length, 104 - ofNow.length);
  });

  it('find in the metadata what the gateway accepts (RFC 8414), under its own URL only', async () => {
    const metadata = await (
      await fetch(`${house.url()}/.well-known/oauth-authorization-server`)
    ).json();

    assert.equal(metadata.issuer, house.url());
    assert.equal(metadata.token_endpoint, `${house.url()}/oauth/token`);
    assert.deepEqual(metadata.token_endpoint_auth_methods_supported, ['none', 'private_key_jwt']);
    assert.deepEqual(metadata.token_endpoint_auth_signing_alg_values_supported, ['ES256', 'EdDSA']);
    assert.deepEqual(metadata.dpop_signing_alg_values_supported, ['ES256', 'EdDSA']);
    assert.deepEqual(metadata.response_types_supported, []);
    assert.ok(metadata.grant_types_supported.includes('client_credentials'));
    assert.equal((await fetch(metadata.jwks_uri)).status, 200);
  });
});

describe('client assertions', () => {
  it('are accepted once for as long as they verify, with the allowed clock skew', async () => {
    const startMs = 1_800_000_000_000;
    let nowMs = startMs;
    const { publicKey, privateKey } = await generateKeyPair('ES256');
    const jwk = publicKeyIn(await exportJWK(publicKey));
    assert.ok(typeof jwk !== 'string');
    const client = {
      payer: KEYS.user.address,
      id: 'ci',
      signer: KEYS.user.address,
      jwk,
      createdAtMs: 0,
    };
    const assertions = createClientAssertions(
      { client: async () => client },
      createOnce({ ...USED_ASSERTIONS, nowMs: () => nowMs }),
      () => nowMs,
    );
    const name = `${client.payer}:${client.id}`;
    const make = (aheadSec: number) =>
      new SignJWT({ jti: crypto.randomUUID() })
        .setProtectedHeader({ alg: 'ES256' })
        .setIssuer(name)
        .setSubject(name)
        .setAudience('here')
        .setIssuedAt(nowMs / 1000)
        .setExpirationTime(nowMs / 1000 + aheadSec)
        .sign(privateKey);
    const isTaken = (jwt: string) =>
      assertions.verify(jwt, ['here']).then(
        () => true,
        () => false,
      );
    // Each at the end of one life of what is remembered, the next use at the beginning of another.
    nowMs = startMs + 309_000;
    const longest = await make(310);
    assert.equal(await isTaken(longest), true);
    nowMs = startMs + 311_000;
    assert.equal(await isTaken(await make(60)), true);

    for (const laterSec of [313, 319, 320, 321]) {
      nowMs = startMs + (309 + laterSec) * 1000;
      assert.equal(await isTaken(longest), false, `${laterSec} s later`);
    }
    nowMs = startMs;
    assert.equal(await isTaken(await make(311)), false);
  });
});
