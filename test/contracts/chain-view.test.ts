import assert from 'node:assert/strict';
import { freshEpoch } from '../../contracts/beacon.ts';
import { ChainError } from '../../contracts/chain/chain-error.ts';
import { demandIdOf, type Place, placeAt } from '../../contracts/chain/evidence.ts';
import type { Demand } from '../../contracts/chain/types.ts';
import type { ChainWriter } from '../../contracts/chain/writer.ts';
import type { Chain } from '../../contracts/chain.ts';
import type { Key } from '../../contracts/keystore.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import {
  type Call,
  type Execution,
  hashCall,
  hashExecution,
  hashReceipt,
  type Receipt,
} from '../../contracts/libraries/receipts.ts';
import { hashPayout, hashReceiptGroup, hashVoucher } from '../../contracts/libraries/typed-data.ts';
import { signDigest } from '../../contracts/signatures.ts';
import { type HardhatChain, startHardhatChain, TEST_TERMS, testKey } from './hardhat-chain.ts';

const UNIT = 1_000_000n;
const DAY_SEC = 86_400;
const NO_ACCOUNT: Address = `0x${'00'.repeat(20)}`;
const ACTIONS = 360;
const HASH: Hex = `0x${'11'.repeat(32)}`;

/** The Call that every receipt here hashes. */
const CALL: Call = {
  ...{ payer: NO_ACCOUNT, gateway: NO_ACCOUNT, signer: NO_ACCOUNT, nonce: HASH, input: HASH },
  ...{ functionVersion: HASH, maxPrice: 1n, deadlineSec: 2, beacon: 3, authority: HASH },
};
const EXECUTION: Execution = {
  ...{ deployment: 1, request: HASH, billedMs: 2, initMs: 3, memoryMiB: 4, status: 200 },
  ...{ input: HASH, output: HASH, finishedAtSec: 5 },
};

interface World {
  readonly chain: Chain;
  readonly gateways: readonly ChainWriter[];
  readonly payers: readonly ChainWriter[];
  readonly publisher: ChainWriter;
  /** Operator keys, one per gateway. */
  readonly operators: readonly Key[];
  readonly signers: readonly Key[];
  readonly versions: Hex[];
  readonly deployments: number[];
  readonly functionIds: bigint[];
}

describe('the view of the chain', function () {
  this.timeout(60_000);
  let hardhat: HardhatChain;
  before(async () => {
    hardhat = await startHardhatChain();
  });
  after(() => hardhat?.close());

  it('equals the contracts after any sequence of actions: live, rebuilt from logs, and after a reorganisation', async () => {
    const world = await createWorld(await hardhat.open());
    const random = createRandom(7);
    const half = ACTIONS / 2;
    const done = new Set<Act>();
    await act(world, hardhat, random, { count: half, done });
    const snapshot = await hardhat.rpc('evm_snapshot');
    const before = await summary(world);
    await act(world, hardhat, random, { count: half, done });
    await finish(world, hardhat);

    await assertSame(world.chain, world);
    // One more chain client reads the state from the logs alone, in small pages.
    await assertSame(await hardhat.open({ pageBlocks: 7 }), world);
    const never = ACTS.filter((action) => !done.has(action)).map((action) => `${action}`);
    assert.deepEqual(never, [], 'each action is done at least once');
    assert.ok(world.chain.view.batches().length > 3, 'some batches are settled');
    assert.ok(world.chain.view.frauds().length > 0, 'some fraud is proven');
    const answered = world.chain.view.demands().find(({ state }) => state === 'answered');
    assert.deepEqual([answered?.answer?.call, answered?.answer?.execution], [CALL, EXECUTION]);
    assert.ok(world.chain.view.totals.burned > 0n, 'some money is burned');
    const slashed = world.gateways.map(({ address }) => world.chain.view.exposure(address));
    assert.ok(slashed.some(({ slashes }) => slashes > 0));
    const all = slashed.reduce((sum, one) => sum + one.slashed, 0n);
    assert.ok(all > world.chain.view.totals.burned, 'of what is slashed, shares are paid out');

    // A reorganisation takes the second half back, and other blocks take its place.
    await hardhat.rpc('evm_revert', [snapshot]);
    await hardhat.rpc('hardhat_mine', ['0x3']);
    await world.chain.synced();
    await assertSame(world.chain, world);
    assert.deepEqual(await summary(world), before);
  });
});

