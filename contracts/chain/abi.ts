// The contracts' ABIs at their addresses: encodes calls, decodes answers and logs.
import { Interface, type Result } from 'ethers';
import { artifacts } from '../artifacts.gen.ts';
import type { Address, Hex } from '../libraries/keccak.ts';

/**
 * The contracts' names in `ContractAddresses`. `token` is any ERC-20; its ABI has MockUSDC's `mint`
 * too.
 */
export type ContractName = 'registry' | 'identity' | 'billing' | 'disputes' | 'beacon' | 'token';

/** A log in JSON-RPC's form, and the decoded log. */
export interface DecodedLog {
  readonly contract: ContractName;
  readonly event: string;
  readonly args: Result;
}

export interface Abi {
  /** Addresses of the contracts whose logs make up the state: all but the token. */
  readonly addresses: readonly Address[];
  encode(contract: ContractName, method: string, args: readonly unknown[]): Hex;
  decode(contract: ContractName, method: string, data: string): Result;
  /** Undefined for a log of another contract or of an event we do not know. */
  decodeLog(log: {
    readonly address: string;
    readonly topics: readonly string[];
    readonly data: string;
  }): DecodedLog | undefined;
}

const INTERFACES: Readonly<Record<ContractName, Interface>> = {
  registry: new Interface(artifacts.FunctionRegistry.abi),
  identity: new Interface(artifacts.Identity.abi),
  billing: new Interface(artifacts.Billing.abi),
  disputes: new Interface(artifacts.Disputes.abi),
  beacon: new Interface(artifacts.Beacon.abi),
  token: new Interface(artifacts.MockUSDC.abi),
};

export function createAbi(contracts: Readonly<Record<ContractName, Address>>): Abi {
  const names = Object.keys(INTERFACES) as ContractName[]; // a Record's own keys
  const byAddress = new Map(names.map((name) => [contracts[name], name]));
  return {
    addresses: names.filter((name) => name !== 'token').map((name) => contracts[name]),
    encode: (contract, method, args) =>
      INTERFACES[contract].encodeFunctionData(method, args) as Hex, // ethers types hex as string
    decode: (contract, method, data) => INTERFACES[contract].decodeFunctionResult(method, data),
    decodeLog: (log) => {
      const contract = byAddress.get(log.address.toLowerCase() as Address);
      const parsed = contract && INTERFACES[contract].parseLog(log);
      return contract && parsed ? { contract, event: parsed.name, args: parsed.args } : undefined;
    },
  };
}
