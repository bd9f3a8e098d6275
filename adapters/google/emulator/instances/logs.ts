// The part of Cloud Logging that the Google emulator has: the lines of each function, structured as
// Cloud Run reads them, and `entries.list` to read them.
// https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list

import { createHash } from 'node:crypto';
import type { LogLine } from '../../../provider.ts';
import { cutLines, openLogFolder } from '../../../runtime/log-folder.ts';

const MAX_PAGE = 1000;
/** The supported clauses of a filter. AND joins them. */
const CLAUSES = {
  type: /^resource\.type ?= ?"(.+)"$/,
  service: /^resource\.labels\.service_name ?= ?"([\w-]{1,63})"$/,
  location: /^resource\.labels\.location ?= ?"(.+)"$/,
  since: /^timestamp ?>= ?"(.+)"$/,
} as const;

export interface Logs {
  /** Gets the output of one instance in chunks and splits it into lines. */
  writer(service: string): (chunk: Buffer) => void;
  /** The body of the answer, or why the request is invalid. */
  list(body: Readonly<Record<string, unknown>>): Promise<object | { readonly refusal: string }>;
  remove(service: string): Promise<void>;
  close(): Promise<void>;
}

export function openLogs(options: {
  readonly dir: string;
  readonly projectId: string;
  readonly nowMs: () => number;
}): Logs {
  const { dir, projectId, nowMs } = options;
  const folder = openLogFolder(dir);

  return {
    writer: (service) => cutLines((line) => folder.fileOf(service).append(toLine(line, nowMs()))),

    list: async ({
      resourceNames,
      filter = '',
      orderBy = 'timestamp asc',
      pageSize,
      pageToken,
    }) => {
      const asked = parseFilter(String(filter));
      if (!Array.isArray(resourceNames) || !resourceNames.includes(`projects/${projectId}`)) {
        return { refusal: 'Must specify at least one resource name of this project' };
      }
      if (!asked?.service) return { refusal: `Unparseable filter: ${String(filter)}` };
      if (!/^timestamp (asc|desc)$/.test(String(orderBy))) return { refusal: 'Invalid order_by' };
      const query = { sinceMs: asked.sinceMs, limit: Number.POSITIVE_INFINITY };
      const lines = asked.isOurs ? [...(await folder.fileOf(asked.service).read(query))] : [];
      if (orderBy === 'timestamp desc') lines.reverse();
      const from = Number(pageToken ?? 0) || 0;
      const page = lines.slice(from, from + Math.min(Number(pageSize ?? 50) || 50, MAX_PAGE));
      const next = from + page.length;
      const at = { projectId, service: asked.service, location: asked.location };
      return {
        ...(page.length > 0 && { entries: page.map((line) => entryOf(line, at)) }),
        ...(next < lines.length && { nextPageToken: String(next) }),
      };
    },

    remove: folder.remove,
    close: folder.close,
  };
}

/**
 * A line of JSON is structured (Cloud Run, "Writing structured logs"). Any other line is a text
 * without a severity.
 */
function toLine(text: string, atMs: number): LogLine {
  const plain = { atMs, level: 'DEFAULT', text };
  if (!text.startsWith('{')) return plain;
  try {
    const {
      severity = 'DEFAULT',
      message,
      'logging.googleapis.com/labels': labels,
    } = JSON.parse(text);
    if (typeof message !== 'string') return plain;
    const { execution_id: id } = labels ?? {};
    return {
      atMs,
      level: String(severity),
      text: message,
      ...(typeof id === 'string' && { requestId: id }),
    };
  } catch {
    return plain;
  }
}

function parseFilter(filter: string) {
  const found: Partial<Record<keyof typeof CLAUSES, string>> = {};
  for (const clause of filter.split(/ AND |\n/).map((part) => part.trim())) {
    const known = Object.entries(CLAUSES).find(([, form]) => form.test(clause));
    if (!known) return undefined;
    // Safe: it is a name of CLAUSES.
    found[known[0] as keyof typeof CLAUSES] = known[1].exec(clause)?.[1] ?? '';
  }
  const { type, service, location = '', since } = found;
  const sinceMs = since === undefined ? 0 : Date.parse(since);
  if (Number.isNaN(sinceMs)) return undefined;
  return {
    service,
    location,
    sinceMs,
    isOurs: type === undefined || type === 'cloud_run_revision',
  };
}

function entryOf(
  { atMs, level, text, requestId }: LogLine,
  of: { readonly projectId: string; readonly service: string; readonly location: string },
) {
  const timestamp = new Date(atMs).toISOString();
  return {
    insertId: createHash('sha256')
      .update(`${atMs} ${requestId} ${text}`)
      .digest('hex')
      .slice(0, 24),
    logName: `projects/${of.projectId}/logs/run.googleapis.com%2Fstdout`,
    resource: {
      type: 'cloud_run_revision',
      labels: {
        project_id: of.projectId,
        service_name: of.service,
        configuration_name: of.service,
        location: of.location,
      },
    },
    timestamp,
    receiveTimestamp: timestamp,
    severity: level,
    textPayload: text,
    ...(requestId !== undefined && { labels: { execution_id: requestId } }),
  };
}
