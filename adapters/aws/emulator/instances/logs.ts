// CloudWatch Logs in the Lambda emulator: a log group per function with a stream per instance, read
// by `FilterLogEvents` and `DescribeLogStreams`.
// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html

import { createHash } from 'node:crypto';
import type { LogLine } from '../../../provider.ts';
import { openLogFolder } from '../../../runtime/log-folder.ts';
import { AwsError } from '../model/errors.ts';
import type { Fields } from '../model/operation.ts';

/** The `x-amz-target` of the operations that are offered. */
const FILTER = 'Logs_20140328.FilterLogEvents';
const DESCRIBE = 'Logs_20140328.DescribeLogStreams';
/** Most streams of one page. */
const MAX_STREAMS = 50;
const GROUP = /^\/aws\/lambda\/([\w-]{1,64})$/;
/** Most events of one page (CloudWatch Logs quotas). */
const MAX_EVENTS = 10_000;

/** A line as it is stored. Older ones have no stream. */
interface StreamLine extends LogLine {
  readonly stream?: string;
}

export interface Logs {
  /** All that one invocation wrote: START, the function's own lines, END, REPORT. */
  append(functionName: string, text: string, stream?: string): void;
  /** @throws AwsError 400 another operation, an unknown group, an invalid parameter */
  answer(target: string, body: Readonly<Record<string, unknown>>): Promise<object>;
  remove(functionName: string): Promise<void>;
  /** Resolves when everything is written. */
  close(): Promise<void>;
}

export function openLogs(dir: string, nowMs: () => number): Logs {
  const { fileOf, remove, close } = openLogFolder(dir);

  return {
    append: (functionName, text, stream) => {
      // A line without a time gets that of the line after it, so that START is not younger than
      // the lines of its call.
      let atMs = nowMs();
      const lines = text
        .split('\n')
        .reverse()
        .filter((line) => line !== '')
        .map((line): StreamLine => {
          atMs = timeOf(line) ?? atMs;
          return { atMs, level: '', text: line, ...(stream !== undefined && { stream }) };
        });
      const file = fileOf(functionName);
      for (const line of lines.reverse()) file.append(line);
    },

    answer: async (target, body) => {
      if (target !== FILTER && target !== DESCRIBE) {
        throw refused('UnknownOperationException', `This emulator does not offer ${target}`);
      }
      const [, name] = GROUP.exec(String(body.logGroupName)) ?? [];
      const most = target === FILTER ? MAX_EVENTS : MAX_STREAMS;
      const { limit = most } = body;
      const isCount = Number.isInteger(limit) && Number(limit) >= 1 && Number(limit) <= most;
      if (!isCount) throw refused('InvalidParameterException', `limit is not within 1 and ${most}`);
      if (name === undefined) throw missing();
      // `append` writes lines of this type.
      const lines: readonly StreamLine[] = await fileOf(name).read({
        sinceMs: 0,
        limit: Number.POSITIVE_INFINITY,
      });
      // The first line creates the group.
      if (lines.length === 0) throw missing();
      return target === FILTER
        ? filter(lines, Number(limit), body)
        : describe(lines, Number(limit), body);
    },

    remove,
    close,
  };
}

/** The body of FilterLogEvents. */
function filter(lines: readonly StreamLine[], limit: number, body: Fields) {
  const { startTime = 0, endTime, logStreamNames: names } = body;
  const wanted = lines
    .filter(({ atMs }) => atMs >= Number(startTime))
    .filter(({ atMs }) => endTime === undefined || atMs < Number(endTime))
    .filter((line) => !Array.isArray(names) || names.includes(streamOf(line)))
    .sort((a, b) => a.atMs - b.atMs);
  const { from, items, next } = pageOf(wanted, limit, body.nextToken);
  const events = items.map((line, index) => eventOf(line, from + index));
  return { events, searchedLogStreams: [], ...next };
}

/** The body of DescribeLogStreams, by name. */
function describe(lines: readonly StreamLine[], limit: number, body: Fields) {
  const prefix = String(body.logStreamNamePrefix ?? '');
  const times = new Map<string, [first: number, last: number]>();
  for (const line of lines) {
    const stream = streamOf(line);
    if (!stream.startsWith(prefix)) continue;
    const [first, last] = times.get(stream) ?? [line.atMs, line.atMs];
    times.set(stream, [Math.min(first, line.atMs), Math.max(last, line.atMs)]);
  }
  const all = [...times].sort(([a], [b]) => (a < b ? -1 : 1));
  const { items, next } = pageOf(all, limit, body.nextToken);
  const logStreams = items.map(([logStreamName, [first, last]]) => ({
    logStreamName,
    creationTime: first,
    firstEventTimestamp: first,
    lastEventTimestamp: last,
    lastIngestionTime: last,
  }));
  return { logStreams, ...next };
}

function pageOf<T>(all: readonly T[], limit: number, nextToken: unknown) {
  const from = offsetOf(nextToken);
  const end = from + limit;
  const next = end < all.length ? { nextToken: Buffer.from(`${end}`).toString('base64') } : {};
  return { from, items: all.slice(from, end), next };
}

function streamOf({ stream = '[live]' }: StreamLine): string {
  return stream;
}

/** A line of the function begins with its time. A line of the platform has none. */
function timeOf(line: string): number | undefined {
  const [, time] = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)\t/.exec(line) ?? [];
  return time === undefined ? undefined : Date.parse(time);
}

function eventOf(line: StreamLine, index: number) {
  const { atMs, text } = line;
  const eventId = createHash('sha256').update(`${index} ${atMs} ${text}`).digest('hex');
  return {
    logStreamName: streamOf(line),
    timestamp: atMs,
    message: `${text}\n`,
    ingestionTime: atMs,
    eventId,
  };
}

function offsetOf(nextToken: unknown): number {
  if (nextToken === undefined) return 0;
  const offset = Number(Buffer.from(String(nextToken), 'base64').toString());
  if (Number.isSafeInteger(offset) && offset > 0) return offset;
  throw refused('InvalidParameterException', 'The specified nextToken is invalid.');
}

function missing(): AwsError {
  return refused('ResourceNotFoundException', 'The specified log group does not exist.');
}

/** A service of AWS JSON 1.1 names the error in the body. */
function refused(type: string, message: string): AwsError {
  return new AwsError(400, type, { __type: type, message });
}
