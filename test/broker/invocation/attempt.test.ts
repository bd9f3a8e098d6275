// Sequential and hedged attempts, on clouds whose answers the test holds back.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  type InvokeRequest,
  type InvokeResult,
  ProviderError,
  type ProviderErrorCode,
} from '../../../adapters/provider.ts';
import { attempt, type Hedge, type Outcome } from '../../../broker/invocation/attempt.ts';
import { createDeadlines } from '../../../broker/invocation/deadlines.ts';
import { createFreeFailures } from '../../../broker/money/free-failures.ts';
import type { Candidate } from '../../../broker/routing/choose.ts';
import { createHedgeBudget } from '../../../broker/routing/hedge.ts';
import { answer, createCandidate, createSpender, refuse } from './in-process-cloud.ts';

const REQUEST: InvokeRequest = {
  callId: 'a',
  method: 'GET',
  path: '/',
  query: '',
  headers: [],
  body: new Uint8Array(),
};
/** Longer than the usual time of the clouds here, which is 1 ms. */
const SLOW_MS = 20;

/** A cloud that answers when it is told to. */
function createSlowCloud(text: string) {
  const asked = Promise.withResolvers<void>();
  const told = Promise.withResolvers<void>();
  const invoke = async (request: InvokeRequest, signal: AbortSignal): Promise<InvokeResult> => {
    asked.resolve();
    await told.promise;
    return answer(text, 7)(request, signal);
  };
  return { invoke, asked: asked.promise, answer: told.resolve, fail: told.reject };
}

const later =
  (invoke: ReturnType<typeof answer>, ms: number): typeof invoke =>
  async (request, signal) => {
    await new Promise((resolve) => setTimeout(resolve, ms));
    return invoke(request, signal);
  };

/** A deployment whose calls mostly take 1 ms. */
function createUsual(id: number, invoke: ReturnType<typeof answer>): Candidate {
  const candidate = createCandidate(id, { invoke });
  for (let call = 0; call < 32; call += 1) candidate.latency.add(1);
  return candidate;
}

const ALWAYS: Hedge = () => true;

/** A budget whose books are kept: what is reserved, and what was counted as free, ms. */
function createBooks(leastMs = 600_000) {
  const spender = createSpender();
  const { tryReserve, settle, spend } = createFreeFailures({ leastMs, nowMs: () => 0 });
  const books = { reserved: 0, runs: 0, free: [] as number[] };
  const reserve = (): number | undefined => {
    const ms = tryReserve(spender);
    if (ms === undefined) return undefined;
    books.reserved += 1;
    books.runs += 1;
    return ms;
  };
  const reservedMs = reserve() ?? assert.fail('nothing is left of the budget');
  return Object.assign(books, {
    options: {
      spender,
      reservedMs,
      freeFailures: {
        tryReserve: reserve,
        settle: (...of: Parameters<typeof settle>) => {
          settle(...of);
          if (of[1] > 0) books.reserved -= 1;
          if (of[2] > 0) books.free.push(of[2]);
        },
        spend: (...of: Parameters<typeof spend>) => {
          spend(...of);
          books.free.push(of[1]);
        },
      },
    },
  });
}

function start(
  candidates: readonly Candidate[],
  hedge?: Hedge,
  { idempotent = true, books = createBooks() } = {},
): Promise<Outcome> {
  const choices = candidates.map((candidate, place) => ({ candidate, place }));
  return attempt(choices, REQUEST, {
    ...books.options,
    timeoutMs: 1_000,
    answerBytes: 1_000_000,
    idempotent,
    hedge,
    deadlines: createDeadlines(new AbortController().signal),
    nowMs: () => performance.now(),
    onFault: () => {},
  });
}

const tries = (outcome: Outcome) => outcome.failed.map((one) => [one.deployment, one.code]);

function answered(outcome: Outcome): Extract<Outcome, { kind: 'answered' }> {
  return outcome.kind === 'answered' ? outcome : assert.fail(JSON.stringify(tries(outcome)));
}

