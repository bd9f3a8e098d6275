// `defaas audit`: every bill of every gateway, recomputed from the chain's logs and the batches on IPFS.
import { fetchBlock } from '../../broker/client/artifacts.ts';
import { type AuditResult, type Finding, audit as replay } from '../../broker/settlement/audit.ts';
import { openChain } from './chain.ts';
import { type Flags, note, type Outcome, openGateway } from './context.ts';
import { formatTable } from './table.ts';
import { formatTokens } from './units.ts';

/** Findings that are shown; `--json` has them all. */
const SHOWN_FINDINGS = 20;

/** The gateway only carries the blocks: each is checked against its CID, whose digest stands on the chain. */
export async function audit(flags: Flags): Promise<Outcome> {
  const opened = await openGateway(flags, { allowRevoked: true });
  const chain = await openChain(opened);
  try {
    const result = await replay({
      view: chain.view,
      domain: chain.domain,
      getBlock: (cid) => fetchBlock(opened.connection, cid),
      onBatch: (done, of) => {
        if (process.stderr.isTTY && done % 50 === 0) note(flags, `${done} of ${of} batches`);
      },
    });
    return outcomeOf(result);
  } finally {
    chain.close();
    opened.close();
  }
}

function outcomeOf(result: AuditResult): Outcome {
  const { receipts, proven, unexplainedUnits, findings, findingCount, batches } = result;
  const summary = `${receipts} receipts, ${proven} proven, ${unexplainedUnits} units unexplained`;
  return {
    document: result,
    text: findings.length === 0 ? summary : `${tableOf(findings)}\n${summary}`,
    ...(findingCount > 0 && {
      failure: {
        code: 'AUDIT_FINDINGS',
        message: `${findingCount} findings, ${formatTokens(unexplainedUnits)} tokens unexplained, on ${batches} batches, keep the batches: they are the evidence`,
      },
    }),
  };
}

function tableOf(findings: readonly Finding[]): string {
  const rows = findings
    .slice(0, SHOWN_FINDINGS)
    .map(({ code, batch, lane, seq, units, message }) => [
      code,
      batch,
      lane?.signer.slice(0, 10) ?? '',
      seq ?? '',
      units,
      message.slice(0, 90),
    ]);
  return formatTable(['finding', 'batch', 'lane', 'seq', 'units', 'what'], rows);
}