async function createWorld(chain: Chain): Promise<World> {
  const writer = (index: number): ChainWriter => chain.connect(testKey(index));
  const world: World = {
    chain,
    gateways: [writer(2), writer(3)],
    payers: [writer(4), writer(5), writer(6)],
    publisher: writer(1),
    operators: [testKey(10), testKey(11)],
    // The last is a payer's own key.
    signers: [testKey(12), testKey(13), testKey(4)],
    versions: [],
    deployments: [],
    functionIds: [],
  };
  const { publisher, versions, functionIds } = world;
  await publisher.claimNamespace('pub');
  for (const name of ['one', 'two']) {
    const { functionId } = await publisher.register(name);
    functionIds.push(functionId);
    for (const accessMode of [0, 1] as const) {
      const published = await publisher.publish(functionId, { ...TEST_TERMS, accessMode }, true);
      versions.push(published.functionVersion);
    }
  }
  for (const [i, gateway] of world.gateways.entries()) {
    const jwksThumbprint: Hex = `0x${'cc'.repeat(32)}`;
    await gateway.registerParty({ roles: 3, uri: `http://gateway-${i}`, jwksThumbprint });
    await gateway.addKey(at(world.operators, i).privateKey, 1);
    await gateway.mintMock(9_000n * UNIT);
    await gateway.bond(gateway.address, 2_000n * UNIT);
    await gateway.approveAndDeposit(50n * UNIT);
    await gateway.allot(publisher.address, 10n * UNIT);
    for (const version of versions) {
      world.deployments.push(await gateway.enrol(version, 'aws-lambda', 'us-east-1'));
    }
  }
  for (const payer of world.payers) {
    await payer.mintMock(1_000n * UNIT);
    await payer.approveAndDeposit(100n * UNIT);
  }
  return world;
}

/** Does random things, most of them allowed, and notes in `done` which the contracts took. */
async function act(
  world: World,
  hardhat: HardhatChain,
  random: Random,
  { count, done }: { readonly count: number; readonly done: Set<Act> },
): Promise<void> {
  for (let i = 0; i < count; i += 1) {
    const action = random.of([...ACTS, ...RARE]);
    try {
      if ((await action(world, random, hardhat)) !== false) done.add(action);
    } catch (error) {
      if (!(error instanceof ChainError) || error.code === 'CHAIN_UNREACHABLE') throw error;
    }
  }
  await world.chain.synced();
}

type Act = (world: World, random: Random, hardhat: HardhatChain) => Promise<unknown>;

