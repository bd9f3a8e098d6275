// One account's way of sending: nonces in one place and in order, gas estimated, inclusion awaited, refusals decoded.
import {
  dataLength,
  isError,
  type JsonRpcProvider,
  Transaction,
  type TransactionLike,
  type TransactionRequest,
  Wallet,
} from 'ethers';
import type { Address, Hex } from '../libraries/keccak.ts';
import type { Abi, ContractName, DecodedLog } from './abi.ts';
import { ChainError, chainErrorOf, revertedOf } from './chain-error.ts';

/** An included transaction, and our contracts' logs of it in order. */
export interface Sent {
  readonly tx: Hex;
  readonly blockNumber: number;
  readonly logs: readonly DecodedLog[];
}

export interface Account {
  readonly address: Address;
  /**
   * Sends a call of a contract and waits until it is included. Calls are sent in the order they were asked for, each after the one
   * before is sent, not after it is included.
   * @throws ChainError CHAIN_REVERTED and the codes of known reverts; CHAIN_GAS, CHAIN_PENDING, CHAIN_UNREACHABLE
   */
  send(contract: ContractName, method: string, args: readonly unknown[]): Promise<Sent>;
  /** Asks the node what would come of it as of the newest block; nothing is sent. @throws ChainError  what `send` would be refused with */
  check(contract: ContractName, method: string, args: readonly unknown[]): Promise<void>;
  /** As `check`, and what sending it would take. */
  estimate(
    contract: ContractName,
    method: string,
    args: readonly unknown[],
  ): Promise<TransactionSize>;
  /** Most gas of one transaction here: the chain's cap, or a whole block where that is less. */
  transactionGasMax(): Promise<bigint>;
}

/** What a transaction takes. */
export interface TransactionSize {
  readonly gas: bigint;
  /** Length of the signed transaction as nodes pass it on. */
  readonly bytes: number;
}

export interface AccountOptions {
  readonly abi: Abi;
  readonly contracts: Readonly<Record<ContractName, Address>>;
  readonly provider: JsonRpcProvider;
  readonly chainId: number;
  readonly privateKey: Hex;
  readonly pollMs: number;
  /** Longest wait for inclusion, ms. */
  readonly waitMs: number;
  /** Most gas of one transaction on this chain. */
  readonly gasCap: number;
}

/** What a transaction's length is reckoned with; the signature is a parity and two numbers of 32 bytes in RLP. */
const MAX_FEE = 2n ** 64n - 1n;
const MAX_NONCE = 2 ** 40;
const SIGNATURE_BYTES = 1 + 33 + 33;

interface RpcReceipt {
  readonly status: Hex;
  readonly blockNumber: Hex;
  readonly logs: readonly { address: string; topics: string[]; data: string }[];
}

