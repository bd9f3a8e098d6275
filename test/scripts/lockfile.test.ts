import assert from 'node:assert/strict';
import { findMissingOptional, findRegistryAddresses } from '../../scripts/lockfile.ts';

describe('the check of the lockfile', () => {
  it('reports an optional dependency without an entry', () => {
    const lock = {
      packages: {
        '': { optionalDependencies: { here: '1.0.0', away: '1.0.0' } },
        'node_modules/here': { version: '1.0.0' },
      },
    };

    assert.deepEqual(findMissingOptional(lock), ['away, needed by the root']);
  });

  it('looks an optional dependency up as Node does', () => {
    const lock = {
      packages: {
        'node_modules/a': { optionalDependencies: { nested: '1', outer: '1' } },
        'node_modules/a/node_modules/nested': {},
        'node_modules/a/node_modules/b': { optionalDependencies: { nested: '1', hidden: '1' } },
        'node_modules/c/node_modules/hidden': {},
        'node_modules/outer': {},
      },
    };

    assert.deepEqual(findMissingOptional(lock), [
      'hidden, needed by node_modules/a/node_modules/b',
    ]);
  });

  it('reports the address of a registry', () => {
    const text = '{\n"resolved": "https://registry.example/a.tgz",\n"resolved": "file-name.tgz"\n}';

    assert.deepEqual(findRegistryAddresses(text), [
      '"resolved": "https://registry.example/a.tgz",',
    ]);
  });
});
