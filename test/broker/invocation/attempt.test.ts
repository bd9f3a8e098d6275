// Attempts in turn and beside each other, on clouds whose answers the test holds back.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { InvokeRequest, InvokeResult } from '../../../adapters/provider.ts';
import { attempt, type Hedge, type Outcome } from '../../../broker/invocation/attempt.ts';
import type { Route } from '../../../broker/invocation/choose.ts';
import { createDeadlines } from '../../../broker/invocation/deadlines.ts';
import { createHedgeBudget } from '../../../broker/invocation/hedge.ts';
import { answer, createRoute, refuse } from './in-process-cloud.ts';

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
function createUsual(id: number, invoke: ReturnType<typeof answer>): Route {
  const route = createRoute(id, { invoke });
  for (let call = 0; call < 32; call += 1) route.latency.add(1);
  return route;
}

function createHedge() {
  const lost: number[] = [];
  const hedge: Hedge = { take: () => true, lost: (ms) => void lost.push(ms) };
  return { hedge, lost };
}

function start(routes: readonly Route[], hedge?: Hedge, idempotent = true): Promise<Outcome> {
  const choices = routes.map((route, place) => ({ route, place }));
  return attempt(choices, REQUEST, {
    timeoutMs: 1_000,
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

describe('attempt', () => {
  it('goes on to the next where nothing ran, and stops where something may have', async () => {
    const routes = [createRoute(1, { invoke: refuse('no') }), createRoute(2)];
    const maybe = [createRoute(1, { invoke: refuse('maybe') }), createRoute(2)];

    const [failedOver, stopped, again] = await Promise.all([
      start(routes, undefined, false),
      start(maybe, undefined, false),
      start(maybe),
    ]);

    assert.equal(answered(failedOver).choice.place, 1);
    assert.deepEqual(tries(failedOver), [[1, 'PROVIDER_UNAVAILABLE']]);
    assert.equal(stopped.kind, 'unknown');
    assert.equal(answered(again).choice.place, 1);
  });

  it('asks a second cloud when the first is slower than mostly, and takes its answer', async () => {
    const slow = createSlowCloud('slow');
    const routes = [createUsual(1, slow.invoke), createUsual(2, answer('quick'))];
    const { hedge, lost } = createHedge();

    const outcome = answered(await start(routes, hedge));
    const inFlight = routes.map((route) => route.inFlight);
    slow.answer();
    while (lost.length === 0) await new Promise(setImmediate);

    assert.equal(outcome.result.requestId, 'quick');
    assert.deepEqual(tries(outcome), [[1, 'HEDGED']]);
    assert.equal(outcome.failed[0]?.ran, 'maybe');
    // The first cloud is still at it, and known to be; what it took is counted when it has ended.
    assert.deepEqual(inFlight, [1, 0]);
    assert.deepEqual([lost, routes[0]?.inFlight], [[7], 0]);
  });

  it('takes the first’s answer when it comes before the second’s', async () => {
    const [slow, slower] = [createSlowCloud('slow'), createSlowCloud('slower')];
    const routes = [createUsual(1, slow.invoke), createUsual(2, slower.invoke)];
    const { hedge, lost } = createHedge();

    const running = start(routes, hedge);
    await slower.asked;
    slow.answer();
    const outcome = answered(await running);
    slower.fail(new Error('too late'));
    while (routes[1]?.inFlight !== 0) await new Promise(setImmediate);

    assert.equal(outcome.result.requestId, 'slow');
    assert.deepEqual(tries(outcome), [[2, 'HEDGED']]);
    // A run that got no answer is the cloud's failure, not the function's time.
    assert.deepEqual(lost, []);
  });

  it('waits for the other when one of the two fails, and goes on when both do', async () => {
    const [slow, failing] = [createSlowCloud('slow'), createSlowCloud('failing')];
    const oneFails = [createUsual(1, slow.invoke), createUsual(2, failing.invoke)];
    const bothFail = [
      createUsual(1, later(refuse('maybe'), SLOW_MS)),
      createUsual(2, refuse('no')),
      createUsual(3, answer('third')),
    ];
    const { hedge, lost } = createHedge();

    const running = start(oneFails, hedge);
    await failing.asked;
    failing.fail(new Error('on purpose'));
    while (oneFails[1]?.inFlight !== 0) await new Promise(setImmediate);
    slow.answer();
    const [one, both] = [answered(await running), answered(await start(bothFail, hedge))];

    assert.equal(one.result.requestId, 'slow');
    assert.deepEqual(tries(one), [[2, 'INTERNAL']]);
    assert.equal(both.result.requestId, 'third');
    assert.deepEqual(tries(both), [
      [2, 'PROVIDER_UNAVAILABLE'],
      [1, 'PROVIDER_UNAVAILABLE'],
    ]);
    assert.deepEqual(lost, []);
  });

  it('hedges only where it is asked for, where the usual time is known, and to a cloud that is up', async () => {
    const slow = later(answer('slow'), SLOW_MS);
    const unused = () => createUsual(2, () => assert.fail('a second run'));
    const down = unused();
    for (let failure = 0; failure < 3; failure += 1) down.circuit.failed(performance.now());
    const { hedge } = createHedge();

    const outcomes = await Promise.all([
      start([createUsual(1, slow), unused()]),
      start([createRoute(1, { invoke: slow }), unused()], hedge),
      start([createUsual(1, slow), unused()], { ...hedge, take: () => false }),
      start([createUsual(1, slow), down], hedge),
      start([createUsual(1, slow)], hedge),
    ]);

    for (const outcome of outcomes) {
      assert.equal(answered(outcome).result.requestId, 'slow');
      assert.deepEqual(outcome.failed, []);
    }
  });

  it('has one outcome whatever the clouds do, and each deployment in it once', async () => {
    const invokes = fc
      .record({ ms: fc.nat(6), kind: fc.constantFrom('answer', 'no', 'maybe') })
      .map(({ ms, kind }) => later(kind === 'answer' ? answer(kind) : refuse(kind), ms));
    await fc.assert(
      fc.asyncProperty(fc.array(invokes, { minLength: 1, maxLength: 4 }), async (clouds) => {
        const routes = clouds.map((invoke, index) => createUsual(index + 1, invoke));

        const outcome = await start(routes, createHedge().hedge);

        const listed = outcome.failed.map((one) => one.deployment);
        assert.equal(new Set(listed).size, listed.length);
        if (outcome.kind === 'answered') {
          assert.equal(listed.includes(outcome.choice.route.id), false);
        } else {
          assert.equal(listed.length, routes.length);
        }
        while (routes.some((route) => route.inFlight > 0)) await new Promise(setImmediate);
      }),
      { numRuns: 60 },
    );
  });
});

describe('hedge budget', () => {
  it('is a tenth of the calls, however slow the clouds are, and little is saved up', () => {
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
