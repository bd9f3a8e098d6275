// DPoP proofs: the RFC's own examples, and every way in which a proof can be wrong.
import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose';
import { createDpopKey } from '../../../broker/client/dpop.ts';
import { createDpopProofs, type DpopProof, USED_PROOFS } from '../../../broker/identity/dpop.ts';
import { openKeptOnce } from '../../../broker/identity/kept-once.ts';
import { createOnce } from '../../../broker/identity/once.ts';

/** Header and key of both examples of RFC 9449, sections 4.1 and 7.1. */
const RFC_HEADER =
  'eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19';
const RFC_TOKEN_PROOF = `${RFC_HEADER}.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg`;
const RFC_RESOURCE_PROOF = `${RFC_HEADER}.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA`;
const RFC_THUMBPRINT = '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I';
const RFC_ATH = 'fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo';
const RFC_IAT_SEC = 1_562_262_616;

const URL_HERE = 'http://127.0.0.1:8080/functions/a/b';

/** Checks that keep used proofs in memory, and use up each proof that holds. */
function proofsAt(nowMs: () => number) {
  const proofs = createDpopProofs(createOnce({ ...USED_PROOFS, nowMs }), nowMs);
  return {
    verify: async (proof: DpopProof, accessTokenHash?: string): Promise<string> => {
      const checked = await proofs.check(proof, accessTokenHash);
      await proofs.use(checked);
      return checked.thumbprint;
    },
  };
}

describe('the check of DPoP proofs', () => {
  const nowMs = () => 1_800_000_000_000;
  const nowSec = nowMs() / 1000;
  let keys: Awaited<ReturnType<typeof generateKeyPair>>;
  let jwk: JWK;
  before(async () => {
    keys = await generateKeyPair('ES256', { extractable: true });
    jwk = await exportJWK(keys.publicKey);
  });

  const prove = (claims: object, header: object = {}, key = keys.privateKey) =>
    new SignJWT({ jti: crypto.randomUUID(), htm: 'POST', htu: URL_HERE, iat: nowSec, ...claims })
      .setProtectedHeader({ typ: 'dpop+jwt', alg: 'ES256', jwk, ...header })
      .sign(key);
  const check = async (jwt: string, accessTokenHash?: string) =>
    proofsAt(nowMs).verify({ jwt, method: 'POST', urls: [URL_HERE] }, accessTokenHash);

  it('accepts both examples of RFC 9449, and computes the RFC’s key thumbprint', async () => {
    const proofs = proofsAt(() => RFC_IAT_SEC * 1000);

    const atToken = await proofs.verify({
      jwt: RFC_TOKEN_PROOF,
      method: 'POST',
      urls: ['https://server.example.com/token'],
    });
    const atResource = await proofs.verify(
      {
        jwt: RFC_RESOURCE_PROOF,
        method: 'GET',
        urls: ['https://resource.example.org/protectedresource'],
      },
      RFC_ATH,
    );

    assert.deepEqual([atToken, atResource], [RFC_THUMBPRINT, RFC_THUMBPRINT]);
  });

  it('accepts the client library’s proofs, which leave out the query of the URL', async () => {
    const key = await createDpopKey();
    const proofs = proofsAt(Date.now);
    const proof = { method: 'GET', urls: [URL_HERE] };

    const first = await proofs.verify({
      ...proof,
      jwt: await key.prove('GET', `${URL_HERE}?a=1#b`),
    });
    const second = await proofs.verify({ ...proof, jwt: await key.prove('GET', URL_HERE) });

    assert.equal(first, second);
  });

  it('accepts Ed25519 too', async () => {
    const pair = await generateKeyPair('EdDSA', { extractable: true });
    const jwt = await prove(
      {},
      { alg: 'EdDSA', jwk: await exportJWK(pair.publicKey) },
      pair.privateKey,
    );

    assert.match(await check(jwt), /^[\w-]{43}$/);
  });

  it('accepts a proof once', async () => {
    const proofs = proofsAt(nowMs);
    const proof = { jwt: await prove({}), method: 'POST', urls: [URL_HERE] };
    await proofs.verify(proof);

    await assert.rejects(proofs.verify(proof), { code: 'DPOP_INVALID' });
  });

  for (const [what, claims] of Object.entries({
    'for another method': { htm: 'GET' },
    'for another address': { htu: 'http://127.0.0.1:8080/functions/a/c' },
    'for another host': { htu: 'http://evil.example/functions/a/b' },
    'for another scheme': { htu: 'https://127.0.0.1:8080/functions/a/b' },
    'for no address': { htu: 7 },
    'too old': { iat: nowSec - 61 },
    'from the future': { iat: nowSec + 61 },
    'without a time': { iat: undefined },
    'without a jti': { jti: undefined },
    'with a jti that is no text': { jti: 7 },
    'with an endless jti': { jti: 'x'.repeat(129) },
    'of another access token': { ath: RFC_ATH },
  })) {
    it(`refuses a proof ${what}`, async () => {
      await assert.rejects(check(await prove(claims), 'the-hash'), { code: 'DPOP_INVALID' });
    });
  }

  it('refuses a proof that is no dpop+jwt, has no public key, or has a private one', async () => {
    const privateJwk = await exportJWK(keys.privateKey);
    const rsa = await exportJWK((await generateKeyPair('RS256', { extractable: true })).publicKey);
    const headers = [
      { typ: 'JWT' },
      { typ: undefined },
      { jwk: undefined },
      { jwk: privateJwk },
      { jwk: rsa },
      { jwk: 'text' },
    ];
    for (const header of headers) {
      const jwt = await prove({}, header);
      await assert.rejects(check(jwt), { code: 'DPOP_INVALID' }, JSON.stringify(header));
    }
  });

  it('refuses other algorithms, also `none` and a MAC with the public key', async () => {
    const secret = new TextEncoder().encode(JSON.stringify(jwk));
    const mac = await new SignJWT({ jti: 'x', htm: 'POST', htu: URL_HERE, iat: nowSec })
      .setProtectedHeader({ typ: 'dpop+jwt', alg: 'HS256', jwk })
      .sign(secret);
    const [, payload] = mac.split('.');
    const none = Buffer.from(JSON.stringify({ typ: 'dpop+jwt', alg: 'none', jwk })).toString(
      'base64url',
    );

    await assert.rejects(check(mac), { code: 'DPOP_INVALID' });
    await assert.rejects(check(`${none}.${payload}.AA`), { code: 'DPOP_INVALID' });
  });

  it('refuses a proof that another key signed, or that was altered', async () => {
    const stranger = await generateKeyPair('ES256');
    const [head, , mark] = (await prove({})).split('.');
    const payload = Buffer.from(
      JSON.stringify({ jti: 'x', htm: 'POST', htu: URL_HERE, iat: nowSec }),
    );

    await assert.rejects(check(await prove({}, {}, stranger.privateKey)), { code: 'DPOP_INVALID' });
    await assert.rejects(check(`${head}.${payload.toString('base64url')}.${mark}`), {
      code: 'DPOP_INVALID',
    });
  });
});