export function createAccount(options: AccountOptions): Account {
  const { abi, contracts, provider, chainId, pollMs, waitMs } = options;
  const gasCap = BigInt(options.gasCap);
  const wallet = new Wallet(options.privateKey);
  const address = wallet.address.toLowerCase() as Address; // ethers gives a checksummed address
  /** The next nonce; undefined when only the chain knows it. */
  let nonce: number | undefined;
  let queue: Promise<unknown> = Promise.resolve();

  const inOrder = <T>(task: () => Promise<T>): Promise<T> => {
    const done = queue.then(task, task);
    queue = done.catch(() => undefined); // whoever asked for `done` hears of its failure
    return done;
  };

  const broadcast = async (to: Address, data: Hex): Promise<Hex> => {
    try {
      const [estimate, fees, next] = await Promise.all([
        provider.estimateGas({ from: address, to, data }),
        readFees(provider),
        nonce ?? provider.getTransactionCount(address, 'pending'),
      ]);
      const gasLimit = withMargin(estimate, gasCap);
      const request = { to, data, chainId, gasLimit, nonce: next, ...fees };
      const hash: Hex = await provider.send('eth_sendRawTransaction', [
        await wallet.signTransaction(request),
      ]);
      nonce = next + 1;
      return hash;
    } catch (error) {
      nonce = undefined;
      throw error;
    }
  };

  const broadcastOnce = async (to: Address, data: Hex): Promise<Hex> => {
    try {
      return await broadcast(to, data);
    } catch (error) {
      // Somebody else has sent from this account; the chain has been asked for the nonce again.
      if (!isNonceRefused(error)) throw error;
      return broadcast(to, data);
    }
  };

  const included = async (hash: Hex, doing: string): Promise<RpcReceipt> => {
    const deadlineMs = Date.now() + waitMs;
    for (;;) {
      const receipt: RpcReceipt | null = await provider.send('eth_getTransactionReceipt', [hash]);
      if (receipt !== null) return receipt;
      if (Date.now() > deadlineMs) {
        nonce = undefined;
        const message = `${doing}: transaction ${hash} is not included after ${waitMs} ms, look it up before sending again`;
        throw new ChainError('CHAIN_PENDING', message);
      }
      await new Promise((resolve) => setTimeout(resolve, pollMs));
    }
  };

  return {
    address,
    check: async (contract, method, args) => {
      try {
        const data = abi.encode(contract, method, args);
        await provider.call({ from: address, to: contracts[contract], data });
      } catch (error) {
        throw chainErrorOf(`${contract}.${method}`, error);
      }
    },
    estimate: async (contract, method, args) => {
      const to = contracts[contract];
      const data = abi.encode(contract, method, args);
      try {
        const gas = await provider.estimateGas({ from: address, to, data });
        return { gas, bytes: signedBytes({ to, data, chainId, gasLimit: gas }) };
      } catch (error) {
        throw chainErrorOf(`${contract}.${method}`, error);
      }
    },
    transactionGasMax: async () => {
      const block = await provider.getBlock('latest');
      return block !== null && block.gasLimit < gasCap ? block.gasLimit : gasCap;
    },
    send: async (contract, method, args) => {
      const doing = `${contract}.${method}`;
      const to = contracts[contract];
      try {
        const data = abi.encode(contract, method, args);
        const tx = await inOrder(() => broadcastOnce(to, data));
        const receipt = await included(tx, doing);
        const blockNumber = Number(receipt.blockNumber);
        if (Number(receipt.status) === 0) {
          throw await replay(provider, { from: address, to, data, blockTag: blockNumber }, doing);
        }
        const logs = receipt.logs.flatMap((log) => abi.decodeLog(log) ?? []);
        return { tx, blockNumber, logs };
      } catch (error) {
        throw chainErrorOf(doing, error);
      }
    },
  };
}

/** Why an included transaction reverted: the receipt does not say, so it is called once more as of its block. */
async function replay(
  provider: JsonRpcProvider,
  request: TransactionRequest,
  doing: string,
): Promise<ChainError> {
  try {
    await provider.call(request);
  } catch (error) {
    return chainErrorOf(doing, error);
  }
  return revertedOf(doing, undefined);
}

/** The length of a transaction once it has its nonce, its fees and its signature, at their longest. */
function signedBytes(fields: Partial<TransactionLike<string>>): number {
  const fees = { maxFeePerGas: MAX_FEE, maxPriorityFeePerGas: MAX_FEE };
  const { unsignedSerialized } = Transaction.from({
    ...fields,
    type: 2,
    nonce: MAX_NONCE,
    ...fees,
  });
  return dataLength(unsignedSerialized) + SIGNATURE_BYTES;
}

/** A fifth more than estimated, for state that changes meanwhile, within what one transaction may use. */
function withMargin(estimate: bigint, cap: bigint): bigint {
  const wanted = (estimate * 12n) / 10n;
  if (wanted <= cap) return wanted;
  return estimate > cap ? estimate : cap;
}

async function readFees(
  provider: JsonRpcProvider,
): Promise<
  Pick<TransactionRequest, 'type' | 'gasPrice' | 'maxFeePerGas' | 'maxPriorityFeePerGas'>
> {
  const { gasPrice, maxFeePerGas, maxPriorityFeePerGas } = await provider.getFeeData();
  // A chain with free gas has accounts without money: they can promise no fee.
  if (gasPrice === 0n || maxFeePerGas === null) return { type: 0, gasPrice: gasPrice ?? 0n };
  return { type: 2, maxFeePerGas, maxPriorityFeePerGas };
}

function isNonceRefused(error: unknown): boolean {
  if (isError(error, 'NONCE_EXPIRED') || isError(error, 'REPLACEMENT_UNDERPRICED')) return true;
  return error instanceof Error && /nonce too (low|high)/i.test(error.message);
}
