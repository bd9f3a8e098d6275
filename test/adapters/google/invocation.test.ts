// Answers at Google that the publisher's code has forged: it shares the process with the shim.

import assert from 'node:assert/strict';
import { resultOf } from '../../../adapters/google/invocation.ts';
import type { Deployment } from '../../../adapters/provider.ts';

const deployment: Deployment = {
  provider: 'google-cloud-functions',
  name: 'df-one',
  region: 'us-central1',
  specHash: '00',
  artifactCid: 'bafy',
  memoryMiB: 512,
  timeoutMs: 5000,
  url: 'https://df-one.example',
};

function failure(body: string) {
  const headers = { 'x-defaas-outcome': 'error' };
  const answer = { status: 500, headers, body: Buffer.from(body), measuredMs: 10 };
  const result = resultOf(answer, deployment, 'r1');
  assert.ok(result && !result.ok);
  return result.error;
}

describe('Google Cloud Functions, a failure', () => {
  it('has a type of at most 256 characters', () => {
    const { type } = failure(JSON.stringify({ type: 'T'.repeat(300), message: 'm' }));

    assert.equal(type, 'T'.repeat(256));
  });

  it('has a text as its message, whatever the shim’s document has', () => {
    assert.equal(failure('{"type":"T","message":{"a":1}}').message, '[object Object]');
    assert.equal(failure('{"type":"T","message":{"toString":1}}').type, 'Error');
  });
});