describe('the memory of ids that may be used once', () => {
  it('refuses a repeated id for at least its lifetime, and keeps ids for no more than two lifetimes', () => {
    let now = 0;
    const once = createOnce({ lifeMs: 100, max: 1_000, nowMs: () => now });

    assert.equal(once.take('a'), true);
    for (now = 0; now <= 100; now += 10) assert.equal(once.take('a'), false, `${now}`);
    now = 400;
    assert.equal(once.take('a'), true);
  });

  it('outlasts the end of the process, without a clean end and with a line cut off', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'defaas-once-'));
    const file = join(dir, 'used');
    let nowMs = 1_000_000;
    const open = () => openKeptOnce({ file, lifeMs: 100, max: 1_000, nowMs: () => nowMs });
    try {
      const first = await open();
      const taken = await Promise.all(['a', 'b', 'a'].map((id) => first.take(id)));
      // Turns the file, which must lose nothing that is still good.
      nowMs += 100;
      const later = await first.take('c');
      appendFileSync(file, `${nowMs} cut-o`);

      const second = await open();
      const after = [await second.take('c'), await second.take('d')];
      nowMs += 99;
      const third = await open();
      const again = [await third.take('c'), await third.take('d')];
      nowMs += 301;
      const fourth = await open();
      const over = await fourth.take('c');

      assert.deepEqual([taken, later], [[true, true, false], true]);
      assert.deepEqual([after, again, over], [[false, true], [false, false], true]);
      assert.ok(statSync(file).size < 100);
      for (const one of [first, second, third, fourth]) await one.close();
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  it('forgets the oldest ids when there are too many', () => {
    const once = createOnce({ lifeMs: 100, max: 10, nowMs: () => 0 });
    for (let i = 0; i < 30; i += 1) once.take(`${i}`);

    assert.equal(once.has('29'), true);
    assert.equal(once.has('0'), false);
  });
});
