// `defaas audit`: every bill of every gateway, recomputed from the chain's logs and the batches on IPFS.
import { fetchBlock } from '../../broker/client/artifacts.ts';
import { type AuditResult, type Finding, audit as replay } from '../../broker/settlement/audit.ts';
import { shortfallsOf } from '../../broker/settlement/shortfalls.ts';
import { openChain } from './chain.ts';
import { type Flags, note, type Outcome, openGateway } from './context.ts';
import { formatTable } from './table.ts';
import { formatTokens } from './units.ts';

/** Findings that are shown; `--json` has them all. */
const SHOWN_FINDINGS = 20;
/** Batches that are named for one payee. */
const SHOWN_BATCHES = 5;

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
  const shortfalls = shortfallsOf(findings);
  const lines = shortfalls.map(
    ({ gateway, payee, units, batches: of }) =>
      `${payee} was left without ${formatTokens(units)} tokens by ${gateway} in ${batchesText(of)}: defaas collect brings what the float covers`,
  );
  return {
    document: { ...result, shortfalls },
    text: findings.length === 0 ? summary : [tableOf(findings), ...lines, summary].join('\n'),
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
