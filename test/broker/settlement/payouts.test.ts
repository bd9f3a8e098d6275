// Payees: what a batch owes them is signed before it is sent, outlives the gateway, and is paid
// once, by the batch or from the float.
import assert from 'node:assert/strict';
import { fetchPayouts, payoutSigner } from '../../../broker/client/payouts.ts';
import type { Gateway } from '../../../broker/gateway.ts';
import { settle } from '../../../broker/settlement/settle.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../../broker/small-house.ts';

const HANDLER = `export default async () => new Response('ok');`;
const PRICE = 1_000n;
/** Of each price; the rest is the provider's, which in this house is the gateway. */
const SHARE = 300n;
const TARIFF = { perCall: 1_000, perGiBSecond: 0, maxPrice: 1_000, publisherBps: 3_000 };
const FLOAT = 1_000_000n;

describe('payouts', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let name: string;
  let call: (times: number) => Promise<void>;
  beforeEach(async () => {
    house = await startSmallHouse();
    name = await house.publish('ok', HANDLER, { tariff: TARIFF });
    const lane = await house.openLane(KEYS.user);
    const caller = await house.caller(KEYS.user, lane);
    call = async (times) => {
      for (let i = 0; i < times; i++) await caller.invoke({ function: name });
      await caller.acknowledge();
    };
  });
  afterEach(() => house?.close());

  const parties = { gateway: KEYS.gateway.address, payee: KEYS.publisher.address };
  const statement = async (payee = KEYS.publisher.address, page = {}) => {
    const { connection } = await house.session(KEYS.user);
    return fetchPayouts(connection, payee, page);
  };
  const voucher = async () => (await statement()).voucher ?? assert.fail('no voucher');
  const due = async () => {
    await house.view.synced();
    return house.view.view.due(parties.gateway, parties.payee);
  };
  const float = async () => {
    await house.view.synced();
    return house.view.view.line(parties.gateway, parties.payee)?.allotted;
  };
  const setFloatAside = async (): Promise<void> => {
    const writer = house.view.connect(KEYS.gateway);
    await writer.mintMock(FLOAT);
    await writer.approveAndDeposit(FLOAT);
    const block = await writer.allot(parties.payee, FLOAT);
    await house.gateway().chain.synced(block);
  };
  const collect = async (): Promise<void> => {
    const { cumulativeUnits, signature } = await voucher();
    const writer = house.view.connect(KEYS.publisher);
    await writer.collect(parties.gateway, parties.payee, cumulativeUnits, signature);
  };
  const payOut = () => house.view.connect(KEYS.publisher).payOut(parties.gateway, parties.payee);
  const walletUnits = async (): Promise<bigint> => {
    const [units] = await house.view.read('token', 'balanceOf', [parties.payee]);
    return units;
  };
  /** A gateway that pays itself the publisher's share in its batches. */
  const thief = (): Gateway => {
    const gateway = house.gateway();
    const { settler } = gateway;
    return {
      ...gateway,
      settler: {
        ...settler,
        settle: (of, claims, payouts, cid) =>
          settler.settle(
            of,
            claims,
            payouts.map((row) =>
              row.payee === parties.payee ? { ...row, payee: parties.gateway } : row,
            ),
            cid,
          ),
      },
    };
  };

  it('are signed with each batch, add up over batches, and survive a restart', async () => {
    const before = await statement();
    await call(2);
    await settle(house.gateway());
    await call(1);
    await settle(house.gateway());
    await house.restart();

    const { voucher: signed, batches, next } = await statement();

    assert.deepEqual([before.voucher, before.batches], [undefined, []]);
    assert.equal(signed?.cumulativeUnits, 3n * SHARE);
    assert.equal(payoutSigner(house.view.domain, parties, signed), KEYS.operator.address);
    assert.deepEqual(
      batches.map(({ n, state, batch, units }) => [n, state, batch, units]),
      [
        [2, 'settled', 1, SHARE],
        [1, 'settled', 0, 2n * SHARE],
      ],
    );
    assert.equal(next, undefined);
    assert.equal((await due()).credited, 3n * SHARE);
    const other = await statement(KEYS.gateway.address);
    assert.equal(other.voucher?.cumulativeUnits, 3n * (PRICE - SHARE));
  });

  it('pay a payee whom a batch left out from the float, once', async () => {
    await setFloatAside();
    await call(4);
    await settle(thief());
    const left = await due();

    await collect();
    await assert.rejects(collect(), /StaleVoucher/);
    await payOut();

    assert.equal(left.credited, 0n);
    assert.deepEqual(await due(), {
      credited: 4n * SHARE,
      withdrawn: 4n * SHARE,
      advanced: 4n * SHARE,
    });
    assert.equal(await walletUnits(), 4n * SHARE);
    assert.equal(await float(), FLOAT - 4n * SHARE);

    // Honest again: the batch fills the float first, and the voucher covers what that keeps from
    // the payee.
    await call(1);
    await settle(house.gateway());
    assert.equal((await voucher()).cumulativeUnits, 5n * SHARE);
    await collect();
    await payOut();
    assert.equal(await walletUnits(), 5n * SHARE);
    await assert.rejects(payOut(), /NothingDue/);
  });

  it('pay a payee before the batch lands, which then refills the float and does not pay the payee again', async () => {
    await setFloatAside();
    await call(2);
    const gateway = house.gateway();
    const held = Promise.withResolvers<void>();
    const sending = Promise.withResolvers<void>();
    const settled = settle({
      ...gateway,
      settler: {
        ...gateway.settler,
        settle: async (...given) => {
          sending.resolve();
          await held.promise;
          return gateway.settler.settle(...given);
        },
      },
    });
    await sending.promise;

    const { batches } = await statement();
    await collect();
    const early = [(await due()).credited, await float()];
    held.resolve();
    await settled;

    assert.deepEqual([batches[0]?.state, batches[0]?.batch], ['prepared', undefined]);
    assert.deepEqual(early, [2n * SHARE, FLOAT - 2n * SHARE]);
    assert.deepEqual(await due(), { credited: 2n * SHARE, withdrawn: 0n, advanced: 0n });
    assert.equal(await float(), FLOAT);
    await assert.rejects(collect(), /StaleVoucher/);
  });

  it('owe nothing for a batch that never reached the chain, beyond what the next one brings', async () => {
    await call(1);
    const gateway = house.gateway();
    const failing = settle({
      ...gateway,
      settler: { ...gateway.settler, settle: () => Promise.reject(new Error('the wire is cut')) },
    });
    await assert.rejects(failing, /the wire is cut/);
    await call(1);
    await settle(gateway);

    const { voucher: signed, batches } = await statement();

    assert.equal(signed?.cumulativeUnits, 2n * SHARE);
    assert.deepEqual(
      batches.map(({ state, units }) => [state, units]),
      [
        ['settled', 2n * SHARE],
        ['void', SHARE],
      ],
    );
  });

  it('are shown to anybody in bounded pages, and refused for an invalid address', async () => {
    for (let i = 0; i < 3; i++) {
      await call(1);
      await settle(house.gateway());
    }
    const ask = (path: string) => fetch(`${house.url()}/payouts/${path}`);

    const first = await statement(parties.payee, { limit: 2 });
    const second = await statement(parties.payee, { limit: 2, before: first.next ?? 0 });
    const unknown = await statement(`0x${'5e'.repeat(20)}`);

    assert.deepEqual(
      first.batches.map(({ n }) => n),
      [3, 2],
    );
    assert.deepEqual(
      second.batches.map(({ n }) => n),
      [1],
    );
    assert.deepEqual([unknown.voucher, unknown.batches], [undefined, []]);
    assert.equal((await (await ask(`${parties.payee}?limit=99999`)).json()).batches.length, 3);
    for (const path of [
      'me',
      `${parties.payee}00`,
      `${parties.payee}?limit=0`,
      `${parties.payee}?limit=-1`,
      `${parties.payee}?limit=100000`,
      `${parties.payee}?before=x`,
      `${parties.payee}?before=${'9'.repeat(30)}`,
      `${parties.payee}?before=1&before=2`,
    ]) {
      const reply = await ask(path);
      assert.deepEqual([reply.status, (await reply.json()).code], [400, 'REQUEST_INVALID'], path);
    }
    // All is credited: the newest voucher alone is signed.
    assert.deepEqual(
      first.batches.map(({ signature }) => signature),
      [undefined, undefined],
    );
    assert.notEqual(first.voucher, undefined);
    const { headers } = await ask(parties.payee);
    assert.equal(headers.get('cache-control'), 'no-store');
  });
});