const ACTS: readonly Act[] = [
  async ({ payers }, r) => r.of(payers).approveAndDeposit(r.units(20)),
  async ({ payers, gateways }, r) => r.of(payers).allot(r.of(gateways).address, r.units(15)),
  async ({ payers, gateways }, r) => r.of(payers).setLimit(r.of(gateways).address, r.units(60)),
  async ({ payers, gateways }, r) => {
    const gateway = r.of(gateways);
    await gateway.topUp(gateway.address, [r.of(payers).address]);
  },
  openLane,
  openLane,
  async ({ payers, gateways, signers, chain }, r) => {
    const expirySec = chain.view.head.timestampSec + (20 + r.below(20)) * DAY_SEC;
    const lane = { signer: r.of(signers).address, cap: r.units(90), expirySec };
    await r.of(payers).extendLane(r.of(gateways).address, lane);
  },
  settle,
  settle,
  settle,
  settle,
  async ({ payers, gateways }, r) => r.of(payers).thaw(r.of(gateways).address, r.units(10)),
  async ({ payers }, r) => r.of(payers).withdraw(r.of(payers).address, r.units(5)),
  async ({ payers, gateways, publisher }, r) =>
    r.of(payers).payOut(r.of(gateways).address, publisher.address),
  collect,
  async ({ gateways }, r) => r.of(gateways).bond(r.of(gateways).address, r.units(50)),
  async ({ gateways }, r) => r.of(gateways).announceFee(r.below(1_000)),
  async ({ gateways, payers }, r) => r.of(gateways).setSettler(r.of(payers).address),
  async (_world, r, hardhat) => hardhat.rpc('evm_increaseTime', [r.below(3) * DAY_SEC]),
  async ({ chain, publisher }, _r) => freshEpoch({ chain, writer: publisher, mine: true }),
  async ({ gateways, versions, chain }, r) => {
    const version = r.of(versions);
    const ids = chain.view.deployments(version).map(({ id }) => id);
    await r.of(gateways).setCandidates(version, ids.slice(r.below(ids.length)));
  },
  async ({ gateways, versions }, r) => r.of(gateways).enrol(r.of(versions), 'local', 'here'),
  async ({ publisher, functionIds }, r) =>
    publisher.moveAlias(r.of(functionIds), r.of(['latest', 'beta']), 1 + r.below(2)),
  async ({ publisher, functionIds, payers, chain }, r) => {
    const expirySec = chain.view.head.timestampSec + r.below(9) * DAY_SEC;
    const terms = { expirySec, scopes: 1 + r.below(7) };
    await publisher.grant(r.of(functionIds), r.of(payers).address, terms);
  },
  async ({ publisher, functionIds, payers }, r) =>
    publisher.revokeGrant(r.of(functionIds), r.of(payers).address),
  async ({ gateways }, r) =>
    r.of(gateways).updateParty({
      roles: 3,
      uri: `http://moved-${r.below(100)}`,
      jwksThumbprint: `0x${'dd'.repeat(32)}`,
    }),
  // The function's ERC-721 moves away and back.
  async ({ publisher, payers, functionIds }, r) => {
    const [there, id] = [r.of(payers), r.of(functionIds)];
    await publisher.send('registry', 'transferFrom', [publisher.address, there.address, id]);
    await there.send('registry', 'transferFrom', [there.address, publisher.address, id]);
  },
  omit,
  demand,
  answer,
];

/**
 * Actions that seldom succeed, because they need a long wait or luck; `finish` does each of them.
 */
const RARE: readonly Act[] = [
  async ({ gateways, deployments }, r) =>
    r.below(3) === 0 && r.of(gateways).retire(r.of(deployments)),
  async ({ payers, gateways, signers }, r) =>
    r.below(4) === 0 && r.of(payers).closeLane(r.of(gateways).address, r.of(signers).address),
  async ({ payers, gateways }, r) => r.of(payers).cancelThaw(r.of(gateways).address),
  async ({ publisher, deployments }, r) => r.below(3) === 0 && publisher.bar(r.of(deployments)),
  async ({ publisher, functionIds }, r) =>
    r.below(4) === 0 && publisher.revokeAll(r.of(functionIds)),
  async ({ payers, gateways }, r) =>
    r.of(payers).release(r.of(payers).address, r.of(gateways).address),
  async ({ gateways }, r) => r.of(gateways).unbond(r.units(r.below(2) * 1_500)),
  async ({ gateways }, r) => r.of(gateways).leave(r.of(gateways).address),
  async ({ publisher, versions }, r) => r.below(6) === 0 && publisher.deprecate(r.of(versions)),
  async ({ gateways, operators }, r) =>
    r.below(8) === 0 && r.of(gateways).retireKey(r.of(operators).address),
  async ({ payers, chain }, r) => {
    const open = chain.view.demands().filter(({ state }) => state === 'open');
    if (open.length === 0) return false;
    const asked = r.of(open);
    return r.of(payers).expire(placeOf(chain, asked), asked.index);
  },
];

