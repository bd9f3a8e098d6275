import assert from 'node:assert/strict';
import { entryFromText, entryToText, indexedPart } from '../../../broker/ledger/entry-text.ts';
import type { JournalEntry } from '../../../broker/ledger/ledger.ts';
import { createEntry, PAYER, SIGNER } from './entries.ts';

describe('the text of an entry', () => {
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

  it('has first what the index takes of it', () => {
    const line = Buffer.from(entryToText(full, 7, 2));

    assert.deepEqual(indexedPart(line), {
      id: full.id,
      payer: PAYER,
      signer: SIGNER,
      seq: 3,
      cumulative: `${10n ** 30n}`,
    });
  });
});
