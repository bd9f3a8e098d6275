// `defaas grants <function>`: who may use a function that is not public, for what, and until when.
import { openChain } from './chain.ts';
import { type Flags, note, type Outcome, openGateway } from './context.ts';
import { SCOPES } from './grant.ts';
import { findFunction } from './owned-function.ts';
import { formatTable } from './table.ts';

/** Lists the grants in force. The owner needs none. @throws CliError USAGE, FUNCTION_UNKNOWN */
export async function grants(flags: Flags, target: string): Promise<Outcome> {
  const opened = await openGateway(flags, { allowRevoked: true });
  const chain = await openChain(opened);
  try {
    const { fn, label } = findFunction(opened, chain, target);
    const rows = [...chain.view.grants(fn.id)].map(([subject, { scopes: bits, expirySec }]) => ({
      subject,
      scopes: Object.keys(SCOPES).filter((name) => (bits & (SCOPES[name] ?? 0)) !== 0),
      expirySec,
    }));
    if (chain.view.versionOf(fn)?.accessMode === 0) {
      note(flags, `${label} is public: everybody may call it, also without a grant`);
    }
    return {
      document: rows,
      text:
        rows.length === 0
          ? `nobody has a grant of ${label}, give one with defaas grant ${target} <address>`
          : formatTable(
              ['account', 'may', 'until'],
              rows.map(({ subject, scopes, expirySec }) => [
                subject,
                scopes.join(', '),
                new Date(expirySec * 1000).toISOString().slice(0, 16).replace('T', ' '),
              ]),
            ),
    };
  } finally {
    chain.close();
    opened.close();
  }
}
