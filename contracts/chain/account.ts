// One account's way of sending: gas estimated, nonces in one line, inclusion awaited, refusals
// decoded.
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
import {
  createNonceLine,
  type NonceLine,
  type RpcReceipt,
  type SendOptions,
  type SignedTransaction,
} from './nonce-line.ts';

/** An included transaction, and our contracts' logs of it in order. */
export interface Sent {
  readonly tx: Hex;
  readonly blockNumber: number;
  readonly logs: readonly DecodedLog[];
}

export interface Account {
  readonly address: Address;
  /**
   * Sends a call of a contract and waits until it is included. Calls are sent in the order they
   * were asked for, each after the one before is sent, not after it is included.
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
   * Goes on with a call that was signed earlier, all its transactions, the newest last: gives it
   * out again, waits, and raises its fee. It is included once at most, whoever has given it out
   * before. @throws as `send`
   */
  resume(signed: readonly SignedTransaction[], options?: SendOptions): Promise<Sent>;
  /**
   * Asks the node what would come of it as of the newest block; nothing is sent.
   * @throws ChainError  what `send` would be refused with
   */
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
  /** The nonces of accounts that others in this process send from too. */
  readonly lines: Map<Address, NonceLine>;
  readonly pollMs: number;
  /** Longest wait for inclusion, ms. */
  readonly waitMs: number;
  /** After so long without inclusion the fee is raised, ms. */
  readonly bumpMs: number;
  /** Most gas of one transaction on this chain. */
  readonly gasCap: number;
}

/**
 * What a transaction's length is reckoned with; the signature is a parity and two numbers of 32
 * bytes in RLP.
 */
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

  /** What came of an included transaction. */
  const sentOf = async (receipt: RpcReceipt, data: Hex, to: Address, doing: string) => {
    const blockNumber = Number(receipt.blockNumber);
    if (Number(receipt.status) === 0) {
      throw await replay(provider, { from: address, to, data, blockTag: blockNumber }, doing);
    }
    const logs = receipt.logs.flatMap((log) => abi.decodeLog(log) ?? []);
    return { tx: receipt.transactionHash, blockNumber, logs };
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
    send: async (contract, method, args, sending = {}) => {
      const doing = `${contract}.${method}`;
      const to = contracts[contract];
      try {
        const data = abi.encode(contract, method, args);
        return await sentOf(await line.send(to, data, { ...sending, doing }), data, to, doing);
      } catch (error) {
        throw chainErrorOf(doing, error);
      }
    },
    resume: async (signed, sending = {}) => {
      const doing = 'a call that was sent earlier';
      try {
        const receipt = await line.resume(signed, { ...sending, doing });
        const { data, to } = Transaction.from(signed.at(-1)?.raw);
        // Safe: ethers types hex as string, and we have signed it to a contract.
        return await sentOf(receipt, data as Hex, (to ?? address) as Address, doing);
      } catch (error) {
        throw chainErrorOf(doing, error);
      }
    },
  };
}

/**
 * Why an included transaction reverted: the receipt does not say, so it is called once more as of
 * its block.
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

/**
 * The length of a transaction once it has its nonce, its fees and its signature, at their longest.
 */
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
 * A fifth more than estimated, for state that changes meanwhile, within what one transaction may
 * use.
 */
function withMargin(estimate: bigint, cap: bigint): bigint {
  const wanted = (estimate * 12n) / 10n;
  if (wanted <= cap) return wanted;
  return estimate > cap ? estimate : cap;
}
