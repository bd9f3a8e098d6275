// Money that people read is in tokens, with that word beside it.
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { formatCost, lossLines } from '../../../scripts/cli/deployment-lines.ts';

/** A text with an amount in base units: `${price} units`, or a column named so. */
const IN_UNITS = /\} units\b|, units'|^\s*'units',$/gm;

describe('amounts', () => {
  it('are told in base units by no text of the product', () => {
    const files = globSync('{broker,adapters,contracts,ipfs,scripts}/**/*.ts');
    const found = files.flatMap((file) =>
      (readFileSync(file, 'utf8').match(IN_UNITS) ?? []).map((text) => `${file}: ${text}`),
    );

    assert.ok(files.length > 300);
    assert.deepEqual(found, []);
  });

  it('of less than a base unit are told to a thousandth of it', () => {
    const costs = [408_334n, 0n, 20_000_000n, 3_000_000_000_000n];
    const told = costs.map((costPico) => formatCost({ costPico } as never)); // all that is read

    assert.deepEqual(told, ['0.000000408', '0', '0.00002', '3']);
  });

  it('of a loss are in tokens', () => {
    const cost = { belowCost: true, priceUnits: 20n, costUnits: 31n };

    assert.deepEqual(lossLines([{ provider: 'local', cost } as never]), [
      'TARIFF_BELOW_COST: price 0.00002 tokens, estimate 0.000031 tokens, on local, raise the tariff or pass --accept-loss',
    ]);
  });
});
