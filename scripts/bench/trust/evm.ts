// A chain in this process with the five contracts, for many short games: accounts without
// signatures, its own clock, and snapshots. A contract's refusal is a return value, because most
// attempts in a game are refused.
import {
  ContractFactory,
  getCreateAddress,
  Interface,
  type InterfaceAbi,
  type Result,
} from 'ethers';
import hre from 'hardhat';
import { artifacts } from '../../../contracts/artifacts.gen.ts';
import type { Address, Hex } from '../../../contracts/libraries/keccak.ts';

export type ContractName = keyof typeof artifacts;

/** Creation bytecode that stands in for the release's: a rule switched off. */
export type Build = Partial<Readonly<Record<ContractName, Hex>>>;

export type Sent =
  | { readonly ok: true; readonly logs: readonly Log[] }
  /** Name of the contract's error, or the node's words. */
  | { readonly ok: false; readonly error: string };

export interface Log {
  readonly name: string;
  readonly args: Result;
}

export interface Evm {
  /** Twenty accounts; all have gas. */
  readonly accounts: readonly Address[];
  readonly chainId: number;
  at(contract: ContractName): Address;
  /** Timestamp of the newest block, seconds. */
  nowSec(): number;
  pass(seconds: number): void;
  send(from: Address, contract: ContractName, method: string, ...args: unknown[]): Promise<Sent>;
  read(contract: ContractName, method: string, ...args: unknown[]): Promise<Result>;
  /** Everything that happens in `game` has not happened afterwards. */
  within<T>(game: () => Promise<T>): Promise<T>;
  mine(blocks: number): Promise<void>;
  close(): Promise<void>;
}

const START = '2026-11-30T00:00:00Z';
const GAS = '0xe4e1c0';

interface RawLog {
  readonly address: string;
  readonly topics: string[];
  readonly data: string;
}

/**
 * Deploys in the order in which the contracts' addresses are predicted; `argumentsOf` gets those
 * addresses.
 */
export async function createEvm(
  build: Build,
  argumentsOf: (at: (name: ContractName) => Address) => Readonly<Record<ContractName, unknown[]>>,
): Promise<Evm> {
  const connection = await hre.network.create({
    override: { initialDate: START, allowUnlimitedContractSize: true },
  });
  const request = (method: string, ...params: unknown[]): Promise<unknown> =>
    connection.provider.request({ method, params });
  // Safe: the node's own list of addresses.
  const accounts = ((await request('eth_accounts')) as string[]).map(
    (account) => account.toLowerCase() as Address,
  );
  const [deployer] = accounts;
  if (!deployer) throw new Error('the chain has no accounts');
  const order: readonly ContractName[] = [
    'MockUSDC',
    'Beacon',
    'FunctionRegistry',
    'Identity',
    'Billing',
    'Disputes',
  ];
  const at = (name: ContractName): Address =>
    getCreateAddress({ from: deployer, nonce: order.indexOf(name) }).toLowerCase() as Address;
  const interfaces = Object.fromEntries(
    // A copy, because ethers' type asks for a mutable array.
    order.map((name) => [name, new Interface(artifacts[name].abi as unknown as InterfaceAbi)]),
  ) as Record<ContractName, Interface>;
  const byAddress = new Map(order.map((name) => [at(name) as string, interfaces[name]]));
  let nowSec = Math.floor(Date.parse(START) / 1000);
  /** The clock is ahead of the newest block: what is read is read at that block's time. */
  let isAhead = false;
  const mineOne = async (): Promise<void> => {
    await request('evm_setNextBlockTimestamp', ++nowSec);
    await request('evm_mine');
    isAhead = false;
  };

  const transact = async (
    from: Address,
    to: Address | undefined,
    data: string,
  ): Promise<RawLog[]> => {
    await request('evm_setNextBlockTimestamp', ++nowSec);
    isAhead = false;
    const hash = await request('eth_sendTransaction', { from, to, data, gas: GAS });
    const receipt = (await request('eth_getTransactionReceipt', hash)) as { logs: RawLog[] };
    return receipt.logs;
  };
  const args = argumentsOf(at);
  for (const name of order) {
    const bytecode = build[name] ?? artifacts[name].bytecode;
    const factory = new ContractFactory(interfaces[name], bytecode);
    const { data } = await factory.getDeployTransaction(...args[name]);
    await transact(deployer, undefined, data);
  }

  const failure = (name: ContractName, error: unknown): string => {
    const data = dataOf(error);
    // An error of another contract of ours, passed on.
    for (const known of [interfaces[name], ...byAddress.values()]) {
      const parsed = data === undefined ? null : known.parseError(data);
      if (parsed) return parsed.name;
    }
    return error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
  };
  return {
    accounts,
    chainId: 31337,
    at,
    nowSec: () => nowSec,
    pass: (seconds) => {
      nowSec += seconds;
      isAhead = true;
    },
    send: async (from, contract, method, ...given) => {
      try {
        const data = interfaces[contract].encodeFunctionData(method, given);
        const logs = await transact(from, at(contract), data);
        return {
          ok: true,
          logs: logs.flatMap((log) => {
            const parsed = byAddress.get(log.address.toLowerCase())?.parseLog(log);
            return parsed ? [{ name: parsed.name, args: parsed.args }] : [];
          }),
        };
      } catch (error) {
        return { ok: false, error: failure(contract, error) };
      }
    },
    read: async (contract, method, ...given) => {
      if (isAhead) await mineOne();
      const data = interfaces[contract].encodeFunctionData(method, given);
      const call = { to: at(contract), data };
      const result = (await request('eth_call', call, 'latest')) as string;
      return interfaces[contract].decodeFunctionResult(method, result);
    },
    within: async (game) => {
      const snapshot = await request('evm_snapshot');
      const before = nowSec;
      try {
        return await game();
      } finally {
        await request('evm_revert', snapshot);
        nowSec = before;
        isAhead = false;
      }
    },
    mine: async (blocks) => {
      for (let i = 0; i < blocks; i += 1) {
        await mineOne();
      }
    },
    close: () => connection.close(),
  };
}

function dataOf(error: unknown): string | undefined {
  for (let at: unknown = error; typeof at === 'object' && at !== null; ) {
    const data: unknown = 'data' in at ? at.data : undefined;
    if (typeof data === 'string' && data.startsWith('0x')) return data;
    if (
      typeof data === 'object' &&
      data !== null &&
      'data' in data &&
      typeof data.data === 'string'
    )
      return data.data;
    at = 'cause' in at ? at.cause : undefined;
  }
  return undefined;
}
