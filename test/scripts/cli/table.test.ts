// Tables at the width of a terminal, and whole where they are piped.
import assert from 'node:assert/strict';
import { formatTable } from '../../../scripts/cli/table.ts';

const ADDRESS = '0x9965507d1a55bcc2695c58ba16fb37d819b0a4dc';
const CID = 'bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi';
const RECEIPTS = {
  head: ['when (UTC)', 'function', 'caller', 'ran on', 'status', 'billed', 'tokens', 'receipt'],
  rows: [
    [
      '2026-12-01 10:00:00',
      'hello',
      ADDRESS,
      'aws-lambda',
      200,
      '12 ms',
      '0.00002',
      `0x${'ab'.repeat(32)}`,
    ],
    [
      '2026-12-01 10:00:01',
      'thumbnail',
      'anybody',
      'google',
      'failed',
      '1200 ms',
      '0',
      `0x${'cd'.repeat(32)}`,
    ],
  ],
};
const FINDINGS = {
  head: ['', 'check', 'found'],
  rows: [
    ['ok', 'gateway', 'http://127.0.0.1:8080'],
    [
      '!!',
      'bond',
      `BOND_LOW: 250 tokens stand and 500 must, on ${ADDRESS}, which cannot settle, the operator must run defaas bond`,
    ],
  ],
};
const PATHS = {
  head: ['account', 'address', 'key'],
  rows: [['user', ADDRESS, `/home/somebody/${'folder/'.repeat(12)}keys/user.json`]],
};

describe('tables', () => {
  for (const width of [80, 60, 132]) {
    it(`fit a terminal of ${width} columns and break no word`, () => {
      for (const { head, rows } of [RECEIPTS, FINDINGS]) {
        const text = formatTable(head, rows, width);
        const words = rows
          .flat()
          .flatMap((cell) => `${cell}`.split(' '))
          .filter((word) => !word.startsWith('0x'));

        assert.deepEqual(
          text.split('\n').filter((line) => line.length > width),
          [],
        );
        const shown = new Set(text.split(/\s+/));
        // The comma after an address stays with its short form.
        assert.deepEqual(
          words.filter((word) => word !== '' && !shown.has(word)),
          [],
        );
      }
    });
  }

  it('keep long ids whole where there is room, as in a pipe', () => {
    const { head, rows } = RECEIPTS;
    const text = formatTable(head, rows, Infinity);

    assert.equal(text.split('\n').length, 3);
    assert.ok(text.includes(ADDRESS) && text.includes('ab'.repeat(32)));
    // The tests have no terminal.
    assert.equal(formatTable(head, rows), text);
  });

  it('shorten addresses, hashes and CIDs where there is not', () => {
    const text = formatTable(['owner', 'artifact'], [[ADDRESS, CID]], 40);

    assert.equal(text, 'owner            artifact\n0x9965507d…a4dc  bafybeigdy…bzdi');
  });

  it('become a list for each row where a word is wider than a column can be, and leave it whole', () => {
    const { head, rows } = PATHS;
    const [account, address, key, ...more] = formatTable(head, rows, 80).split('\n');

    assert.deepEqual([account, address, more], ['account  user', 'address  0x9965507d…a4dc', []]);
    assert.equal(key, `key      ${rows[0]?.[2]}`);
  });

  it('align numbers to the right, and nothing else', () => {
    assert.equal(
      formatTable(
        ['a', 'units', 'b'],
        [
          ['x', 5n, 'y'],
          ['longer', 1234, '7'],
        ],
        80,
      ),
      'a       units  b\nx           5  y\nlonger   1234  7',
    );
  });
});