async function finish(world: World, hardhat: HardhatChain): Promise<void> {
  const { chain, publisher, functionIds } = world;
  const [gateway, payer, key] = [at(world.gateways, 0), at(world.payers, 0), testKey(15)];
  const wait = async (days: number): Promise<void> => {
    await hardhat.rpc('evm_increaseTime', [days * DAY_SEC]);
    await hardhat.rpc('hardhat_mine', ['0x1']);
    await chain.synced();
  };
  await gateway.bond(gateway.address, 4_000n * UNIT);
  await payer.approveAndDeposit(20n * UNIT);
  await payer.allot(gateway.address, 9n * UNIT);
  const lane = { signer: key.address, cap: 5n * UNIT, mode: 1 as const };
  await chain.synced();
  const expirySec = chain.view.head.timestampSec + 40 * DAY_SEC;
  await payer.openLane(gateway.address, { ...lane, expirySec });
  const voucher = { payer: payer.address, gateway: gateway.address, signer: key.address };
  const signature = signDigest(
    key.privateKey,
    hashVoucher(chain.domain, { ...voucher, ceiling: UNIT }),
  );
  const seqs = { seqFrom: 0, seq: 2 };
  const claim = { ...voucher, amount: UNIT, ceiling: UNIT, ...seqs, receipts: HASH, signature };
  const payouts = [{ payee: publisher.address, amount: UNIT }];
  await gateway.settle(gateway.address, [claim], payouts, HASH);
  await payer.closeLane(gateway.address, key.address);
  await payer.thaw(gateway.address, 2n * UNIT);
  await payer.cancelThaw(gateway.address);
  await payer.thaw(gateway.address, UNIT);
  await chain.synced();
  const batch = chain.view.batches().findLast(({ claims }) => claims[0]?.signer === key.address);
  const place = placeAt(batch ?? assert.fail(), 0);
  const { id } = await payer.demand(place, 0);
  await wait(3);
  await payer.expire(place, 0);
  assert.equal(id, demandIdOf(place, 0));
  await payer.release(payer.address, gateway.address);
  await gateway.unbond(UNIT);
  await wait(15);
  await gateway.leave(gateway.address);
  const terms = { ...TEST_TERMS, accessMode: 0 as const };
  const { functionVersion } = await publisher.publish(at(functionIds, 0), terms, true);
  await publisher.publish(at(functionIds, 0), terms, true);
  await publisher.deprecate(functionVersion);
  await publisher.bar(at(world.deployments, 0));
  await gateway.retire(at(world.deployments, 0));
  await publisher.revokeAll(at(functionIds, 1));
  await gateway.addKey(testKey(16).privateKey, 1);
  await gateway.retireKey(testKey(16).address);
  await chain.synced();
}

async function openLane({ payers, gateways, signers, chain }: World, r: Random): Promise<void> {
  const [payer, gateway] = [r.of(payers), r.of(gateways).address];
  const expirySec = chain.view.head.timestampSec + (10 + r.below(20)) * DAY_SEC;
  const signer = r.of(signers).address;
  await payer.openLane(gateway, { signer, cap: r.units(50), expirySec, mode: 1 });
}

/** A batch of one or two lanes, the signers' vouchers and honest shares. */
async function settle({ payers, gateways, signers, chain, publisher }: World, r: Random) {
  await chain.synced();
  const gateway = r.of(gateways);
  const lanes = payers.flatMap((payer) =>
    chain.view.lanes(payer.address, gateway.address).map((lane) => ({ payer, lane })),
  );
  if (lanes.length === 0) return false;
  const chosen = new Set([r.of(lanes), r.of(lanes)]);
  let total = 0n;
  const claims = [...chosen].map(({ payer, lane }) => {
    const taken = r.units(3);
    total += taken;
    const amount = lane.settled + taken;
    const voucher = { payer: payer.address, gateway: gateway.address, signer: lane.signer };
    const digest = hashVoucher(chain.domain, { ...voucher, ceiling: amount });
    const key = signers.find(({ address }) => address === lane.signer);
    const signature = signDigest(key?.privateKey ?? '0x', digest);
    // Every other one has one receipt, which can be demanded and opened.
    const seq = lane.seq + 1 + 4 * r.below(2);
    const place = { ...voucher, settledFrom: lane.settled, settledTo: amount, seqTo: seq };
    const receipts = seq > lane.seq + 1 ? HASH : hashReceipt(receiptAt(place));
    const seqs = { seqFrom: lane.seq, seq };
    return { ...voucher, amount, ceiling: amount, ...seqs, receipts, signature };
  });
  const payouts = [
    { payee: publisher.address, amount: total / 3n },
    { payee: gateway.address, amount: total - total / 3n },
  ];
  return gateway.settle(gateway.address, claims, payouts, `0x${'ee'.repeat(32)}`);
}

