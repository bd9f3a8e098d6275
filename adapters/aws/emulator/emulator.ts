// AWS Lambda on loopback: takes what the real SDK sends, verifies its signature, keeps functions on
// disk and runs the uploaded zips in processes of their own. The code has the network: the operator
// must trust it.

import { mkdirSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { createFaults, type Faults, serveFaults } from '../../emulators/faults.ts';
import { openPort } from '../../emulators/port.ts';
import { createCodeUrls } from './code-urls.ts';
import { createFront } from './front.ts';
import { openEvents, type Schedule } from './instances/events.ts';
import { createInvocations } from './instances/invocations.ts';
import { openLogs } from './instances/logs.ts';
import { openFunctions } from './model/functions.ts';
import { openLayers } from './model/layers.ts';
import { createOperations } from './operations/operations.ts';
import { type Credentials, createVerifier } from './signature.ts';

export interface AwsLambdaOptions {
  /** Folder of the state, created when missing. The state survives `kill -9`. */
  readonly dir: string;
  readonly port?: number;
  /** Serves the fault switch over HTTP. */
  readonly faults?: boolean;
  readonly credentials: Credentials;
  readonly region?: string;
  readonly accountId?: string;
  /** Idle instances are stopped after this time. Default 3 min. */
  readonly idleMs?: number;
  /** Most concurrent calls of functions without reserved concurrency. Default 100. */
  readonly accountConcurrency?: number;
  readonly nowMs?: () => number;
  /** Timer for the retries of events. Default setTimeout. */
  readonly schedule?: Schedule;
  /** Receives requests for operations that are not offered, and errors of the emulator itself. */
  readonly log?: (message: string, fields: Readonly<Record<string, unknown>>) => void;
}

export interface AwsLambda {
  readonly endpoint: string;
  readonly port: number;
  readonly faultsUrl?: string;
  readonly faults: Faults;
  /** Writing requests of the control plane received so far. */
  writes(): number;
  /** Instances that run, idle ones included. */
  instances(): number;
  /** Asynchronous calls that are not finished. */
  events(): number;
  close(): Promise<void>;
}

/** How long a function is pending after a change, ms. */
const SETTLE_MS = 10;

/** Starts with the functions, events and logs that are in `dir`. @throws Error EADDRINUSE */
export async function startAwsLambda(options: AwsLambdaOptions): Promise<AwsLambda> {
  const { region = 'us-east-1', accountId = '000000000000', nowMs = Date.now, log } = options;
  mkdirSync(options.dir, { recursive: true });
  const faults = createFaults();
  const identity = { credentials: options.credentials, region, nowMs };
  const verify = createVerifier({ ...identity, service: 'lambda' });
  const verifyLogs = createVerifier({ ...identity, service: 'logs' });
  const logs = openLogs(join(options.dir, 'logs'), nowMs);
  const layers = openLayers(join(options.dir, 'layers'), { region, accountId });
  const functions = openFunctions({
    ...{ dir: options.dir, region, accountId, settleMs: SETTLE_MS },
    otherCode: layers.code,
  });
  const invocations = createInvocations({
    dir: options.dir,
    functions,
    layers,
    idleMs: options.idleMs ?? 180_000,
    accountConcurrency: options.accountConcurrency ?? 100,
    logs,
  });
  const events = openEvents({
    dir: join(options.dir, 'events'),
    functions,
    invocations,
    nowMs,
    schedule: options.schedule ?? startTimer,
    log,
  });
  const codeUrls = createCodeUrls({
    ...{ functions, nowMs, port: () => port.port },
    secret: options.credentials.secretAccessKey,
  });
  const operations = createOperations({
    ...{ functions, layers, invocations, nowMs, port: () => port.port },
    ...{ codeUrl: codeUrls.create, log },
  });
  const front = createFront({
    ...{ faults, verify, verifyLogs, functions, operations, download: codeUrls.read },
    ...{ invocations, events, logs, nowMs, log },
  });

  const server = createServer((request, response) => void front.answer(request, response));
  server.keepAliveTimeout = 65_000;
  const port = await openPort(server, options.port);
  const switchboard = options.faults ? await serveFaults(faults) : undefined;
  faults.onChange(() => port.refuse(faults.isOut('control') || faults.isOut('invoke')));

  return {
    endpoint: `http://127.0.0.1:${port.port}`,
    port: port.port,
    ...(switchboard && { faultsUrl: switchboard.url }),
    faults,
    writes: () => front.writes(),
    instances: () => invocations.size(),
    events: () => events.size(),
    async close() {
      await port.close();
      await switchboard?.close();
      events.close();
      await invocations.close();
      await functions.close();
      await logs.close();
    },
  };
}

function startTimer(work: () => void, delayMs: number): () => void {
  const timer = setTimeout(work, delayMs);
  return () => clearTimeout(timer);
}
