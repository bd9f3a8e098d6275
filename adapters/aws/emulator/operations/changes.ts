// What the operations that change a function share: the checks before, the version and the commit.

import { randomUUID } from 'node:crypto';
import type { Fault } from '../../../emulators/faults.ts';
import type { Invocations } from '../instances/invocations.ts';
import { conflict, invalidParameter, wrongRevision } from '../model/errors.ts';
import type { Functions } from '../model/functions.ts';
import type { Layers } from '../model/layers.ts';
import { type Fields, isRecord, type OperationRequest } from '../model/operation.ts';
import {
  type Configuration,
  isSettling,
  type LambdaFunction,
  renewRevision,
} from '../model/records.ts';
import { ignoredSettings, SETTINGS } from '../model/settings.ts';

export interface OperationParts {
  readonly functions: Functions;
  readonly layers: Layers;
  readonly invocations: Pick<Invocations, 'retire' | 'concurrency'>;
  readonly nowMs: () => number;
  /** The emulator's own. */
  readonly port: () => number;
  /** A URL from which a stored zip can be downloaded for some minutes. */
  readonly codeUrl: (codeSha256: string) => string;
  readonly log: ((message: string, fields: Fields) => void) | undefined;
}

/**
 * Saves the function. What is pending or updating becomes ready a little later, unless a fault
 * makes it fail or hang.
 */
export async function commit(
  { functions, invocations }: Pick<OperationParts, 'functions' | 'invocations'>,
  of: LambdaFunction,
  fault?: Fault,
): Promise<void> {
  if (fault?.kind === 'operation-fails') fail(of);
  await functions.save(of);
  if (isSettling(of) && fault?.kind !== 'stuck-operation') functions.settle(of);
  invocations.retire(of.name);
}

/**
 * The function that a request changes.
 * @throws AwsError 404 missing, 409 an earlier change is not finished, 412 another RevisionId
 */
export function writable(functions: Functions, request: OperationRequest): LambdaFunction {
  const of = functions.get(request.functionName, request.qualifier);
  const { RevisionId } = request.body;
  if (RevisionId !== undefined && RevisionId !== of.latest.RevisionId) throw wrongRevision();
  refuseSettling(functions, of);
  return of;
}

/** @throws AwsError 409 an earlier change is not finished */
export function refuseSettling(functions: Functions, of: LambdaFunction): void {
  if (!isSettling(of)) return;
  throw conflict(
    `The operation cannot be performed at this time. An update is in progress for resource: ${functions.arn(of.name)}`,
  );
}

/**
 * Publishes `$LATEST`, which then has a new RevisionId. Unchanged since the last time, it is that
 * version again.
 */
export function publish(
  functions: Functions,
  of: LambdaFunction,
  description?: string,
): Configuration {
  const last = of.versions.at(-1);
  if (last && of.publishedRevision === of.latest.RevisionId) return last;
  const Version = String(of.nextVersion);
  const version: Configuration = {
    ...structuredClone(of.latest),
    Version,
    FunctionArn: functions.arn(of.name, Version),
    RevisionId: randomUUID(),
    ...(description && { Description: description }),
  };
  of.nextVersion += 1;
  of.versions.push(version);
  of.publishedRevision = of.latest.RevisionId;
  renewRevision(of);
  return version;
}

/**
 * The bytes of a request's `ZipFile`.
 * @throws AwsError 400 none: there is no S3, and there are no images
 */
export function zipOf(code: Fields): Uint8Array {
  const { ZipFile, S3Bucket, S3Key, ImageUri } = code;
  if (ImageUri !== undefined) {
    throw invalidParameter('Container images are not supported by this emulator.');
  }
  if (S3Bucket !== undefined || S3Key !== undefined) {
    throw invalidParameter(
      'Error occurred while GetObject. S3 Error Code: NoSuchBucket. S3 Error Message: The specified bucket does not exist',
    );
  }
  if (typeof ZipFile === 'string') return Buffer.from(ZipFile, 'base64');
  throw invalidParameter('Please provide a source for function code.');
}

/** Names in the log what a request sets without effect, and what no known operation has. */
export function tellIgnored({ log }: OperationParts, name: string, body: Fields): void {
  const unknown = Object.keys(body).filter(
    (key) => !(key in SETTINGS) && body[key] !== undefined && !isEmpty(body[key]),
  );
  const settings = [...ignoredSettings(body), ...unknown];
  if (settings.length > 0) log?.('ignored', { functionName: name, settings });
  if (body.Runtime !== undefined) {
    log?.('runtime', { functionName: name, named: body.Runtime, used: process.version });
  }
}

function isEmpty(value: unknown): boolean {
  return value === null || (isRecord(value) && Object.keys(value).length === 0);
}

/** Ends what is pending or updating as a failure. */
function fail(of: LambdaFunction): void {
  for (const each of [of.latest, ...of.versions]) {
    if (each.State === 'Pending') {
      each.State = 'Failed';
      each.StateReason = 'The function could not be created.';
      each.StateReasonCode = 'InternalError';
    } else if (each.LastUpdateStatus === 'InProgress') {
      each.LastUpdateStatus = 'Failed';
      each.LastUpdateStatusReason = 'The function could not be updated.';
      each.LastUpdateStatusReasonCode = 'InternalError';
    }
  }
}