describe('an attempt at a call', () => {
  it('goes on to the next cloud when nothing ran, and stops when the function may have run', async () => {
    const candidates = [createCandidate(1, { invoke: refuse('no') }), createCandidate(2)];
    const maybe = [createCandidate(1, { invoke: refuse('maybe') }), createCandidate(2)];

    const [failedOver, stopped, again] = await Promise.all([
      start(candidates, undefined, { idempotent: false }),
      start(maybe, undefined, { idempotent: false }),
      start(maybe),
    ]);

    assert.equal(answered(failedOver).choice.place, 1);
    assert.deepEqual(tries(failedOver), [[1, 'PROVIDER_UNAVAILABLE']]);
    assert.equal(stopped.kind, 'unknown');
    assert.equal(answered(again).choice.place, 1);
  });

  it('holds a refusal that took as long as a run against the function, and no quick or throttled one', async () => {
    const refused = async (code: ProviderErrorCode, ms: number) => {
      const books = createBooks();
      const invoke = async (): Promise<never> => {
        const of = { provider: 'local', operation: 'invoke', target: 'test', ran: 'no' } as const;
        throw new ProviderError(code, 'done', { ...of, status: 404 });
      };
      const outcome = await start([createCandidate(1, { invoke: later(invoke, ms) })], undefined, {
        books,
      });
      assert.equal(outcome.kind, 'none');
      return [books.free.length, books.reserved];
    };

    assert.deepEqual(await refused('PROVIDER_NOT_FOUND', 50), [1, 0]);
    assert.deepEqual(await refused('PROVIDER_THROTTLED', 50), [0, 0]);
  });

  it('takes an answer above the limit of the version for a failure, wherever it ran', async () => {
    const books = createBooks();
    const body = new Uint8Array(1_000_001);
    const candidates = [
      createCandidate(1, {
        invoke: async () => {
          const result = await createCandidate(2).provider.invoke(
            createCandidate(2).deployment,
            REQUEST,
            { signal: new AbortController().signal },
          );
          return result.ok ? { ...result, body } : result;
        },
      }),
    ];

    const { result } = answered(await start(candidates, undefined, { books }));

    assert.ok(!result.ok);
    assert.deepEqual([result.error.kind, result.error.type], ['too-large', 'ResponseSizeTooLarge']);
    assert.deepEqual([books.reserved, books.free.length], [0, 1]);
  });

  it('does not hold against a cloud that a request is too large for it', async () => {
    const invoke = async (): Promise<never> => {
      const of = { provider: 'local', operation: 'invoke', target: 'test', ran: 'no' } as const;
      throw new ProviderError('PROVIDER_TOO_LARGE', 'as base64', of);
    };
    const candidate = createCandidate(1, { invoke });

    for (let call = 0; call < 5; call += 1) await start([candidate]);

    assert.equal(candidate.circuit.isOpen(performance.now()), false);
  });

  it('asks a second cloud when the first is slower than usual, and uses the second’s answer', async () => {
    const slow = createSlowCloud('slow');
    const candidates = [createUsual(1, slow.invoke), createUsual(2, answer('quick'))];
    const books = createBooks();

    const outcome = answered(await start(candidates, ALWAYS, { books }));
    const inFlight = candidates.map((candidate) => candidate.inFlight);
    slow.answer();
    while (books.free.length === 0) await new Promise(setImmediate);

    assert.equal(outcome.result.requestId, 'quick');
    assert.deepEqual(tries(outcome), [[1, 'HEDGED']]);
    assert.equal(outcome.failed[0]?.ran, 'maybe');
    // The first cloud is still running and counted as in flight; its time is counted when it ends.
    assert.deepEqual(inFlight, [1, 0]);
    assert.deepEqual([books.free, books.reserved, candidates[0]?.inFlight], [[7], 0, 0]);
  });

  it('uses the first cloud’s answer when it arrives before the second’s', async () => {
    const [slow, slower] = [createSlowCloud('slow'), createSlowCloud('slower')];
    const candidates = [createUsual(1, slow.invoke), createUsual(2, slower.invoke)];
    const books = createBooks();

    const running = start(candidates, ALWAYS, { books });
    await slower.asked;
    slow.answer();
    const outcome = answered(await running);
    slower.fail(new Error('too late'));
    while (candidates[1]?.inFlight !== 0) await new Promise(setImmediate);

    assert.equal(outcome.result.requestId, 'slow');
    assert.deepEqual(tries(outcome), [[2, 'HEDGED']]);
    assert.equal(books.reserved, 0);
  });

  it('waits for the other cloud when one of the two fails, and goes on when both fail', async () => {
    const [slow, failing] = [createSlowCloud('slow'), createSlowCloud('failing')];
    const oneFails = [createUsual(1, slow.invoke), createUsual(2, failing.invoke)];
    const bothFail = [
      createUsual(1, later(refuse('maybe'), SLOW_MS)),
      createUsual(2, refuse('no')),
      createUsual(3, answer('third')),
    ];

    const running = start(oneFails, ALWAYS);
    await failing.asked;
    failing.fail(new Error('on purpose'));
    while (oneFails[1]?.inFlight !== 0) await new Promise(setImmediate);
    slow.answer();
    const [one, both] = [answered(await running), answered(await start(bothFail, ALWAYS))];

    assert.equal(one.result.requestId, 'slow');
    assert.deepEqual(tries(one), [[2, 'INTERNAL']]);
    assert.equal(both.result.requestId, 'third');
    assert.deepEqual(tries(both), [
      [2, 'PROVIDER_UNAVAILABLE'],
      [1, 'PROVIDER_UNAVAILABLE'],
    ]);
  });

  it('hedges only when the version asks for it, when the usual time is known, and to a cloud that is up', async () => {
    const slow = later(answer('slow'), SLOW_MS);
    const unused = () => createUsual(2, () => assert.fail('a second run'));
    const down = unused();
    for (let failure = 0; failure < 3; failure += 1) down.circuit.failed(performance.now());

    const outcomes = await Promise.all([
      start([createUsual(1, slow), unused()]),
      start([createCandidate(1, { invoke: slow }), unused()], ALWAYS),
      start([createUsual(1, slow), unused()], () => false),
      start([createUsual(1, slow), down], ALWAYS),
      start([createUsual(1, slow)], ALWAYS),
      // All that may fail is reserved for the first.
      start([createUsual(1, slow), unused()], ALWAYS, { books: createBooks(250) }),
    ]);

    for (const outcome of outcomes) {
      assert.equal(answered(outcome).result.requestId, 'slow');
      assert.deepEqual(outcome.failed, []);
    }
  });

  it('counts the time of each run that may have happened, also when another cloud has answered', async () => {
    const books = createBooks();
    const candidates = [
      createCandidate(1, { invoke: later(refuse('maybe'), SLOW_MS) }),
      createCandidate(2, { invoke: refuse('no') }),
      createCandidate(3),
    ];

    const outcome = answered(await start(candidates, undefined, { books }));

    assert.equal(outcome.choice.candidate.id, 3);
    assert.deepEqual([books.free.length, books.reserved, books.runs], [1, 0, 2]);
    assert.ok((books.free[0] ?? 0) >= SLOW_MS - 1, `${books.free}`);
  });

  it('begins no further run when the budget is used up', async () => {
    const books = createBooks(SLOW_MS / 2);
    const candidates = [
      createCandidate(1, { invoke: later(refuse('maybe'), SLOW_MS) }),
      createCandidate(2, { invoke: () => assert.fail('a second run') }),
    ];

    const outcome = await start(candidates, undefined, { books });

    assert.deepEqual([outcome.kind, books.reserved], ['unknown', 0]);
  });

  it('has one outcome whatever the clouds do, and names each deployment in it once', async () => {
    const invokes = fc
      .record({ ms: fc.nat(6), kind: fc.constantFrom('answer', 'no', 'maybe') })
      .map(({ ms, kind }) => later(kind === 'answer' ? answer(kind) : refuse(kind), ms));
    await fc.assert(
      fc.asyncProperty(fc.array(invokes, { minLength: 1, maxLength: 4 }), async (clouds) => {
        const candidates = clouds.map((invoke, index) => createUsual(index + 1, invoke));

        const books = createBooks();

        const outcome = await start(candidates, ALWAYS, { books });

        const listed = outcome.failed.map((one) => one.deployment);
        assert.equal(new Set(listed).size, listed.length);
        if (outcome.kind === 'answered') {
          assert.equal(listed.includes(outcome.choice.candidate.id), false);
        } else {
          assert.equal(listed.length, candidates.length);
        }
        while (candidates.some((candidate) => candidate.inFlight > 0))
          await new Promise(setImmediate);
        assert.equal(books.reserved, 0);
        const free = outcome.failed.filter(({ ran }) => ran === 'maybe').length;
        assert.ok(books.free.length <= free, `${books.free.length} of ${free}`);
      }),
      { numRuns: 60 },
    );
  });
});

describe('the hedge budget', () => {
  it('is a tenth of the calls, however slow the clouds are, and saves up little', () => {
    const budget = createHedgeBudget();
    let hedges = 0;
    for (let call = 0; call < 1_000; call += 1) {
      budget.call();
      if (budget.take()) hedges += 1;
    }
    for (let call = 0; call < 1_000; call += 1) budget.call();
    let atOnce = 0;
    while (budget.take()) atOnce += 1;

    assert.ok(hedges >= 95 && hedges <= 100, `${hedges}`);
    assert.equal(atOnce, 5);
  });
});
