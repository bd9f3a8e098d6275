// The fault switch: which rule applies to which call, in the process and over HTTP.

import assert from 'node:assert/strict';
import { createFaults, type FaultRule, serveFaults } from '../../../adapters/emulators/faults.ts';

describe('faults', () => {
  it('apply the first rule that matches, as many times as the rule says', async () => {
    const faults = createFaults();
    await faults.set([
      { kind: 'throttle', on: { operation: 'Invoke', function: 'a' }, times: 1 },
      { kind: 'drop-after', on: { operation: 'invoke' } },
    ]);

    const kinds = ['a', 'a', 'b'].map((name) => faults.take('Invoke', name)?.kind);

    assert.deepEqual(kinds, ['throttle', 'drop-after', 'drop-after']);
    assert.equal(faults.take('CreateFunction', 'a'), undefined);
    assert.deepEqual(faults.hits(), [1, 2]);
  });

  it('hit every call when the rule has no `on`, and none after they are cleared', async () => {
    const faults = createFaults();
    await faults.set([{ kind: 'drop-before' }]);

    assert.equal(faults.take('anything')?.kind, 'drop-before');
    await faults.clear();
    assert.equal(faults.take('anything'), undefined);
  });

  it('hit the same calls for the same seed', async () => {
    const faults = createFaults();
    const choose = async (seed: number) => {
      await faults.set([{ kind: 'throttle', probability: 0.5, seed }]);
      return Array.from({ length: 64 }, () => (faults.take('x') ? 1 : 0)).join('');
    };

    const [one, again, other] = [await choose(1), await choose(1), await choose(2)];

    assert.equal(one, again);
    assert.notEqual(one, other);
    assert.ok(one.includes('0') && one.includes('1'));
  });

  it('keep an outage until the rules change', async () => {
    const faults = createFaults();
    let changes = 0;
    faults.onChange(async () => {
      changes += 1;
    });

    await faults.set([{ kind: 'outage', scope: 'invoke' }]);

    assert.equal(faults.isOut('invoke'), true);
    assert.equal(faults.isOut('control'), false);
    assert.equal(faults.take('Invoke'), undefined);
    await faults.clear();
    assert.equal(faults.isOut('invoke'), false);
    assert.equal(changes, 2);
  });

  it('are set over HTTP, which refuses a body that is no list of rules', async () => {
    const faults = createFaults();
    const served = await serveFaults(faults);
    const url = `${served.url}/_faults`;
    const rules: FaultRule[] = [{ kind: 'status', code: 503 }];
    try {
      const put = (body: string) => fetch(url, { method: 'PUT', body });

      assert.equal((await put(JSON.stringify(rules))).status, 204);
      assert.equal(faults.take('x')?.kind, 'status');
      assert.deepEqual(await (await fetch(url)).json(), [1]);
      for (const bad of ['{', '{}', '[{"kind":"other"}]'])
        assert.equal((await put(bad)).status, 400);
      assert.equal((await fetch(url, { method: 'DELETE' })).status, 204);
      assert.equal(faults.take('x'), undefined);
    } finally {
      await served.close();
    }
  });
});
