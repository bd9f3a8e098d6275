// The pages of a batch on IPFS, from the entries of the ledger.
import { LRUCache } from 'lru-cache';
import type { Hex } from '../../contracts/libraries/keccak.ts';
import { createTree, type OrderedTree, rootOf } from '../../contracts/libraries/ordered-merkle.ts';
import { type Claim, hashClaim } from '../../contracts/libraries/receipts.ts';
import { encodeBatch } from '../client/batch.ts';
import type { BatchReceipt } from '../client/batch-format.ts';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import type { StoredGroup } from '../ledger/ledger.ts';
import type { SettlementParts } from './parts.ts';
import { entriesOf } from './shares.ts';

/** Maximum number of groups whose tree is cached while a batch is written. */
const KEPT_GROUPS = 1_000;

/** Writes and pins the batch's blocks. Returns the CID of the root block. */
export async function writePages(
  gateway: SettlementParts,
  claims: readonly Claim[],
  batch: number,
): Promise<string> {
  const groups = createGroups(gateway);
  const { root } = await encodeBatch({
    header: {
      chainId: gateway.chain.chainId,
      billing: gateway.chain.contracts.billing,
      gateway: gateway.address,
      batch,
      root: rootOf(claims.map(hashClaim)),
    },
    lanes: claims.map((claim) => ({ claim, receipts: batchReceipts(gateway, claim, groups) })),
    put: (block) => gateway.artifacts.putBlock(block, { signal: gateway.closing }),
  });
  await gateway.artifacts.pin(root, { signal: gateway.closing });
  return root;
}

async function* batchReceipts(
  gateway: Pick<Gateway, 'ledger'>,
  { payer, signer, seqFrom, seqTo }: Claim,
  groups: (group: number) => Promise<SignedTree>,
): AsyncGenerator<BatchReceipt> {
  for await (const entry of entriesOf(gateway, payer, signer, seqFrom, seqTo)) {
    const { tree, group, signature } = await groups(entry.group);
    yield {
      receipt: entry.receipt,
      call: entry.call,
      execution: entry.execution,
      group: {
        root: group.root,
        index: entry.groupIndex,
        count: group.count,
        path: tree.path(entry.groupIndex),
        signature,
      },
      attempts: entry.attempts.map(({ deployment, ran, code, measuredMs }) => ({
        deployment,
        ran,
        code,
        measuredMs,
      })),
      ...(entry.callSignature !== undefined && { callSignature: entry.callSignature }),
      ...(entry.reason !== undefined && { reason: entry.reason }),
    };
  }
}

interface SignedTree {
  readonly tree: OrderedTree;
  readonly group: StoredGroup;
  readonly signature: Hex;
}

/** Builds the trees of receipt groups; the newest ones are cached. */
function createGroups(
  gateway: Pick<Gateway, 'groupSigner' | 'ledger'>,
): (group: number) => Promise<SignedTree> {
  const trees = new LRUCache<number, SignedTree>({ max: KEPT_GROUPS });
  return async (number) => {
    const known = trees.get(number);
    if (known !== undefined) return known;
    const stored = await gateway.ledger.group(number);
    if (stored === undefined) {
      throw new DefaasError('INTERNAL', `receipt group ${number} is not in the ledger`);
    }
    const { group, ids } = stored;
    // The newest group's signature is not stored yet. Signatures are deterministic (RFC 6979), so
    // sign it here.
    const signature = group.signature ?? gateway.groupSigner.sign(group.root, group.count);
    const fresh = { tree: createTree(ids), group, signature };
    trees.set(number, fresh);
    return fresh;
  };
}
