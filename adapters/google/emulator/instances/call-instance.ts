// One call from the front of a function to an instance, up to the timeout of the revision.

import { randomBytes, randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { ExecutionSums } from '../../../emulators/executions.ts';
import { readBody } from '../../../emulators/request-body.ts';
import type { Lease } from '../../../runtime/pool.ts';
import type { FunctionInstance, Revision } from './instance.ts';
import { page, plain, type Reply } from './replies.ts';

/** Largest request and answer, bytes (Cloud Run quotas, HTTP/1 without streaming). */
export const MAX_BODY_BYTES = 32 * 1024 * 1024;

/** RFC 9110 section 7.6.1. */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

export interface FrontCall {
  readonly request: IncomingMessage;
  /** Undefined when it is too long. */
  readonly body: Buffer | undefined;
  readonly executionId: string;
}

/** @returns undefined when the instance had died before it got the call */
export async function callInstance(
  revision: Revision,
  lease: Lease<FunctionInstance>,
  { request, body, executionId }: FrontCall & { readonly body: Buffer },
  sums: ExecutionSums,
): Promise<Reply | undefined> {
  let instance: FunctionInstance;
  try {
    instance = await lease.instance;
  } catch {
    lease.discard();
    return page(500, 'Server Error', 'The container failed to start.');
  }

  const late = AbortSignal.timeout(revision.timeoutSec * 1000);
  const startedMs = performance.now();
  // Measured outside of the container, as Cloud Run does: the function cannot change it.
  const count = () =>
    sums.add(revision.service, { count: 1, amount: performance.now() - startedMs });
  try {
    const answer = await instance.http.request({
      path: request.url ?? '/',
      method: request.method ?? 'GET',
      headers: forwardedHeaders(request, executionId),
      body,
      signal: late,
    });
    const bytes = await readBody(answer.body, MAX_BODY_BYTES);
    count();
    const headers = ownHeaders(answer.headers);
    // The framework sets this header when it ends its process after the answer.
    if (headers['x-google-status'] === undefined) lease.release();
    else lease.discard();
    if (bytes === undefined) {
      answer.body.destroy();
      return page(500, 'Server Error', 'Response size too large.');
    }
    return { status: answer.statusCode, headers, body: bytes };
  } catch (error) {
    if (late.aborted) {
      // The instance may loop for ever. It gets no more calls, and ends after those it has.
      lease.retire();
      count();
      return plain(504, 'upstream request timeout');
    }
    lease.discard();
    if (error instanceof Error && 'code' in error && error.code === 'ECONNREFUSED')
      return undefined;
    count();
    const { isOverMemory } = await instance.exited;
    return isOverMemory
      ? page(500, 'Server Error', `Memory limit of ${revision.memoryMiB} MiB exceeded.`)
      : page(503, 'Service Unavailable', 'The connection to the instance had an error.');
  }
}

/** The headers that the container gets. They have the token without its signature. */
function forwardedHeaders(request: IncomingMessage, executionId: string): string[] {
  const headers: string[] = [];
  const raw = request.rawHeaders;
  const tokenHeader =
    request.headers['x-serverless-authorization'] === undefined
      ? 'authorization'
      : 'x-serverless-authorization';
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = (raw[at] ?? '').toLowerCase();
    const value = raw[at + 1] ?? '';
    if (HOP_BY_HOP.has(name) || name === 'content-length' || name === 'expect') continue;
    headers.push(
      name,
      name === tokenHeader ? value.replace(/\.[^.]*$/, '.SIGNATURE_REMOVED_BY_GOOGLE') : value,
    );
  }
  headers.push('function-execution-id', executionId);
  headers.push('x-forwarded-for', request.socket.remoteAddress ?? '127.0.0.1');
  headers.push('x-forwarded-proto', 'http');
  if (!request.headers['x-cloud-trace-context']) headers.push('x-cloud-trace-context', newTrace());
  return headers;
}

function ownHeaders(
  headers: Readonly<Record<string, string | string[] | undefined>>,
): Record<string, string | readonly string[]> {
  const own: Record<string, string | readonly string[]> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined && !HOP_BY_HOP.has(name)) own[name] = value;
  }
  return own;
}

export function newTrace(): string {
  return `${randomUUID().replaceAll('-', '')}/${randomBytes(6).readUIntBE(0, 6)};o=0`;
}
