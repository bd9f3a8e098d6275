// States of lanes: kept only for lanes on the chain, whoever asks, and unchanged by a restart.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { createLanes, type LaneState } from '../../../broker/money/lanes.ts';
import { acceptVoucher } from '../../../broker/money/vouchers.ts';
import { createHistory } from '../../../contracts/chain/view/history.ts';
import { createMoney } from '../../../contracts/chain/view/money.ts';
import { keyOf } from '../../../contracts/keystore.ts';
import type { Address } from '../../../contracts/libraries/keccak.ts';
import { hashVoucher } from '../../../contracts/libraries/typed-data.ts';
import { signDigest } from '../../../contracts/signatures.ts';

const GATEWAY: Address = `0x${'9a'.repeat(20)}`;
const addressOf = (n: number): Address => `0x${n.toString(16).padStart(40, '0')}`;
const AT = { blockNumber: 1, timestampSec: 1 };
const LINE = 10n ** 6n;

/** Billing's events, as the view of the chain reads them. */
function createWorld() {
  const { queries: view, replay } = createMoney(createHistory(1));
  const tell = (event: string, args: object) =>
    replay.billing?.[event]?.({ gateway: GATEWAY, ...args } as never, AT as never); // as decoded logs
  const open = (
    given: { totals?: readonly LaneState[]; vouchers?: readonly LaneState[] } = {},
    at = view,
  ) =>
    createLanes({
      ...{ gateway: GATEWAY, view: at, final: at, leastLifeSec: 0, nowSec: () => 0 },
      totals: (given.totals ?? []).map(({ payer, signer, seq, cumulative }) => {
        return { payer, signer, seq, cumulative };
      }),
      vouchers: (given.vouchers ?? []).map(({ payer, signer, ceiling }) => {
        return { payer, signer, ceiling, signature: '0x' as const };
      }),
    });
  return { view, tell, open };
}

describe('lanes', () => {
  const lane = fc.record({ payer: fc.integer({ min: 1, max: 3 }), signer: fc.nat({ max: 4 }) });
  const step = fc.record({
    lane,
    act: fc.constantFrom('open', 'voucher', 'hold', 'serve', 'release', 'settle', 'ask'),
    units: fc.bigInt({ min: 0n, max: 500n }),
  });

  it('keep nothing for keys without a lane, and lose no hold, voucher or number of keys with one', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { view, tell, open } = createWorld();
        const lanes = open();
        const model = new Map<string, LaneState>();
        for (const { lane: of, act, units } of steps) {
          const [payer, signer] = [addressOf(of.payer), addressOf(100 + of.signer)];
          const known = model.get(payer + signer);
          const state = lanes.lane(payer, signer);
          if (act === 'open' && known === undefined) {
            const allotted = LINE;
            tell('Allotted', { payer, amount: 0n, allotted });
            tell('LaneOpened', { payer, signer, cap: LINE, expiry: 9n, mode: 1n });
            const none = { seq: 0, cumulative: 0n, ceiling: 0n, held: 0n };
            model.set(payer + signer, { payer, signer, ...none });
          }
          const held = act === 'hold' && lanes.hold({ payer, signer } as never, units); // a caller's lane is all that is read
          if (known === undefined) {
            assert.ok(held === false || !held.ok);
            continue;
          }
          if (act === 'voucher') {
            lanes.raise({ payer, signer, ceiling: units });
            if (units > known.ceiling) known.ceiling = units;
          }
          if (typeof held === 'object' && held.ok) known.held += units;
          if (act === 'release') {
            lanes.release(state, known.held);
            known.held = 0n;
          }
          if (act === 'serve') {
            lanes.charge(state, units);
            known.seq += 1;
            known.cumulative += units;
          }
          if (act === 'settle') {
            tell('Claimed', { payer, signer, settled: known.cumulative, seq: BigInt(known.seq) });
          }
        }

        const kept = [...model.values()];
        for (const payer of new Set(kept.map((one) => one.payer))) {
          let units = 0n;
          for (const { signer, cumulative, held } of kept.filter((one) => one.payer === payer)) {
            units += cumulative - (view.lane(payer, GATEWAY, signer)?.settled ?? 0n) + held;
          }
          assert.equal(lanes.exposureOf(payer), units);
        }
        assert.ok(lanes.all().length <= kept.length);
        for (const one of kept) assert.deepEqual(lanes.lane(one.payer, one.signer), one);
        const again = open({
          // Only what has receipts or a voucher is in the ledger.
          totals: kept.filter(({ seq }) => seq > 0),
          vouchers: kept.filter(({ ceiling }) => ceiling > 0n),
        });
        for (const payer of new Set(kept.map((one) => one.payer))) {
          const held = kept.reduce((sum, one) => sum + (one.payer === payer ? one.held : 0n), 0n);
          assert.equal(again.exposureOf(payer), lanes.exposureOf(payer) - held);
        }
        for (const one of kept) {
          assert.deepEqual(again.lane(one.payer, one.signer), { ...one, held: 0n });
          assert.notEqual(view.lane(one.payer, GATEWAY, one.signer), undefined);
        }
      }),
    );
  });

  it('cost a call the same look-ups of the chain, however many its payer has', () => {
    const reads = (count: number): number => {
      const { view, tell, open } = createWorld();
      const payer = addressOf(1);
      tell('Allotted', { payer, amount: 0n, allotted: LINE });
      for (let n = 0; n < count; n += 1) {
        tell('LaneOpened', { payer, signer: addressOf(100 + n), cap: LINE, expiry: 9n, mode: 1n });
      }
      let asked = 0;
      const counting: typeof view = new Proxy(view, {
        get: (target, name, receiver) => {
          asked += 1;
          return Reflect.get(target, name, receiver);
        },
      });
      const lanes = open({}, counting);
      for (let n = 0; n < count; n += 1) {
        lanes.raise({ payer, signer: addressOf(100 + n), ceiling: LINE });
      }
      const caller = { payer, signer: addressOf(100), sponsored: false };
      asked = 0;
      assert.ok(lanes.payableUnits(payer, caller.signer) > 0n);
      assert.ok(lanes.exposureOf(payer) === 0n && lanes.hold(caller, 1n).ok);
      return asked;
    };

    assert.equal(reads(2_000), reads(20));
  });

  it('keep no voucher for a lane that the chain does not have, neither in memory nor in the ledger', async () => {
    const { tell, open } = createWorld();
    const lanes = open();
    const key = keyOf(`0x${'5e'.repeat(32)}`);
    const [payer, signer] = [addressOf(1), key.address];
    const domain = {
      ...{ name: 'DeFaaS Billing', version: '1', chainId: 31337 },
      verifyingContract: addressOf(2),
    };
    const fields = { payer, gateway: GATEWAY, signer, ceiling: 7n };
    const signature = signDigest(key.privateKey, hashVoucher(domain, fields));
    const written: bigint[] = [];
    const parts = {
      ...{ address: GATEWAY, lanes },
      chain: {
        domain,
        hasCode: () => assert.fail('nothing is asked'),
      },
      ledger: {
        putVoucher: async ({ ceiling }: { ceiling: bigint }) => void written.push(ceiling),
      },
    };

    await acceptVoucher(parts, { payer, signer }, `7:${signature}`);
    const before = [lanes.all().length, written.length];
    tell('LaneOpened', { payer, signer, cap: LINE, expiry: 9n, mode: 1n });
    await acceptVoucher(parts, { payer, signer }, `7:${signature}`);

    assert.deepEqual(before, [0, 0]);
    assert.deepEqual([lanes.lane(payer, signer).ceiling, written], [7n, [7n]]);
  });
});
