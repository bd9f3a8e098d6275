import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  Contract,
  ContractFactory,
  JsonRpcProvider,
  NonceManager,
  parseEther,
  Wallet,
} from 'ethers';
import { artifacts } from '../../contracts/artifacts.gen.ts';
import { type LocalChain, startLocalChain } from '../../scripts/local-chain.ts';

/** The first of the well-known test keys. */
const TEST_KEY = '0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80';

describe('the local chain', () => {
  let dir = '';
  const closing: (() => unknown)[] = [];

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'chain-'));
  });

  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close();
    rmSync(dir, { recursive: true, force: true });
  });

  async function open(): Promise<{
    chain: LocalChain;
    provider: JsonRpcProvider;
    signer: NonceManager;
  }> {
    const chain = await startLocalChain({ dir });
    closing.push(() => chain.close());
    return { chain, ...clientOf(chain.rpcUrl) };
  }

  function clientOf(rpcUrl: string) {
    const provider = new JsonRpcProvider(rpcUrl, 31_337, {
      batchMaxCount: 1,
      cacheTimeout: -1,
      staticNetwork: true,
    });
    closing.push(() => provider.destroy());
    return { provider, signer: new NonceManager(new Wallet(TEST_KEY, provider)) };
  }

  /** A chain process of its own, for killing. */
  async function spawnChain(): Promise<{ child: ChildProcess; evmPid: number; rpcUrl: string }> {
    const child = fork('scripts/local-chain.ts', ['--dir', dir], { stdio: 'pipe' });
    let evmPid = 0;
    for (;;) {
      const [message] = await once(child, 'message');
      if (message.spawned) evmPid = message.spawned;
      if (message.ready) return { child, evmPid, rpcUrl: message.ready.rpcUrl };
    }
  }

  async function fund(provider: JsonRpcProvider, signer: NonceManager): Promise<void> {
    const address = await signer.getAddress();
    await provider.send('anvil_setBalance', [address, `0x${parseEther('1000').toString(16)}`]);
  }

  it('has all its state again after kill -9 in the middle of traffic', async () => {
    const first = await spawnChain();
    const { provider, signer } = clientOf(first.rpcUrl);
    await fund(provider, signer);
    const address = await signer.getAddress();
    const token = await deployToken(signer);
    const acknowledged: { hash: string; block: string; number: number }[] = [];
    for (let i = 0; i < 60; i++) {
      const receipt = await (await token.getFunction('mint')(address, BigInt(i))).wait();
      acknowledged.push({
        hash: receipt.hash,
        block: receipt.blockHash,
        number: receipt.blockNumber,
      });
    }
    const inFlight = Array.from({ length: 20 }, () =>
      token
        .getFunction('mint')(address, 1n)
        .then(
          (sent) => sent.hash,
          () => undefined,
        ),
    );
    await inFlight[4];

    first.child.kill('SIGKILL');
    process.kill(first.evmPid, 'SIGKILL');
    await once(first.child, 'exit');
    provider.destroy();
    const hashes = (await Promise.all(inFlight)).filter((hash) => hash !== undefined);
    const restored = await open();

    assert.ok(hashes.length >= 1);
    for (const { hash, block, number } of acknowledged) {
      const receipt = await restored.provider.getTransactionReceipt(hash);
      assert.equal(receipt?.blockHash, block);
      assert.equal((await restored.provider.getBlock(number))?.hash, block);
    }
    // A transaction accepted before a lower nonce arrived waits for it, as it did before the kill.
    for (const hash of hashes) assert.ok(await restored.provider.getTransaction(hash));
    const logs = await restored.provider.getLogs({ fromBlock: 0, toBlock: 'latest' });
    assert.ok(logs.length >= acknowledged.length);
    assert.equal(await restored.provider.getTransactionCount(address), 1 + logs.length);
    const minted = logs.reduce((sum, { data }) => sum + BigInt(data), 0n);
    const balance = await tokenAt(token, restored.provider).getFunction('balanceOf')(address);
    assert.equal(balance, minted);
  });

  it('restores from a kept state to the same hashes, logs and nonces', async () => {
    const { chain, provider, signer } = await open();
    await fund(provider, signer);
    const address = await signer.getAddress();
    const token = await deployToken(signer);
    for (let i = 0; i < 110; i++) await (await token.getFunction('mint')(address, 1n)).wait();
    await appeared(() => readdirSync(dir).some((name) => name.endsWith('.state')));
    await (await token.getFunction('mint')(address, 5n)).wait();
    const before = await describeChain(provider, address);
    await chain.close();

    const restored = await open();

    assert.deepEqual(await describeChain(restored.provider, address), before);
    assert.ok(restored.chain.trustedFromBlock > 100);
    await (await tokenAt(token, restored.signer).getFunction('mint')(address, 1n)).wait();
    assert.equal(await restored.provider.getBlockNumber(), before.head + 1);
  });

  it('takes an older base when a kept state cannot tell the hash of a block before it', async () => {
    const { chain, provider, signer } = await open();
    await fund(provider, signer);
    const { abi, bytecode } = artifacts.Beacon;
    const beacon = await new ContractFactory([...abi], bytecode, signer).deploy(1);
    await beacon.waitForDeployment();
    await provider.send('anvil_mine', ['0x64']);
    const height = await provider.getBlockNumber();
    await appeared(() => readdirSync(dir).some((name) => name.endsWith('.state')));
    // `deploy` returns a type without the methods of the ABI.
    const contract = new Contract(await beacon.getAddress(), [...abi], signer);
    await (await contract.getFunction('checkpoint')(height)).wait();
    const before = await describeChain(provider, await signer.getAddress());
    await chain.close();

    const restored = await open();

    assert.equal(restored.chain.trustedFromBlock, 0);
    assert.deepEqual(await describeChain(restored.provider, await signer.getAddress()), before);
  });

  it('survives a state and a journal line that were cut short', async () => {
    const { chain, provider, signer } = await open();
    await fund(provider, signer);
    await (await signer.sendTransaction({ to: await signer.getAddress() })).wait();
    const before = await describeChain(provider, await signer.getAddress());
    await chain.close();
    const journal = readdirSync(dir).find((name) => name.endsWith('.journal')) ?? '';
    appendFileSync(join(dir, journal), '{"operation":{"kind":"mine","at');
    writeFileSync(join(dir, '000000002.state'), '{"head":');

    const restored = await open();

    assert.deepEqual(await describeChain(restored.provider, await signer.getAddress()), before);
    truncateSync(join(dir, '000000002.state'));
  });

  it('refuses a wrong transaction as the node does, now and in a replay', async () => {
    const { chain, provider, signer } = await open();
    const poor = new Wallet(TEST_KEY, provider);
    const raw = await poor.signTransaction({
      to: poor.address,
      gasLimit: 21_000,
      maxFeePerGas: 10n ** 10n,
      chainId: 31_337,
      nonce: 0,
      type: 2,
    });
    await assert.rejects(provider.send('eth_sendRawTransaction', [raw]), {
      code: 'INSUFFICIENT_FUNDS',
    });
    await fund(provider, signer);
    await provider.send('evm_mine', []);
    await chain.close();

    const restored = await open();

    assert.equal(await restored.provider.getBlockNumber(), 1);
    assert.equal(await restored.provider.getTransactionCount(poor.address), 0);
  });

  it('follows the clock, lets several blocks share a second, and keeps time that was added', async () => {
    const { chain, provider } = await open();
    const startedAtSec = Math.floor(Date.now() / 1000);
    await provider.send('anvil_mine', ['0x20']);
    const burst = await provider.getBlock('latest');

    await provider.send('evm_increaseTime', [86_400]);
    await provider.send('evm_mine', []);
    await chain.close();
    const restored = await open();
    await restored.provider.send('evm_mine', []);
    const later = await restored.provider.getBlock('latest');

    assert.ok((burst?.timestamp ?? 0) - startedAtSec <= 1);
    const aheadSec = (later?.timestamp ?? 0) - startedAtSec - 86_400;
    assert.ok(aheadSec >= 0 && aheadSec < 30, `${aheadSec} s`);
  });

  it('answers batches, and refuses methods whose effect would be lost at a restart', async () => {
    const { chain } = await open();
    const ask = async (body: string) => {
      const reply = await fetch(chain.rpcUrl, { method: 'POST', body });
      return reply.json();
    };

    const batch = await ask(
      '[{"jsonrpc":"2.0","id":1,"method":"eth_chainId"},{"jsonrpc":"2.0","id":2,"method":"evm_snapshot"}]',
    );
    const single = await ask(
      '{"jsonrpc":"2.0","id":7,"method":"eth_sendTransaction","params":[{}]}',
    );
    const broken = await ask('{');

    assert.equal(batch[0].result, '0x7a69');
    assert.equal(batch[1].error.code, -32_601);
    assert.equal(single.error.code, -32_601);
    assert.equal(single.id, 7);
    assert.equal(broken.error.code, -32_700);
  });
});

async function deployToken(signer: NonceManager): Promise<Contract> {
  const { abi, bytecode } = artifacts.MockUSDC;
  const token = await new ContractFactory([...abi], bytecode, signer).deploy();
  await token.waitForDeployment();
  return new Contract(await token.getAddress(), [...abi], signer);
}

function tokenAt(token: Contract, runner: JsonRpcProvider | NonceManager): Contract {
  return new Contract(token.target, token.interface, runner);
}

async function describeChain(provider: JsonRpcProvider, address: string) {
  const head = await provider.getBlockNumber();
  const blocks = await Promise.all(
    Array.from({ length: head + 1 }, async (_, number) => (await provider.getBlock(number))?.hash),
  );
  const logs = await provider.getLogs({ fromBlock: 0, toBlock: 'latest' });
  return {
    head,
    blocks,
    logs: logs.map(({ data, topics, transactionHash }) => ({ data, topics, transactionHash })),
    nonce: await provider.getTransactionCount(address),
    balance: await provider.getBalance(address),
  };
}

async function appeared(isThere: () => boolean): Promise<void> {
  const deadlineMs = Date.now() + 15_000;
  while (!isThere()) {
    assert.ok(Date.now() < deadlineMs, 'it did not appear');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