/** The publisher takes from a gateway's float what no batch gave it. */
async function collect({ gateways, operators, publisher, chain }: World, r: Random) {
  const i = r.below(gateways.length);
  const [gateway, payee] = [at(gateways, i).address, publisher.address];
  await chain.synced();
  const cumulative = chain.view.due(gateway, payee).credited + r.units(1) + 1n;
  const digest = hashPayout(chain.domain, { gateway, payee, cumulative });
  await publisher.collect(
    gateway,
    payee,
    cumulative,
    signDigest(at(operators, i).privateKey, digest),
  );
}

/** D2: the gateway's operator signs a settled receipt another time, as a free one. */
async function omit({ payers, gateways, operators, chain }: World, r: Random) {
  const place = onePlace(chain, r);
  if (place === undefined) return false;
  const { gateway, receipts: node } = place;
  const opened = receiptAt(place);
  const receipt = { ...opened, price: 0n };
  const group = { gateway, root: hashReceipt(receipt), count: 1 };
  const key = at(
    operators,
    gateways.findIndex(({ address }) => address === gateway),
  );
  const signature = signDigest(key.privateKey, hashReceiptGroup(chain.domain, group));
  const signed = { receipt, index: 0, count: 1, path: [], signature };
  return r.of(payers).prove({ kind: 'omission', signed, place, node, path: [], opened });
}

/** D9: the one leaf of a claim is demanded. */
async function demand({ payers, chain }: World, r: Random) {
  const place = onePlace(chain, r);
  return place !== undefined && r.of(payers).demand(place, 0);
}

async function answer({ payers, chain }: World, r: Random) {
  const open = chain.view.demands().filter(({ state }) => state === 'open');
  if (open.length === 0) return false;
  const place = placeOf(chain, r.of(open));
  const leaf = { receipt: receiptAt(place), index: 0, path: [] };
  return r.of(payers).answer({ place, leaf, call: CALL, execution: EXECUTION });
}

/** A settled claim with one receipt. */
function onePlace(chain: Chain, r: Random): Place | undefined {
  const places = chain.view
    .batches()
    .flatMap((batch) => batch.claims.map((_, claim) => placeAt(batch, claim)))
    .filter(({ seqFrom, seqTo }) => seqTo === seqFrom + 1);
  return places.length === 0 ? undefined : r.of(places);
}

function placeOf(chain: Chain, asked: Demand): Place {
  const batch = chain.view.batches(asked.gateway).find((one) => one.batch === asked.batch);
  return placeAt(batch ?? assert.fail(), asked.claim);
}

/** The receipt of a claim that has one. */
function receiptAt(
  place: Pick<Place, 'payer' | 'gateway' | 'signer' | 'settledFrom' | 'settledTo' | 'seqTo'>,
): Receipt {
  const { payer, gateway, signer, settledFrom, settledTo, seqTo } = place;
  return {
    ...{ payer, gateway, signer, seq: seqTo, provider: gateway, attempt: 0, atBlock: 1 },
    ...{ call: hashCall(CALL), execution: hashExecution(EXECUTION) },
    ...{ price: settledTo - settledFrom, cumulative: settledTo },
  };
}

