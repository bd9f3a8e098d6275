// Reads the signed receipt of a proven D2, which Disputes' events leave out, from the transaction's
// data. Finds it also if another contract forwarded the call unchanged.
import { Interface, type JsonRpcProvider, type Result } from 'ethers';
import { artifacts } from '../artifacts.gen.ts';
import type { Hex } from '../libraries/keccak.ts';
import { followPath } from '../libraries/ordered-merkle.ts';
import { hashReceipt, type Receipt } from '../libraries/receipts.ts';
import type { SignedReceipt } from './evidence.ts';
import { toAddress } from './replay.ts';
import type { ContractAddresses } from './types.ts';

/** Most positions tried in one transaction's data. */
const MAX_TRIES = 64;

const disputes = new Interface(artifacts.Disputes.abi);

interface Asking {
  readonly provider: JsonRpcProvider;
  readonly contracts: ContractAddresses;
}

/**
 * The receipt with which a D2 was proven; undefined if the transaction's data does not contain it.
 * @throws ChainError CHAIN_UNREACHABLE
 */
export async function readProvenReceipt(
  chain: Asking,
  proven: { readonly id: Hex; readonly blockNumber: number },
): Promise<SignedReceipt | undefined> {
  for (const { signed } of await callsAt(chain, proven, 'proveOmission')) {
    const { index, count, path, signature } = signed;
    const found: SignedReceipt = {
      receipt: receiptOf(signed.receipt),
      index: Number(index),
      count: Number(count),
      path: [...path],
      signature,
    };
    const leaf = hashReceipt(found.receipt);
    if (followPath(leaf, found.index, found.count, found.path) !== undefined) return found;
  }
  return undefined;
}

/**
 * Decodes the calls of a method of Disputes in the transaction that emitted an event with this id
 * in that block.
 */
async function callsAt(
  { provider, contracts }: Asking,
  { id, blockNumber }: { readonly id: Hex; readonly blockNumber: number },
  method: string,
): Promise<Result[]> {
  const block = `0x${blockNumber.toString(16)}`;
  const logs: { readonly transactionHash: Hex }[] = await provider.send('eth_getLogs', [
    { address: contracts.disputes, topics: [null, id], fromBlock: block, toBlock: block },
  ]);
  const calls: Result[] = [];
  for (const hash of new Set(logs.map(({ transactionHash }) => transactionHash))) {
    const sent: { readonly input?: string } | null = await provider.send(
      'eth_getTransactionByHash',
      [hash],
    );
    calls.push(...callsIn(sent?.input ?? '0x', method));
  }
  return calls;
}

/** Decodes the arguments after every occurrence of the method's selector in `data`. */
function callsIn(data: string, method: string): Result[] {
  const selector = disputes.getFunction(method)?.selector.slice(2) ?? '';
  const found: Result[] = [];
  let at = data.indexOf(selector, 2);
  for (let tries = 0; at >= 0 && tries < MAX_TRIES; tries += 1) {
    try {
      if (at % 2 === 0) found.push(disputes.decodeFunctionData(method, `0x${data.slice(at)}`));
    } catch {
      // These bytes only look like the selector.
    }
    at = data.indexOf(selector, at + 1);
  }
  return found;
}

function receiptOf(receipt: Result): Receipt {
  return {
    payer: toAddress(receipt.payer),
    gateway: toAddress(receipt.gateway),
    signer: toAddress(receipt.signer),
    seq: Number(receipt.seq),
    call: receipt.call,
    execution: receipt.execution,
    provider: toAddress(receipt.provider),
    attempt: Number(receipt.attempt),
    atBlock: Number(receipt.atBlock),
    price: receipt.price,
    cumulative: receipt.cumulative,
  };
}
