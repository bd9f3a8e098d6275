// Sends one account's transactions in nonce order: signs, keeps and broadcasts them, and broadcasts
// again with a higher fee until one transaction per nonce is included. Another process may send
// from the same account; the chain decides which transaction gets a nonce.
import {
  isError,
  type JsonRpcProvider,
  keccak256,
  Transaction,
  type TransactionRequest,
  type Wallet,
} from 'ethers';
import type { Address, Hex } from '../libraries/keccak.ts';
import { ChainError } from './chain-error.ts';

/**
 * A signed transaction. It may be broadcast any number of times: its nonce allows one inclusion.
 */
export interface SignedTransaction {
  readonly nonce: number;
  /** Its hash. */
  readonly tx: Hex;
  readonly raw: Hex;
}

export interface SendOptions {
  /** Receives each transaction signed for the call, and is awaited before the broadcast. */
  readonly onSigned?: (signed: SignedTransaction) => Promise<void>;
}

/** The receipt of an included transaction in JSON-RPC's form. */
export interface RpcReceipt {
  readonly transactionHash: Hex;
  readonly status: Hex;
  readonly blockNumber: Hex;
  readonly logs: readonly { address: string; topics: string[]; data: string }[];
}

export interface NonceLine {
  /**
   * Sends a call and waits until it is included, reverted or not. Calls are sent in the order of
   * the requests; a call waits until the one before it is sent, not until that one is included.
   * @throws ChainError CHAIN_PENDING   not included in time; it still may be
   * @throws ChainError CHAIN_REPLACED  another transaction has its nonce: it never will be
   */
  send(
    to: Address,
    data: Hex,
    options: SendOptions & { readonly doing: string },
  ): Promise<RpcReceipt>;
  /**
   * Resumes a call that was signed earlier, perhaps by a process that has ended. `signed` holds all
   * transactions of one nonce, the newest last.
   * @throws as `send`; CHAIN_PENDING also while this process itself waits for it
   */
  resume(
    signed: readonly SignedTransaction[],
    options: SendOptions & { readonly doing: string },
  ): Promise<RpcReceipt>;
}

export interface NonceLineOptions {
  readonly provider: JsonRpcProvider;
  readonly wallet: Wallet;
  readonly chainId: number;
  readonly pollMs: number;
  /** Longest wait for inclusion, ms. */
  readonly waitMs: number;
  /** The fee is raised after this long without inclusion, ms. */
  readonly bumpMs: number;
  /** The gas limit for a node's estimate. */
  readonly gasLimit: (estimate: bigint) => bigint;
}

/** Nodes accept a replacement that offers a tenth more; a quarter more needs fewer replacements. */
const BUMP = { times: 5n, parts: 4n } as const;
/** No fee is raised above this multiple of the current market fee. */
const MOST_TIMES_MARKET = 4n;
/** Most raises of the fee before a transaction is taken by a node. */
const MOST_RAISES = 4n;
/**
 * Attempts to send with a new nonce. Each refusal means that another transaction of the account got
 * its nonce, so with fewer other senders it ends.
 */
const NONCE_ATTEMPTS = 50;
/**
 * A lagging node may report a nonce as used before it has the receipt: this many polls must agree
 * before the transaction counts as replaced.
 */
const LOOKS_UNTIL_LOST = 4;

type Fees = Pick<TransactionRequest, 'type' | 'gasPrice' | 'maxFeePerGas' | 'maxPriorityFeePerGas'>;

/** A nonce that this process waits for, or has given up waiting for. */
interface Flight {
  readonly request: TransactionRequest & { readonly nonce: number };
  readonly onSigned: SendOptions['onSigned'];
  readonly signed: SignedTransaction[];
  fees: Fees;
  bumpAtMs: number;
  isAwaited: boolean;
}