/** Every position of every contract, asked of the contract and of the view. */
async function assertSame(chain: Chain, world: World): Promise<void> {
  const { view } = chain;
  const { payers, gateways, publisher, signers } = world;
  const ask = async (contract: Parameters<Chain['read']>[0], method: string, ...args: unknown[]) =>
    (await chain.read(contract, method, args))[0];
  const everybody = [...payers, ...gateways, publisher].map(({ address }) => address);
  const subjects = signers.map(({ address }) => address);
  let held = view.totals.pledged + view.totals.burned;

  for (const account of everybody) {
    assert.equal(view.free(account), await ask('billing', 'free', account));
    held += view.free(account);
  }
  for (const gateway of gateways.map(({ address }) => address)) {
    const bond = await ask('billing', 'gatewayBondOf', gateway);
    const standing = view.gateway(gateway) ?? assert.fail();
    assert.equal(standing.bond, bond.bond);
    assert.equal(standing.unbonding, bond.unbonding);
    assert.equal(standing.atStake, await ask('billing', 'standing', gateway));
    assert.equal(standing.unbondEndSec, Number(bond.unbondEnd));
    assert.equal(standing.settleUntilSec, Number(bond.settleUntil));
    assert.equal(standing.batches, Number(bond.batches));
    assert.equal(standing.feeFromSec, Number(bond.feeFrom));
    assert.equal(standing.settler ?? NO_ACCOUNT, bond.settler.toLowerCase());
    assert.equal(standing.feeBps, Number(await ask('billing', 'feeOf', gateway)));
    held += standing.bond;
    for (const account of everybody) {
      const due = await ask('billing', 'dueOf', gateway, account);
      const { credited, withdrawn, advanced } = view.due(gateway, account);
      assert.deepEqual(
        [credited, withdrawn, advanced],
        [due.credited, due.withdrawn, due.advanced],
      );
      held += credited - withdrawn;
      const line = await ask('billing', 'lineOf', account, gateway);
      const known = view.line(account, gateway) ?? { allotted: 0n, thawing: 0n, thawEndSec: 0 };
      assert.deepEqual(
        [known.allotted, known.thawing, BigInt(known.thawEndSec)],
        [line.allotted, line.thawing, line.thawEnd],
      );
      const limit = await ask('billing', 'limitOf', account, gateway);
      assert.equal(view.limit(account, gateway), limit);
      for (const signer of subjects) {
        const lane = await ask('billing', 'laneOf', account, gateway, signer);
        const open = view.lane(account, gateway, signer);
        assert.deepEqual(
          [
            open?.settled ?? 0n,
            open?.cap ?? 0n,
            open?.seq ?? 0,
            open?.expirySec ?? 0,
            open?.mode ?? 0,
          ],
          [lane.settled, lane.cap, Number(lane.seq), Number(lane.expiry), Number(lane.mode)],
        );
      }
    }
    for (const { key, role, fromSec, untilSec } of view.operatorKeys(gateway)) {
      const known = await ask('identity', 'keyOf', key);
      assert.deepEqual([role, fromSec, untilSec].map(BigInt), [
        known.role,
        known.from,
        known.until,
      ]);
      const inForce = await ask('identity', 'isKeyInForce', key, gateway, 1);
      assert.equal(view.isKeyInForce(key, gateway), inForce);
    }
    let setAside = 0n;
    for (const payer of everybody) {
      setAside += (await ask('billing', 'lineOf', payer, gateway)).allotted;
    }
    assert.equal(view.exposure(gateway).lines, setAside);
    const party = await ask('identity', 'partyOf', gateway);
    assert.equal(view.party(gateway)?.jwksThumbprint, party.jwksThumbprint);
    assert.equal(view.party(gateway)?.sinceSec, Number(party.since));
    for (const batch of view.batches(gateway)) {
      assert.equal(view.batch(gateway, batch.batch), batch);
      for (const claim of batch.claims.keys()) {
        const ofClaim = view
          .frauds(gateway)
          .filter((one) => one.batch === batch.batch && one.claim === claim);
        const repaid = ofClaim.reduce((sum, { paid }) => sum + paid, 0n);
        assert.equal(await ask('disputes', 'repaidOf', gateway, batch.batch, claim), repaid);
      }
    }
  }
  // The lines where a gateway is itself the payer, its floats.
  for (const { gateway, allotted } of everybody.flatMap((account) => view.lines(account))) {
    if (allotted >= 0n && gateway !== NO_ACCOUNT) held += allotted;
  }
  assert.equal(await ask('billing', 'pledged'), view.totals.pledged);
  assert.equal(await ask('billing', 'burned'), view.totals.burned);
  assert.equal(await ask('token', 'balanceOf', chain.contracts.billing), held);
  for (const { id, deadlineSec, state } of view.demands()) {
    const known = await ask('disputes', 'demandOf', id);
    const expected = { open: deadlineSec, answered: 1, expired: 0 }[state];
    assert.equal(Number(known.deadline), expected);
  }
  for (const { id } of view.frauds()) {
    const ofId = view.frauds().filter((one) => one.id === id);
    assert.equal(await ask('disputes', 'isProven', id), true);
    const paid = ofId.reduce((sum, one) => sum + one.paid, 0n);
    assert.equal(await ask('disputes', 'paidOf', id), paid);
  }

  for (const id of world.functionIds) {
    const fn = view.functionById(id) ?? assert.fail();
    assert.equal((await ask('registry', 'ownerOf', id)).toLowerCase(), fn.owner);
    assert.equal(view.ownerAt(id, view.head.number), fn.owner);
    for (const label of ['latest', 'beta']) {
      const number = await ask('registry', 'aliasOf', id, label);
      assert.equal(fn.aliases.get(label) ?? 0, Number(number));
    }
    assert.equal(fn.latest, fn.aliases.get('latest'));
  }
  for (const version of world.versions) {
    const [, number, deprecated] = await chain.read('registry', 'versionOf', [version]);
    assert.equal(view.versionByHash(version)?.number, Number(number));
    assert.equal(view.versionByHash(version)?.deprecated, deprecated);
    for (const { id, provider, retired, barred } of view.deployments(version)) {
      const known = await ask('registry', 'deploymentOf', id);
      assert.deepEqual(
        [provider, retired, barred],
        [known.provider.toLowerCase(), known.retired, known.barred],
      );
    }
    for (const { address } of gateways) {
      const sets = Number(await ask('registry', 'candidateSets', version, address));
      const newest = view.candidates(version, address);
      assert.equal(newest?.setNo ?? 0, sets);
      const known = await ask('registry', 'candidatesOf', version, address, sets);
      assert.equal(newest?.fromEpoch ?? 0, Number(known.fromEpoch));
    }
    for (const subject of everybody) {
      for (const scopes of [1, 2, 5]) {
        const allowed = await ask('identity', 'isAllowed', version, subject, scopes);
        assert.equal(view.isAllowed(version, subject, scopes), allowed);
      }
    }
  }
  const { latestEpoch } = view;
  if (latestEpoch !== undefined) {
    const known = await ask('beacon', 'epochOf', latestEpoch.epoch);
    assert.equal(BigInt(latestEpoch.value), known.value);
    assert.equal(latestEpoch.timeSec, Number(known.time));
  }
}

