// What an account has earned by settled receipts, added up from the batches on IPFS: as a
// function's publisher, as the provider that ran it, and as the gateway that takes a fee.
import type { ChainView, SettledBatch } from '../../contracts/chain/types.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { splitPrice } from '../../contracts/libraries/tariffs.ts';
import { batchCid, type GetBlock, readBatch } from './batch.ts';
import type { BatchReceipt } from './batch-format.ts';

export type EarningRole = 'publisher' | 'provider' | 'gateway';

/** The receipts that share all of these, and what the account earned by them. */
export interface Earning {
  readonly role: EarningRole;
  /** `owner/name`, owner as an address. */
  readonly function: string;
  readonly version: number;
  /** Day on which the calls ended, UTC: `2026-12-01`. */
  readonly day: string;
  readonly payer: Address;
  readonly gateway: Address;
  readonly calls: number;
  /** What callers paid, and the account's part of it, base units. */
  readonly pricesUnits: bigint;
  readonly earnedUnits: bigint;
}

export interface EarningsOptions {
  readonly view: Pick<ChainView, 'batches' | 'functionById' | 'ownerAt' | 'versionByHash'>;
  readonly getBlock: GetBlock;
  readonly account: Address;
  /** Calls that ended before are left out, Unix seconds. */
  readonly sinceSec?: number;
  readonly onBatch?: (done: number, of: number) => void;
}

/**
 * Reads every settled batch, page by page: memory grows with the number of rows, not of receipts.
 * Each block is checked against its CID. Whether the receipts are right is for the audit to say.
 * @throws BATCH_BLOCK_MISSING, BATCH_BLOCK_ALTERED, BATCH_MALFORMED
 */
export async function readEarnings(options: EarningsOptions): Promise<readonly Earning[]> {
  const rows = new Map<string, Earning>();
  const batches = options.view.batches();
  for (const [index, settled] of batches.entries()) {
    const { lanes } = await readBatch(batchCid(settled.cidDigest), options.getBlock);
    for (const lane of lanes) {
      for await (const receipt of lane.receipts()) addReceipt(rows, options, settled, receipt);
    }
    options.onBatch?.(index + 1, batches.length);
  }
  return [...rows.values()];
}

function addReceipt(
  rows: Map<string, Earning>,
  { view, account, sinceSec = 0 }: EarningsOptions,
  settled: SettledBatch,
  { receipt, call, execution }: BatchReceipt,
): void {
  if (execution.finishedAtSec < sinceSec) return;
  const version = view.versionByHash(call.functionVersion);
  const fn = version && view.functionById(version.functionId);
  // The audit names receipts of unknown versions; nobody earns by them.
  if (!version || !fn) return;
  const shares = splitPrice(receipt.price, settled.feeBps, version.tariff.publisherBps);
  const parties: Readonly<Record<EarningRole, Address | undefined>> = {
    publisher: view.ownerAt(version.functionId, receipt.atBlock),
    provider: receipt.provider,
    gateway: settled.gateway,
  };
  const day = new Date(execution.finishedAtSec * 1000).toISOString().slice(0, 10);
  for (const role of ['publisher', 'provider', 'gateway'] as const) {
    if (parties[role] !== account) continue;
    const of = {
      role,
      function: `${fn.namespace}/${fn.name}`,
      version: version.number,
      day,
      payer: receipt.payer,
      gateway: settled.gateway,
    };
    const key = Object.values(of).join(' ');
    const { calls = 0, pricesUnits = 0n, earnedUnits = 0n } = rows.get(key) ?? {};
    rows.set(key, {
      ...of,
      calls: calls + 1,
      pricesUnits: pricesUnits + receipt.price,
      earnedUnits: earnedUnits + shares[role],
    });
  }
}
