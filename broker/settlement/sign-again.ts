// After a change of the operator key: signs the groups of unsettled receipts again with the new
// key, because signatures of a retired key are no proof after some days.
import type { Gateway } from '../gateway.ts';

/** Groups per transaction of the ledger. */
const PAGE_GROUPS = 1_000;

type Parts = Pick<
  Gateway,
  'address' | 'chain' | 'closing' | 'groupSigner' | 'journal' | 'lanes' | 'ledger' | 'log'
>;

/** Signs unsettled groups that another key has signed. @returns the number of groups */
export async function signAgain(gateway: Parts): Promise<number> {
  const { closing, groupSigner, journal, ledger, log } = gateway;
  // Groups being written may still carry the old key's signature.
  await journal.flush();
  let from = await firstUnsettledGroup(gateway);
  let count = 0;
  while (from !== undefined && !closing.aborted) {
    const { key } = groupSigner;
    const groups = await ledger.groupsOfOtherKeys({ key, from, limit: PAGE_GROUPS });
    const last = groups.at(-1);
    if (last === undefined) break;
    await ledger.putSignatures(
      groups.map(({ group, root, count: size }) => ({
        group,
        key,
        signature: groupSigner.sign(root, size),
      })),
    );
    count += groups.length;
    from = last.group + 1;
  }
  if (count > 0) log.info({ groups: count, key: groupSigner.key }, 'receipts signed again');
  return count;
}

async function firstUnsettledGroup({
  address,
  chain,
  lanes,
  ledger,
}: Parts): Promise<number | undefined> {
  let first: number | undefined;
  for (const { payer, signer, seq } of lanes.all()) {
    const afterSeq = chain.view.lane(payer, address, signer)?.seq ?? 0;
    if (afterSeq >= seq) continue;
    const [entry] = await ledger.laneEntries({ payer, signer, afterSeq, limit: 1 });
    if (entry !== undefined && (first === undefined || entry.group < first)) first = entry.group;
  }
  return first;
}