/** Enough of the view to distinguish two states. */
async function summary({ chain, payers, gateways }: World): Promise<unknown> {
  const { view } = chain;
  return {
    batches: view.batches(),
    frauds: view.frauds(),
    exposure: gateways.map(({ address }) => view.exposure(address)),
    demands: view.demands(),
    functions: view.functions(),
    epoch: view.latestEpoch,
    lanes: payers.map((p) => gateways.map((g) => view.lanes(p.address, g.address))),
    free: payers.map(({ address }) => view.free(address)),
  };
}

/** A generator of its own, so that a failing sequence can be run again. */
interface Random {
  below(n: number): number;
  of<T>(list: readonly T[]): T;
  /** Up to so many whole tokens, in base units. */
  units(tokens: number): bigint;
}

function createRandom(seed: number): Random {
  let state = seed;
  const below = (n: number): number => {
    // Park and Miller's minimal standard generator.
    state = (state * 48_271) % 2_147_483_647;
    return state % n;
  };
  return {
    below,
    of: (list) => at(list, below(list.length)),
    units: (tokens) => BigInt(below(tokens * Number(UNIT) + 1)),
  };
}

function at<T>(list: readonly T[], index: number): T {
  const item = list[index];
  assert.ok(item !== undefined);
  return item;
}
