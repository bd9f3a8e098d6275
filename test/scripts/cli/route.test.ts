import assert from 'node:assert/strict';
import { parseRoute } from '../../../scripts/cli/invoke-request.ts';

describe('invoke --route', () => {
  it('accepts a strategy, clouds by their short names, and regions to avoid', () => {
    const routing = parseRoute('fastest, aws,local,not:us-east-1');

    assert.deepEqual(routing, {
      strategy: 'fastest',
      providers: ['aws-lambda', 'local'],
      excludedRegions: ['us-east-1'],
    });
    assert.deepEqual(parseRoute('cheapest'), { strategy: 'cheapest' });
  });

  it('names the part that it does not know', () => {
    const cases: [text: string, code: string][] = [
      ['quickest', 'USAGE'],
      ['fastest,mars', 'USAGE'],
      ['fastest,cheapest', 'USAGE'],
      ['not:', 'USAGE'],
      ['not:US East', 'USAGE'],
    ];
    for (const [text, code] of cases) assert.throws(() => parseRoute(text), { code }, text);
  });
});
