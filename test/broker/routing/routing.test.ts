import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  allows,
  BALANCED,
  narrow,
  parseRouting,
  readRouting,
} from '../../../broker/routing/routing.ts';

describe('the routing header', () => {
  it('is read as a dictionary of RFC 9651, with names as tokens or strings, alone or in a list', () => {
    const cases: [
      text: string,
      strategy: string | undefined,
      clouds?: string[] | undefined,
      not?: string[],
    ][] = [
      ['strategy=fastest', 'fastest'],
      ['strategy="cheapest", providers=(aws-lambda "local")', 'cheapest', ['aws-lambda', 'local']],
      ['providers=local;q=1', undefined, ['local']],
      [
        'exclude-regions=("us-east-1" westeurope)',
        undefined,
        undefined,
        ['us-east-1', 'westeurope'],
      ],
      ['', undefined],
    ];
    for (const [text, strategy, clouds, regions] of cases) {
      assert.deepEqual(
        parseRouting(text),
        {
          strategy,
          providers: clouds && new Set(clouds),
          excludedRegions: regions && new Set(regions),
        },
        text,
      );
    }
  });

  it('is refused in one line when it has an unknown member, rather than run elsewhere', () => {
    const cases = [
      'fastest',
      'strategy',
      'strategy=quickest',
      'strategy=(fastest cheapest)',
      'providers=()',
      'providers=(aws)',
      'providers=(local 1)',
      'provider=(local)',
      'strategy=fastest,',
      `exclude-regions=("${'x'.repeat(1024)}")`,
    ];
    for (const text of cases) {
      assert.throws(() => parseRouting(text), { code: 'REQUEST_INVALID' }, text);
    }
  });

  it('is parsed once for each text', () => {
    assert.equal(readRouting('strategy=fastest'), readRouting('strategy=fastest'));
  });

  it('lets a call run only where both the version and the call allow it', () => {
    const providers = ['aws-lambda', 'google-cloud-functions', 'local'] as const;
    const names = <Name extends string>(all: readonly Name[]) =>
      fc.option(
        fc.subarray([...all]).map((chosen): ReadonlySet<string> => new Set(chosen)),
        { nil: undefined },
      );
    const routings = fc.record({
      strategy: fc.constantFrom('balanced' as const, 'fastest' as const),
      providers: names(providers),
      excludedRegions: names(['a', 'b']),
    });
    const places = fc.record({
      provider: fc.constantFrom(...providers),
      region: fc.constantFrom('a', 'b'),
    });
    fc.assert(
      fc.property(routings, routings, places, (version, call, place) => {
        const both = narrow(version, call);

        assert.equal(allows(both, place), allows(version, place) && allows(call, place));
        assert.equal(both.strategy, call.strategy);
      }),
    );
    assert.equal(narrow(BALANCED, undefined), BALANCED);
  });
});
