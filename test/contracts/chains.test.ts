// The table of chains in docs/contracts.md equals the one in the code.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { CHAIN_KINDS, CHAINS, chainKindOf } from '../../contracts/chain/chains.ts';

describe('the known chains', () => {
  it('are in docs/contracts.md with the values of the code', () => {
    const page = readFileSync('docs/contracts.md', 'utf8');
    const section = page.split('## 12 Chains')[1]?.split('\n## ')[0] ?? '';
    const rows = section
      .split('\n')
      .filter((line) => line.startsWith('| `'))
      .map((line) => line.split('|').map((cell) => cell.trim()));

    const said = rows.map(([, name = '', tag, bytes, gas, draw = '']) => [
      name.split(' ')[0],
      tag,
      bytes,
      gas,
      draw.startsWith('enforced'),
    ]);

    const meant = CHAIN_KINDS.map((kind) => {
      const { blockTag, maxTransactionBytes, transactionGasCap, isDrawEnforced } = CHAINS[kind];
      return [
        `\`${kind}\``,
        `\`${blockTag}\``,
        `${maxTransactionBytes} bytes`,
        `${transactionGasCap}`,
        isDrawEnforced,
      ];
    });
    assert.deepEqual(said, meant);
  });

  it('are recognised by their ids, each id by one kind only', () => {
    const ids = CHAIN_KINDS.flatMap((kind) => CHAINS[kind].chainIds.map((id) => ({ kind, id })));

    assert.equal(new Set(ids.map(({ id }) => id)).size, ids.length);
    for (const { kind, id } of ids) assert.equal(chainKindOf(id), kind);
    assert.equal(chainKindOf(4_242), undefined);
  });

  it('have batch limits that nodes accept: within 128 KiB, and with gas for at least one lane', () => {
    for (const kind of CHAIN_KINDS) {
      assert.ok(CHAINS[kind].maxTransactionBytes <= 128 * 1024, kind);
      assert.ok(CHAINS[kind].transactionGasCap >= 2 ** 24, kind);
    }
  });
});
