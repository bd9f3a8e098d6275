// The file that lists the trusted contracts: it is read completely, or refused.
import assert from 'node:assert/strict';
import { addressesOf, findSet, parseDeployments } from '../../contracts/deployments.ts';

const at = (digit: string) => `0x${digit.repeat(40)}` as const;
const OLD = {
  id: 'one',
  contracts: {
    registry: at('a'),
    identity: at('b'),
    billing: at('c'),
    disputes: at('d'),
    beacon: at('e'),
  },
  fromBlock: 12,
  token: at('f'),
  status: 'retiring',
};
const NEW = {
  ...OLD,
  id: 'two',
  contracts: { ...OLD.contracts, billing: at('1'), disputes: at('2') },
  status: 'current',
  replaces: 'one',
};
const FILE = { chainId: 8453, sets: [OLD, NEW] };

describe('a file of deployments', () => {
  const parse = (value: unknown) => parseDeployments(JSON.stringify(value), 'x.json');

  it('is read as it was written, with its addresses in lower case', () => {
    const upper = { ...OLD, token: `0x${'F'.repeat(40)}`, replaces: null };

    const { chainId, sets } = parse({ chainId: 8453, sets: [upper, NEW] });

    assert.equal(chainId, 8453);
    assert.deepEqual(sets, [OLD, NEW]);
  });

  it('finds the set that has all given contracts, and none that differs in one', () => {
    const file = parse(FILE);
    const [, second] = file.sets;
    assert.ok(second);
    const said = addressesOf(second);

    assert.equal(findSet(file, said), second);
    for (const name of ['registry', 'identity', 'billing', 'disputes', 'beacon', 'token']) {
      assert.equal(findSet(file, { ...said, [name]: at('9') }), undefined, name);
    }
  });

  it('is refused as a whole when a member is missing, malformed or repeated', () => {
    const { id, contracts, ...rest } = NEW;
    const { billing, ...four } = contracts;
    const cases: unknown[] = [
      null,
      [],
      {},
      { ...FILE, chainId: 0 },
      { ...FILE, chainId: '8453' },
      { ...FILE, sets: [] },
      { ...FILE, sets: { one: OLD } },
      { ...FILE, sets: [null] },
      ...[
        { contracts, ...rest },
        { ...NEW, id: '../x' },
        { id, ...rest },
        { ...NEW, contracts: four },
        { ...NEW, contracts: { ...contracts, billing: `${billing}0` } },
        { ...NEW, contracts: { ...contracts, billing: OLD.contracts.billing } },
        { ...NEW, fromBlock: -1 },
        { ...NEW, fromBlock: 1.5 },
        { ...NEW, token: 'USDC' },
        { ...NEW, status: 'best' },
        { ...NEW, replaces: 'none' },
        { ...NEW, replaces: 'two' },
        { ...NEW, replaces: 7 },
        { ...NEW, id: 'one' },
      ].map((second) => ({ ...FILE, sets: [OLD, second] })),
    ];
    for (const value of cases) {
      assert.throws(() => parse(value), { code: 'DEPLOYMENT_INVALID' }, JSON.stringify(value));
    }
    assert.throws(() => parseDeployments('{', 'x.json'), { code: 'DEPLOYMENT_INVALID' });
  });
});
