// Answers at Azure that the publisher's code has forged: it shares the process with the shim.

import assert from 'node:assert/strict';
import { readAnswer } from '../../../adapters/azure/invocation.ts';
import type { Deployment, FunctionFailure } from '../../../adapters/provider.ts';
import { createRequest } from '../conformance.ts';

const deployment: Deployment = {
  provider: 'azure-functions',
  name: 'df-one',
  region: 'westeurope',
  specHash: '00',
  artifactCid: 'bafy',
  memoryMiB: 512,
  timeoutMs: 5000,
  url: 'https://df-one.example',
};

function read(outcome: string, told: { headers?: unknown; body?: unknown; status?: number }) {
  const { headers = [], body = '', status = 200 } = told;
  const answer = {
    status,
    headers: {
      'x-defaas-outcome': outcome,
      'x-defaas-headers': Buffer.from(JSON.stringify(headers)).toString('base64url'),
    },
    body: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
    measuredMs: 10,
  };
  return readAnswer(deployment, createRequest(), answer, 2048);
}

function failure(body: unknown): FunctionFailure {
  const result = read('error', { body });
  assert.ok(!result.ok);
  return result.error;
}

describe('Azure Functions, an answer', () => {
  it('has the headers of x-defaas-headers', () => {
    const result = read('ok', { headers: [['x-own', 'a']], body: 'hi' });

    assert.ok(result.ok);
    assert.deepEqual(result.headers, [['x-own', 'a']]);
  });

  it('is PROVIDER_PROTOCOL with forged headers or an invalid status', () => {
    const refused = { code: 'PROVIDER_PROTOCOL', ran: 'maybe' };
    for (const headers of [null, {}, 'x', [['x']], [[1, 'x']], [['x', null]], [['x', 'y', 'z']]]) {
      assert.throws(() => read('ok', { headers }), refused, JSON.stringify(headers));
    }
    for (const status of [100, 199, 600, 999, 200.5]) {
      assert.throws(() => read('ok', { status }), refused, `${status}`);
    }
  });

  it('without the mark is a timeout when it is the host’s 500 or 504 after the timeout', () => {
    const bare = (status: number, measuredMs: number) =>
      readAnswer(
        deployment,
        createRequest(),
        { status, headers: {}, body: Buffer.alloc(0), measuredMs },
        2048,
      );

    for (const status of [500, 504]) {
      const result = bare(status, 5000);
      assert.ok(!result.ok);
      assert.equal(result.error.kind, 'timeout');
      assert.throws(() => bare(status, 4999), { ran: 'maybe' });
    }
    for (const status of [502, 503]) assert.throws(() => bare(status, 5000), { ran: 'maybe' });
    assert.throws(() => bare(404, 5000), { ran: 'no' });
    assert.throws(() => bare(200, 5000), { name: 'ProviderError' });
  });

  it('reports a failure of a known kind, with texts of at most 256 characters', () => {
    const long = 'x'.repeat(300);

    const said = failure({ kind: 'init', type: long, message: long });

    assert.deepEqual(said, { kind: 'init', type: 'x'.repeat(256), message: 'x'.repeat(256) });
    assert.equal(failure({ kind: 'free', type: 'T', message: '' }).kind, 'thrown');
    assert.deepEqual(failure({ kind: 'thrown', type: 7, message: { a: 1 } }), {
      kind: 'thrown',
      type: '7',
      message: '[object Object]',
    });
  });

  it('is a failure of kind thrown when the document is not the shim’s', () => {
    for (const body of ['', 'null', '{"type":', { kind: 'init', message: { toString: 1 } }]) {
      const { kind, type } = failure(body);

      assert.deepEqual([kind, type], ['thrown', 'Error'], JSON.stringify(body));
    }
  });
});