export function createNonceLine(options: NonceLineOptions): NonceLine {
  const { provider, wallet, chainId, pollMs, waitMs, bumpMs } = options;
  const flights = new Map<number, Flight>();
  /** The next nonce; undefined if it must be read from the chain. */
  let next: number | undefined;
  let queue: Promise<unknown> = Promise.resolve();

  const inOrder = <T>(task: () => Promise<T>): Promise<T> => {
    const done = queue.then(task, task);
    queue = done.catch(() => undefined); // whoever asked for `done` hears of its failure
    return done;
  };

  /** Signs with these fees, calls `onSigned`, then broadcasts. */
  const put = async (flight: Flight, fees: Fees): Promise<void> => {
    const raw = (await wallet.signTransaction({ ...flight.request, ...fees })) as Hex; // ethers types hex as string
    const signed = { nonce: flight.request.nonce, tx: keccak256(raw) as Hex, raw };
    await flight.onSigned?.(signed);
    flight.signed.push(signed);
    flight.fees = fees;
    flight.bumpAtMs = Date.now() + bumpMs;
    await push(provider, raw);
  };

  const launch = async (
    to: Address,
    data: Hex,
    onSigned: SendOptions['onSigned'],
    raised: bigint,
    trying: { nonce: number },
  ): Promise<Flight> => {
    try {
      const [estimate, market, nonce] = await Promise.all([
        provider.estimateGas({ from: wallet.address, to, data }),
        readFees(provider),
        next ?? provider.getTransactionCount(wallet.address, 'pending'),
      ]);
      trying.nonce = nonce;
      const request = { to, data, chainId, gasLimit: options.gasLimit(estimate), nonce };
      const flight = { request, onSigned, signed: [], fees: market, bumpAtMs: 0, isAwaited: true };
      await put(flight, timesOf(market, raised));
      flights.set(nonce, flight);
      next = nonce + 1;
      return flight;
    } catch (error) {
      next = undefined;
      throw error;
    }
  };

  const launchOnce = async (
    to: Address,
    data: Hex,
    onSigned: SendOptions['onSigned'],
  ): Promise<Flight> => {
    let raised = 0n;
    let refused: number | undefined;
    const trying = { nonce: -1 };
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await launch(to, data, onSigned, raised, trying);
      } catch (error) {
        const isSameNonce = refused === trying.nonce;
        refused = trying.nonce;
        if (isNonceRefused(error) && attempt < NONCE_ATTEMPTS) {
          // The node is behind: it gives a nonce that it knows to be used.
          if (isSameNonce) await new Promise((resolve) => setTimeout(resolve, pollMs));
          continue;
        }
        if (!isFeeRefused(error) || raised === MOST_RAISES) throw error;
        // The node may hold another sender's transaction with this nonce, which must not be
        // replaced: the fee is raised only if the nonce is given again.
        if (isSameNonce || !isReplacementRefused(error)) raised += 1n;
      }
    }
  };

  /**
   * Replaces a pending transaction by one with a higher, bounded fee; where gas is free, only
   * broadcasts it again.
   */
  const bump = async (flight: Flight): Promise<void> => {
    flight.bumpAtMs = Date.now() + bumpMs;
    const market = await readFees(provider);
    const fees = raisedFees(flight.fees, market);
    try {
      if (fees !== undefined) await put(flight, fees);
      else await push(provider, flight.signed.at(-1)?.raw ?? '0x');
    } catch (error) {
      // It may be included by now, or the node may be down: the next poll tells.
      if (!(error instanceof ChainError) && !isNonceRefused(error) && !isFeeRefused(error))
        throw error;
    }
  };

  /** Raises the due fees of this nonce and of the lower ones, which block it. */
  const bumpUpTo = async (nonce: number): Promise<void> => {
    for (const flight of [...flights.values()].sort((a, b) => a.request.nonce - b.request.nonce)) {
      if (flight.request.nonce > nonce) return;
      if (flight.bumpAtMs <= Date.now()) await bump(flight);
    }
  };

  const land = async (flight: Flight, doing: string): Promise<RpcReceipt> => {
    const { nonce } = flight.request;
    const deadlineMs = Date.now() + waitMs;
    let looks = 0;
    try {
      for (;;) {
        const receipt = await receiptOf(provider, flight.signed);
        if (receipt !== undefined) {
          flights.delete(nonce);
          return receipt;
        }
        const used = await provider.getTransactionCount(wallet.address, 'latest');
        for (const known of flights.keys()) if (known < used && known !== nonce) forget(known);
        looks = used > nonce ? looks + 1 : 0;
        if (looks >= LOOKS_UNTIL_LOST) {
          flights.delete(nonce);
          next = undefined;
          const message = `${doing}: another transaction of ${wallet.address} took nonce ${nonce} in its place, nothing was done; try again`;
          throw new ChainError('CHAIN_REPLACED', message);
        }
        if (Date.now() > deadlineMs) {
          next = undefined;
          const { tx } = flight.signed.at(-1) ?? {};
          const message = `${doing}: transaction ${tx} is not included after ${waitMs} ms, look it up before sending again`;
          throw new ChainError('CHAIN_PENDING', message);
        }
        if (used <= nonce) await bumpUpTo(nonce);
        await new Promise((resolve) => setTimeout(resolve, pollMs));
      }
    } finally {
      flight.isAwaited = false;
    }
  };
  /** Forgets a used nonce that nobody awaits any more. */
  const forget = (nonce: number): void => {
    if (flights.get(nonce)?.isAwaited === false) flights.delete(nonce);
  };

  return {
    send: async (to, data, { doing, onSigned }) =>
      land(await inOrder(() => launchOnce(to, data, onSigned)), doing),
    resume: async (signed, { doing, onSigned }) => {
      const newest = signed.at(-1);
      if (newest === undefined) throw new TypeError('nothing was signed');
      const { nonce } = newest;
      if (flights.get(nonce)?.isAwaited === true) {
        const message = `${doing}: transaction ${newest.tx} is on its way, wait for it`;
        throw new ChainError('CHAIN_PENDING', message);
      }
      const { to, data, gasLimit, type, gasPrice, maxFeePerGas, maxPriorityFeePerGas } =
        Transaction.from(newest.raw);
      const flight: Flight = {
        request: { to, data, gasLimit, nonce, chainId },
        onSigned,
        signed: [...signed],
        fees: type === 2 ? { type, maxFeePerGas, maxPriorityFeePerGas } : { type: 0, gasPrice },
        bumpAtMs: Date.now() + bumpMs,
        isAwaited: true,
      };
      flights.set(nonce, flight);
      next = undefined;
      // The node refuses it if it is included already or its nonce is used; `land` finds that out.
      await push(provider, newest.raw).catch((error) => {
        if (!isNonceRefused(error) && !isFeeRefused(error)) throw error;
      });
      return land(flight, doing);
    },
  };
}

