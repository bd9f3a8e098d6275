import assert from 'node:assert/strict';
import fc from 'fast-check';
import { ArtifactError } from '../../ipfs/artifact-error.ts';
import { isSecretFile, isSecretVariable } from '../../ipfs/keys.ts';
import { encodeManifest, type Manifest, parseManifest } from '../../ipfs/manifest.ts';

const parse = (value: unknown): Manifest =>
  parseManifest(Buffer.from(JSON.stringify(value, null, 2)));

function refusal(value: unknown): string {
  try {
    parse(value);
  } catch (error) {
    assert.ok(error instanceof ArtifactError);
    assert.equal(error.code, 'ARTIFACT_MANIFEST');
    return error.message;
  }
  return assert.fail('a refusal was expected');
}

describe('the manifest reader', () => {
  it('fills in the defaults', () => {
    assert.deepEqual(parse({ $schema: 'x', name: 'a' }), {
      name: 'a',
      entry: 'handler.ts',
      runtime: 'nodejs22',
      memoryMiB: 128,
      timeoutMs: 10_000,
      env: {},
      secrets: [],
      tariff: {
        perCall: 20n,
        perGiBSecond: 40n,
        maxPrice: 100_000n,
        minBilledMs: 0,
        roundMs: 1,
        publisherBps: 0,
      },
      access: 'public',
      payer: 'caller',
      idempotent: false,
      deterministic: false,
      providers: [],
      triggers: [],
      files: [],
    });
  });

  it('reads back the same manifest from its canonical form', () => {
    const units = fc.bigInt({ min: 0n, max: 10n ** 18n });
    const variable = fc.stringMatching(/^X[A-Z0-9_]{0,10}$/);
    const manifests = fc.record({
      name: fc.stringMatching(/^[a-z0-9-]{1,63}$/),
      memoryMiB: fc.integer({ min: 128, max: 10_240 }),
      env: fc.dictionary(variable, fc.string({ maxLength: 30 }), { maxKeys: 5 }),
      tariff: fc.record({
        perCall: units.map(String),
        maxPrice: fc.constant('1000000000000000000'),
      }),
      idempotent: fc.constant(true),
      routing: fc.record(
        {
          strategy: fc.constantFrom('balanced', 'cheapest', 'fastest'),
          excludedRegions: fc.subarray(['us-east-1', 'westeurope']),
          hedge: fc.boolean(),
        },
        { requiredKeys: [] },
      ),
      minWarm: fc.integer({ min: 1, max: 10 }),
      cors: fc.record({ origins: fc.constant(['https://a.example']), maxAgeSec: fc.nat(86_400) }),
    });
    fc.assert(
      fc.property(manifests, (written) => {
        const manifest = parse(written);
        const bytes = encodeManifest(manifest);

        assert.deepEqual(parseManifest(bytes), manifest);
        assert.deepEqual(encodeManifest(parseManifest(bytes)), bytes);
      }),
    );
  });

  it('names field and line of each value that it refuses', () => {
    const cases: [value: object, line: string][] = [
      [{ name: 'a', colour: 1 }, 'colour is not a known field, on defaas.json:3'],
      [
        { name: 'a', tariff: { roundMs: 1, perHour: 1 } },
        'tariff.perHour is not a known field, on defaas.json:5',
      ],
      [{ name: 'A b' }, 'name does not fit'],
      [{}, "must have required property 'name'"],
      [{ name: 'a', memoryMiB: 64 }, 'memoryMiB must be >= 128, on defaas.json:3'],
      [{ name: 'a', timeoutMs: '5s' }, 'timeoutMs must be integer'],
      [{ name: 'a', minWarm: 0 }, 'minWarm must be >= 1, on defaas.json:3'],
      [{ name: 'a', minWarm: 11 }, 'minWarm must be <= 10'],
      [{ name: 'a', access: 'all' }, 'access must be one of public, granted, policy'],
      [{ name: 'a', tariff: { perCall: -1 } }, 'tariff.perCall'],
      [
        { name: 'a', tariff: { perCall: 6, maxPrice: 5 } },
        'tariff.perCall is above tariff.maxPrice, on defaas.json:4',
      ],
      [{ name: 'a', payer: 'publisher', access: 'granted' }, 'needs access "public"'],
      [{ name: 'a', env: { NODE_OPTIONS: '--import x' } }, 'env.NODE_OPTIONS does not fit'],
      [{ name: 'a', env: { A: 'x' }, secrets: ['A'] }, 'A is in env and in secrets'],
      [{ name: 'a', env: { A: 'x'.repeat(4096) } }, 'env has 4097 bytes'],
      [{ name: 'a', routing: { strategy: 'best' } }, 'routing.strategy must be one of balanced,'],
      [
        { name: 'a', idempotent: false, routing: { strategy: 'fastest', hedge: true } },
        'routing.hedge needs idempotent true, on defaas.json:6',
      ],
      [
        { name: 'a', triggers: [{ schedule: '* * * * *' }] },
        'triggers must NOT have more than 0 items',
      ],
    ];
    for (const [value, line] of cases)
      assert.ok(refusal(value).includes(line), `${refusal(value)} | ${line}`);
  });

  it('refuses text that is not JSON, with the line', () => {
    assert.throws(() => parseManifest(Buffer.from('{\n "name": "a",\n}')), {
      code: 'ARTIFACT_MANIFEST',
      message: /on defaas\.json:3/,
    });
    assert.throws(() => parseManifest(Buffer.from('[]')), { code: 'ARTIFACT_MANIFEST' });
    assert.throws(() => parseManifest(Buffer.alloc(70_000, 32)), { code: 'ARTIFACT_MANIFEST' });
  });

  it('accepts NODE_ENV, which steers no part of Node itself', () => {
    const { env } = parseManifest(Buffer.from('{"name":"a","env":{"NODE_ENV":"production"}}'));

    assert.deepEqual(env, { NODE_ENV: 'production' });
  });

  it('distinguishes files of secrets from certificates and public keys', () => {
    const pem = (label: string) =>
      `-----BEGIN ${label}-----\n${'A'.repeat(64)}\n-----END ${label}-----\n`;

    assert.ok(!isSecretFile('certs/ca.pem', pem('CERTIFICATE') + pem('CERTIFICATE')));
    assert.ok(!isSecretFile('issuer.key', pem('PUBLIC KEY')));
    assert.ok(!isSecretFile('.env.example', 'A=b'));
    assert.ok(isSecretFile('tls.pem', pem('CERTIFICATE') + pem('RSA PRIVATE KEY')));
    assert.ok(isSecretFile('tls.pem', 'binary'));
    assert.ok(isSecretFile('store.p12', pem('CERTIFICATE')));
    assert.ok(isSecretFile('config/.env', 'A=b'));
  });

  it('distinguishes secrets from public values', () => {
    const word = `0x${'ab'.repeat(32)}`;
    const pem = (label: string) =>
      `-----BEGIN ${label}-----\n${'A'.repeat(64)}\n-----END ${label}-----\n`;
    const secrets = {
      DB_PASSWORD: 'long enough',
      STRIPE_KEY: 'sk_live_1234',
      DATABASE_URL: 'postgres://u:p@h/db',
      OWNER: word,
      MNEMONIC: 'test test test',
      PGPASSWORD: 'long enough',
      SMTP_PASS: 'long enough',
      clientSecret: 'long enough',
      authToken: 'long enough',
      API_KEY_2: 'long enough',
      ACCESS_TOKEN: 'abcdefgh',
      ADMIN_PASSWORD: `0x${'ab'.repeat(20)}`,
      TLS_KEY: `-----BEGIN PRIVATE KEY-----\n${'A'.repeat(64)}\n-----END PRIVATE KEY-----`,
      PARTITION_KEY: `sk_live_${'a'.repeat(24)}`,
      SORT_KEY: word,
      CI_VALUE: `glpat-${'a'.repeat(20)}`,
    };
    const values = {
      PUBLIC_KEY: 'abcdefgh',
      TOKEN_ADDRESS: '0x1234567890',
      EVENT_TOPIC: word,
      PAGE_URL: 'https://example.com/',
      TOKEN: 'USDC',
      TOKEN_1: `0x${'aB'.repeat(20)}`,
      USDC_TOKEN: `0x${'ab'.repeat(20)}`,
      NODE_ENV: 'production',
      PARTITION_KEY: 'customerId',
      DYNAMO_SORT_KEY: 'createdAt#status',
      CACHE_KEY: 'thumbnails:v2',
      RECAPTCHA_SITE_KEY: '6Lc_aXkUAAAAAKx',
      CA_CERT: pem('CERTIFICATE'),
      TLS_CA_KEY: pem('CERTIFICATE') + pem('CERTIFICATE'),
      JWT_KEY: pem('PUBLIC KEY'),
      KMS_KEY: 'arn:aws:kms:eu-west-1:111122223333:alias/pay',
      KEYBOARD: 'international',
      MONKEY: 'capuchin-monkey',
      COMPASS: 'north-by-northwest',
    };
    for (const [name, value] of Object.entries(secrets))
      assert.ok(isSecretVariable(name, value), name);
    for (const [name, value] of Object.entries(values))
      assert.ok(!isSecretVariable(name, value), name);
  });
});
