// `defaas logs <function>`: shows what a version logged, from all its clouds, ordered by time.
import { fetchLogs } from '../../broker/client/logs.ts';
import { CliError } from './cli-error.ts';
import { type Flags, note, type Outcome, openGateway, openSession } from './context.ts';
import { parseFunctionName } from './function-name.ts';

const UNIT_MS: Readonly<Record<string, number>> = {
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** A cloud whose logs cannot be read says so in one line. @throws FUNCTION_UNKNOWN, NOT_OWNER */
export async function logs(
  flags: Flags,
  target: string,
  options: { readonly since: string; readonly limit: string },
): Promise<Outcome> {
  const sinceMs = parseSince(options.since);
  const limit = parseLimit(options.limit);
  const opened = await openGateway(flags);
  try {
    const { owner, name, reference } = parseFunctionName(target, opened.account.address);
    const session = await openSession(opened, opened.account);
    const read = await fetchLogs(session, { owner, name, version: reference, sinceMs, limit });
    for (const { provider, code, message } of read.silent) {
      note(flags, `${provider}: ${code}: ${message}`);
    }
    return {
      document: { name, owner, version: reference, ...read },
      text: read.lines
        .map(({ atMs, provider, level, text }) =>
          [new Date(atMs).toISOString(), provider, level, text].join('  '),
        )
        .join('\n'),
    };
  } finally {
    opened.close();
  }
}

/** Parses an age (`90s`, `15m`, `2h`, `1d`) or an RFC 3339 time. */
function parseSince(text: string): number {
  const [, count, unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  const unitMs = UNIT_MS[unit];
  if (count !== undefined && unitMs !== undefined) return Date.now() - Number(count) * unitMs;
  const atMs = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isFinite(atMs)) return atMs;
  throw new CliError('USAGE', `--since takes 15m, 2h, 1d or a date, got "${text}"`);
}

function parseLimit(text: string): number {
  if (/^[1-9]\d{0,4}$/.test(text)) return Number(text);
  throw new CliError('USAGE', `--limit takes a number of lines, 1 to 99999, got "${text}"`);
}
