// A new key for a gateway: it signs without a gap, earlier signatures stay valid, and an
// interrupted change is continued.
import assert from 'node:assert/strict';
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fetchBlock } from '../../../broker/client/artifacts.ts';
import { audit } from '../../../broker/client/audit.ts';
import { settle } from '../../../broker/client/settlement.ts';
import { Secret } from '../../../broker/config.ts';
import type { Key } from '../../../contracts/keystore.ts';
import { type RotateOptions, rotateKey } from '../../../scripts/cli/rotate-key.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../../broker/small-house.ts';
import { testKey } from '../../contracts/hardhat-chain.ts';
import { type CommandLine, createCommandLine, documentOf } from './beside.ts';

const HANDLER = `export default async () => new Response('ok');`;
const TARIFF = { perCall: 20, perGiBSecond: 0, maxPrice: 20 };
const DAY_SEC = 86_400;

describe('defaas rotate-key', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let cli: CommandLine;
  let name: string;
  let lane: Key;
  let call: () => Promise<unknown>;
  let acknowledge: () => Promise<void>;
  beforeEach(async () => {
    house = await startSmallHouse();
    cli = createCommandLine(house);
    name = await house.publish('ok', HANDLER, { tariff: TARIFF });
    lane = await house.openLane(KEYS.user);
    const caller = await house.caller(KEYS.user, lane);
    call = () => caller.invoke({ function: name });
    acknowledge = () => caller.acknowledge();
  });
  afterEach(async () => {
    cli?.remove();
    await house?.close();
  });

  /** Where the gateway of a small house reads its key. */
  const file = () => join(house.dir, 'operator.json');
  const stored = (): Key => JSON.parse(readFileSync(file(), 'utf8'));
  const rotate = (options: RotateOptions = {}) =>
    documentOf(rotateKey(cli.flags(), { keyFile: file(), ...options }));
  const keys = async () => {
    await house.view.synced();
    return house.view.view.operatorKeys(KEYS.gateway.address);
  };
  /** The keys under which the lane's receipts are shown. */
  const signers = async (): Promise<ReadonlySet<string>> => {
    const session = await house.session(lane, { payer: KEYS.user, signer: lane });
    const of = `${KEYS.user.address}:${lane.address}`;
    const { receipts } = await (await session.request(`/receipts?lane=${of}&limit=500`)).json();
    return new Set(receipts.map(({ group }: { group: { key: string } }) => group.key));
  };
  const assertAudited = async (): Promise<void> => {
    await house.view.synced();
    const { connection } = await house.session(KEYS.user);
    const {
      findings,
      receipts: settled,
      proven,
    } = await audit({
      view: house.view.view,
      domain: house.view.domain,
      getBlock: (cid) => fetchBlock(connection, cid),
    });
    assert.deepEqual(findings, []);
    assert.equal(proven, settled);
  };

  it('keeps serving while the key changes; old receipts stay valid, unsettled ones get the new signature', async () => {
    await call();
    await settle(await house.session(KEYS.gateway));
    await call();
    let isRotated = false;
    const calls = (async () => {
      let count = 0;
      for (; !isRotated || count < 5; count += 1) await call();
      return count;
    })();

    const rotated = await rotate();
    isRotated = true;
    const during = await calls;
    await call();
    await acknowledge();

    const { address } = stored();
    assert.ok(during >= 5);
    assert.deepEqual([rotated.key, rotated.switched], [address, true]);
    assert.equal(rotated.replaced, KEYS.operator.address);
    assert.ok(rotated.signedAgain >= 1);
    assert.equal(house.gateway().groupSigner.key, address);
    const [old, fresh] = await keys();
    assert.deepEqual([old?.key, fresh?.key], [KEYS.operator.address, address]);
    assert.equal(old?.untilSec, rotated.retiredUntilSec);
    assert.deepEqual([fresh?.untilSec, fresh?.role], [0, old?.role]);
    // The first is settled under the old key and keeps its signature.
    assert.deepEqual(await signers(), new Set([KEYS.operator.address, address]));
    await settle(await house.session(KEYS.gateway));
    await assertAudited();
    await house.chain.rpc('evm_increaseTime', [10 * DAY_SEC]);
    await house.chain.rpc('evm_mine');
    await assertAudited();
    assert.equal(statSync(file()).mode & 0o077, 0);
  });

  it('leaves no unsettled receipt under the old key', async () => {
    for (let i = 0; i < 3; i++) await call();
    await acknowledge();

    const rotated = await rotate();

    assert.deepEqual(await signers(), new Set([rotated.key]));
  });

  it('retires a stolen key with the transaction that adds the new one', async () => {
    const before = Number(await house.chain.rpc('eth_blockNumber'));
    const rotated = await rotate({ stolen: true });
    const { text } = await rotateKey(cli.flags(), { keyFile: file(), stolen: true });

    const [old, first] = await keys();
    assert.notEqual(old?.untilSec, 0);
    assert.equal(old?.untilSec, (first?.fromSec ?? 0) + DAY_SEC);
    assert.equal(rotated.retiredUntilSec, old?.untilSec);
    assert.equal(Number(await house.chain.rpc('eth_blockNumber')), before + 2);
    assert.match(text ?? '', /whoever has it can still sign for the gateway/);
  });

  it('lets a gateway whose key was stolen take calls again', async () => {
    const { alarms, keyGuard } = house.gateway();
    keyGuard.stop(KEYS.operator.address, 'a receipt was seen that it has not made');
    const isRaised = () => alarms.list().some(({ kind }) => kind === 'KEY_STOLEN');
    const before = isRaised();
    await assert.rejects(call(), { code: 'KEY_STOLEN' });

    await rotate({ stolen: true });
    await call();
    await acknowledge();

    assert.deepEqual([before, isRaised()], [true, false]);
  });

  it('continues where it was interrupted, and makes no second key', async () => {
    const next = testKey(60);
    writeFileSync(`${file()}.next`, JSON.stringify(next), { mode: 0o600 });
    const account = house.view.connect(KEYS.gateway);
    await house.view.synced(await account.addKey(next.privateKey, 1));

    const added = await rotate();
    const rest = (await keys()).map(({ key }) => key);

    assert.deepEqual([added.key, added.switched], [next.address, true]);
    assert.deepEqual(rest, [KEYS.operator.address, next.address]);
    assert.equal(existsSync(`${file()}.next`), false);
    assert.ok(existsSync(join(house.dir, `operator-${KEYS.operator.address}.json`)));
  });

  it('leaves the old key in force while the gateway cannot be told, and retires it afterwards', async () => {
    await call();
    await acknowledge();
    const url = house.url();
    house.cutOff();
    const outcome = await rotateKey({ ...cli.flags(), gateway: url }, { keyFile: file() });
    const [old] = await keys();

    const { privateKey, address } = stored();
    await house.restart({ operatorKey: new Secret(privateKey) });
    const again = await rotate();

    assert.equal(outcome.failure?.code, 'GATEWAY_UNREACHABLE');
    assert.match(outcome.failure?.message ?? '', /is not retired yet/);
    assert.equal(old?.untilSec, 0);
    assert.deepEqual([again.key, again.replaced], [address, KEYS.operator.address]);
    assert.notEqual(again.retiredUntilSec, null);
    assert.equal((await keys()).length, 2);
    // The start has signed them again.
    assert.deepEqual(await signers(), new Set([address]));
  });

  it('reports that the gateway reads another key file, and does not retire the key in use', async () => {
    const other = join(cli.home, 'keys', 'operator.json');
    const outcome = await rotateKey(cli.flags(), {});

    const [old] = await keys();
    assert.equal(outcome.failure?.code, 'KEY_FILE_MISMATCH');
    assert.equal(old?.untilSec, 0);
    assert.equal(house.gateway().groupSigner.key, KEYS.operator.address);
    assert.notEqual(JSON.parse(readFileSync(other, 'utf8')).address, KEYS.operator.address);
    await call();
    await acknowledge();
  });

  it('sends nothing and makes no file in a dry run', async () => {
    const before = [await house.chain.rpc('eth_blockNumber'), readdirSync(house.dir).sort()];

    const tried = await rotate({ dryRun: true });
    const { text } = await rotateKey(cli.flags(), { keyFile: file(), dryRun: true });

    assert.deepEqual([tried.key, tried.replaced], [null, KEYS.operator.address]);
    assert.match(text ?? '', /^dry run, nothing was sent: a key is made; .* is retired$/);
    const after = [await house.chain.rpc('eth_blockNumber'), readdirSync(house.dir).sort()];
    assert.deepEqual(after, before);
  });

  it('is for the operator alone, and accepts no key that the chain does not have', async () => {
    const ask = async (key: Key) =>
      (await house.session(key)).request('/operator-key', { method: 'POST' });

    await assert.rejects(ask(KEYS.user), { code: 'OPERATOR_ONLY' });
    await assert.rejects(ask(KEYS.settler), { code: 'OPERATOR_ONLY' });
    writeFileSync(file(), JSON.stringify(testKey(61)));
    await assert.rejects(ask(KEYS.gateway), { code: 'KEY_NOT_IN_FORCE' });
    chmodSync(file(), 0o644);
    await assert.rejects(ask(KEYS.gateway), (error: Error & { code?: string }) => {
      assert.match(error.message, /others can read a key/);
      return error.code === 'CONFIG_INVALID';
    });
    chmodSync(file(), 0o600);
    writeFileSync(file(), '{}');
    await assert.rejects(ask(KEYS.gateway), { code: 'CONFIG_INVALID' });
    await assert.rejects(rotate(), { code: 'KEY_MISSING' });

    assert.equal(house.gateway().groupSigner.key, KEYS.operator.address);
  });
});
