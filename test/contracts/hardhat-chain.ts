// Hardhat's chain over HTTP with our contracts on it, for tests of what speaks JSON-RPC.
import { HDNodeWallet, JsonRpcProvider, Mnemonic, Wallet } from 'ethers';
import hre from 'hardhat';
import { createTrustRoot, type TrustRoot } from '../../broker/client/trust-root.ts';
import type { ContractAddresses } from '../../contracts/chain/types.ts';
import type { VersionTerms } from '../../contracts/chain/writer.ts';
import { type Chain, type ChainOptions, createChain } from '../../contracts/chain.ts';
import { type DeployOptions, deployContracts } from '../../contracts/deploy.ts';
import { deploymentsOf } from '../../contracts/deployments.ts';
import { type Key, keyOf } from '../../contracts/keystore.ts';
import type { Hex } from '../../contracts/libraries/keccak.ts';
import { CODECS, cidOf } from '../../contracts/libraries/names.ts';

/** Hardhat's and anvil's well-known test mnemonic. */
const TEST_MNEMONIC = Mnemonic.fromPhrase(
  'test test test test test test test test test test test junk',
);

const HARDHAT_CHAIN_ID = 31337;

/** The well-known test account `index`, which every local chain funds. */
export function testKey(index: number): Key {
  const { privateKey } = HDNodeWallet.fromMnemonic(TEST_MNEMONIC, `m/44'/60'/0'/0/${index}`);
  return keyOf(privateKey as Hex); // ethers types hex as string
}

/** A public version with the tariff of the template. */
export const TEST_TERMS: VersionTerms = {
  manifestCid: cidOf(CODECS.raw, `0x${'aa'.repeat(32)}`),
  artifactCid: cidOf(CODECS.dagPb, `0x${'bb'.repeat(32)}`),
  tariff: {
    perCall: 20n,
    perGiBSecond: 40n,
    maxPrice: 100_000n,
    minBilledMs: 0,
    roundMs: 1,
    publisherBps: 1_500,
  },
  accessMode: 0,
  memoryMiB: 128,
  timeoutMs: 10_000,
  idempotent: true,
  deterministic: false,
};

export interface HardhatChain {
  readonly url: string;
  readonly contracts: ContractAddresses;
  /** The trust root of the chain's clients. */
  readonly trust: TrustRoot;
  rpc(method: string, params?: unknown[]): Promise<unknown>;
  /** A chain client that is started; closed with the chain. */
  open(options?: Partial<ChainOptions>): Promise<Chain>;
  close(): Promise<void>;
}

/** Account 0 deploys; epochs have one block unless told otherwise. */
export async function startHardhatChain(options: DeployOptions = {}): Promise<HardhatChain> {
  const server = await hre.network.createServer('default', '127.0.0.1', 0);
  const { address, port } = await server.listen();
  const url = `http://${address}:${port}`;
  const provider = new JsonRpcProvider(url, HARDHAT_CHAIN_ID, {
    batchMaxCount: 1,
    staticNetwork: true,
    cacheTimeout: -1,
  });
  // Its clock begins when Hardhat was loaded, minutes ago in a long run of tests.
  const nowSec = Math.floor(Date.now() / 1000);
  const genesis = await provider.getBlock('latest');
  if (nowSec > (genesis?.timestamp ?? 0))
    await provider.send('evm_setNextBlockTimestamp', [nowSec]);
  const deployer = new Wallet(testKey(0).privateKey, provider);
  const opened: Chain[] = [];
  const close = async (): Promise<void> => {
    for (const chain of opened) chain.close();
    provider.destroy();
    await server.close();
  };
  const deployed = deployContracts(deployer, { beaconK: 1, ...options });
  const contracts = await deployed.catch(async (error) => {
    await close();
    throw error;
  });
  return {
    url,
    contracts,
    trust: createTrustRoot({
      deployments: deploymentsOf(HARDHAT_CHAIN_ID, contracts),
      rpcUrl: url,
    }),
    rpc: (method, params = []) => provider.send(method, params),
    open: async (chainOptions = {}) => {
      const chain = await createChain({
        rpcUrls: [url],
        contracts,
        pollMs: 20,
        ...chainOptions,
      });
      opened.push(chain);
      await chain.start();
      return chain;
    },
    close,
  };
}
