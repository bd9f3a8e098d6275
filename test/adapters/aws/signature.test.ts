// Tests our SigV4 signer against AWS's published test suite and against AWS's own signer, with
// which the emulator verifies.

import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { AwsError } from '../../../adapters/aws/emulator/model/errors.ts';
import { createVerifier } from '../../../adapters/aws/emulator/signature.ts';
import { createRequestSigner } from '../../../adapters/aws/invocation.ts';
import { amzDate, createSigner } from '../../../adapters/aws/signature.ts';
import type { OutboundRequest } from '../../../adapters/http/send.ts';

/** The key of AWS's documentation and test suite. */
const EXAMPLE = {
  accessKeyId: 'AKIDEXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY',
};
const DATE = '20150830T123600Z';
const NOW_MS = Date.parse('2015-08-30T12:36:00Z');

describe('aws-signature', () => {
  for (const [title, method, query, contentType, body, signature] of [
    [
      'get-vanilla',
      'GET',
      '',
      '',
      '',
      '5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31',
    ],
    [
      'post-vanilla',
      'POST',
      '',
      '',
      '',
      '5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b',
    ],
    [
      'get-vanilla-query-order-key-case',
      'GET',
      'Param2=value2&Param1=value1',
      '',
      '',
      'b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500',
    ],
    [
      'post-x-www-form-urlencoded',
      'POST',
      '',
      'application/x-www-form-urlencoded',
      'Param1=value1',
      'ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a',
    ],
  ] as const) {
    it(`signs ${title} as published`, () => {
      const sign = createSigner('us-east-1', 'service');
      const headers = contentType ? ['content-type', contentType] : [];
      headers.push('host', 'example.amazonaws.com', 'x-amz-date', DATE);
      const bodyHash = hash('sha256', body, 'hex');

      const value = sign({ method, path: '/', query, headers, bodyHash, date: DATE }, EXAMPLE);

      assert.ok(value.endsWith(`Signature=${signature}`), value);
    });
  }

  it('writes the date in the form of x-amz-date', () => {
    assert.equal(amzDate(NOW_MS), DATE);
  });

  describe('the emulator’s verification', () => {
    const verify = createVerifier({
      credentials: EXAMPLE,
      region: 'us-east-1',
      service: 'lambda',
      nowMs: () => NOW_MS,
    });
    const sign = createRequestSigner('http://127.0.0.1:1', 'us-east-1');
    const signed = (atMs = NOW_MS, key = EXAMPLE) => {
      const { path, headers, body } = sign(
        '/2015-03-31/functions/f',
        'Qualifier=live',
        Buffer.from('{}'),
        key,
        atMs,
      );
      return { method: 'POST', url: path, headers: byName(headers), body };
    };

    it('accepts a session token, and a query in any order and encoding', async () => {
      const credentials = { ...EXAMPLE, sessionToken: 'token/+=' };
      const region = 'eu-central-1';
      const verifyToken = createVerifier({
        ...{ credentials, region, service: 'lambda' },
        nowMs: () => NOW_MS,
      });
      const signToken = createRequestSigner('http://127.0.0.1:1', region);
      const body = Buffer.from('{}');
      const path = '/2017-03-31/tags/arn%3Aaws%3Alambda';
      const query = 'tagKeys=b%2Fc&tagKeys=a&Qualifier=%24LATEST&x';

      const { headers } = signToken(path, query, body, credentials, NOW_MS);

      const request = { method: 'POST', headers: byName(headers), body };
      await verifyToken({ ...request, url: `${path}?${query}` });
      await verifyToken({ ...request, url: `${path}?x=&Qualifier=$LATEST&tagKeys=a&tagKeys=b/c` });
    });

    it('accepts a signed request whose clock is off by up to 5 minutes', async () => {
      await verify(signed());
      await verify(signed(NOW_MS + 4 * 60_000));
    });

    for (const [title, spoil, type] of [
      [
        'another body',
        (request) => ({ ...request, body: Buffer.from('{ }') }),
        'InvalidSignatureException',
      ],
      [
        'another path',
        (request) => ({ ...request, url: '/2015-03-31/functions/g?Qualifier=live' }),
        'InvalidSignatureException',
      ],
      [
        'another query',
        (request) => ({ ...request, url: '/2015-03-31/functions/f?Qualifier=1' }),
        'InvalidSignatureException',
      ],
      [
        'an added query parameter',
        (request) => ({ ...request, url: `${request.url}&a=1` }),
        'InvalidSignatureException',
      ],
      [
        'an added query parameter with the name of a prototype',
        (request) => ({ ...request, url: `${request.url}&__proto__=1` }),
        'InvalidSignatureException',
      ],
      [
        'a query that is not percent-encoded',
        (request) => ({ ...request, url: `${request.url}&a=%zz` }),
        'InvalidSignatureException',
      ],
      [
        'a signed header that is missing',
        ({ headers: { 'content-type': _, ...headers }, ...request }) => ({ ...request, headers }),
        'InvalidSignatureException',
      ],
      [
        'a signed header with the name of a prototype',
        (request) => edited(request, 'host;', 'host;__proto__;'),
        'InvalidSignatureException',
      ],
      [
        'a host that is not signed',
        (request) => edited(request, 'host;', ''),
        'InvalidSignatureException',
      ],
      [
        'another region',
        (request) => edited(request, 'us-east-1', 'us-east-2'),
        'InvalidSignatureException',
      ],
      [
        'another service',
        (request) => edited(request, '/lambda/', '/logs/'),
        'InvalidSignatureException',
      ],
      [
        'a session token that is not ours',
        (request) => ({ ...request, headers: { ...request.headers, 'x-amz-security-token': 't' } }),
        'UnrecognizedClientException',
      ],
      [
        'a claimed hash of another body',
        (request) => ({
          ...request,
          headers: { ...request.headers, 'x-amz-content-sha256': hash('sha256', 'x', 'hex') },
        }),
        'InvalidSignatureException',
      ],
      [
        'another header',
        (request) => ({ ...request, headers: { ...request.headers, 'content-type': 'x' } }),
        'InvalidSignatureException',
      ],
      [
        'no signature',
        (request) => ({ ...request, headers: { host: 'h' } }),
        'MissingAuthenticationTokenException',
      ],
      ['an old date', () => signed(NOW_MS - 6 * 60_000), 'InvalidSignatureException'],
      [
        'another key',
        () => signed(NOW_MS, { ...EXAMPLE, secretAccessKey: 'x' }),
        'InvalidSignatureException',
      ],
      [
        'an unknown key',
        () => signed(NOW_MS, { ...EXAMPLE, accessKeyId: 'x' }),
        'UnrecognizedClientException',
      ],
    ] as const satisfies readonly (readonly [
      string,
      (request: ReturnType<typeof signed>) => object,
      string,
    ])[]) {
      it(`refuses ${title}`, async () => {
        // Each spoiled value still has the shape of a signed request.
        const request = spoil(signed()) as ReturnType<typeof signed>;

        await assert.rejects(verify(request), (error) => {
          assert.ok(error instanceof AwsError);
          assert.deepEqual([error.status, error.type], [403, type]);
          return true;
        });
      });
    }
  });
});

/** The request with another text in its authorization. */
function edited<Request extends { readonly headers: Record<string, string> }>(
  request: Request,
  from: string,
  to: string,
) {
  const { authorization = '' } = request.headers;
  assert.ok(authorization.includes(from));
  return {
    ...request,
    headers: { ...request.headers, authorization: authorization.replace(from, to) },
  };
}

/** The hot path sends names and values alternating in one array. */
function byName(headers: OutboundRequest['headers']): Record<string, string> {
  assert.ok(Array.isArray(headers));
  const named: Record<string, string> = {};
  for (let at = 0; at < headers.length; at += 2) named[headers[at]] = headers[at + 1];
  return named;
}
