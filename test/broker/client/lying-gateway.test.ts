// What a lying gateway can get a client to sign: a real gateway whose replies a test changes on the
// way.
import assert from 'node:assert/strict';
import { createChainReader } from '../../../broker/client/chain-reader.ts';
import { connect } from '../../../broker/client/connection.ts';
import type { DefaasClientError } from '../../../broker/client/errors.ts';
import { type CallerOptions, createCaller, STEP_UNITS } from '../../../broker/client/invoke.ts';
import {
  createLaneMemory,
  type HeldMandate,
  type LaneMemory,
  utcDayOf,
} from '../../../broker/client/lane-memory.ts';
import {
  faultUnder,
  mandatedNonce,
  NO_SUBJECT,
  SPONSOR_KIND,
  signMandate,
} from '../../../broker/client/mandates.ts';
import { fetchReceipt, type ReceiptDocument } from '../../../broker/client/receipts.ts';
import { createSession } from '../../../broker/client/session.ts';
import type { Key } from '../../../contracts/keystore.ts';
import { testKey } from '../../contracts/hardhat-chain.ts';
import { type Changes, documentsIn, forge, invent, pageOf } from '../forger.ts';
import { functionIdIn, KEYS, type SmallHouse, startSmallHouse } from '../small-house.ts';

const HELLO = `export default async () => new Response('hello');`;

/** Undefined passes on the gateway's own reply. */
type Lie = (path: string, headers: Headers) => Response | undefined;

type AsyncLie = (path: string, ask: () => Promise<Response>) => Promise<Response | undefined>;

/** Number of attempts before a call is given up. */
const ASKED_IN_VAIN = 4;

