// The three clouds' emulators in one process (`npm run emulators`, and a part of the house): with
// the same ports and credentials at every start. Writes their addresses to `emulators.json`, which
// a gateway reads as DEFAAS_EMULATORS_FILE.
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { startAwsLambda } from '../adapters/aws/emulator/emulator.ts';
import { startAzureFunctions } from '../adapters/azure/emulator/emulator.ts';
import { startGoogleCloudFunctions } from '../adapters/google/emulator/emulator.ts';
import { writeWhole } from '../adapters/runtime/whole-file.ts';
import type { EmulatorsFile } from '../broker/clouds.ts';
import { CliError, errorLine } from './cli/cli-error.ts';
import { findHome } from './cli/house.ts';
import { requireLoopback } from './house/loopback.ts';
import { openPidBook } from './house/pid-book.ts';

const AWS_REGION = 'us-east-1';
/** The emulator's account number is all zeros; any role in it is accepted. */
const AWS_ROLE = 'arn:aws:iam::000000000000:role/defaas';
const GOOGLE_PROJECT = 'defaas-local';
const GOOGLE_REGION = 'us-central1';
const AZURE_LOCATION = 'westeurope';

/**
 * Content of `emulators.json`: what a gateway needs, the ports for the next start, and the URLs of
 * the fault switches if they are served.
 */
interface WrittenFile extends EmulatorsFile {
  readonly ports: {
    readonly aws: number;
    readonly google: number;
    readonly metadata: number;
    readonly azure: number;
  };
  readonly faults?: { readonly aws: string; readonly google: string; readonly azure: string };
}

interface Emulators {
  readonly file: WrittenFile;
  close(): Promise<void>;
}

/** Starts all three emulators. A former port that is taken now is replaced by a free one. */
async function startEmulators(
  dir: string,
  { hasFaults, idleMs }: { readonly hasFaults: boolean; readonly idleMs: number | undefined },
): Promise<Emulators> {
  const idle = idleMs === undefined ? {} : { idleMs };
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const path = join(dir, 'emulators.json');
  const before = readBefore(path);
  const log = (message: unknown, fields?: unknown): void => {
    process.stderr.write(`${JSON.stringify({ message, fields })}\n`);
  };
  const secretAccessKey =
    before?.aws.credentials.secretAccessKey ?? randomBytes(20).toString('hex');
  const credentials = { accessKeyId: 'emulator', secretAccessKey };
  const [aws, google, azure] = await Promise.all([
    onPort(before?.ports.aws, (port) =>
      startAwsLambda({
        dir: join(dir, 'aws'),
        port,
        faults: hasFaults,
        ...idle,
        credentials,
        region: AWS_REGION,
        log,
      }),
    ),
    onPort(before?.ports.google, (port) =>
      startGoogleCloudFunctions({
        dir: join(dir, 'google'),
        port,
        metadataPort: port === 0 ? 0 : (before?.ports.metadata ?? 0),
        faults: hasFaults,
        ...idle,
        projectId: GOOGLE_PROJECT,
        locations: [GOOGLE_REGION],
        log,
      }),
    ),
    onPort(before?.ports.azure, (port) =>
      startAzureFunctions({ dir: join(dir, 'azure'), port, faults: hasFaults, ...idle, log }),
    ),
  ]);
  const file: WrittenFile = {
    aws: { endpoint: aws.endpoint, region: AWS_REGION, credentials, roleArn: AWS_ROLE },
    google: {
      endpoint: google.endpoint,
      metadataHost: google.metadataHost,
      projectId: GOOGLE_PROJECT,
      region: GOOGLE_REGION,
    },
    azure: {
      endpoint: azure.endpoint,
      caPem: azure.caPem,
      token: azure.token,
      subscriptionId: azure.subscriptionId,
      resourceGroup: azure.resourceGroup,
      location: AZURE_LOCATION,
      storage: azure.storage,
      insightsConnectionString: azure.insightsConnectionString,
    },
    ports: {
      aws: aws.port,
      google: google.port,
      metadata: Number(google.metadataHost.split(':')[1]),
      azure: azure.port,
    },
    ...(aws.faultsUrl &&
      google.faultsUrl &&
      azure.faultsUrl && {
        faults: { aws: aws.faultsUrl, google: google.faultsUrl, azure: azure.faultsUrl },
      }),
  };
  await writeWhole(path, JSON.stringify(file, null, 2));
  return {
    file,
    async close() {
      await Promise.all([aws.close(), google.close(), azure.close()]);
    },
  };
}

/**
 * Listens on the former port, which deployments refer to; on any port if another program has taken
 * it.
 */
async function onPort<T>(
  port: number | undefined,
  start: (port: number) => Promise<T>,
): Promise<T> {
  if (port === undefined) return start(0);
  try {
    return await start(port);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EADDRINUSE')) throw error;
    return start(0);
  }
}

function readBefore(path: string): WrittenFile | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}

/** @throws CliError USAGE */
function readArguments() {
  try {
    return parseArgs({
      options: {
        dir: { type: 'string' },
        faults: { type: 'boolean' },
        'idle-ms': { type: 'string' },
      },
    }).values;
  } catch (error) {
    const what = error instanceof Error ? error.message : String(error);
    throw new CliError('USAGE', `${what}, use [--dir FOLDER] [--faults] [--idle-ms N]`);
  }
}

async function main(): Promise<void> {
  await requireLoopback();
  const values = readArguments();
  const idleMs = values['idle-ms'] === undefined ? undefined : Number(values['idle-ms']);
  const home = findHome();
  const dir = resolve(values.dir ?? join(home, 'emulators'));
  // Started alone it must not share the folder with a running house. In a house, the house holds
  // the pid book.
  const book =
    process.send === undefined && values.dir === undefined ? openPidBook(home) : undefined;
  const hasFaults = values.faults ?? process.env.DEFAAS_EMULATORS_FAULTS === '1';
  const emulators = await startEmulators(dir, { hasFaults, idleMs });
  let isEnding = false;
  const end = async (): Promise<void> => {
    if (isEnding) return;
    isEnding = true;
    await emulators.close();
    book?.close();
    process.exit(0);
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, end);
  const { aws, google, azure, faults } = emulators.file;
  const endpoints = { aws: aws.endpoint, google: google.endpoint, azure: azure.endpoint };
  if (process.send === undefined) {
    console.log(
      JSON.stringify({ ...endpoints, faults, file: join(dir, 'emulators.json') }, null, 2),
    );
  } else {
    process.on('disconnect', end);
    process.send({ ready: { ...endpoints, ...(faults && { faults }) } });
  }
}

await main().catch((error: unknown) => {
  const isUsage = error instanceof CliError && error.code === 'USAGE';
  const stack = error instanceof Error && !isUsage ? `${error.stack}\n` : '';
  process.stderr.write(`${errorLine(error)}\n${stack}`);
  process.exit(isUsage ? 2 : 1);
});
