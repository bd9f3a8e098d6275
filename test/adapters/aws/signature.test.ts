// SigV4 against AWS's published test suite, and against the emulator's own verification.

import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { AwsError } from '../../../adapters/aws/emulator/errors.ts';
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

  it('writes the date as the API wants it', () => {
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

    it('takes what is signed', () => {
      verify(signed());
      verify(signed(NOW_MS + 4 * 60_000));
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
      it(`refuses ${title}`, () => {
        // Each has the shape of a signed request.
        const request = spoil(signed()) as ReturnType<typeof signed>;

        assert.throws(
          () => verify(request),
          (error) => {
            assert.ok(error instanceof AwsError);
            assert.deepEqual([error.status, error.type], [403, type]);
            return true;
          },
        );
      });
    }
  });
});

/** Names and values in turn, as the hot path sends them. */
function byName(headers: OutboundRequest['headers']): Record<string, string> {
  assert.ok(Array.isArray(headers));
  const named: Record<string, string> = {};
  for (let at = 0; at < headers.length; at += 2) named[headers[at]] = headers[at + 1];
  return named;
}
