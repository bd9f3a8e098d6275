// Floats: one cycle's worth for each payee, from money that the gateway has, within its bound.
import assert from 'node:assert/strict';
import type { Gateway } from '../../../broker/gateway.ts';
import { shortFloats, startFloats } from '../../../broker/settlement/floats.ts';
import { settle } from '../../../broker/settlement/settle.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../../broker/small-house.ts';

const HANDLER = `export default async () => new Response('ok');`;
/** The publisher gets 300 of each 1,000. */
const SHARE = 300n;
const TARIFF = { perCall: 1_000, perGiBSecond: 0, maxPrice: 1_000, publisherBps: 3_000 };
const CYCLE_SEC = 600;
const BOUND = 5_000n;

describe('floats', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let name: string;
  let call: (times: number) => Promise<void>;
  beforeEach(async () => {
    // The server's own stand still: each test looks when it wants to.
    house = await startSmallHouse({
      settlementCycleSec: CYCLE_SEC,
      floatMaxUnits: 0n,
      floatLeastUnits: 1n,
    });
    name = await house.publish('ok', HANDLER, { tariff: TARIFF });
    await openLane();
  });
  afterEach(() => house?.close());

  const openLane = async (): Promise<void> => {
    const lane = await house.openLane(KEYS.user);
    const caller = await house.caller(KEYS.user, lane);
    call = async (times) => {
      for (let i = 0; i < times; i++) await caller.invoke({ function: name });
      await caller.acknowledge();
    };
  };
  const [gateway, payee] = [KEYS.gateway.address, KEYS.publisher.address];
  const said: { readonly facts: object; readonly message: string }[] = [];
  /** A gateway with a bound on floats, whose log is collected. */
  const bounded = (floatMaxUnits = BOUND, floatLeastUnits = 1n): Gateway => {
    const of = house.gateway();
    const warn = (facts: object, message: string) => void said.push({ facts, message });
    const config = { ...of.config, floatMaxUnits, floatLeastUnits };
    return { ...of, config, log: Object.assign(Object.create(of.log), { warn }) };
  };
  const lookWith = async (of: Gateway): Promise<void> => {
    const floats = startFloats(of);
    await floats.look();
    floats.close();
  };
  const deposit = async (units: bigint): Promise<void> => {
    const writer = house.view.connect(KEYS.gateway);
    await writer.mintMock(units);
    await house.gateway().chain.synced(await writer.approveAndDeposit(units));
  };
  const float = () => house.gateway().chain.view.line(gateway, payee)?.allotted ?? 0n;
  const free = () => house.gateway().chain.view.free(gateway);
  const settleCalls = async (times: number): Promise<void> => {
    await call(times);
    await settle(house.gateway());
  };

  it('hold what a cycle brings a payee, and are not refilled while three quarters are left', async () => {
    await deposit(100_000n);
    await settleCalls(4);
    await lookWith(bounded());
    const first = float();
    await settleCalls(1);
    await lookWith(bounded());
    const alone = float();
    await settleCalls(3);
    await lookWith(bounded());

    assert.deepEqual([first, alone, float()], [4n * SHARE, 4n * SHARE, 8n * SHARE]);
    assert.equal(free(), 100_000n - 8n * SHARE);
    // The gateway, which here is the provider too, sets nothing aside for itself.
    assert.equal(house.gateway().chain.view.line(gateway, gateway), undefined);
  });

  it('forget batches that are a cycle older than the newest', async () => {
    await deposit(100_000n);
    await settleCalls(10);
    await house.chain.rpc('evm_increaseTime', [CYCLE_SEC + 1]);
    await house.chain.rpc('evm_mine');
    await settleCalls(2);

    await lookWith(bounded());

    assert.equal(float(), 2n * SHARE);
  });

  it('stay within the bound and the free money, and report what is missing', async () => {
    said.length = 0;
    await settleCalls(20);
    await lookWith(bounded());
    const without = [float(), said.length];
    await deposit(1_000n);
    await lookWith(bounded());
    const some = float();
    await deposit(100_000n);
    await lookWith(bounded());

    assert.deepEqual([without, some, float()], [[0n, 1], 1_000n, BOUND]);
    assert.deepEqual(
      said.map(({ facts }) => Object.values(facts)[0]),
      [`${20n * SHARE}`, `${20n * SHARE - 1_000n}`, `${20n * SHARE - BOUND}`],
    );
    assert.match(said[0]?.message ?? '', /^floats of payees are short: deposit free money/);
    const rules = { gateway, cycleSec: CYCLE_SEC, leastUnits: 1n };
    assert.deepEqual(shortFloats(house.gateway().chain.view, { ...rules, leastUnits: 6_001n }), []);
  });

  it('are not filled for dust, while the operator withdraws them, or when the gateway leaves', async () => {
    await deposit(100_000n);
    await settleCalls(2);
    await lookWith(bounded(BOUND, 2n * SHARE + 1n));
    const dust = float();
    await lookWith(bounded());
    const writer = house.view.connect(KEYS.gateway);
    await house.gateway().chain.synced(await writer.thaw(payee, 2n * SHARE));
    await lookWith(bounded());
    const thawing = float();
    await writer.cancelThaw(payee);
    await house.gateway().chain.synced(await writer.unbond(1_000_000_000n));
    await settleCalls(10);
    await lookWith(bounded());

    assert.deepEqual([dust, thawing, float()], [0n, 2n * SHARE, 2n * SHARE]);
  });

  it('are filled automatically when a batch has landed', async () => {
    await house.restart({ floatMaxUnits: BOUND });
    await openLane();
    await deposit(100_000n);
    await settleCalls(3);

    const { chain } = house.gateway();
    const filled = Promise.withResolvers<void>();
    const stop = chain.onBlock(() => {
      if (float() > 0n) filled.resolve();
    });
    if (float() > 0n) filled.resolve();
    await filled.promise;
    stop();

    assert.equal(float(), 3n * SHARE);
  });
});
