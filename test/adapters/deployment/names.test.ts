// Names are valid on every cloud, and the spec hash says whether anything changed.

import assert from 'node:assert/strict';
import { deploymentName, specHash } from '../../../adapters/deployment/names.ts';
import { createSpec } from '../conformance.ts';

const SHIM = new Map([['shim.mjs', Buffer.from('shim')]]);

describe('names', () => {
  it('are equal for the same version and gateway, and differ otherwise', () => {
    const of = { functionId: '0x01', version: 1, gateway: '0xaa' };

    const name = deploymentName(of);

    assert.match(name, /^df-[a-z2-7]{26}$/);
    assert.equal(deploymentName({ ...of }), name);
    assert.notEqual(deploymentName({ ...of, version: 2 }), name);
    assert.notEqual(deploymentName({ ...of, gateway: '0xab' }), name);
    assert.notEqual(deploymentName({ ...of, functionId: '0x011' }), name);
  });
});

describe('the spec hash', () => {
  const spec = createSpec('r');

  it('fits into a label of every cloud', () => {
    assert.match(specHash(spec, SHIM), /^[a-z2-7]{52}$/);
  });

  it('does not depend on the order of files or variables', () => {
    const files = new Map([...spec.files].toReversed());
    const one = { ...spec, env: { A: '1', B: '2' } };
    const other = { ...spec, files, env: { B: '2', A: '1' } };

    assert.equal(specHash(one, SHIM), specHash(other, SHIM));
  });

  it('changes with every member of the spec except the value of a secret', () => {
    const before = specHash(spec, SHIM);
    const changes = [
      { ...spec, memoryMiB: 512 },
      { ...spec, timeoutMs: 1 },
      { ...spec, version: 9 },
      { ...spec, artifactCid: 'other' },
      { ...spec, env: {} },
      { ...spec, maxConcurrency: 1 },
      { ...spec, secrets: { TOKEN: '', OTHER: '' } },
      { ...spec, secretRevisions: { TOKEN: 2 } },
      { ...spec, files: new Map([...spec.files, ['x', Buffer.from('')]]) },
      { ...spec, files: new Map([...spec.files, ['handler.mjs', Buffer.from('')]]) },
    ];

    for (const changed of changes) assert.notEqual(specHash(changed, SHIM), before);
    assert.notEqual(specHash(spec, new Map([['shim.mjs', Buffer.from('new')]])), before);
    assert.equal(specHash({ ...spec, secrets: { TOKEN: 'rotated' } }, SHIM), before);
  });
});