describe('a client of a gateway that lies', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let hello: string;
  let lie: Lie = () => undefined;
  before(async () => {
    house = await startSmallHouse();
    hello = await house.publish('hello', HELLO);
  });
  afterEach(() => {
    lie = () => undefined;
  });
  after(() => house.close());

  /** A lie that is made from the gateway's own reply. */
  let later: AsyncLie | undefined;
  /** Ceilings of all vouchers that were sent. */
  let signed: bigint[] = [];
  beforeEach(() => {
    later = undefined;
    signed = [];
  });

  const callerOf = async (
    memory: LaneMemory,
    key?: Key,
    options: Pick<CallerOptions, 'nowMs' | 'stepUnits'> = {},
  ) => {
    const lane = key ?? (await house.openLane(KEYS.user));
    const connection = await house.connect({
      fetch: async (input, init) => {
        const request = new Request(input, init);
        const { pathname, search } = new URL(request.url);
        const path = pathname + search;
        const [units] = (request.headers.get('defaas-voucher') ?? '').split(':');
        if (units) signed.push(BigInt(units));
        const told = lie(path, request.headers) ?? (await later?.(path, () => fetch(input, init)));
        return told ?? fetch(input, init);
      },
    });
    const session = await createSession({
      connection,
      key: lane.privateKey,
      lane: { payer: KEYS.user.address, signer: lane.address },
    });
    const chain = createChainReader(connection.chain);
    return { caller: createCaller({ session, memory, chain, ...options }), lane, session };
  };
  const noReceipts: Lie = (path) =>
    path.startsWith('/receipts?') ? Response.json({ receipts: [], next: null }) : undefined;
  const asksForMore: Lie = (path, headers) => {
    if (!path.startsWith('/functions/')) return undefined;
    const [ceilingUnits] = String(headers.get('defaas-voucher')).split(':');
    const missing = { reason: 'ceiling', needUnits: '1', priceUnits: '45', ceilingUnits };
    return Response.json({ code: 'PAYMENT_REQUIRED', ...missing }, { status: 402 });
  };

  it('connects to no gateway that names another chain, contract, token or account, and ignores its RPC and first block', async () => {
    const swindler = testKey(12).address;
    const { contracts } = house.chain;
    const connectTo = (changes: object, said: object = {}) =>
      house.connect({
        fetch: async (input, init) => {
          const reply = await fetch(input, init);
          const { pathname } = new URL(new Request(input, init).url);
          if (pathname !== '/.well-known/defaas') return reply;
          const document = await reply.json();
          const lies = { ...document.contracts, ...changes };
          return Response.json({ ...document, ...said, contracts: lies });
        },
      });
    const mismatch = { code: 'DEPLOYMENT_MISMATCH' };

    for (const name of Object.keys(contracts).filter((one) => one !== 'deployedAtBlock')) {
      await assert.rejects(connectTo({ [name]: swindler }), mismatch, name);
    }
    await assert.rejects(connectTo({}, { chainId: 1 }), mismatch);
    await assert.rejects(connectTo({}, { gateway: swindler }), mismatch);
    // Nobody has said which account it is, and what it names is no gateway, or has registered
    // another URL.
    const { trust } = house;
    await assert.rejects(connect(house.url(), { trust }), mismatch);

    const connection = await connectTo(
      { deployedAtBlock: 1_000_000 },
      { rpcUrl: 'http://127.0.0.1:1' },
    );
    assert.deepEqual(connection.chain, { chainId: 31337, contracts, rpcUrl: house.chain.url });
    assert.equal(connection.domain.verifyingContract, contracts.billing);
  });

  it('signs one step and no more, while no receipt is shown', async () => {
    const memory = createLaneMemory();
    const { caller } = await callerOf(memory);

    for (let call = 0; call < 2; call += 1) {
      const patience = new AbortController();
      let asked = 0;
      lie = (path, headers) => {
        if (path.startsWith('/functions/')) asked += 1;
        if (asked === ASKED_IN_VAIN) patience.abort();
        return noReceipts(path, headers) ?? asksForMore(path, headers);
      };
      await assert.rejects(caller.invoke({ function: hello, signal: patience.signal }));
    }

    assert.deepEqual(memory.read(), {
      ceilingUnits: STEP_UNITS,
      verifiedSeq: 0,
      verifiedUnits: 0n,
    });
  });

  it('signs nothing more while a receipt that a reply has named is not shown, and goes on when it is', async () => {
    const memory = createLaneMemory();
    const { caller } = await callerOf(memory);
    await caller.invoke({ function: hello });
    lie = (...asked) => noReceipts(...asked) ?? asksForMore(...asked);

    // Which of the two codes it is depends on the step at which the time runs out.
    await assert.rejects(caller.invoke({ function: hello, timeoutMs: 500 }), {
      code: /^(PAYMENT_REQUIRED|RECEIPTS_MISSING)$/,
    });
    await assert.rejects(caller.acknowledge(), { code: 'RECEIPTS_MISSING' });
    assert.equal(memory.read().ceilingUnits, STEP_UNITS);
    lie = () => undefined;
    await caller.acknowledge();

    assert.deepEqual([memory.read().verifiedSeq, memory.read().stopped], [1, undefined]);
  });

  it('learns from its own signature how far its key has signed, when its memory is lost or another program signed', async () => {
    const { caller, lane } = await callerOf(createLaneMemory());
    const { receipt } = await caller.invoke({ function: hello });
    const [forgetful, behind] = [createLaneMemory(), createLaneMemory()];
    behind.update((record) => ({ ...record, ceilingUnits: 1n }));

    for (const memory of [forgetful, behind]) {
      const { caller: again } = await callerOf(memory, lane);
      await again.acknowledge();

      assert.deepEqual(memory.read(), {
        ceilingUnits: STEP_UNITS,
        verifiedSeq: 1,
        verifiedUnits: receipt.priceUnits,
      });
    }
  });

  /** What is shown instead of the lane's receipts. */
  const showing =
    (change: (honest: ReceiptDocument[]) => readonly ReceiptDocument[]): AsyncLie =>
    async (path, ask) => {
      if (!path.startsWith('/receipts?')) return undefined;
      const page = await (await ask()).text();
      return new Response(pageOf(change(documentsIn(page))));
    };
  const domain = () => house.view.domain;
  const last = (documents: readonly ReceiptDocument[]) => documents.at(-1) ?? assert.fail();
  const onTop = (honest: ReceiptDocument, changes: Changes): ReceiptDocument => {
    const { seq, cumulative } = honest.receipt;
    const price = changes.receipt?.price ?? honest.receipt.price;
    const receipt = { seq: seq + 1, cumulative: cumulative + price, price };
    return forge(domain(), honest, { ...changes, receipt });
  };
  const instead = (honest: ReceiptDocument, changes: Changes): ReceiptDocument => {
    const price = changes.receipt?.price ?? honest.receipt.price;
    const cumulative = honest.receipt.cumulative - honest.receipt.price + price;
    return forge(domain(), honest, { ...changes, receipt: { price, cumulative } });
  };

  const contradictions: [what: string, change: (honest: ReceiptDocument[]) => ReceiptDocument[]][] =
    [
      ['99 invented receipts', (honest) => [...honest, ...invent(domain(), last(honest), 99)]],
      [
        'a price above the tariff',
        (honest) => [instead(last(honest), { receipt: { price: 44n } })],
      ],
      [
        'a longer time than its answer took',
        (honest) => [
          instead(last(honest), { execution: { billedMs: 5000 }, receipt: { price: 45n } }),
        ],
      ],
      [
        'a higher maximum price than was agreed',
        (honest) => [instead(last(honest), { call: { maxPrice: 10_000n } })],
      ],
      ['a receipt that was paid, once more', (honest) => [...honest, onTop(last(honest), {})]],
      [
        'an own call paid once more as another execution',
        (honest) => [
          ...honest,
          onTop(last(honest), { execution: { request: `0x${'77'.repeat(32)}` } }),
        ],
      ],
      [
        'another receipt where a reply has named one',
        (honest) => [instead(last(honest), { execution: { request: `0x${'77'.repeat(32)}` } })],
      ],
      [
        'a mandate that nobody has signed',
        (honest) => [
          ...honest,
          onTop(last(honest), { call: { authority: `0x${'66'.repeat(32)}` } }),
        ],
      ],
      [
        'a sum that does not add up',
        (honest) => [forge(domain(), last(honest), { receipt: { cumulative: 50_000n } })],
      ],
    ];
  for (const [what, change] of contradictions) {
    it(`stops the lane for good that is shown ${what}, and signs no more than a step in all`, async () => {
      const memory = createLaneMemory();
      const { caller } = await callerOf(memory);
      await caller.invoke({ function: hello });
      lie = asksForMore;
      later = showing(change);

      await assert.rejects(caller.invoke({ function: hello }), (error: DefaasClientError) => {
        assert.equal(error.code, 'RECEIPT_INVALID', error.message);
        assert.equal(error.evidence?.length, 1, error.message);
        return true;
      });
      lie = () => undefined;
      later = undefined;

      await assert.rejects(caller.invoke({ function: hello }), { code: 'LANE_STOPPED' });
      await assert.rejects(caller.acknowledge(), { code: 'LANE_STOPPED' });
      assert.equal(memory.read().ceilingUnits, STEP_UNITS);
      assert.deepEqual(new Set(signed), new Set([STEP_UNITS]));
    });
  }

  for (const [what, change] of [
    ['not the first', (honest: ReceiptDocument[]) => honest.slice(1)],
    ['not the last', (honest: ReceiptDocument[]) => honest.slice(0, -1)],
    ['the last before the first', (honest: ReceiptDocument[]) => honest.toReversed()],
    [
      'none with its salt',
      (honest: ReceiptDocument[]) => honest.map(({ salt: _salt, ...shown }) => shown),
    ],
  ] as const) {
    it(`signs nothing while it is shown ${what} of its receipts, and goes on when it is shown all`, async () => {
      const memory = createLaneMemory();
      const { caller } = await callerOf(memory);
      for (let n = 0; n < 2; n += 1) await caller.invoke({ function: hello });
      later = showing(change);

      await assert.rejects(caller.acknowledge(), { code: 'RECEIPTS_MISSING' });
      lie = asksForMore;
      await assert.rejects(caller.invoke({ function: hello, timeoutMs: 300 }));
      lie = () => undefined;
      later = undefined;

      await caller.invoke({ function: hello });
      await caller.acknowledge();
      const { verifiedSeq, stopped, ceilingUnits } = memory.read();
      assert.deepEqual([verifiedSeq, stopped, ceilingUnits], [3, undefined, STEP_UNITS]);
      assert.deepEqual(new Set(signed), new Set([STEP_UNITS]));
    });
  }

  it('checks the duration of a call under a fresh key though its answer claims to be a repetition', async () => {
    const memory = createLaneMemory();
    const { caller } = await callerOf(memory);
    later = async (path, ask) => {
      if (!path.startsWith('/functions/')) return undefined;
      const reply = await ask();
      const headers = new Headers(reply.headers);
      headers.set('idempotent-replayed', 'true');
      return new Response(await reply.text(), { headers });
    };
    await caller.invoke({ function: hello });
    later = showing((honest) => [
      instead(last(honest), { execution: { billedMs: 5000 }, receipt: { price: 45n } }),
    ]);

    await assert.rejects(caller.acknowledge(), {
      code: 'RECEIPT_INVALID',
      message: /bills 5000 ms/,
    });
  });

  const overbill = showing((honest) => [
    instead(last(honest), { execution: { billedMs: 5000 }, receipt: { price: 45n } }),
  ]);

  it('checks the duration of a call whose answer names a receipt that was checked before', async () => {
    const memory = createLaneMemory();
    const { caller } = await callerOf(memory);
    await caller.invoke({ function: hello });
    await caller.acknowledge();
    later = async (path, ask) => {
      if (!path.startsWith('/functions/')) return undefined;
      const reply = await ask();
      const headers = new Headers(reply.headers);
      headers.set('defaas-seq', '1');
      return new Response(await reply.text(), { headers });
    };
    await caller.invoke({ function: hello });
    later = overbill;
    await assert.rejects(caller.acknowledge(), {
      code: 'RECEIPT_INVALID',
      message: /bills 5000 ms/,
    });
  });

  it('pays nothing for a call that the gateway has refused', async () => {
    const memory = createLaneMemory();
    const { caller } = await callerOf(memory);
    later = async (path, ask) => {
      if (!path.startsWith('/functions/')) return undefined;
      await ask();
      return Response.json({ code: 'PROVIDERS_DOWN', detail: 'nothing ran' }, { status: 503 });
    };
    await assert.rejects(caller.invoke({ function: hello }), { code: 'PROVIDERS_DOWN' });
    later = overbill;
    await assert.rejects(caller.acknowledge(), { code: 'RECEIPT_INVALID' });
  });

  it('waits, and stops no lane, when a receipt is wrong only by the client’s clock, and goes on when the clock is right', async () => {
    const [price, daySec] = [45n, 86_400];
    const realMs = Date.now();
    let nowMs = realMs;
    const memory = createLaneMemory();
    const { caller, session } = await callerOf(memory, undefined, {
      stepUnits: 0n,
      nowMs: () => nowMs,
    });
    const { receipt: own } = await caller.invoke({ function: hello, maxPriceUnits: price });
    await caller.acknowledge();
    const honest = await fetchReceipt(session, own.id);
    const terms = {
      ...{ kind: SPONSOR_KIND, subject: NO_SUBJECT, functionId: functionIdIn(hello) },
      ...{ maxPrice: price, perDay: 10n * price, total: 10n * price, serial: 1n },
      untilSec: Math.floor(realMs / 1000) + daySec,
    };
    const { connection, key } = session;
    const signed = await signMandate(connection, key, KEYS.user.address, terms, realMs);
    memory.putMandate(signed);
    await caller.renew();
    const item = `0x${'31'.repeat(32)}` as const;
    const call = { authority: signed.hash, nonce: mandatedNonce(signed.hash, item) };
    const execution = { billedMs: 5_000 };
    const shown = { ...onTop(honest, { call, execution, receipt: { price } }), item };
    let book: ReceiptDocument[] = [];
    later = async (path) => {
      if (!path.startsWith('/receipts?')) return undefined;
      return new Response(pageOf(book));
    };

    // Once a look was made by a clock that was years ahead; another time it is days behind.
    nowMs = realMs + 900 * daySec * 1000;
    await caller.acknowledge();
    book = [shown];
    const ahead = await caller.acknowledge().catch((error) => error);
    nowMs = realMs - 3 * daySec * 1000;
    const behind = await caller.acknowledge().catch((error) => error);
    const { stopped } = memory.read();
    nowMs = realMs;
    await caller.renew();

    assert.deepEqual([ahead.code, behind.code], ['RECEIPT_INVALID', 'RECEIPT_INVALID']);
    assert.equal(stopped, undefined);
    assert.equal(memory.read().verifiedSeq, shown.receipt.seq);
  });

  /** With a step, its room is the liar's too: by receipts of the mandate. */
  for (const [what, stepUnits] of [
    ['a lane of its own', 0n],
    ['a lane with a step', 100n],
  ] as const) {
    it(`signs for a mandate in ${what} at most its day's limit a day and its total in all, whatever a week of receipts is dated`, async () => {
      const [perDay, total, price, daySec] = [450n, 2_250n, 45n, 86_400];
      let nowMs = Date.now();
      const clock = { stepUnits, nowMs: () => nowMs };
      const memory = createLaneMemory();
      const { caller, session } = await callerOf(memory, undefined, clock);
      const { receipt: own } = await caller.invoke({ function: hello, maxPriceUnits: price });
      await caller.acknowledge();
      const honest = await fetchReceipt(session, own.id);
      const base = memory.read().verifiedUnits;
      const functionId = functionIdIn(hello);
      const signed = await signMandate(
        session.connection,
        session.key,
        KEYS.user.address,
        {
          kind: SPONSOR_KIND,
          subject: NO_SUBJECT,
          functionId,
          maxPrice: price,
          perDay,
          total,
          untilSec: Math.floor(nowMs / 1000) + 30 * daySec,
          serial: 1n,
        },
        nowMs,
      );
      memory.putMandate(signed);
      await caller.renew();
      const startMs = nowMs;
      const book: ReceiptDocument[] = [];
      later = async (path) => {
        if (!path.startsWith('/receipts?')) return undefined;
        const after = Number(new URL(path, 'http://localhost').searchParams.get('after'));
        return new Response(pageOf(book.filter(({ receipt }) => receipt.seq > after)));
      };
      /** As many as the ceiling leaves room for, each of the first day that the client takes. */
      const invented = () => {
        let [held = assert.fail()]: readonly HeldMandate[] = memory.mandates();
        const { ceilingUnits } = memory.read();
        for (;;) {
          const before = book.at(-1) ?? honest;
          if (before.receipt.cumulative + price > ceilingUnits) return;
          const item = `0x${book.length.toString(16).padStart(64, '0')}` as const;
          const nonce = mandatedNonce(signed.hash, item);
          const datedAt = (finishedAtSec: number) => ({
            ...onTop(before, {
              call: { authority: signed.hash, nonce },
              execution: { billedMs: 5_000, finishedAtSec },
              receipt: { price },
            }),
            item,
          });
          const firstSec = Math.floor(startMs / 1000);
          const days = Array.from({ length: 12 }, (_, n) => firstSec + (n - 1) * daySec);
          const next = [...days, Math.floor(nowMs / 1000), Math.floor(nowMs / 1000) + 1_000]
            .map(datedAt)
            .find((one) => faultUnder(held, one, functionId, nowMs) === undefined);
          if (next === undefined) return;
          book.push(next);
          const day = utcDayOf(Math.max(next.execution.finishedAtSec, held.countsFromMs / 1000));
          const ofDay = (held.spent.get(day) ?? 0n) + price;
          held = { ...held, spent: new Map(held.spent).set(day, ofDay) };
        }
      };

      for (let look = 0; look < 7 * 5; look += 1) {
        invented();
        await caller.renew();
        const { ceilingUnits, verifiedUnits, stopped } = memory.read();
        const days = BigInt(
          Math.floor(nowMs / 1000 / daySec) - Math.floor(startMs / 1000 / daySec),
        );
        const ofDays = perDay * (days + 1n);
        const most = base + stepUnits + (ofDays < total ? ofDays : total);
        assert.equal(stopped, undefined);
        assert.ok(ceilingUnits <= most, `${ceilingUnits} after ${days} days`);
        assert.equal(verifiedUnits, book.at(-1)?.receipt.cumulative);
        nowMs += (daySec * 1000) / 5;
      }

      const [held] = memory.mandates();
      const taken = [...(held?.spent.values() ?? [])].reduce((sum, units) => sum + units, 0n);
      assert.equal(taken, total);
      assert.ok([...(held?.spent.values() ?? [])].every((units) => units <= perDay));
    });
  }

  it('signs for parallel calls what they may cost together, and no more, however long the gateway keeps them waiting', async () => {
    const dear = await house.publish('dear', HELLO, {
      tariff: { perCall: 60_000, perGiBSecond: 0, maxPrice: 60_000, roundMs: 1 },
    });
    const memory = createLaneMemory();
    const { caller } = await callerOf(memory);
    const patience = new AbortController();
    lie = (...asked) => {
      const isAll = signed.filter((units) => units >= 300_000n).length >= ASKED_IN_VAIN;
      if (isAll) patience.abort();
      return noReceipts(...asked) ?? asksForMore(...asked);
    };

    const calls = Array.from({ length: 5 }, () =>
      caller.invoke({ function: dear, timeoutMs: 60_000, signal: patience.signal }),
    );

    for (const one of await Promise.allSettled(calls)) assert.equal(one.status, 'rejected');
    assert.equal(memory.read().ceilingUnits, 300_000n);
    assert.ok(
      signed.every((units) => units <= 300_000n),
      `${signed}`,
    );
  });
});
