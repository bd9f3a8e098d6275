// Receipts: one by id with its proof, or those of a lane in order.
import type { FastifyInstance } from 'fastify';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { createTree, type OrderedTree } from '../../contracts/libraries/ordered-merkle.ts';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import { credentialOf, isOfLane, tokenOf } from '../http/bearer.ts';
import type { AccessToken } from '../identity/tokens.ts';
import type { StoredEntry, StoredGroup } from '../ledger/ledger.ts';

/** Maximum number of receipts per page. */
const MAX_PAGE = 500;

type ListQuery = { Querystring: { lane?: string; after?: string; limit?: string } };

export async function receiptRoutes(
  server: FastifyInstance,
  { gateway }: { readonly gateway: Gateway },
): Promise<void> {
  server.get<{ Params: { id: string } }>('/receipts/:id', async (request) => {
    const credential = credentialOf(gateway, request);
    const caller = credential && (await gateway.authenticate(credential));
    const id = request.params.id.toLowerCase();
    // Safe: the pattern matches Hex only.
    const entry = /^0x[0-9a-f]{64}$/.test(id) ? await gateway.ledger.entry(id as Hex) : undefined;
    if (entry === undefined) {
      throw new DefaasError(
        'RECEIPT_UNKNOWN',
        `no receipt ${id.slice(0, 66)} at this gateway, check the id`,
      );
    }
    return receiptDocument(gateway, entry, caller, createGroups(gateway));
  });

  server.get<ListQuery>('/receipts', async (request) => {
    const caller = await tokenOf(gateway, request);
    const { lane = '', after = '0', limit = '100' } = request.query;
    const [, payer, signer] = /^(0x[0-9a-f]{40}):(0x[0-9a-f]{40})$/.exec(lane.toLowerCase()) ?? [];
    if (
      payer === undefined ||
      signer === undefined ||
      !/^\d{1,12}$/.test(after) ||
      !/^\d{1,5}$/.test(limit)
    ) {
      throw new DefaasError(
        'REQUEST_INVALID',
        'ask with lane=<payer>:<signer>, after=<seq> and limit=<count>',
      );
    }
    // Safe: the pattern above matches addresses only.
    if (!isOfLane(caller, { payer: payer as Address, signer: signer as Address })) {
      throw new DefaasError(
        'LANE_UNKNOWN',
        `no lane ${lane} of yours at this gateway, check the addresses`,
      );
    }
    const count = Math.min(Number(limit), MAX_PAGE);
    const entries = await gateway.ledger.laneEntries({
      // Safe: the pattern above matches addresses only.
      payer: payer as Address,
      signer: signer as Address,
      afterSeq: Number(after),
      limit: count,
    });
    const groups = createGroups(gateway);
    return {
      receipts: await Promise.all(
        entries.map((entry) => receiptDocument(gateway, entry, caller, groups)),
      ),
      next: entries.length === count ? (entries.at(-1)?.receipt.seq ?? null) : null,
    };
  });
}

type Groups = (
  group: number,
) => Promise<{ readonly stored: StoredGroup; readonly tree: OrderedTree }>;

/**
 * Reads groups, each once per page: receipts of one group are neighbours, and hashing a group again
 * is wasted work.
 */
function createGroups(gateway: Pick<Gateway, 'ledger'>): Groups {
  const known = new Map<number, ReturnType<Groups>>();
  const read: Groups = async (number) => {
    const found = await gateway.ledger.group(number);
    if (found === undefined)
      throw new DefaasError('LEDGER_FAILED', `receipt group ${number} is not in the ledger`);
    return { stored: found.group, tree: createTree(found.ids) };
  };
  return (number) => {
    const group = known.get(number) ?? read(number);
    known.set(number, group);
    return group;
  };
}

/**
 * The reply; money as decimal strings. The salt is included for the payer and the lane's key only.
 */
async function receiptDocument(
  gateway: Pick<Gateway, 'address' | 'chain' | 'groupSigner'>,
  entry: StoredEntry,
  caller: AccessToken | undefined,
  groups: Groups,
): Promise<Record<string, unknown>> {
  const { receipt, call, execution } = entry;
  const { stored, tree } = await groups(entry.group);
  // Signatures are deterministic (RFC 6979), so a group whose signature is not stored yet can be
  // signed here.
  const signature = stored.signature ?? gateway.groupSigner.sign(stored.root, stored.count);
  const settledSeq =
    gateway.chain.view.lane(receipt.payer, gateway.address, receipt.signer)?.seq ?? 0;
  const isOwn = caller !== undefined && isOfLane(caller, receipt);
  return {
    id: entry.id,
    function: entry.functionName,
    provider: entry.cloud,
    settled: receipt.seq <= settledSeq,
    receipt: { ...receipt, price: `${receipt.price}`, cumulative: `${receipt.cumulative}` },
    call: { ...call, maxPrice: `${call.maxPrice}` },
    ...(entry.callSignature !== undefined && { callSignature: entry.callSignature }),
    execution,
    ...(isOwn && { salt: entry.salt }),
    ...(isOwn && entry.item !== undefined && { item: entry.item }),
    group: {
      root: stored.root,
      index: entry.groupIndex,
      count: stored.count,
      path: tree.path(entry.groupIndex),
      signature,
      key: stored.key ?? gateway.groupSigner.key,
    },
    attempts: entry.attempts,
    reason: entry.reason ?? null,
  };
}
