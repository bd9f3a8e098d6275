// What the Lambda emulator keeps of CloudWatch Logs: a log group per function, and `FilterLogEvents` to read it.
// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html

import { createHash } from 'node:crypto';
import { openLogFolder } from '../../emulators/log-folder.ts';
import type { LogLine } from '../../provider.ts';
import { AwsError } from './errors.ts';

/** `x-amz-target` of what is offered. */
const TARGET = 'Logs_20140328.FilterLogEvents';
const GROUP = /^\/aws\/lambda\/([\w-]{1,64})$/;
/** Most events of one page (CloudWatch Logs quotas). */
const MAX_EVENTS = 10_000;

export interface Logs {
  /** All that one invocation wrote: START, the function's own lines, END, REPORT. */
  append(functionName: string, text: string): void;
  /** @throws AwsError 400 another operation, an unknown group, a parameter that is none */
  answer(target: string, body: Readonly<Record<string, unknown>>): Promise<object>;
  remove(functionName: string): Promise<void>;
  /** Resolves when everything is written. */
  close(): Promise<void>;
}

export function openLogs(dir: string, nowMs: () => number): Logs {
  const { fileOf, remove, close } = openLogFolder(dir);

  return {
    append: (functionName, text) => {
      // A line without a time of its own is as old as the one after it; so START does not come after what it starts.
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
      // A group is made by its first line.
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

/** The function's own lines begin with their time; the platform's have none. */
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

/** JSON 1.1 services tell the error's name in the body. */
function refused(type: string, message: string): AwsError {
  return new AwsError(400, type, { __type: type, message });
}
