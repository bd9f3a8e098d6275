// Limits per day as their owners set them: of a sponsored function, and of a lane's key; and the
// word that a balance runs low.
import assert from 'node:assert/strict';
import { DefaasClientError } from '../../../broker/client/errors.ts';
import { fetchLane, putLaneLimit } from '../../../broker/client/lane.ts';
import { settle } from '../../../broker/client/settlement.ts';
import { fetchSponsorship, putSponsorship } from '../../../broker/client/sponsorship.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../small-house.ts';

const HELLO = 'export default async () => new Response("hello");';
/** 20 units a call, however long it takes. */
const TERMS = {
  tariff: { perCall: 20, perGiBSecond: 0, maxPrice: 100_000, roundMs: 1 },
};

describe('limits per day', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let hello: string;
  let paid: string;
  before(async () => {
    house = await startSmallHouse();
    hello = await house.publish('hello', HELLO, { ...TERMS, payer: 'publisher' });
    paid = await house.publish('paid', HELLO, TERMS);
  });
  after(() => house.close());

  const sponsored = { owner: KEYS.publisher.address, name: 'hello' };
  const callFree = async () => {
    const reply = await fetch(`${house.url()}/functions/${hello}`);
    return reply.ok ? 200 : (await reply.json()).code;
  };

  it('are set, shown and lifted by a function’s owner, and survive a restart', async () => {
    const publisher = await house.session(KEYS.publisher);
    const defaultUnits = house.gateway().config.sponsorDailyUnits;
    const nothing = await fetchSponsorship(publisher, sponsored);
    const key = await house.sponsor(hello, KEYS.publisher, 1000n);

    const before = await fetchSponsorship(publisher, sponsored);
    const first = await callFree();
    const spent = (await fetchSponsorship(publisher, sponsored)).spentTodayUnits;
    const set = await putSponsorship(publisher, sponsored, spent + 25n);
    const answers = [await callFree(), await callFree()];
    await house.restart();
    const after = await fetchSponsorship(await house.session(KEYS.publisher), sponsored);
    const refused = await callFree();
    const lifted = await putSponsorship(await house.session(KEYS.publisher), sponsored, null);

    assert.deepEqual([nothing.isSponsored, nothing.lane], [true, null]);
    assert.equal(nothing.dailyUnits, defaultUnits);
    assert.deepEqual([before.function, before.spentTodayUnits], [hello, 0n]);
    assert.equal(before.lane?.signer, key.address);
    assert.ok((before.lane?.leftUnits ?? 0n) > 900n);
    assert.equal(first, 200);
    assert.equal(set.dailyUnits, spent + 25n);
    assert.deepEqual(answers, [200, 'SPONSOR_EMPTY']);
    assert.equal(after.dailyUnits, spent + 25n);
    assert.deepEqual([spent, after.spentTodayUnits], [20n, 40n]);
    assert.equal(refused, 'SPONSOR_EMPTY');
    assert.equal(lifted.dailyUnits, defaultUnits);
    assert.equal(await callFree(), 200);
  });

  it('of a function can be seen and set by its owner alone', async () => {
    const user = await house.session(KEYS.user);
    const other = { ...sponsored, name: 'none-such' };
    const body = JSON.stringify({ dailyUnits: '-1' });
    const publisher = await house.session(KEYS.publisher);

    await assert.rejects(fetchSponsorship(user, sponsored), { code: 'NOT_OWNER' });
    await assert.rejects(putSponsorship(user, sponsored, 1n), { code: 'NOT_OWNER' });
    await assert.rejects(fetchSponsorship(user, other), { code: 'FUNCTION_UNKNOWN' });
    await assert.rejects(publisher.request(`/sponsorships/${hello}`, { method: 'PUT', body }), {
      code: 'REQUEST_INVALID',
    });
    const unsigned = await fetch(`${house.url()}/sponsorships/${hello}`);
    assert.equal(unsigned.status, 401);
  });

  it('of a lane can be set by its payer, not by its key', async () => {
    const key = await house.openLane(KEYS.user);
    const lane = { payer: KEYS.user.address, signer: key.address };
    const payer = await house.session(KEYS.user);
    const session = await house.session(key, { payer: KEYS.user, signer: key });
    const caller = await house.caller(KEYS.user, key);

    const before = await fetchLane(session, lane);
    const set = await putLaneLimit(payer, lane, 50n);
    await assert.rejects(putLaneLimit(session, lane, null), { code: 'NOT_OWNER' });
    await assert.rejects(putLaneLimit(await house.session(KEYS.publisher), lane, null), {
      code: 'LANE_UNKNOWN',
    });
    const { receipt } = await caller.invoke({ function: paid });
    const between = await fetchLane(session, lane);
    await caller.invoke({ function: paid });
    const refused = await caller.invoke({ function: paid }).catch((error) => error);
    await putLaneLimit(payer, lane, null);
    const lifted = await caller.invoke({ function: paid });

    assert.deepEqual(before.limit, { dailyUnits: null, spentTodayUnits: 0n });
    assert.deepEqual(set.limit, { dailyUnits: 50n, spentTodayUnits: 0n });
    assert.deepEqual(between.limit, { dailyUnits: 50n, spentTodayUnits: receipt.priceUnits });
    assert.ok(refused instanceof DefaasClientError);
    assert.deepEqual([refused.code, refused.problem?.limitUnits], ['DAILY_LIMIT', '50']);
    assert.equal(lifted.response.status, 200);
  });

  it('report a line that runs low, also after a settlement, until it is filled again', async () => {
    const payer = KEYS.operator;
    const key = await house.openLane(payer, 130n);
    const caller = await house.caller(payer, key);
    const call = async () => (await caller.invoke({ function: paid })).lowBalanceUnits;

    const well = [await call(), await call(), await call(), await call(), await call()];
    await settle(await house.session(KEYS.gateway));
    const low = await call();
    const writer = house.view.connect(payer);
    await writer.mintMock(1000n);
    const gateway = KEYS.gateway.address;
    const block = await writer.depositAllotOpenLane({ amount: 1000n, gateway });
    await house.gateway().chain.synced(block);
    const expirySec = Math.floor(Date.now() / 1000) + 86_400 * 30;
    await writer.extendLane(gateway, { signer: key.address, cap: 1100n, expirySec });
    await house.gateway().chain.synced();
    const filled = await call();

    assert.deepEqual(new Set(well), new Set([undefined]));
    // A fifth of the 130, not of the 30 that the settlement has left on the line.
    assert.equal(low, 10n);
    assert.equal(filled, undefined);
  });
});
