// GET /payouts/{payee}: what the gateway owes a payee, batch by batch, and the newest voucher for
// it. Public: the chain shows the same sums, and a voucher can pay nobody but its payee.
import type { FastifyInstance } from 'fastify';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import type { ListedPayout } from '../ledger/ledger.ts';
import { voucherOf } from '../settlement/payouts.ts';

/** Default number of batches per page. */
const PAGE = 20;
const MAX_PAGE = 20;

type PayoutQuery = {
  Params: { payee: string };
  Querystring: { before?: string; limit?: string };
};

export async function payoutRoutes(
  server: FastifyInstance,
  { gateway }: { readonly gateway: Gateway },
): Promise<void> {
  server.get<PayoutQuery>('/payouts/:payee', async (request, reply) => {
    const payee = request.params.payee.toLowerCase();
    const { before, limit = `${PAGE}` } = request.query;
    if (
      !/^0x[0-9a-f]{40}$/.test(payee) ||
      (before !== undefined && !/^\d{1,12}$/.test(before)) ||
      !/^[1-9]\d{0,4}$/.test(limit)
    ) {
      throw new DefaasError(
        'REQUEST_INVALID',
        'ask for /payouts/<address>, with before=<n> of the last page and limit=<count>',
      );
    }
    reply.header('cache-control', 'no-store');
    // Safe: the pattern above matches addresses only.
    return statement(gateway, payee as Address, {
      before: before === undefined ? Number.MAX_SAFE_INTEGER : Number(before),
      limit: Math.min(Number(limit), MAX_PAGE),
    });
  });
}

/** The reply; money as decimal strings. */
async function statement(
  gateway: Pick<Gateway, 'address' | 'chain' | 'groupSigner' | 'ledger'>,
  payee: Address,
  page: { readonly before: number; readonly limit: number },
): Promise<Record<string, unknown>> {
  const { view } = gateway.chain;
  const [newest] = await gateway.ledger.payouts({
    payee,
    before: Number.MAX_SAFE_INTEGER,
    limit: 1,
    isOwed: true,
  });
  const batches = await gateway.ledger.payouts({ payee, ...page, isOwed: false });
  const due = view.due(gateway.address, payee);
  const voucher = newest && voucherOf(gateway, newest);
  return {
    gateway: gateway.address,
    payee,
    creditedUnits: `${due.credited}`,
    withdrawnUnits: `${due.withdrawn}`,
    /** Part of the credited sum: advanced from the float, and not yet covered by a batch. */
    advancedUnits: `${due.advanced}`,
    floatUnits: `${view.line(gateway.address, payee)?.allotted ?? 0n}`,
    voucher: voucher
      ? {
          cumulativeUnits: `${voucher.cumulative}`,
          key: voucher.key,
          signature: voucher.signature,
        }
      : null,
    batches: batches.map((payout) => batchDocument(gateway, payout, due.credited)),
    next: batches.length === page.limit ? (batches.at(-1)?.n ?? null) : null,
  };
}

/**
 * Lists earlier vouchers too: a float that is too small for the newest may cover an earlier one.
 * Vouchers that would pay nothing more are not signed, so that a page costs few signatures.
 */
function batchDocument(
  gateway: Pick<Gateway, 'groupSigner'>,
  payout: ListedPayout,
  creditedUnits: bigint,
) {
  const { n, state, batch, tx, units, cumulative } = payout;
  const isOpen = cumulative > creditedUnits && state !== 'void';
  return {
    n,
    /** `prepared`: signed, transaction under way. `void`: it was never included. */
    state,
    batch: batch ?? null,
    tx: tx ?? null,
    units: `${units}`,
    cumulativeUnits: `${cumulative}`,
    signature: isOpen ? voucherOf(gateway, payout).signature : null,
  };
}
