// Lanes that others spend from, day after day: `defaas watch` signs what a mandate allows today,
// and the next mandate.
import assert from 'node:assert/strict';
import {
  type MandateTerms,
  NO_SUBJECT,
  putMandate,
  SPONSOR_KIND,
  signMandate,
} from '../../../broker/client/mandates.ts';
import type { Key } from '../../../contracts/keystore.ts';
import { writeLaneKey } from '../../../scripts/cli/account.ts';
import { sponsor } from '../../../scripts/cli/sponsor.ts';
import { openStore, type Store } from '../../../scripts/cli/store.ts';
import { watch } from '../../../scripts/cli/watch.ts';
import { documentsIn, invent, pageOf } from '../../broker/forger.ts';
import { functionIdIn, KEYS, type SmallHouse, startSmallHouse } from '../../broker/small-house.ts';
import { type CommandLine, createCommandLine, documentOf } from './beside.ts';
import { type Between, startBetween } from './between.ts';

const HELLO = 'export default async () => new Response("hello");';
/** 20 units a call, however long it takes. */
const TERMS = {
  timeoutMs: 1000,
  tariff: { perCall: 20, perGiBSecond: 0, maxPrice: 20, roundMs: 1 },
  payer: 'publisher',
};
const DAY_SEC = 86_400;

