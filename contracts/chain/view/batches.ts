// Settled batches: the claims and payouts of a transaction, gathered until the event that closes
// their batch.

import type { Address, Hex } from '../../libraries/keccak.ts';
import { listOf, type Replay, toAddress } from '../replay.ts';
import type { ChainView, ClaimedLog, SettledBatch } from '../types.ts';
import type { History } from './history.ts';

type Batches = Pick<ChainView, 'batch' | 'batches'>;

interface Pending {
  readonly tx: Hex;
  readonly claims: ClaimedLog[];
  readonly payouts: { readonly payee: Address; readonly amount: bigint }[];
}

/**
 * Reads `before` before the money handlers apply the event: a claim needs the lane's former values.
 */
export function createBatches(
  history: History,
  before: Pick<ChainView, 'lane'> & { feeAt(gateway: Address, timestampSec: number): number },
): { queries: Batches; replay: Replay } {
  const batches: SettledBatch[] = [];
  const byGateway = new Map<Address, SettledBatch[]>();
  // Lives within one transaction only, so it needs no undo history.
  let pending: Pending = { tx: '0x', claims: [], payouts: [] };
  const pendingOf = (tx: Hex): Pending => {
    if (pending.tx !== tx) pending = { tx, claims: [], payouts: [] };
    return pending;
  };

  const replay: Replay = {
    billing: {
      Claimed: ({ payer, gateway, signer, settled, seq, receipts }, { tx }) => {
        const lane = before.lane(toAddress(payer), toAddress(gateway), toAddress(signer));
        pendingOf(tx).claims.push({
          payer: toAddress(payer),
          signer: toAddress(signer),
          settledFrom: lane?.settled ?? 0n,
          settled,
          seqFrom: lane?.seq ?? 0,
          seq: Number(seq),
          receipts,
        });
      },
      Paid: ({ payee, amount }, { tx }) => {
        pendingOf(tx).payouts.push({ payee: toAddress(payee), amount });
      },
      BatchSettled: (args, { tx, blockNumber, timestampSec }) => {
        const { claims, payouts } = pendingOf(tx);
        const gateway = toAddress(args.gateway);
        const batch: SettledBatch = {
          gateway,
          batch: Number(args.batch),
          root: args.root,
          cidDigest: args.cid,
          total: args.total,
          fee: args.fee,
          feeBps: before.feeAt(gateway, timestampSec),
          blockNumber,
          timestampSec,
          tx,
          claims,
          payouts,
        };
        history.push(batches, batch);
        history.push(listOf(byGateway, gateway), batch);
        pending = { tx: '0x', claims: [], payouts: [] };
      },
    },
  };
  const queries: Batches = {
    batch: (gateway, number) => {
      const known = byGateway.get(gateway) ?? [];
      // The contract numbers a gateway's batches without a gap.
      const found = known[number - (known[0]?.batch ?? 0)];
      return found?.batch === number ? found : undefined;
    },
    batches: (gateway) => [...(gateway === undefined ? batches : (byGateway.get(gateway) ?? []))],
  };
  return { queries, replay };
}
