// The front of a function, at its address: checks the ID token, finds or starts an instance, ends a
// call at its timeout, and answers as Google's front does. The address stays when the function is
// deleted, and answers 404 then.

import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { ExecutionSums } from '../../../emulators/executions.ts';
import { type Fault, type Faults, sendAnswer, spoilBefore } from '../../../emulators/faults.ts';
import { openPort } from '../../../emulators/port.ts';
import { readBody } from '../../../emulators/request-body.ts';
import { createPool, type Pool } from '../../../runtime/pool.ts';
import { callInstance, type FrontCall, MAX_BODY_BYTES, newTrace } from './call-instance.ts';
import {
  type FunctionInstance,
  type InstanceParts,
  type Revision,
  startInstance,
} from './instance.ts';
import type { Issuer } from './issuer.ts';
import { lie, page, type Reply, tooMany, unauthorized } from './replies.ts';

export interface Front {
  readonly port: number;
  /** Origin of the function, `http://127.0.0.1:P`, and the audience of its ID tokens. */
  readonly uri: string;
  /**
   * New calls go to this revision, or to none. Resolves when the former revision has ended its
   * calls.
   */
  serve(revision: Revision | undefined): Promise<void>;
  refuse(isOut: boolean): Promise<void>;
  close(): Promise<void>;
}

export interface FrontParts extends InstanceParts {
  readonly issuer: Issuer;
  readonly faults: Faults;
  /** Sums of the time that requests spend in containers, ms. */
  readonly sums: ExecutionSums;
  /** Stops an instance that has had no call for this time. */
  readonly idleMs: number;
}

interface Serving {
  readonly revision: Revision;
  readonly pool: Pool<FunctionInstance>;
}

interface ReplyParts extends Pick<FrontParts, 'issuer' | 'sums'> {
  readonly uri: string;
  readonly serving: Serving | undefined;
}

/**
 * The ports of functions. They lie below the ports that the system gives to outgoing connections.
 */
const FIRST_PORT = 20_000;
const PORTS = 10_000;
const PORT_TRIES = 20;

/** Listens on the port of `address` if it is free, else on one that `seed` leads to. */
export async function openFront(
  service: string,
  address: { readonly port: number | undefined; readonly seed: number },
  parts: FrontParts,
): Promise<Front> {
  const revisions = createRevisions(parts);
  const server = createServer(
    { keepAliveTimeout: 60_000, requestTimeout: 0 },
    (request, response) =>
      void answerCall(request, response).catch(() => {
        // The connection broke during the answer.
        response.destroy();
      }),
  );
  const port = await openNear(server, address);
  const uri = `http://127.0.0.1:${port.port}`;

  async function answerCall(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const executionId = randomBytes(9).toString('base64url').replace(/[-_]/g, '0');
    const fault = parts.faults.take('invoke', service);
    const body = await readBody(request, MAX_BODY_BYTES);
    if (!(await spoilBefore(response, fault))) return;
    const call = { request, body, executionId };
    const reply = await replyTo(call, fault, { ...parts, uri, serving: revisions.serving() });
    const own = {
      'function-execution-id': executionId,
      'x-cloud-trace-context': request.headers['x-cloud-trace-context'] ?? newTrace(),
      server: 'Google Frontend',
    };
    await sendAnswer(response, { ...reply, headers: { ...reply.headers, ...own } }, fault);
  }

  return {
    port: port.port,
    uri,
    serve: revisions.serve,
    refuse: port.refuse,
    async close() {
      await port.close();
      await revisions.close();
    },
  };
}

/** The revision that serves, and the instances of former ones that end their calls. */
function createRevisions(parts: FrontParts) {
  let current: Serving | undefined;
  const former = new Set<Pool<FunctionInstance>>();

  return {
    serving: () => current,
    async serve(revision: Revision | undefined): Promise<void> {
      const old = current?.pool;
      current = revision && {
        revision,
        pool: createPool<FunctionInstance>({
          start: () => startInstance(revision, parts),
          maxInstances: revision.maxInstances,
          concurrency: revision.concurrency,
          idleMs: parts.idleMs,
        }),
      };
      if (!old) return;
      former.add(old);
      await old.drain();
      former.delete(old);
    },
    async close(): Promise<void> {
      await Promise.all([current?.pool, ...former].map((pool) => pool?.close()));
    },
  };
}

async function replyTo(
  call: FrontCall,
  fault: Fault | undefined,
  { issuer, sums, uri, serving }: ReplyParts,
): Promise<Reply> {
  const { request, body } = call;
  if (fault?.kind === 'status') return page(fault.code, 'Server Error');
  if (fault?.kind === 'throttle') return tooMany(fault.retryAfterMs);
  const refusal =
    fault?.kind === 'expire-credentials' ? unauthorized() : refuseToken(request, issuer, uri);
  if (!serving) return page(404, 'Page not found');
  if (refusal) return refusal;
  if (body === undefined) return page(413, 'Request Entity Too Large');

  const { revision, pool } = serving;
  for (;;) {
    const lease = pool.take();
    if (!lease) return tooMany();
    const reply = await callInstance(revision, lease, { ...call, body }, sums);
    if (reply) return fault?.kind === 'lie' ? lie(reply, fault) : reply;
  }
}

function refuseToken(request: IncomingMessage, issuer: Issuer, uri: string): Reply | undefined {
  // With both headers the cloud checks the first only. The other belongs to the function.
  const value = request.headers['x-serverless-authorization'] ?? request.headers.authorization;
  if (value === undefined) {
    return page(
      403,
      'Forbidden',
      'Your client does not have permission to get URL / from this server.',
    );
  }
  const [scheme, token] = String(value).split(' ');
  const isGood = scheme?.toLowerCase() === 'bearer' && token && !issuer.checkId(token, uri);
  return isGood ? undefined : unauthorized();
}

async function openNear(
  server: Parameters<typeof openPort>[0],
  { port, seed }: { readonly port: number | undefined; readonly seed: number },
): ReturnType<typeof openPort> {
  const wanted = port === undefined ? [] : [port];
  for (let tries = 0; tries < PORT_TRIES; tries += 1) {
    wanted.push(FIRST_PORT + ((seed + tries) % PORTS));
  }
  for (const one of wanted) {
    try {
      return await openPort(server, one);
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EADDRINUSE')) throw error;
    }
  }
  return openPort(server);
}
