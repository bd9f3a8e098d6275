// CloudWatch Logs in the Lambda emulator: a log group per function, read by `FilterLogEvents`.
// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html

import { createHash } from 'node:crypto';
import type { LogLine } from '../../../provider.ts';
import { openLogFolder } from '../../../runtime/log-folder.ts';
import { AwsError } from '../model/errors.ts';

/** The `x-amz-target` of the one operation that is offered. */
const TARGET = 'Logs_20140328.FilterLogEvents';
const GROUP = /^\/aws\/lambda\/([\w-]{1,64})$/;
/** Most events of one page (CloudWatch Logs quotas). */
const MAX_EVENTS = 10_000;

export interface Logs {
  /** All that one invocation wrote: START, the function's own lines, END, REPORT. */
  append(functionName: string, text: string): void;
  /** @throws AwsError 400 another operation, an unknown group, an invalid parameter */
  answer(target: string, body: Readonly<Record<string, unknown>>): Promise<object>;
  remove(functionName: string): Promise<void>;
  /** Resolves when everything is written. */
  close(): Promise<void>;
}

export function openLogs(dir: string, nowMs: () => number): Logs {
  const { fileOf, remove, close } = openLogFolder(dir);

  return {
    append: (functionName, text) => {
      // A line without a time gets that of the line after it, so that START is not younger than
      // the lines of its call.
      let atMs = nowMs();
      const lines = text
        .split('\n')
        .reverse()
        .filter((line) => line !== '')
        .map((line): LogLine => {
          atMs = timeOf(line) ?? atMs;
          return { atMs, level: '', text: line };
        });
      const file = fileOf(functionName);
      for (const line of lines.reverse()) file.append(line);
    },

    answer: async (target, body) => {
      if (target !== TARGET) {
        throw refused('UnknownOperationException', `This emulator does not offer ${target}`);
      }
      const { logGroupName, startTime = 0, endTime, limit = MAX_EVENTS, nextToken } = body;
      const [, name] = GROUP.exec(String(logGroupName)) ?? [];
      const isCount = Number.isInteger(limit) && Number(limit) >= 1 && Number(limit) <= MAX_EVENTS;
      if (!isCount) throw refused('InvalidParameterException', 'limit is not within 1 and 10000');
      if (name === undefined) throw missing();
      const lines = await fileOf(name).read({ sinceMs: 0, limit: Number.POSITIVE_INFINITY });
      // The first line creates the group.
      if (lines.length === 0) throw missing();
      const wanted = lines
        .filter(({ atMs }) => atMs >= Number(startTime))
        .filter(({ atMs }) => endTime === undefined || atMs < Number(endTime))
        .sort((a, b) => a.atMs - b.atMs);
      const from = offsetOf(nextToken);
      const page = wanted.slice(from, from + Number(limit));
      const next = from + page.length;
      return {
        events: page.map((line, index) => eventOf(line, from + index)),
        searchedLogStreams: [],
        ...(next < wanted.length && { nextToken: Buffer.from(`${next}`).toString('base64') }),
      };
    },

    remove,
    close,
  };
}

/** A line of the function begins with its time. A line of the platform has none. */
function timeOf(line: string): number | undefined {
  const [, time] = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)\t/.exec(line) ?? [];
  return time === undefined ? undefined : Date.parse(time);
}

function eventOf({ atMs, text }: LogLine, index: number) {
  const eventId = createHash('sha256').update(`${index} ${atMs} ${text}`).digest('hex');
  return {
    logStreamName: '[live]',
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
