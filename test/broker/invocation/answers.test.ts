// The space for large answers: an answer that could not be written uses none.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Answers, createAnswers } from '../../../broker/invocation/answers.ts';
import type { Answer } from '../../../broker/invocation/invocation.ts';
import type { Ledger } from '../../../broker/ledger/ledger.ts';
import { openSqliteLedger } from '../../../broker/ledger/sqlite.ts';

const LARGE = new Uint8Array(300 * 1024);
const RECEIPT = {
  id: `0x${'01'.repeat(32)}`,
  priceUnits: 1n,
  provider: 'aws-lambda',
  seq: 1,
} as const;
type Once = Parameters<Answers['once']>;

describe('kept answers', () => {
  let home: string;
  let dir: string;
  let ledger: Ledger;
  let nowMs: number;
  let answers: Answers;
  beforeEach(async () => {
    home = mkdtempSync(join(tmpdir(), 'defaas-answers-'));
    dir = join(home, 'answers');
    ledger = await openSqliteLedger(join(home, 'ledger.sqlite'));
    nowMs = 1_000_000;
    const maxFileBytes = LARGE.length;
    const onFailed = (error: unknown) => assert.fail(String(error));
    answers = createAnswers({ ledger, dir, maxFileBytes, nowMs: () => nowMs, onFailed });
  });
  afterEach(async () => {
    answers.close();
    await ledger.close();
    rmSync(home, { recursive: true, force: true });
  });

  /** Whether the answer under the key is kept, with all of its body. */
  async function keeps(key: string): Promise<boolean> {
    // Safe: of a call, `once` reads what makes its key and its fingerprint.
    const call = {
      key,
      invocation: { method: 'GET', path: '/', query: '', headers: [], body: new Uint8Array() },
      caller: { payer: `0x${'02'.repeat(20)}`, signer: `0x${'03'.repeat(20)}`, sponsored: false },
      target: { function: { id: 1n }, version: { idempotent: true } },
    } as unknown as Once[0];
    const run: Once[1] = async (keyed) => {
      const row = (await keyed.keep(LARGE))({ ...answer, receipt: RECEIPT });
      if (row) await ledger.putAnswer(row);
      return answer;
    };
    const answer: Answer = { ok: true, status: 200, headers: [], body: LARGE, receipt: RECEIPT };
    await answers.once(call, run);
    return answers
      .once(call, () => assert.fail('it ran again'))
      .then(
        (again) => again.ok && again.body.length === LARGE.length,
        ({ code }) => assert.equal(code, 'ANSWER_EXPIRED') ?? false,
      );
  }

  it('give back the space of an answer that could not be written', async () => {
    rmSync(dir, { recursive: true });
    await assert.rejects(keeps('a'), { code: 'ENOENT' });
    mkdirSync(dir);

    assert.equal(await keeps('b'), true);
    assert.equal(await keeps('c'), false);
  });

  it('share the space when they arrive at once', async () => {
    const kept = await Promise.all(['a', 'b', 'c'].map(keeps));

    assert.deepEqual(kept.filter(Boolean), [true]);
  });
});
