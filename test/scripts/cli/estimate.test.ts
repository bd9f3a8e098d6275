// The cost of calls before anybody pays: the same figures as the receipts and holds that follow.
import assert from 'node:assert/strict';
import { estimate } from '../../../scripts/cli/estimate.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../../broker/small-house.ts';
import { type CommandLine, createCommandLine, documentOf } from './beside.ts';

describe('defaas estimate', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let cli: CommandLine;
  let hello: string;
  before(async () => {
    house = await startSmallHouse();
    cli = createCommandLine(house);
    // 128 MiB are an eighth of a GiB: 20 + 40 / 8 x seconds.
    hello = await house.publish('hello', 'export default async () => new Response("hello");', {
      timeoutMs: 4_000,
      tariff: { perCall: 20, perGiBSecond: 40, maxPrice: 100_000, roundMs: 1, publisherBps: 2_500 },
    });
  });
  after(async () => {
    cli.remove();
    await house.close();
  });

  const ask = (target: string, options: Partial<Parameters<typeof estimate>[2]> = {}) =>
    documentOf(estimate(cli.flags(), target, { calls: '1000', deposit: '1', ...options }));

  it('gives the price of a typical call and of the worst one, and how many a deposit buys', async () => {
    const { typical, worst, ...rest } = await ask(hello, { ms: '200', calls: '300' });

    assert.deepEqual(rest, {
      function: hello,
      version: 1,
      memoryMiB: 128,
      calls: 300,
      depositUnits: '1000000',
    });
    assert.deepEqual(typical, {
      ms: 200,
      priceUnits: '21',
      totalUnits: '6300',
      // A quarter of each price, rounded down.
      publisherUnits: '1500',
      // The last of them needs room for 40 when it begins.
      depositBuysCalls: Math.floor((1_000_000 - 40) / 21) + 1,
    });
    assert.deepEqual(worst, {
      ms: 4_000,
      priceUnits: '40',
      totalUnits: '12000',
      publisherUnits: '3000',
      depositBuysCalls: 25_000,
    });
  });

  it('says that a deposit buys no call when it is too small for one', async () => {
    const { typical } = await ask(hello, { deposit: '0.000039' });

    assert.equal(typical.depositBuysCalls, 0);
  });

  it('agrees with what a call is charged', async () => {
    const caller = await house.caller(KEYS.user, await house.openLane(KEYS.user));

    const { receipt } = await caller.invoke({ function: hello });

    const { typical, worst } = await ask(`${hello}@1`, { ms: '1' });
    assert.ok(receipt.priceUnits >= BigInt(typical.priceUnits));
    assert.ok(receipt.priceUnits <= BigInt(worst.priceUnits));
    await assert.rejects(caller.invoke({ function: hello, maxPriceUnits: 39n }), {
      code: 'PRICE_ABOVE_MAX',
    });
    await caller.invoke({ function: hello, maxPriceUnits: BigInt(worst.priceUnits) });
  });

  it('refuses versions that do not exist and invalid numbers', async () => {
    await assert.rejects(ask(`${hello}@7`), { code: 'FUNCTION_UNKNOWN' });
    await assert.rejects(ask('nothing'), { code: 'FUNCTION_UNKNOWN' });
    await assert.rejects(ask(hello, { ms: '4001' }), { code: 'USAGE' });
    await assert.rejects(ask(hello, { ms: '-1' }), { code: 'USAGE' });
    await assert.rejects(ask(hello, { calls: '0' }), { code: 'USAGE' });
    await assert.rejects(ask(hello, { deposit: 'much' }), { code: 'USAGE' });
  });
});
