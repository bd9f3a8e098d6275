// `defaas prove <file>`: sends a file's evidence to the chain. Whoever made the file, the chain is
// asked first whether it shows a fraud.

import { DefaasClientError } from '../../broker/client/errors.ts';
import type { EvidenceFile } from '../../broker/client/evidence.ts';
import type { HeldReceipt } from '../../broker/client/exhibits.ts';
import { fraudName } from '../../broker/client/exhibits.ts';
import { evidenceOfHeld } from '../../broker/client/find-frauds.ts';
import { type Weight, weighProof } from '../../broker/client/weigh-proof.ts';
import { createDisputeReads } from '../../contracts/chain/dispute-reads.ts';
import { callOf, type Evidence } from '../../contracts/chain/evidence.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import type { Flags, Outcome } from './context.ts';
import { demandAt } from './demand.ts';
import { readEvidence } from './evidence-files.ts';
import { userPath } from './house.ts';
import { openWatcher, type Watcher } from './watcher.ts';

export interface ProveOptions {
  readonly dryRun?: boolean;
}

/**
 * @throws DefaasClientError EVIDENCE_INVALID, EVIDENCE_EARLY; ChainError PROOF_INVALID, NO_FRAUD,
 * ALREADY_PROVEN, NOTHING_TO_SLASH, WINDOW_CLOSED, CHAIN_...; nothing was sent then
 */
export async function prove(flags: Flags, path: string, options: ProveOptions): Promise<Outcome> {
  const file = readEvidence(userPath(path));
  const watcher = await openWatcher(flags, file);
  try {
    const { exhibit } = file;
    if (exhibit.kind === 'withheld') {
      return await demandAt(watcher, exhibit.place, exhibit.index, options);
    }
    const evidence = exhibit.kind === 'receipt' ? await complete(watcher, file, exhibit) : exhibit;
    return await proveOne(watcher, evidence, file.message, options);
  } finally {
    watcher.close();
  }
}

/**
 * Completes the evidence of a held receipt. It proves something once its batch is settled, if
 * another receipt is in its place or if it is wrong itself.
 */
async function complete(
  watcher: Watcher,
  { gateway }: EvidenceFile,
  held: HeldReceipt,
): Promise<Evidence> {
  const { signed } = held;
  const evidence = await evidenceOfHeld(watcher, held);
  if (evidence !== undefined) return evidence;
  throw new DefaasClientError(
    'EVIDENCE_EARLY',
    `receipt ${signed.receipt.seq} of gateway ${gateway} is not settled yet, or was settled as it was signed; nothing can be proven with it now`,
  );
}

/** Asks the chain whether it is a fraud, then sends. @throws ChainError as `prove` */
export async function proveOne(
  { chain, account }: Pick<Watcher, 'chain' | 'account'>,
  evidence: Evidence,
  message: string,
  { dryRun = false }: ProveOptions,
): Promise<Outcome> {
  const disputes = createDisputeReads(chain);
  const { isFraud, damage } = await disputes.check(evidence);
  const kind = fraudName(evidence.kind);
  const gateway =
    evidence.kind === 'duplicate' ? evidence.laterPlace.gateway : evidence.place.gateway;
  const found = {
    kind,
    proof: evidence.kind,
    gateway,
    fraud: isFraud,
    damageUnits: damage,
    message,
  };
  const writer = chain.connect(account);
  if (!isFraud || dryRun) {
    // The contract's own reason for refusing, such as that it is proven already.
    const { name, args } = callOf(evidence);
    await writer.check('disputes', `prove${name}`, args);
  }
  if (dryRun) {
    const weight = await weighProof(chain, disputes, evidence, damage);
    return { document: { ...found, ...weight, sent: false }, text: textOf(found, weight) };
  }
  const { tx, slashed, paid } = await writer.prove(evidence);
  const done = { ...found, tx, slashedUnits: slashed, toPayerUnits: paid, sent: true };
  return { document: done, text: textOf(found, done, tx) };
}

function textOf(
  {
    kind,
    gateway,
    damageUnits,
    message,
  }: { kind: string; gateway: string; damageUnits: bigint; message: string },
  { slashedUnits, toPayerUnits }: Pick<Weight, 'slashedUnits' | 'toPayerUnits'>,
  tx?: string,
): string {
  const what = `${kind} of gateway ${gateway}: ${message}; damage ${formatTokens(damageUnits)} tokens`;
  const taken = `${formatTokens(slashedUnits)} of the bond and paid ${formatTokens(toPayerUnits)} to the payer`;
  return tx === undefined
    ? `${what}; it would take ${taken}`
    : `${what}; it took ${taken}, transaction ${tx}`;
}
