// `defaas audit`: every bill of every gateway, recomputed from the chain's logs and the batches on
// IPFS.

import { fetchBlock } from '../../broker/client/artifacts.ts';
import { type AuditResult, audit as replay } from '../../broker/client/audit.ts';
import type { GetBlock } from '../../broker/client/batch.ts';
import type { Finding } from '../../broker/client/findings.ts';
import { gatherEvidence } from '../../broker/client/gather-evidence.ts';
import { recoverSigner } from '../../broker/identity/ecdsa.ts';
import { shortfallsOf } from '../../broker/settlement/shortfalls.ts';
import { ChainError } from '../../contracts/chain/chain-error.ts';
import { createDisputeReads, type DisputeReads } from '../../contracts/chain/dispute-reads.ts';
import type { Evidence } from '../../contracts/chain/evidence.ts';
import type { Chain } from '../../contracts/chain.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { openChain } from './chain.ts';
import { type Flags, note, type Outcome, openGateway } from './context.ts';
import { writeEvidence } from './evidence-files.ts';
import { userPath } from './house.ts';
import { formatTable } from './table.ts';

/** Most findings shown; `--json` lists them all. */
const SHOWN_FINDINGS = 20;
/** Most batches named for one payee. */
const SHOWN_BATCHES = 5;

export interface AuditOptions {
  /** Folder for files that `defaas prove` takes. */
  readonly evidence?: string;
}

/**
 * The gateway only delivers the blocks: each is checked against its CID, and the root's digest is
 * on the chain.
 */
export async function audit(flags: Flags, options: AuditOptions = {}): Promise<Outcome> {
  const opened = await openGateway(flags, { allowRevoked: true });
  const chain = await openChain(opened);
  try {
    const getBlock = (cid: string) => fetchBlock(opened.connection, cid);
    const result = await replay({
      recover: recoverSigner,
      view: chain.view,
      domain: chain.domain,
      getBlock,
      onBatch: (done, of) => {
        if (process.stderr.isTTY && done % 50 === 0) note(flags, `${done} of ${of} batches`);
      },
    });
    const files = options.evidence
      ? await writeAll(chain, getBlock, result.findings, userPath(options.evidence))
      : undefined;
    return outcomeOf(result, files);
  } finally {
    chain.close();
    opened.close();
  }
}

/**
 * Writes evidence of what the chain would punish or what is to be demanded, and nothing else.
 * @returns the paths
 */
async function writeAll(
  chain: Chain,
  getBlock: GetBlock,
  findings: readonly Finding[],
  folder: string,
): Promise<readonly string[]> {
  const disputes = createDisputeReads(chain);
  const { chainId, contracts, view } = chain;
  const files = new Set<string>();
  for (const settled of view.batches()) {
    const ofBatch = findings.filter(
      ({ gateway, batch }) => gateway === settled.gateway && batch === settled.batch,
    );
    const gathering = gatherEvidence({ view, getBlock, settled, findings: ofBatch });
    for await (const { evidence, finding } of gathering) {
      const isSure = evidence.kind === 'withheld' || (await isFraud(disputes, evidence));
      if (!isSure) continue;
      const { gateway } = settled;
      const { message } = finding;
      const about = { chainId, billing: contracts.billing, gateway, message };
      files.add(writeEvidence(folder, { ...about, exhibit: evidence }));
    }
  }
  return [...files];
}

/** False also for evidence that comes too late or that the contract refuses. */
async function isFraud(disputes: DisputeReads, evidence: Evidence): Promise<boolean> {
  try {
    return (await disputes.check(evidence)).isFraud;
  } catch (error) {
    if (error instanceof ChainError && error.revert !== undefined) return false;
    throw error;
  }
}

function outcomeOf(result: AuditResult, files?: readonly string[]): Outcome {
  const { receipts, proven, unexplainedUnits, findings, findingCount, batches } = result;
  const summary = `${receipts} receipts, ${proven} proven, ${formatTokens(unexplainedUnits)} tokens unexplained`;
  const shortfalls = shortfallsOf(findings);
  const lines = shortfalls.map(
    ({ gateway, payee, units, batches: of }) =>
      `${payee} was left without ${formatTokens(units)} tokens by ${gateway} in ${batchesText(of)}: defaas collect brings what the float covers`,
  );
  return {
    document: { ...result, shortfalls, ...(files && { evidence: files }) },
    text: [
      ...(findings.length === 0 ? [] : [tableOf(findings), ...moreOf(result), ...lines]),
      ...(files ?? []).map((file) => `defaas prove ${file}`),
      summary,
    ].join('\n'),
    ...(findingCount > 0 && {
      failure: {
        code: 'AUDIT_FINDINGS',
        message: `${findingCount} findings, ${formatTokens(unexplainedUnits)} tokens unexplained, on ${batches} batches, keep the batches: they are the evidence`,
      },
    }),
  };
}

/** `batch 3`, `batches 3, 4, 7 and 2 more`. */
function batchesText(batches: readonly number[]): string {
  const shown = batches.slice(0, SHOWN_BATCHES).join(', ');
  const more = batches.length > SHOWN_BATCHES ? ` and ${batches.length - SHOWN_BATCHES} more` : '';
  return `${batches.length === 1 ? 'batch' : 'batches'} ${shown}${more}`;
}

/** How many findings the table does not show. */
function moreOf({ findings, findingCount }: AuditResult): string[] {
  const more = findingCount - Math.min(findings.length, SHOWN_FINDINGS);
  return more > 0 ? [`and ${more} more`] : [];
}

function tableOf(findings: readonly Finding[]): string {
  const rows = findings
    .slice(0, SHOWN_FINDINGS)
    .map(({ code, batch, lane, seq, units, message }) => [
      code,
      batch,
      lane?.signer ?? '',
      seq ?? '',
      formatTokens(units),
      message,
    ]);
  return formatTable(['finding', 'batch', 'lane', 'seq', 'tokens', 'what'], rows);
}
