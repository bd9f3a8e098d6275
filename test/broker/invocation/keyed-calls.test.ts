// Calls under an Idempotency-Key: whose answer a key repeats, and what a refused call leaves behind.
import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { TOKEN_KIND, tokenSubject } from '../../../broker/client/mandates.ts';
import type { Key } from '../../../contracts/keystore.ts';
import { describeBothWays } from '../both-ways.ts';
import { KEYS, ownHeaders, type SmallHouse, startSmallHouse } from '../small-house.ts';

const RUNS =
  'let runs = 0; export default async () => { runs += 1; return new Response(String(runs)); };';
/** 20 units a call, however long it takes. */
const TARIFF = { perCall: 20, perGiBSecond: 0, maxPrice: 20, roundMs: 1 };

/** More than the cloud takes, less than the gateway. */
const LARGE_BYTES = 6_300_000;

describeBothWays('keyed calls', function (fastPath) {
  this.timeout(120_000);
  let house: SmallHouse;
  let runs: string;
  before(async () => {
    house = await startSmallHouse({ fastPath });
    runs = await house.publish('runs', RUNS, { tariff: TARIFF, idempotent: false });
  });
  after(() => house.close());

  const laneOf = (signer: Key) => ({ payer: KEYS.user.address, signer: signer.address });
  const tokenOf = (signer: Key, jti?: string) =>
    house.gateway().tokens.issue({
      signedBy: jti === undefined ? KEYS.user.address : undefined,
      client: jti,
      lane: laneOf(signer),
    });
  const ask = async (
    signer: Key,
    key: string,
    changes: {
      readonly headers?: Record<string, string>;
      readonly body?: string;
      readonly fn?: string;
    } = {},
    token?: string,
  ) => {
    const { headers = {}, body = 'x', fn = runs } = changes;
    const reply = await fetch(`${house.url()}/functions/${fn}`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${token ?? (await tokenOf(signer))}`,
        'idempotency-key': key,
        ...ownHeaders(signer, fn, key),
        ...headers,
      },
      body,
    });
    const text = await reply.text();
    return {
      text,
      status: reply.status,
      isReplay: reply.headers.get('idempotent-replayed') !== null,
    };
  };
  /** A lane with a voucher over `units`. */
  const fundedLane = async (units = 1_000_000n): Promise<Key> => {
    const signer = await house.openLane(KEYS.user);
    await house.mandate({
      payer: KEYS.user,
      signer,
      terms: {
        kind: TOKEN_KIND,
        subject: tokenSubject(`voucher of ${signer.address}`),
        total: units,
      },
    });
    return signer;
  };

  it('repeat an answer to the same lane key only, not to another key of the account', async () => {
    const [mine, other] = [await fundedLane(), await fundedLane()];

    const first = await ask(mine, 'order-1');
    const stranger = await ask(other, 'order-1');
    const again = await ask(mine, 'order-1');

    assert.deepEqual([first.status, stranger.status, again.status], [200, 200, 200]);
    assert.deepEqual([first.isReplay, stranger.isReplay, again.isReplay], [false, false, true]);
    assert.equal(again.text, first.text);
    assert.notEqual(stranger.text, first.text);
  });

  it('repeat an answer to the holder of a handed-on token only, and to its next token', async () => {
    const signer = await fundedLane();
    const [ci, backup] = [`${KEYS.user.address}:ci`, `${KEYS.user.address}:backup`];
    for (const name of [ci, backup]) {
      const terms = { kind: TOKEN_KIND, subject: tokenSubject(name), serial: BigInt(name.length) };
      await house.mandate({ payer: KEYS.user, signer, terms });
    }
    const askAs = async (name?: string) => ask(signer, 'order-2', {}, await tokenOf(signer, name));

    const owner = await askAs();
    const [first, stranger, again] = [await askAs(ci), await askAs(backup), await askAs(ci)];

    assert.deepEqual(
      [owner, first, stranger, again].map(({ status, isReplay }) => [status, isReplay]),
      [
        [200, false],
        [200, false],
        [200, false],
        [200, true],
      ],
    );
    assert.equal(again.text, first.text);
    assert.equal(new Set([owner.text, first.text, stranger.text]).size, 3);
  });

  it('that are refused leave nothing on the disk, whatever refuses them', async () => {
    const poor = await house.openLane(KEYS.user);
    const rich = await fundedLane();
    const limited = await fundedLane();
    house.gateway().dailyLimits.setLimit(`lane:${KEYS.user.address}:${limited.address}`, 1n);
    await house.register('nowhere', RUNS, { tariff: TARIFF, idempotent: false });
    await house.gateway().chain.synced(house.view.view.head.number);
    const nowhere = `${KEYS.publisher.address}/nowhere`;
    const folder = join(house.dir, 'gateway');
    const names = readdirSync(folder).filter((name) => /^(journal|ledger)/.test(name));
    // The journal has its length from the start, so compare what is in it.
    const written = () => names.map((name) => hash('sha256', readFileSync(join(folder, name))));
    // The journal's end is in the index, so that nothing of earlier calls is written meanwhile.
    await house.gateway().ledger.load('');
    const before = written();

    const elsewhere = { 'defaas-routing': 'providers=(google-cloud-functions)' };
    const refusals = [
      ['PAYMENT_REQUIRED', () => ask(poor, crypto.randomUUID())],
      ['DAILY_LIMIT', () => ask(limited, crypto.randomUUID())],
      [
        'PRICE_ABOVE_MAX',
        () => ask(rich, crypto.randomUUID(), { headers: { 'defaas-max-price': '1' } }),
      ],
      ['FUNCTION_NOT_DEPLOYED', () => ask(rich, crypto.randomUUID(), { fn: nowhere })],
      ['ROUTING_EXCLUDES_ALL', () => ask(rich, crypto.randomUUID(), { headers: elsewhere })],
      ['BODY_TOO_LARGE', () => ask(rich, crypto.randomUUID(), { body: 'x'.repeat(LARGE_BYTES) })],
    ] as const;
    for (const [code, refused] of refusals) {
      assert.equal(JSON.parse((await refused()).text).code, code);
      assert.deepEqual(written(), before, code);
    }
  });
});
