// `defaas logs <function>`: shows what a version logged, from all its clouds, ordered by time.
// Places in the bundle are shown as lines of the publisher's files. Lines that a cloud writes of
// its own accord are hidden.
import { fetchLogs, type LogLine, type Logs, type LogsRequest } from '../../broker/client/logs.ts';
import { fetchReceipt } from '../../broker/client/receipts.ts';
import type { Session } from '../../broker/client/session.ts';
import { keccak256Hex } from '../../contracts/libraries/keccak.ts';
import { CliError, describeError } from './cli-error.ts';
import {
  type Flags,
  note,
  type Opened,
  type Outcome,
  openGateway,
  openSession,
} from './context.ts';
import { followLogs } from './follow-logs.ts';
import { parseFunctionName } from './function-name.ts';
import { interrupted } from './interrupted.ts';
import { fetchSourceLines } from './source-lines.ts';

const UNIT_MS: Readonly<Record<string, number>> = {
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** Most lines that a gateway gives at once. */
const MAX_LINES = 10_000;
/** A call without any line of its own leaves so many lines of the platform: START, END, REPORT. */
const LINES_PER_SHOWN = 4;
/** Longest call, and room for clocks that differ, ms. */
const BEFORE_END_MS = 900_000 + 300_000;
/** Time between two readings with `--follow`, ms. */
const FOLLOW_MS = 2000;

export interface LogsOptions {
  readonly since: string;
  readonly limit: string;
  readonly follow?: boolean;
  /** Id of a receipt: only the lines of its call. */
  readonly receipt?: string;
  /** Shows the lines of the clouds too, and all lines as they were written. */
  readonly raw?: boolean;
}

/**
 * A cloud whose logs cannot be read says so in one line.
 * @throws CliError USAGE; FUNCTION_UNKNOWN, NOT_OWNER, RECEIPT_UNKNOWN
 */
export async function logs(
  flags: Flags,
  target: string | undefined,
  options: LogsOptions,
): Promise<Outcome> {
  const sinceMs = parseSince(options.since);
  const limit = parseLimit(options.limit);
  const { receipt, follow = false, raw = false } = options;
  if (target === undefined && receipt === undefined) {
    throw new CliError('USAGE', 'logs needs a function or --receipt <id>');
  }
  if (receipt !== undefined && !/^0x[0-9a-fA-F]{64}$/.test(receipt)) {
    throw new CliError('USAGE', `--receipt takes the id of a receipt, got "${receipt}"`);
  }
  if (receipt !== undefined && follow) {
    throw new CliError('USAGE', '--receipt shows a call that has ended, leave out --follow');
  }
  const opened = await openGateway(flags);
  try {
    const session = await openSession(opened, opened.account);
    const wanted = await wantedOf(opened, session, { target, receipt, sinceMs, limit });
    const { owner, name, version } = wanted.request;
    const show = createShow(flags, opened, { ...wanted, raw });
    if (follow) {
      await followLogs({
        read: async (fromMs, most) => {
          const asked = { ...wanted.request, sinceMs: fromMs, limit: linesToAsk(most) };
          return show(await fetchLogs(session, asked), most);
        },
        write: (line) =>
          void process.stdout.write(`${flags.json ? JSON.stringify(line) : textOf(line)}\n`),
        onError: (error) => {
          const { code, message } = describeError(error);
          note(flags, `${code}: ${message}, tried again in ${FOLLOW_MS / 1000} s`);
        },
        ...{ sinceMs, limit, everyMs: FOLLOW_MS, ended: interrupted() },
      });
      return { document: undefined };
    }
    const read = await fetchLogs(session, wanted.request);
    for (const { provider, code, message } of read.silent) {
      note(flags, `${provider}: ${code}: ${message}`);
    }
    const lines = await show(read, limit);
    if (lines.length === 0) note(flags, nothing(wanted, read));
    return {
      document: { name, owner, version, lines, silent: read.silent },
      // What a function wrote is shown as it is.
      bytes: Buffer.from(lines.map((line) => `${textOf(line)}\n`).join('')),
    };
  } finally {
    opened.close();
  }
}

interface Wanted {
  readonly request: LogsRequest;
  /** keccak256 of the cloud's id of the one call that is asked for. */
  readonly call?: string;
}

async function wantedOf(
  { account }: Pick<Opened, 'account'>,
  session: Session,
  asked: {
    readonly target: string | undefined;
    readonly receipt: string | undefined;
    readonly sinceMs: number;
    readonly limit: number;
  },
): Promise<Wanted> {
  const { target, receipt: id, sinceMs } = asked;
  const named = target === undefined ? undefined : parseFunctionName(target, account.address);
  if (id === undefined) {
    if (named === undefined) throw new CliError('USAGE', 'logs needs a function');
    const { owner, name, reference: version } = named;
    return { request: { owner, name, version, sinceMs, limit: linesToAsk(asked.limit) } };
  }
  const { function: of, execution } = await fetchReceipt(session, id);
  const { owner, name, reference: version } = parseFunctionName(of, account.address);
  if (named !== undefined && named.name !== name) {
    throw new CliError('USAGE', `receipt ${id} is of ${of}, not of ${target}`);
  }
  const fromMs = execution.finishedAtSec * 1000 - BEFORE_END_MS;
  return {
    request: { owner, name, version, sinceMs: fromMs, limit: MAX_LINES },
    call: execution.request,
  };
}

/** Of the lines that come, some are hidden. */
function linesToAsk(shown: number): number {
  return Math.min(shown * LINES_PER_SHOWN, MAX_LINES);
}

/** Makes a function that chooses the lines to show and maps their places to the source. */
function createShow(
  flags: Flags,
  { connection }: Pick<Opened, 'connection'>,
  { call, raw }: Pick<Wanted, 'call'> & { readonly raw: boolean },
): (read: Logs, limit: number) => Promise<readonly LogLine[]> {
  const maps = new Map<string, Promise<(text: string) => string>>();
  return async ({ lines, cid }, limit) => {
    const shown = lines
      .filter(({ level }) => raw || level !== 'platform')
      .filter((line) => call === undefined || callOf(line) === call)
      .slice(-limit);
    const isPlaced = shown.some(({ text }) => text.includes('handler.mjs:'));
    if (raw || cid === undefined || !isPlaced) return shown;
    const known = maps.get(cid) ?? fetchSourceLines(connection, cid);
    maps.set(cid, known);
    try {
      const toSource = await known;
      return shown.map((line) => ({ ...line, text: toSource(line.text) }));
    } catch (error) {
      maps.delete(cid);
      const { code, message } = describeError(error);
      note(
        flags,
        `places are those of handler.mjs, its source map is missing: ${code}: ${message}`,
      );
      return shown;
    }
  };
}

function callOf({ requestId }: LogLine): string | undefined {
  return requestId === undefined ? undefined : keccak256Hex(Buffer.from(requestId));
}

function nothing({ request, call }: Wanted, { lines }: Logs): string {
  const { name, version, sinceMs } = request;
  const what = call === undefined ? `${name}@${version}` : `this call of ${name}@${version}`;
  const hidden = lines.filter(({ level }) => level === 'platform').length;
  const more = hidden > 0 ? `; --raw shows ${hidden} lines of its clouds` : '';
  return `nothing was logged by ${what} since ${new Date(sinceMs).toISOString()}${more}`;
}

function textOf({ atMs, provider, level, text }: LogLine): string {
  return [new Date(atMs).toISOString(), provider, level, text].join('  ');
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
