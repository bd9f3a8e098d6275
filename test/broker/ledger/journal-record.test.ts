import assert from 'node:assert/strict';
import {
  entryFromText,
  entryToText,
  groupLines,
  headFromText,
} from '../../../broker/ledger/journal-record.ts';
import type { GroupCommit, JournalEntry } from '../../../broker/ledger/ledger.ts';
import { address, createEntry, PAYER, SIGNER } from './entries.ts';

describe('the line of a receipt', () => {
  const plain = createEntry({ seq: 3, price: 10n ** 30n });
  const full = {
    ...plain,
    functionName: `${PAYER}/"ü\\\n@1`,
    attempts: [
      { deployment: 4, provider: 'aws-lambda', code: 'HEDGED', ran: 'maybe', measuredMs: 12 },
      { deployment: 5, code: 'LOAD', ran: 'no', measuredMs: 0 },
    ],
    item: `0x${'2c'.repeat(32)}`,
    callSignature: `0x${'1b'.repeat(65)}`,
    reason: 'unknown "\u2028"',
  } as const satisfies Required<JournalEntry>;

  for (const [what, entry] of Object.entries({ plain, full })) {
    it(`gives back all of it, in one line: ${what}`, () => {
      const text = entryToText(entry, 7, 2);

      assert.equal(text.includes('\n'), false);
      assert.deepEqual(entryFromText(text), { ...entry, group: 7, groupIndex: 2 });
    });
  }
});

describe('the lines of a group', () => {
  const other = address('e7');
  const entries = [
    createEntry({ seq: 1 }),
    createEntry({ seq: 2, price: 2n ** 80n }),
    createEntry({ seq: 7, signer: other }),
    createEntry({ seq: 3 }),
  ];
  const group: GroupCommit = {
    group: 5,
    root: entries[0]?.id ?? '0x',
    entries,
    spending: [{ scope: `mandate:0x${'4d'.repeat(32)}`, day: '2026-11-22', units: 2n ** 80n }],
    answers: [
      { scope: 'ab'.repeat(32), fingerprint: 'f', atMs: 1 },
      { scope: 'cd'.repeat(32), fingerprint: 'g', atMs: 2, outcome: '{}', body: Buffer.of(0, 255) },
    ],
    signatures: [{ group: 4, key: other, signature: `0x${'5e'.repeat(65)}` }],
  };

  it('are a head from which the group is read back, and one line for each receipt', () => {
    const [head = '', ...lines] = groupLines(group);

    const { group: found, answers, dropped } = headFromText(head);
    const { root, spending, signatures } = group;
    assert.partialDeepStrictEqual(found, { group: 5, root, spending, signatures });
    assert.deepEqual(answers, group.answers);
    assert.deepEqual(dropped, []);
    assert.deepEqual(
      lines.map(entryFromText),
      entries.map((entry, groupIndex) => ({ ...entry, group: 5, groupIndex })),
    );
  });

  it('have in the head what the index needs: the ids, and the runs of receipts of one lane', () => {
    const { group: found } = headFromText(groupLines(group)[0] ?? '');

    assert.deepEqual(
      found?.ids,
      entries.map(({ id }) => id),
    );
    const mine = { payer: PAYER, signer: SIGNER };
    assert.deepEqual(found?.runs, [
      { ...mine, count: 2, seqFrom: 1, seqTo: 2, cumulative: `${2n ** 80n}` },
      { payer: PAYER, signer: other, count: 1, seqFrom: 7, seqTo: 7, cumulative: '21' },
      { ...mine, count: 1, seqFrom: 3, seqTo: 3, cumulative: '21' },
    ]);
  });
});
