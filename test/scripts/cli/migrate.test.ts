// Money on its way from contracts that retire to those that take their place, with the thaw
// between, and a gateway that stays behind.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { JsonRpcProvider, Wallet } from 'ethers';
import { type Chain, createChain } from '../../../contracts/chain.ts';
import { deployContracts } from '../../../contracts/deploy.ts';
import { deploymentsOf } from '../../../contracts/deployments.ts';
import { deposit } from '../../../scripts/cli/deposit.ts';
import { migrate } from '../../../scripts/cli/migrate.ts';
import {
  KEYS,
  registerGateway,
  type SmallHouse,
  startSmallHouse,
} from '../../broker/small-house.ts';
import { testKey } from '../../contracts/hardhat-chain.ts';
import { startRpcProxy } from '../../contracts/rpc-proxy.ts';
import { type CommandLine, createCommandLine, documentOf } from './beside.ts';

const LINE_THAW_SEC = 86_400;
const { user, gateway } = KEYS;

describe('defaas migrate', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let cli: CommandLine;
  let next: Chain;
  beforeEach(async () => {
    house = await startSmallHouse();
    const { url, contracts } = house.chain;
    const provider = new JsonRpcProvider(url, 31337, { cacheTimeout: -1 });
    const { token } = contracts;
    const options = { beaconK: 1, token };
    const deployer = new Wallet(testKey(9).privateKey, provider);
    const replacing = await deployContracts(deployer, options);
    provider.destroy();
    next = await createChain({ rpcUrls: [url], contracts: replacing, pollMs: 20 });
    await next.start();
    cli = createCommandLine(house);
    const [old] = house.trust.sets;
    const [set] = deploymentsOf(31337, replacing).sets;
    const sets = [
      { ...old, status: 'retiring' },
      { ...set, id: 'next', replaces: old?.id },
    ];
    writeFileSync(join(cli.home, 'deployment.json'), JSON.stringify({ chainId: 31337, sets }));
  });
  afterEach(async () => {
    next.close();
    cli.remove();
    await house.close();
  });

  const run = () => documentOf(migrate(cli.flags(), { to: 'next' }));
  const pass = async (): Promise<void> => {
    await house.chain.rpc('evm_increaseTime', [LINE_THAW_SEC + 1]);
    await house.chain.rpc('evm_mine');
  };
  const put = (tokens: string, to: 'lane' | 'free') => deposit(cli.flags(), tokens, { to });

  it('opens the lane at once, lets the old line thaw, and then sets all of it aside in the new set', async () => {
    await registerGateway(next);
    await put('2', 'lane');
    await put('1', 'free');

    const first = await run();
    const again = await run();
    await pass();
    const last = await run();
    await next.synced();
    await house.view.synced();

    const [begun] = first.gateways;
    assert.deepEqual(
      [first.freeUnits, begun.thawingUnits, begun.movedUnits],
      ['1000000', '2000000', '0'],
    );
    assert.deepEqual(again.gateways, first.gateways, 'a thaw that runs is left alone');
    assert.deepEqual(last.gateways, [
      {
        gateway: gateway.address,
        thawingUnits: '0',
        thawEndSec: 0,
        movedUnits: '2000000',
        lane: begun.lane,
      },
    ]);
    const { view } = next;
    assert.equal(view.free(user.address), 1_000_000n);
    assert.equal(view.line(user.address, gateway.address)?.allotted, 2_000_000n);
    assert.equal(view.lane(user.address, gateway.address, begun.lane)?.cap, 2_000_000n);
    assert.equal(house.view.view.free(user.address), 0n);
    assert.equal(house.view.view.line(user.address, gateway.address)?.allotted, 0n);
    await assert.rejects(run(), { code: 'NOTHING_TO_WITHDRAW' });
  });

  it('goes on with money that an earlier run took out and could not set aside', async () => {
    await registerGateway(next);
    await put('2', 'lane');
    await put('1', 'free');
    const rpc = await startRpcProxy(() => house.chain.url);
    const flags = { ...cli.flags(), rpc: rpc.url };
    const runUntilOut = async () => {
      let sent = 0;
      rpc.answer(({ method }) => {
        sent += method === 'eth_sendRawTransaction' ? 1 : 0;
        return sent > 1 ? { status: 503 } : undefined;
      });
      await assert.rejects(migrate(flags, { to: 'next' }), (error: Error & { code: string }) => {
        assert.equal(error.code, 'CHAIN_UNREACHABLE');
        return /tokens of the old set are in the wallet.* moves nothing twice/.test(error.message);
      });
      rpc.answer(() => undefined);
    };

    await runUntilOut();
    const first = await documentOf(migrate(flags, { to: 'next' }));
    await pass();
    await runUntilOut();
    const last = await documentOf(migrate(flags, { to: 'next' }));
    await rpc.close();
    await next.synced();

    assert.equal(first.freeUnits, '1000000');
    assert.deepEqual([last.freeUnits, last.gateways[0].movedUnits], ['0', '2000000']);
    assert.equal(next.view.free(user.address), 1_000_000n);
    assert.equal(next.view.line(user.address, gateway.address)?.allotted, 2_000_000n);
    await assert.rejects(run(), { code: 'NOTHING_TO_WITHDRAW' });
  });

  it('leaves the money in the wallet when the gateway is not registered in the new set', async () => {
    await put('2', 'lane');

    await run();
    await pass();
    const { gateways } = await run();

    const [moved] = gateways;
    assert.deepEqual([moved.movedUnits, moved.lane], ['2000000', null]);
    const [held] = await house.view.read('token', 'balanceOf', [user.address]);
    assert.equal(held, 2_000_000n);
  });

  it('migrates only from the set that the named one replaces', async () => {
    const to = (id: string) => migrate(cli.flags(), { to: id });

    await assert.rejects(to('none'), { code: 'USAGE' });
    await assert.rejects(to('local'), { code: 'USAGE' });
    await assert.rejects(to('next'), { code: 'NOTHING_TO_WITHDRAW' });
  });
});
