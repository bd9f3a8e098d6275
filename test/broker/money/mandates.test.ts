// Mandates at the gateway: who may put and revoke them, and that no call goes beyond one, in
// parallel and after a restart.
import assert from 'node:assert/strict';
import { setTimeout } from 'node:timers/promises';
import {
  type MandateTerms,
  NO_SUBJECT,
  putMandate,
  revokeMandate,
  SPONSOR_KIND,
  signMandate,
  TOKEN_KIND,
} from '../../../broker/client/mandates.ts';
import { describeBothWays } from '../both-ways.ts';
import { functionIdIn, KEYS, type SmallHouse, startSmallHouse } from '../small-house.ts';

const HELLO = 'export default async () => new Response("hello");';
/** 20 units a call, however long it takes. */
const TERMS = {
  tariff: { perCall: 20, perGiBSecond: 0, maxPrice: 20, roundMs: 1 },
};

describeBothWays('mandates at the gateway', function (fastPath) {
  this.timeout(120_000);
  let house: SmallHouse;
  let hello: string;
  before(async () => {
    house = await startSmallHouse({ fastPath });
    hello = await house.publish('hello', HELLO, { ...TERMS, payer: 'publisher' });
  });
  after(() => house.close());

  const termsOf = (changes: Partial<MandateTerms> = {}): MandateTerms => ({
    kind: SPONSOR_KIND,
    subject: NO_SUBJECT,
    functionId: functionIdIn(hello),
    maxPrice: 20n,
    perDay: 100n,
    total: 150n,
    untilSec: Math.floor(Date.now() / 1000) + 3600,
    serial: BigInt(Math.floor(Math.random() * 2 ** 40)),
    ...changes,
  });
  const statuses = async (count: number) => {
    const url = `${house.url()}/functions/${hello}`;
    const replies = await Promise.all(Array.from({ length: count }, () => fetch(url)));
    return replies.map(({ status }) => status).sort();
  };

  it('are refused when any field is wrong, and then not kept', async () => {
    const signer = await house.openLane(KEYS.publisher);
    const payer = KEYS.publisher;
    const { connection, key } = await house.session(signer, { payer, signer });
    const other = await house.session(KEYS.user);
    const refused = async (changes: Partial<MandateTerms>, by = key) => {
      const signed = await signMandate(connection, by, payer.address, termsOf(changes));
      const mandate = { ...signed.mandate, signer: signer.address };
      await assert.rejects(putMandate(connection, { ...signed, mandate }), {
        code: 'MANDATE_INVALID',
      });
    };

    await refused({}, other.key);
    await refused({ maxPrice: 101n });
    await refused({ total: 99n });
    await refused({ untilSec: Math.floor(Date.now() / 1000) - 1 });
    await refused({ untilSec: Math.floor(Date.now() / 1000) + 400 * 86_400 });
    await refused({ subject: `0x${'11'.repeat(32)}` });
    await refused({ functionId: 0n });
    await refused({ kind: TOKEN_KIND });
    const signed = await signMandate(connection, key, payer.address, termsOf());
    const hash = `0x${'22'.repeat(32)}` as const;
    await assert.rejects(putMandate(connection, { ...signed, hash }), { code: 'MANDATE_INVALID' });
    const { mandates } = await house.gateway().ledger.load('');
    assert.deepEqual(mandates, []);
    assert.deepEqual(await statuses(1), [402]);
  });

  it('of a sponsor are asked one by one only until one pays, and at most two hundred pay', async () => {
    const payer = KEYS.publisher;
    const functionId = 77n;
    const signed = async (count: number) => {
      const signer = await house.openLane(payer);
      const { connection, key } = await house.session(signer, { payer, signer });
      return async (): Promise<void> => {
        for (let n = 0; n < count; n += 1) {
          const terms = termsOf({ functionId, serial: BigInt(n) });
          await putMandate(connection, await signMandate(connection, key, payer.address, terms));
        }
      };
    };
    const [first, second, one] = [await signed(100), await signed(100), await signed(1)];
    await Promise.all([first(), second()]);
    await assert.rejects(one(), { code: 'MANDATE_INVALID' });

    const { mandates } = house.gateway();
    const asked: number[] = [];
    for (let call = 0; call < 3; call += 1) {
      let count = 0;
      const last = mandates.sponsoring(payer.address, functionId).at(-1);
      mandates.sponsorOf(payer.address, functionId, (state) => {
        count += 1;
        return call > 0 || state === last;
      });
      asked.push(count);
    }
    assert.deepEqual(asked, [200, 1, 1]);
  });

  it('bound what is charged a day and in all, however many calls run at once, and across a restart', async () => {
    const signer = await house.openLane(KEYS.publisher);
    const payer = KEYS.publisher;
    const lane = { payer: payer.address, signer: signer.address };
    const terms = termsOf();
    const hash = await house.mandate({ payer, signer, terms });

    const first = await statuses(8);
    await house.restart();
    const second = await statuses(2);

    const spent = house.gateway().lanes.lane(lane.payer, lane.signer).cumulative;
    assert.deepEqual(first, [200, 200, 200, 200, 200, 402, 402, 402]);
    assert.deepEqual(second, [402, 402]);
    assert.equal(spent, 100n);
    const stranger = await house.session(KEYS.user);
    await assert.rejects(revokeMandate(stranger, lane, hash), { code: 'MANDATE_UNKNOWN' });
  });

  it('end for good when they are revoked, also after a restart', async () => {
    const signer = await house.openLane(KEYS.publisher);
    const payer = KEYS.publisher;
    const lane = { payer: payer.address, signer: signer.address };
    const session = await house.session(signer, { payer, signer });
    const { connection, key } = session;
    const signed = await signMandate(connection, key, payer.address, termsOf());
    const terms = termsOf({ serial: 5n });
    const hash = await house.mandate({ payer, signer, terms });
    const before = await statuses(1);

    await revokeMandate(session, lane, hash);
    const after = await statuses(1);
    await house.restart();

    const again = await house.session(signer, { payer, signer });
    assert.deepEqual([before, after, await statuses(1)], [[200], [402], [402]]);
    const same = await signMandate(again.connection, again.key, payer.address, terms);
    await assert.rejects(putMandate(again.connection, same), { code: 'MANDATE_INVALID' });
    await assert.rejects(revokeMandate(again, lane, signed.hash), { code: 'MANDATE_UNKNOWN' });
    await revokeMandate(again, lane, hash);
  });

  it('are limited to a hundred of a lane, however short they are and however many arrive at once', async () => {
    const payer = KEYS.publisher;
    const signer = await house.openLane(payer);
    const { connection, key } = await house.session(signer, { payer, signer });
    const untilSec = Math.floor(Date.now() / 1000) + 4;
    const put = async (serial: number, endSec: number) => {
      const terms = termsOf({ untilSec: endSec, serial: BigInt(serial) });
      await putMandate(connection, await signMandate(connection, key, payer.address, terms));
    };

    const puts = await Promise.allSettled(
      Array.from({ length: 110 }, (_, serial) => put(serial, untilSec)),
    );
    await setTimeout(untilSec * 1000 + 50 - Date.now());

    assert.equal(puts.filter(({ status }) => status === 'fulfilled').length, 100);
    await assert.rejects(put(200, untilSec + 3600), { code: 'MANDATE_INVALID' });
  });
});
