// A chain in this process for measuring gas: named accounts, a clock of its own, contracts from the
// committed bytecode. The same transactions cost the same gas in every run.
import {
  AbiCoder,
  type BaseContract,
  ContractFactory,
  type InterfaceAbi,
  keccak256,
  type Signer,
  Wallet,
} from 'ethers';
import hre from 'hardhat';
import { artifacts } from '../../../contracts/artifacts.gen.ts';

/** Time of the first block; every transaction is a second later than the one before. */
const START = '2026-01-01T00:00:00Z';

export type Network = Awaited<ReturnType<typeof openNetwork>>;

export async function openNetwork() {
  const connection = await hre.network.create({ override: { initialDate: START } });
  const { ethers } = connection;
  const [deployer, gateway, settler, payer, reporter, friend] = await ethers.getSigners();
  if (!deployer || !gateway || !settler || !payer || !reporter || !friend)
    throw new Error('accounts');
  let keys = 0;
  let nowSec = Date.parse(START) / 1000;
  const request = (method: string, ...params: unknown[]) =>
    connection.provider.request({ method, params });
  const tick = () => request('evm_setNextBlockTimestamp', ++nowSec);
  return {
    provider: ethers.provider,
    accounts: { deployer, gateway, settler, payer, reporter, friend },
    nowSec: () => nowSec,
    tick,
    mine: () => request('evm_mine', ++nowSec),
    /** The next transaction is so much later. */
    skip(seconds: number) {
      nowSec += seconds;
    },
    /** A test key: the hash of a counter. */
    newKey() {
      keys += 1;
      const seed = AbiCoder.defaultAbiCoder().encode(['string', 'uint256'], ['test key', keys]);
      return new Wallet(keccak256(seed));
    },
    async deploy(name: keyof typeof artifacts, ...args: unknown[]) {
      const { abi, bytecode } = artifacts[name];
      await tick();
      const factory = new ContractFactory(abi as unknown as InterfaceAbi, bytecode, deployer);
      const contract = await factory.deploy(...args);
      await contract.waitForDeployment();
      return contract;
    },
    as: (contract: BaseContract, signer: Signer) => contract.connect(signer) as BaseContract,
    /** Tests and the benchmark send by this function only: it moves the clock. */
    async send(contract: BaseContract, method: string, ...args: unknown[]) {
      await tick();
      const tx = await contract.getFunction(method).send(...args);
      const receipt = await tx.wait();
      if (!receipt) throw new Error(method);
      return receipt;
    },
    close: () => connection.close(),
  };
}
