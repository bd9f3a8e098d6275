// GET /payouts/{payee}: pages of a bounded length, with the ledger's record of each batch in any
// state.
import assert from 'node:assert/strict';
import type { BatchState } from '../../../broker/ledger/ledger.ts';
import type { Address, Hex } from '../../../contracts/libraries/keccak.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../small-house.ts';

/** Batches of one page. */
const PAGE = 20;
const PAYEE: Address = KEYS.publisher.address;
const OTHER: Address = `0x${'5e'.repeat(20)}`;

describe('the payouts page', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  before(async () => {
    house = await startSmallHouse();
  });
  after(() => house?.close());

  /** A batch that owes the payee and somebody else; by default one that has settled. */
  const keep = (n: number, state: BatchState = 'settled'): Promise<void> => {
    const landed = { tx: hash(n), batch: 1_000 + n, blockNumber: n };
    const record = { n, state, cid: `cid-${n}`, claims: [], receipts: 1, totalUnits: '2' };
    const signed = { units: 1n, cumulative: BigInt(n), key: OTHER, signature: hash(n) };
    return house.gateway().ledger.putBatch({ ...record, ...(state === 'settled' && landed) }, [
      { ...signed, payee: PAYEE },
      { ...signed, payee: OTHER },
    ]);
  };
  const page = async (query: string) => {
    const reply = await fetch(`${house.url()}/payouts/${PAYEE}${query}`);
    assert.equal(reply.status, 200);
    return reply.json();
  };
  const numbers = ({ batches }: { batches: readonly { n: number }[] }) => batches.map(({ n }) => n);

  it('has at most 20 batches, whatever is requested, and names where the next page begins', async () => {
    for (let n = 1; n <= 2 * PAGE + 5; n += 1) await keep(n);

    const first = await page('');
    const greedy = await page('?limit=99999');
    const second = await page(`?before=${first.next}`);
    const last = await page(`?before=${second.next}&limit=${PAGE}`);

    assert.deepEqual(numbers(first), countdown(45, 26));
    assert.deepEqual([numbers(greedy), greedy.next], [numbers(first), first.next]);
    assert.deepEqual([first.next, numbers(second)], [26, countdown(25, 6)]);
    assert.deepEqual([second.next, numbers(last), last.next], [6, countdown(5, 1), null]);
  });

  it('has transaction and number of a batch that is on the chain, and null for any other batch', async () => {
    await keep(46, 'prepared');
    await keep(47, 'void');
    await keep(48);

    const { batches, voucher } = await page('?limit=3');

    assert.deepEqual(
      batches.map(({ n, state, tx, batch }: Record<string, unknown>) => [n, state, tx, batch]),
      [
        [48, 'settled', hash(48), 1_048],
        [47, 'void', null, null],
        [46, 'prepared', null, null],
      ],
    );
    assert.equal(voucher.cumulativeUnits, '48');
  });
});

function hash(n: number): Hex {
  return `0x${n.toString(16).padStart(64, '0')}`;
}

function countdown(from: number, to: number): number[] {
  return Array.from({ length: from - to + 1 }, (_, i) => from - i);
}
