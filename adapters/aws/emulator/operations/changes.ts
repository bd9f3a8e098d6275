// What the operations that change a function share: the checks before, the version and the commit.

import { randomUUID } from 'node:crypto';
import type { Fault } from '../../../emulators/faults.ts';
import type { Invocations } from '../instances/invocations.ts';
import { conflict, invalidParameter, wrongRevision } from '../model/errors.ts';
import {
  type Configuration,
  type Functions,
  isSettling,
  type LambdaFunction,
} from '../model/functions.ts';
import type { Fields, OperationRequest } from '../model/operation.ts';

export interface OperationParts {
  readonly functions: Functions;
  readonly invocations: Pick<Invocations, 'retire'>;
  readonly nowMs: () => number;
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

/** Publishes `$LATEST`. Unchanged since the last time, it is that version again. */
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
  return version;
}

/** The bytes of a request's `ZipFile`. @throws AwsError 400 none */
export function zipOf(code: Fields): Uint8Array {
  const { ZipFile } = code;
  if (typeof ZipFile === 'string') return Buffer.from(ZipFile, 'base64');
  throw invalidParameter(
    'Only ZipFile is supported by this emulator; S3 objects and images are not.',
  );
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
