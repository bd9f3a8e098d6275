// One call of Lambda on the wire: headers named like members of objects, and forged answers.

import assert from 'node:assert/strict';
import { readAnswer, toPayload } from '../../../adapters/aws/invocation.ts';
import type { Deployment } from '../../../adapters/provider.ts';
import { createRequest } from '../conformance.ts';

const deployment: Deployment = {
  provider: 'aws-lambda',
  name: 'df-one',
  region: 'us-east-1',
  specHash: '00',
  artifactCid: 'bafy',
  memoryMiB: 512,
  timeoutMs: 5000,
  url: 'arn:aws:lambda:us-east-1:1:function:df-one',
};

function read(value: unknown, headers: Record<string, string> = {}) {
  const body = Buffer.from(JSON.stringify(value));
  return readAnswer({ status: 200, headers, body, measuredMs: 10 }, deployment, 0);
}

function failure(value: unknown) {
  const result = read(value, { 'x-amz-function-error': 'Unhandled' });
  assert.ok('ok' in result && !result.ok);
  return result.error;
}

describe('a call of aws-lambda', () => {
  it('keeps headers whose names are members of every object, such as constructor', () => {
    const headers: [string, string][] = [
      ['constructor', 'a'],
      ['__proto__', 'b'],
      ['tostring', 'c'],
      ['x-twice', '1'],
      ['x-twice', '2'],
      ['cookie', 'a=1'],
      ['cookie', 'b=2'],
    ];

    const event = JSON.parse(toPayload(createRequest({ headers })).toString());

    assert.deepEqual(Object.entries(event.headers), [
      ['constructor', 'a'],
      ['__proto__', 'b'],
      ['tostring', 'c'],
      ['x-twice', '1, 2'],
      ['cookie', 'a=1; b=2'],
    ]);
  });
});

describe('an answer of aws-lambda', () => {
  const answer = { statusCode: 200, headers: {}, cookies: [], body: '', isBase64Encoded: false };

  it('is refused when its headers are not strings', () => {
    for (const forged of [
      { headers: { x: { toString: 1 } } },
      { headers: { x: 1 } },
      { headers: null },
      { cookies: [{ toString: 1 }] },
      { cookies: 'a=1' },
    ]) {
      const result = read({ ...answer, ...forged });

      assert.ok('code' in result, JSON.stringify(forged));
      assert.deepEqual([result.code, result.ran], ['PROVIDER_PROTOCOL', 'maybe']);
    }
    assert.ok('ok' in read(answer));
  });

  it('reports a failure as strings and cuts its type at 256 characters', () => {
    assert.equal(failure({ errorType: 'T'.repeat(300) }).type, 'T'.repeat(256));
    assert.deepEqual(failure({ errorType: { toString: 1 }, errorMessage: { toString: 1 } }), {
      kind: 'thrown',
      type: '{"toString":1}',
      message: '{"toString":1}',
    });
    assert.equal(failure({ errorType: null }).type, 'Error');
  });
});
