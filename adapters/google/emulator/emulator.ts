// Google Cloud Functions (v2) on this machine, on 127.0.0.1 only: the control plane, the metadata
// server, and for each function a front that runs the uploaded code on the official
// functions-framework. There is no sandbox: it is for code that the operator trusts.

import { mkdirSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { createExecutionSums } from '../../emulators/executions.ts';
import { createFaults, type Faults, serveFaults } from '../../emulators/faults.ts';
import { openPort } from '../../emulators/port.ts';
import { createChildren } from '../../runtime/children.ts';
import { createIssuer } from './instances/issuer.ts';
import { openLogs } from './instances/logs.ts';
import { answerMetadata } from './metadata.ts';
import { openFunctions } from './model/functions.ts';
import { openStore } from './model/state.ts';
import { answerControl } from './operations/control.ts';
import type { ControlParts } from './operations/parts.ts';

export interface GoogleCloudFunctionsEmulatorOptions {
  /** Folder of all state. Created when it is missing. */
  readonly dir: string;
  readonly projectId: string;
  /** Port of the control plane. Default: any free port. */
  readonly port?: number;
  readonly metadataPort?: number;
  readonly locations?: readonly string[];
  /** Serve the fault switch over HTTP. */
  readonly faults?: boolean;
  /** Stops an instance that has had no call for this time. */
  readonly idleMs?: number;
  /** Delay between the end of a minute and its executions in the metrics, ms. */
  readonly metricDelayMs?: number;
  /** Unix time of the metrics, ms. Default: `nowMs`. */
  readonly metricNowMs?: () => number;
  /** Unix time in milliseconds. */
  readonly nowMs?: () => number;
  readonly log?: (event: string, facts: object) => void;
}

export interface GoogleCloudFunctionsEmulator {
  /** Control plane, `http://127.0.0.1:P`. */
  readonly endpoint: string;
  readonly port: number;
  /** `127.0.0.1:P`, the form of `GCE_METADATA_HOST`. */
  readonly metadataHost: string;
  readonly projectId: string;
  readonly faults: Faults;
  readonly faultsUrl?: string;
  /** Ends all instances. The next start serves the deployed functions again. */
  close(): Promise<void>;
}

/** Long enough for a person at a terminal, short enough for fifty functions on one machine. */
const IDLE_MS = 60_000;
const METRIC_DELAY_MS = 1_000;

/** @throws Error  a port is taken, or `dir` contains something else */
export async function startGoogleCloudFunctions(
  options: GoogleCloudFunctionsEmulatorOptions,
): Promise<GoogleCloudFunctionsEmulator> {
  const { dir, projectId, nowMs = Date.now, log = () => undefined } = options;
  mkdirSync(dir, { recursive: true });
  const faults = createFaults();
  const issuer = await createIssuer({ dir, projectId, nowMs });
  const logs = openLogs({ dir: join(dir, 'logs'), projectId, nowMs });
  const delayMs = options.metricDelayMs ?? METRIC_DELAY_MS;
  const sums = createExecutionSums({ nowMs: options.metricNowMs ?? nowMs, delayMs });
  const children = createChildren(join(dir, 'children'));
  const functions = await openFunctions({
    dir,
    store: openStore(dir),
    children,
    cacheDir: join(dir, 'compile-cache'),
    issuer,
    faults,
    idleMs: options.idleMs ?? IDLE_MS,
    nowMs,
    log,
    logs,
    sums,
  });

  const parts: ControlParts = {
    projectId,
    locations: options.locations ?? ['us-central1'],
    functions,
    logs,
    sums,
    issuer,
    faults,
    nowMs,
    log,
    endpoint: () => endpoint,
  };
  const control = await openPort(
    serverOf((request, response) => answerControl(parts, request, response)),
    options.port,
  );
  const endpoint = `http://127.0.0.1:${control.port}`;
  const metadata = await openPort(
    serverOf((request, response) => answerMetadata({ issuer, projectId }, request, response)),
    options.metadataPort,
  );
  faults.onChange(async () => {
    functions.resume();
    await Promise.all([
      control.refuse(faults.isOut('control')),
      functions.refuse(faults.isOut('invoke')),
    ]);
  });
  const faultSwitch = options.faults ? await serveFaults(faults) : undefined;

  return {
    endpoint,
    port: control.port,
    metadataHost: `127.0.0.1:${metadata.port}`,
    projectId,
    faults,
    ...(faultSwitch && { faultsUrl: faultSwitch.url }),
    async close() {
      await Promise.all([
        control.close(),
        metadata.close(),
        faultSwitch?.close(),
        functions.close(),
      ]);
      await logs.close();
    },
  };
}

function serverOf(answer: (request: IncomingMessage, response: ServerResponse) => unknown) {
  return createServer({ keepAliveTimeout: 60_000 }, async (request, response) => {
    try {
      await answer(request, response);
    } catch {
      // The connection broke during the answer.
      response.destroy();
    }
  });
}