/** Broadcasts; a node that already knows the transaction counts as success. */
async function push(provider: JsonRpcProvider, raw: Hex): Promise<void> {
  try {
    await provider.send('eth_sendRawTransaction', [raw]);
  } catch (error) {
    if (!(error instanceof Error) || !ALREADY_KNOWN.test(textOf(error))) throw error;
  }
}

async function receiptOf(
  provider: JsonRpcProvider,
  signed: readonly SignedTransaction[],
): Promise<RpcReceipt | undefined> {
  for (const { tx } of signed.toReversed()) {
    const receipt: RpcReceipt | null = await provider.send('eth_getTransactionReceipt', [tx]);
    if (receipt !== null) return receipt;
  }
  return undefined;
}

async function readFees(provider: JsonRpcProvider): Promise<Fees> {
  const { gasPrice, maxFeePerGas, maxPriorityFeePerGas } = await provider.getFeeData();
  // On a chain with free gas accounts have no money and can offer no fee.
  if (gasPrice === 0n || maxFeePerGas === null) return { type: 0, gasPrice: gasPrice ?? 0n };
  return { type: 2, maxFeePerGas, maxPriorityFeePerGas };
}

/** Applies `times` raises at once. */
function timesOf(fees: Fees, times: bigint): Fees {
  let raised = fees;
  for (let i = 0n; i < times; i += 1n) raised = mapFees(raised, increased);
  return raised;
}

/** The next, higher fee; undefined if gas is free or the fee would exceed the bound. */
function raisedFees(fees: Fees, market: Fees): Fees | undefined {
  const most = MOST_TIMES_MARKET * amountOf(market);
  if (amountOf(fees) === 0n) return undefined;
  const raised = mapFees(fees, increased);
  const wanted = amountOf(raised) < amountOf(market) && market.type === fees.type ? market : raised;
  return amountOf(wanted) > most ? undefined : wanted;
}

function mapFees(fees: Fees, change: (units: bigint) => bigint): Fees {
  const { type, gasPrice, maxFeePerGas, maxPriorityFeePerGas } = fees;
  if (type !== 2) return { type: 0, gasPrice: change(BigInt(gasPrice ?? 0n)) };
  return {
    type: 2,
    maxFeePerGas: change(BigInt(maxFeePerGas ?? 0n)),
    maxPriorityFeePerGas: change(BigInt(maxPriorityFeePerGas ?? 0n)),
  };
}

function increased(units: bigint): bigint {
  return units === 0n ? 0n : (units * BUMP.times) / BUMP.parts + 1n;
}

function amountOf({ type, gasPrice, maxFeePerGas }: Fees): bigint {
  return BigInt((type === 2 ? maxFeePerGas : gasPrice) ?? 0n);
}

const ALREADY_KNOWN = /already (known|imported|exists)|known transaction/i;
const FEE_REFUSED =
  /underpriced|less than (the )?(block )?base ?fee|fee too low|below (the )?minimum/i;

function isNonceRefused(error: unknown): boolean {
  if (isError(error, 'NONCE_EXPIRED')) return true;
  return error instanceof Error && /nonce (is )?too (low|high)|same nonce/i.test(textOf(error));
}

function isFeeRefused(error: unknown): boolean {
  if (isReplacementRefused(error)) return true;
  return error instanceof Error && FEE_REFUSED.test(textOf(error));
}

/** The node holds another transaction with this nonce. */
function isReplacementRefused(error: unknown): boolean {
  if (isError(error, 'REPLACEMENT_UNDERPRICED')) return true;
  return error instanceof Error && /replacement.*underpriced/i.test(textOf(error));
}

/** ethers' message, with the node's own in it. */
function textOf(error: Error): string {
  const info = 'error' in error ? error.error : undefined;
  const node = typeof info === 'object' && info !== null && 'message' in info ? info.message : '';
  return `${error.message} ${node}`;
}
