// `defaas demand <receipt>`: makes the gateway show a settled receipt on the chain or lose bond. An
// answered demand costs the pledge.
import { createDisputeReads } from '../../contracts/chain/dispute-reads.ts';
import { demandIdOf, type Place, placeAt, placeStruct } from '../../contracts/chain/evidence.ts';
import { hashReceipt } from '../../contracts/libraries/receipts.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { CliError } from './cli-error.ts';
import type { Flags, Outcome } from './context.ts';
import { parseAddress } from './parse-address.ts';
import { openWatcher, type Watcher } from './watcher.ts';

export interface DemandOptions {
  readonly dryRun?: boolean;
}

/**
 * Takes one word, a receipt's id, or four: `<gateway> <batch> <claim> <index>`.
 * @throws CliError USAGE, RECEIPT_UNKNOWN; ChainError WINDOW_CLOSED, DEMAND_KNOWN, ALREADY_PROVEN,
 * INSUFFICIENT_FREE, CHAIN_...
 */
export async function demand(
  flags: Flags,
  words: readonly string[],
  options: DemandOptions,
): Promise<Outcome> {
  const asked = parseWords(words);
  const watcher = await openWatcher(flags);
  try {
    const { place, index } =
      'id' in asked ? findReceipt(watcher, asked.id) : findClaim(watcher, asked);
    return await demandAt(watcher, place, index, options);
  } finally {
    watcher.close();
  }
}

type Asked =
  | { readonly id: string }
  | {
      readonly gateway: string;
      readonly batch: number;
      readonly claim: number;
      readonly index: number;
    };

function parseWords(words: readonly string[]): Asked {
  const [first = '', ...numbers] = words;
  if (words.length === 1 && /^0x[0-9a-f]{64}$/i.test(first)) return { id: first.toLowerCase() };
  const [batch, claim, index] = numbers.map((word) => (/^\d{1,9}$/.test(word) ? Number(word) : -1));
  const isPlace =
    numbers.length === 3 &&
    [batch, claim, index].every((number) => number !== undefined && number >= 0);
  if (!isPlace || batch === undefined || claim === undefined || index === undefined) {
    throw new CliError(
      'USAGE',
      'demand takes the id of a receipt that is kept here, or a gateway with the numbers of batch, claim and receipt in it',
    );
  }
  return { gateway: parseAddress(first), batch, claim, index };
}

/** Finds a receipt that this machine keeps, and the claim that settled its seq. */
function findReceipt({ chain, account, held }: Watcher, id: string) {
  const payer = account.address;
  for (const { gateway } of chain.view.lines(payer)) {
    for (const { signer } of chain.view.lanes(payer, gateway)) {
      for (const { signed } of held({ gateway, payer, signer })) {
        const { seq } = signed.receipt;
        if (hashReceipt(signed.receipt) !== id) continue;
        for (const batch of chain.view.batches(gateway)) {
          const claim = batch.claims.findIndex(
            (row) =>
              row.payer === payer && row.signer === signer && seq > row.seqFrom && seq <= row.seq,
          );
          if (claim < 0) continue;
          const place = placeAt(batch, claim);
          return { place, index: seq - place.seqFrom - 1 };
        }
        throw new CliError(
          'EVIDENCE_EARLY',
          `receipt ${id} (seq ${seq}) is not settled yet, only settled receipts can be demanded`,
        );
      }
    }
  }
  throw new CliError(
    'RECEIPT_UNKNOWN',
    `no receipt ${id} of account ${payer} is kept here, name gateway, batch, claim and index`,
  );
}

function findClaim(
  { chain }: Watcher,
  { gateway, batch, claim, index }: Exclude<Asked, { id: string }>,
) {
  const found = chain.view.batches().find((one) => one.gateway === gateway && one.batch === batch);
  const row = found?.claims[claim];
  if (found === undefined || row === undefined || index >= row.seq - row.seqFrom) {
    throw new CliError(
      'BATCH_UNKNOWN',
      `gateway ${gateway} has settled no receipt ${index} in claim ${claim} of batch ${batch}, check the numbers`,
    );
  }
  return { place: placeAt(found, claim), index };
}

/** Shows what the demand costs, then sends it. @throws ChainError as `demand` */
export async function demandAt(
  { chain, account }: Pick<Watcher, 'chain' | 'account'>,
  place: Place,
  index: number,
  { dryRun = false }: DemandOptions,
): Promise<Outcome> {
  const { demandPledge, answerWindowSec } = await createDisputeReads(chain).readTerms();
  const writer = chain.connect(account);
  const { gateway, batch, claim } = place;
  const damageUnits = place.settledTo - place.settledFrom;
  const about = { id: demandIdOf(place, index), gateway, batch, claim, index };
  const costs = { pledgeUnits: demandPledge, damageUnits };
  const what = `receipt ${index} in claim ${claim} of batch ${batch} of gateway ${gateway}`;
  const pledge = `${formatTokens(demandPledge)} tokens of free money are pledged: an answer costs them, without one within ${answerWindowSec / 3600} h they come back and ${formatTokens(damageUnits)} go to the payer`;
  if (dryRun) {
    await writer.check('disputes', 'demand', [placeStruct(place), index]);
    return {
      document: { ...about, ...costs, sent: false },
      text: `would demand ${what}; ${pledge}`,
    };
  }
  const { tx, deadlineSec } = await writer.demand(place, index);
  const until = new Date(deadlineSec * 1000).toISOString();
  return {
    document: { ...about, ...costs, tx, deadlineSec, sent: true },
    text: `demanded ${what}, to be answered until ${until}; ${pledge}; transaction ${tx}`,
  };
}
