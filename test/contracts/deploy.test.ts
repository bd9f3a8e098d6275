import assert from 'node:assert/strict';
import { FeeData, JsonRpcProvider, Wallet } from 'ethers';
import hre from 'hardhat';
import { ChainError } from '../../contracts/chain/chain-error.ts';
import { RpcProvider } from '../../contracts/chain/rpc.ts';
import { createChain } from '../../contracts/chain.ts';
import { type DeployOptions, deployContracts } from '../../contracts/deploy.ts';
import { checkSet } from '../../contracts/deployed-code.ts';
import { deploymentsOf } from '../../contracts/deployments.ts';
import { type HardhatChain, startHardhatChain, testKey } from './hardhat-chain.ts';

describe('a deploy of the contracts', function () {
  this.timeout(60_000);
  let hardhat: HardhatChain;
  let provider: RpcProvider;
  let deployer: Wallet;
  before(async () => {
    hardhat = await startHardhatChain();
    provider = new RpcProvider(31337, { urls: [hardhat.url], timeoutMs: 10_000 });
    deployer = new Wallet(testKey(5).privateKey, provider);
  });
  after(async () => {
    provider?.destroy();
    await hardhat?.close();
  });

  it('wires five contracts to each other and to an existing token', async () => {
    const { token } = hardhat.contracts;
    const guardian = testKey(6).address;
    const options = { token, tokenDecimals: 6, guardian, beaconK: 8, minBondTokens: 50 };

    const contracts = await deployContracts(deployer, options);

    assert.equal(contracts.token, token);
    const chain = await createChain({ rpcUrls: [hardhat.url], contracts });
    try {
      const read = async (
        contract: Parameters<typeof chain.read>[0],
        method: string,
      ): Promise<unknown> => {
        const [value] = await chain.read(contract, method, []);
        return typeof value === 'string' ? value.toLowerCase() : value;
      };
      assert.deepEqual(chain.constants, { beaconK: 8, minBond: 50_000_000n, lineThawSec: 86_400 });
      assert.equal(await read('billing', 'GUARDIAN'), guardian);
      assert.equal(await read('billing', 'DISPUTES'), contracts.disputes);
      assert.equal(await read('billing', 'UNBOND'), 14n * 86_400n);
      assert.equal(await read('identity', 'REGISTRY'), contracts.registry);
      assert.equal(await read('disputes', 'DEMAND_PLEDGE'), 1_000_000n);
      const [floor] = await chain.read('disputes', 'floorOf', [2]);
      assert.equal(floor, 100_000_000n);
      await chain.start();
      assert.equal(chain.view.functions().length, 0);
    } finally {
      chain.close();
    }
  });

  it('makes a set that replaces another and keeps its Registry, Identity, Beacon and token', async () => {
    const { billing, disputes, ...stay } = hardhat.contracts;

    const contracts = await deployContracts(deployer, { keep: hardhat.contracts });

    const { billing: newBilling, disputes: newDisputes, ...kept } = contracts;
    assert.deepEqual(kept, stay);
    assert.ok(newBilling !== billing && newDisputes !== disputes);
    const [set] = deploymentsOf(31337, contracts).sets;
    assert.ok(set);
    // It ends with `wired()`.
    const terms = await checkSet(provider, 31337, set);
    assert.equal(terms.token, stay.token);
  });

  it('refuses windows and amounts outside the contracts’ bounds', async () => {
    const day = 86_400;
    const bad = [
      { windows: { lineThawSec: 60 } },
      { windows: { unbondSec: 12 * day } },
      { windows: { keyOverlapSec: 8 * day } },
      { minBondTokens: 9 },
      { slashTokens: { grave: 1 } },
      { beaconK: 0 },
      { windows: { keyEvidenceSec: day - 1 } },
      { windows: { answerWindowSec: day - 1 } },
    ];
    const names: unknown[] = [];
    for (const options of bad) {
      await assert.rejects(deployContracts(deployer, options), (error) => {
        assert.ok(error instanceof ChainError);
        assert.equal(error.code, 'CHAIN_REVERTED');
        names.push(error.revert?.name);
        return true;
      });
    }
    assert.deepEqual(names, [
      'InvalidPeriod',
      'InvalidPeriod',
      'InvalidPeriod',
      'InvalidBond',
      'InvalidTerms',
      'InvalidK',
      'InvalidPeriod',
      'InvalidTerms',
    ]);
  });

  it('refuses, before it sends anything, terms under which nobody would be paid for a proof or an answer', async () => {
    const sent = await deployer.getNonce('pending');
    // A million gas for 10 tokens: a proof costs 2.2, an answer 1.2, so a slash is at least 52.8.
    const dear = { chain: 'op-stack', megagasTokens: 10 } as const;
    const enough = { charge: 60, misroute: 60, silence: 60, pledge: 2 };
    const bad: readonly (readonly [DeployOptions, RegExp])[] = [
      [{ chain: 'op-stack' }, /a million costs/],
      [{ chain: 'op-stack', megagasTokens: 0 }, /a million costs/],
      [{ ...dear, megagasTokens: Number.NaN }, /a million costs/],
      [{ ...dear, slashTokens: { ...enough, grave: 52.7 } }, /slashTokens\.grave is 52\.7/],
      [{ ...dear, slashTokens: { ...enough, charge: 10 } }, /slashTokens\.charge is 10/],
      [{ ...dear, slashTokens: { ...enough, silence: 50 } }, /slashTokens\.silence is 50/],
      [{ ...dear, slashTokens: { ...enough, misroute: 10 } }, /slashTokens\.misroute is 10/],
      [{ ...dear, slashTokens: { ...enough, pledge: 1.1 } }, /slashTokens\.pledge is 1\.1/],
      // Gas is said to be free there, and this chain's is not.
      [{ chain: 'besu-qbft', megagasTokens: 10 }, /slashTokens\.charge/],
    ];

    for (const [options, message] of bad) {
      const refused = { code: 'DEPLOYMENT_REFUSED', message };
      await assert.rejects(deployContracts(deployer, options), refused);
    }

    assert.equal(await deployer.getNonce('pending'), sent);
  });

  it('succeeds when slashes pay for proofs, and reports when the draw is not enforced', async () => {
    const slashTokens = { charge: 60, misroute: 0, silence: 60, pledge: 2 };
    const lines: string[] = [];
    const report = (line: string) => lines.push(line);

    await deployContracts(deployer, { chain: 'ethereum', megagasTokens: 10, slashTokens, report });

    assert.match(lines.join('\n'), /^ethereum: .*D6/);
    assert.equal(lines.length, 1);
  });

  it('refuses a chain of an unknown kind, and one that lacks an opcode', async () => {
    for (const [override, message] of [
      [{ chainId: 4242 }, /chain 4242 is not in the table/],
      [{ hardfork: 'shanghai' }, /MCOPY/],
    ] as const) {
      const server = await hre.network.createServer(
        { network: 'default', override },
        '127.0.0.1',
        0,
      );
      const { address, port } = await server.listen();
      const other = new JsonRpcProvider(`http://${address}:${port}`);
      try {
        const account = new Wallet(testKey(5).privateKey, other);
        const refused = { code: 'DEPLOYMENT_REFUSED', message };

        await assert.rejects(deployContracts(account), refused);
      } finally {
        other.destroy();
        await server.close();
      }
    }
  });

  it('succeeds for an account without money on a chain where gas is free', async () => {
    const override = { initialBaseFeePerGas: 0n };
    const server = await hre.network.createServer({ network: 'default', override }, '127.0.0.1', 0);
    const { address, port } = await server.listen();
    const free = new FreeProvider(`http://${address}:${port}`, 31337, { staticNetwork: true });
    try {
      const penniless = Wallet.createRandom(free);

      const contracts = await deployContracts(penniless);

      assert.equal(await free.getBalance(penniless.address), 0n);
      const sent = await free.getTransactionCount(penniless.address);
      assert.equal(sent, 6, 'five contracts and a token');
      for (const name of ['registry', 'identity', 'billing', 'disputes', 'beacon'] as const) {
        const codes = [free, provider].map((one, i) =>
          one.getCode([contracts, hardhat.contracts][i]?.[name] ?? ''),
        );
        const [here, there] = await Promise.all(codes);
        assert.equal(here?.length, there?.length, name);
      }
    } finally {
      free.destroy();
      await server.close();
    }
  });
});

/**
 * Of a node that asks nothing for gas, as Besu's with `--min-gas-price=0`; Hardhat's suggests a
 * gwei whatever its base fee.
 */
class FreeProvider extends JsonRpcProvider {
  override async getFeeData(): Promise<FeeData> {
    return new FeeData(0n);
  }
}