describe('the watch of lanes that others spend from', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let between: Between;
  let cli: CommandLine;
  let store: Store;
  let hello: string;
  let count = 0;
  /** Ceilings of all vouchers that were put. */
  let put: bigint[] = [];
  before(async () => {
    between = await startBetween(() => house.url());
    house = await startSmallHouse({ publicOrigins: [between.url] });
  });
  after(async () => {
    await between.close();
    await house.close();
  });
  beforeEach(async () => {
    cli = createCommandLine(house);
    const { chainId, contracts } = house.view;
    store = openStore(cli.home, `${chainId}:${contracts.billing}:${house.account}`);
    count += 1;
    hello = await house.publish(`hello-${count}`, HELLO, TERMS);
    put = [];
    between.lie = ({ method, path, sent }) => {
      if (method === 'PUT' && path.endsWith('/voucher')) put.push(BigInt(JSON.parse(sent).ceiling));
      return undefined;
    };
  });
  afterEach(() => {
    store.close();
    cli.remove();
  });

  const call = async () => (await fetch(`${house.url()}/functions/${hello}`)).status;
  const flags = () => ({ ...cli.flags('publisher'), gateway: between.url });
  const look = (options = {}) => watch(flags(), { once: true, patience: '0', ...options });
  const looked = async (options = {}) => (await documentOf(look(options))).actions;

  /**
   * A lane as this machine has it on a later day: its mandate is signed and no voucher of today.
   */
  const sponsoredBefore = async (changes: Partial<MandateTerms> = {}): Promise<Key> => {
    const payer = KEYS.publisher;
    const signer = await house.openLane(payer);
    const lane = { payer: payer.address, signer: signer.address };
    writeLaneKey(cli.home, signer);
    store.addLane(lane, `sponsor:${functionIdIn(hello)}`);
    const { connection, key } = await house.session(signer, { payer, signer });
    const signed = await signMandate(connection, key, payer.address, {
      kind: SPONSOR_KIND,
      subject: NO_SUBJECT,
      functionId: functionIdIn(hello),
      maxPrice: 20n,
      perDay: 60n,
      total: 600n,
      untilSec: Math.floor(Date.now() / 1000) + 10 * DAY_SEC,
      serial: BigInt(Date.now()),
      ...changes,
    });
    await putMandate(connection, signed);
    const signedAtMs = signed.signedAtMs - 3 * DAY_SEC * 1000;
    store.laneMemory(lane).putMandate({ ...signed, signedAtMs });
    return signer;
  };

  it('signs what a mandate allows today and no more, once, and nothing in a dry run', async () => {
    const { address: signer } = await sponsoredBefore();

    const before = await call();
    const dry = await looked({ dryRun: true });
    const unsigned = [...put];
    const first = await looked();
    const answers = [await call(), await call(), await call(), await call()];
    const second = await looked();

    assert.equal(before, 402);
    assert.deepEqual([dry.length, dry[0].action, dry[0].sent, unsigned], [1, 'renew', false, []]);
    assert.deepEqual([first.length, first[0].action, first[0].sent], [1, 'renew', true]);
    assert.deepEqual(answers, [200, 200, 200, 402]);
    assert.deepEqual(second, []);
    assert.deepEqual(new Set(put), new Set([60n]));
    const { verifiedUnits } = store.laneMemory({ payer: KEYS.publisher.address, signer }).read();
    assert.equal(verifiedUnits, 60n);
  });

  it('signs nothing more for a lane whose gateway shows invented receipts, and says so', async () => {
    await sponsoredBefore();
    await looked();
    await call();
    const honest = between.lie;
    between.lie = (passing) => {
      if (!passing.path.startsWith('/receipts?')) return honest(passing);
      const shown = documentsIn(`${passing.body}`);
      const last = shown.at(-1) ?? assert.fail();
      return { body: pageOf([...shown, ...invent(house.view.domain, last, 9)]) };
    };

    const lied = await look();
    between.lie = honest;
    const again = await look();

    assert.deepEqual(
      [lied.failure?.code, again.failure?.code],
      ['RECEIPT_INVALID', 'LANE_STOPPED'],
    );
    assert.deepEqual(put, [60n]);
  });

  it('signs the next mandate before the last one ends when the user asked for it, and gives no day twice', async () => {
    const untilSec = Math.floor(Date.now() / 1000) + 3_600;
    const { address: signer } = await sponsoredBefore({ untilSec });
    const lane = { payer: KEYS.publisher.address, signer };
    await looked();
    const answer = await call();
    store.putRenewalDays(lane, 4);

    const renewed = await looked();
    const second = await looked();

    const shown = await documentOf(sponsor(cli.flags('publisher'), hello, {}));
    const mandates = store
      .laneMemory(lane)
      .mandates()
      .toSorted((a, b) => Number(b.mandate.total - a.mandate.total));
    assert.deepEqual([answer, renewed.length, second.length], [200, 1, 0]);
    assert.match(renewed[0].message, /goes on until/);
    assert.deepEqual(
      mandates.map(({ revokedAtMs, mandate }) => [revokedAtMs === undefined, mandate.total]),
      [
        [false, 600n],
        [true, 240n],
      ],
    );
    assert.ok(shown.lane.untilSec > untilSec + 3 * DAY_SEC);
    // 20 of the day were spent under the first one.
    assert.deepEqual(new Set(put), new Set([60n]));
    await documentOf(sponsor(flags(), hello, { stop: true }));
    assert.deepEqual([store.renewalDays(lane), await looked()], [undefined, []]);
  });

  it('sends again what never reached the gateway: a mandate, and the end of a mandate', async () => {
    const untilSec = Math.floor(Date.now() / 1000) + 3_600;
    const { address: signer } = await sponsoredBefore({ untilSec });
    const lane = { payer: KEYS.publisher.address, signer };
    await looked();
    store.putRenewalDays(lane, 4);
    const isOpen = () => {
      const all = house.gateway().mandates.ofLane(lane.payer, signer);
      return all.map(({ isRevoked }) => !isRevoked);
    };

    between.ask = ({ path, headers }) =>
      path.includes('/mandates/') ? { path: '/nowhere', headers } : undefined;
    const broken = await look();
    const again = await look();
    const before = isOpen();
    between.ask = () => undefined;
    const healed = await look();
    const after = isOpen();

    assert.deepEqual(before, [true]);
    assert.deepEqual(after, [false, true]);
    assert.notEqual(broken.failure, undefined);
    assert.notEqual(again.failure, undefined);
    assert.deepEqual([healed.failure, await call()], [undefined, 200]);
  });

  it('extends a lane on the chain once, however often its gateway breaks off the rest', async () => {
    const untilSec = Math.floor(Date.now() / 1000) + 3_600;
    const signer = await sponsoredBefore({ untilSec });
    const lane = { payer: KEYS.publisher.address, signer: signer.address };
    await looked();
    store.putRenewalDays(lane, 4);
    const honest = between.lie;
    // It is asked for its block when the lane was extended, and before anything is signed.
    between.lie = (passing) =>
      passing.path === '/readyz' ? { status: 503, body: 'x' } : honest(passing);
    const sent = () => house.view.provider.getTransactionCount(lane.payer);

    const before = await sent();
    await look();
    const first = await sent();
    await look();
    await look();
    const last = await sent();

    between.lie = honest;
    assert.ok(first <= before + 1);
    assert.equal(last, first);
  });

  it('renews only when the user asked for it', async () => {
    const asked = sponsor(flags(), hello, { daily: '0.00006', deposit: '0.001', renew: true });
    const { lane } = await documentOf(asked);
    const of = { payer: KEYS.publisher.address, signer: lane.signer };
    const days = store.renewalDays(of);
    await sponsor(flags(), hello, { daily: '0.00006' });

    assert.deepEqual([days, store.renewalDays(of)], [2, undefined]);
    await assert.rejects(sponsor(flags(), hello, { renew: true }), { code: 'USAGE' });
  });
});
