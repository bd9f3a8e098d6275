// Sends one account's transactions: estimates gas, orders nonces, waits for inclusion, decodes
// reverts.
import {
  dataLength,
  type JsonRpcProvider,
  Transaction,
  type TransactionLike,
  type TransactionRequest,
  Wallet,
} from 'ethers';
import type { Address, Hex } from '../libraries/keccak.ts';
import type { Abi, ContractName, DecodedLog } from './abi.ts';
import { type ChainError, chainErrorOf, revertedOf } from './chain-error.ts';
import type { Exclusively } from './exclusively.ts';
import {
  createNonceLine,
  type NonceLine,
  type RpcReceipt,
  type SendOptions,
  type SignedTransaction,
} from './nonce-line.ts';

/** An included transaction with the logs of our contracts in order. */
export interface Sent {
  readonly tx: Hex;
  readonly blockNumber: number;
  readonly logs: readonly DecodedLog[];
}

export interface Account {
  readonly address: Address;
  /**
   * Sends a contract call and waits until it is included. Calls are sent in the order of the
   * requests; a call waits until the one before it is sent, not until that one is included.
   * @throws ChainError CHAIN_REVERTED and the codes of known reverts; CHAIN_GAS, CHAIN_PENDING,
   *   CHAIN_REPLACED, CHAIN_UNREACHABLE
   */
  send(
    contract: ContractName,
    method: string,
    args: readonly unknown[],
    options?: SendOptions,
  ): Promise<Sent>;
  /**
   * Resumes a call that was signed earlier: broadcasts it again, raises its fee and waits. `signed`
   * holds all transactions of the call, the newest last. They share one nonce, so at most one is
   * included.
   * @throws as `send`
   */
  resume(signed: readonly SignedTransaction[], options?: SendOptions): Promise<Sent>;
  /**
   * Simulates the call at the newest block; sends nothing.
   * @throws ChainError  what `send` would be refused with
   */
  check(contract: ContractName, method: string, args: readonly unknown[]): Promise<void>;
  /** Simulates like `check` and returns the gas and length of the transaction. */
  estimate(
    contract: ContractName,
    method: string,
    args: readonly unknown[],
  ): Promise<TransactionSize>;
  /** Most gas of one transaction here: the chain's cap, or a whole block where that is less. */
  transactionGasMax(): Promise<bigint>;
}

/** Size of a transaction. */
export interface TransactionSize {
  readonly gas: bigint;
  /** Length of the signed transaction as nodes relay it, bytes. */
  readonly bytes: number;
}

export interface AccountOptions {
  readonly abi: Abi;
  readonly contracts: Readonly<Record<ContractName, Address>>;
  readonly provider: JsonRpcProvider;
  readonly chainId: number;
  readonly privateKey: Hex;
  /** Nonce queues that other clients in this process share. */
  readonly lines: Map<Address, NonceLine>;
  readonly pollMs: number;
  /** Longest wait for inclusion, ms. */
  readonly waitMs: number;
  /** The fee is raised after this long without inclusion, ms. */
  readonly bumpMs: number;
  /** Most gas of one transaction on this chain. */
  readonly gasCap: number;
  /** Held by each send until its transaction is included. */
  readonly exclusively: Exclusively;
}

/** Sizes for the length estimate; in RLP a signature is a parity and two 32-byte numbers. */
const MAX_FEE = 2n ** 64n - 1n;
const MAX_NONCE = 2 ** 40;
const SIGNATURE_BYTES = 1 + 33 + 33;

export function createAccount(options: AccountOptions): Account {
  const { abi, contracts, provider, chainId } = options;
  const gasCap = BigInt(options.gasCap);
  const wallet = new Wallet(options.privateKey);
  const address = wallet.address.toLowerCase() as Address; // ethers gives a checksummed address
  const line =
    options.lines.get(address) ??
    createNonceLine({
      provider,
      wallet,
      chainId,
      pollMs: options.pollMs,
      waitMs: options.waitMs,
      bumpMs: options.bumpMs,
      gasLimit: (estimate) => withMargin(estimate, gasCap),
    });
  options.lines.set(address, line);

  /** The result of an included transaction. */
  const sentOf = async (receipt: RpcReceipt, data: Hex, to: Address, doing: string) => {
    const blockNumber = Number(receipt.blockNumber);
    if (Number(receipt.status) === 0) {
      throw await replay(provider, { from: address, to, data, blockTag: blockNumber }, doing);
    }
    const logs = receipt.logs.flatMap((log) => abi.decodeLog(log) ?? []);
    return { tx: receipt.transactionHash, blockNumber, logs };
  };

  const sendOne: Account['send'] = async (contract, method, args, sending = {}) => {
    const doing = `${contract}.${method}`;
    const to = contracts[contract];
    try {
      const data = abi.encode(contract, method, args);
      return await sentOf(await line.send(to, data, { ...sending, doing }), data, to, doing);
    } catch (error) {
      throw chainErrorOf(doing, error);
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
    send: (...given) => options.exclusively(address, () => sendOne(...given)),
    resume: (signed, sending = {}) =>
      options.exclusively(address, async () => {
        const doing = 'a call that was sent earlier';
        try {
          const receipt = await line.resume(signed, { ...sending, doing });
          const { data, to } = Transaction.from(signed.at(-1)?.raw);
          // Safe: ethers types hex as string, and we have signed it to a contract.
          return await sentOf(receipt, data as Hex, (to ?? address) as Address, doing);
        } catch (error) {
          throw chainErrorOf(doing, error);
        }
      }),
  };
}

/**
 * Finds out why an included transaction reverted: the receipt does not say, so the call is
 * simulated again at its block.
 */
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

/** Upper bound of a transaction's length with its nonce, fees and signature. */
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

/**
 * Adds a fifth to the estimate, because the state may change meanwhile; capped at the limit of one
 * transaction.
 */
function withMargin(estimate: bigint, cap: bigint): bigint {
  const wanted = (estimate * 12n) / 10n;
  if (wanted <= cap) return wanted;
  return estimate > cap ? estimate : cap;
}
