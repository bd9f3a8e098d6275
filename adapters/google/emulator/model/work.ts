// The work of one long-running operation: puts a revision up, or takes a function down.

import { randomUUID } from 'node:crypto';
import { basename } from 'node:path';
import { type InstanceParts, startInstance } from '../instances/instance.ts';
import { BuildError } from './build.ts';
import type { Code } from './code.ts';
import type { Fronts } from './fronts.ts';
import { revisionOf } from './revision.ts';
import type { FunctionResource, Store, StoredFunction, StoredOperation } from './state.ts';

export interface WorkParts extends InstanceParts {
  readonly store: Pick<Store, 'state'>;
  readonly fronts: Fronts;
  readonly code: Code;
  readonly nowMs: () => number;
  readonly log: (event: string, facts: object) => void;
  /** Whether the emulator is closing. Then a failed operation is resumed by the next start. */
  readonly isClosed: () => boolean;
}

/** Codes of google/rpc/code.proto. */
const INVALID_ARGUMENT = 3;
const RESOURCE_EXHAUSTED = 8;
const INTERNAL = 13;

/** Never rejects. An operation that is not finished afterwards was cut off. */
export async function perform(operation: StoredOperation, parts: WorkParts): Promise<void> {
  try {
    await attempt(operation, parts);
  } catch (error) {
    parts.log('operation failed inside', { operation: operation.name, error: String(error) });
    const message = 'An internal error has occurred';
    finish(operation, parts, { code: INTERNAL, message });
  }
}

async function attempt(operation: StoredOperation, parts: WorkParts): Promise<void> {
  const { fault, verb } = operation;
  if (fault === 'operation-fails') {
    return fail(operation, parts, INTERNAL, 'Build failed: the fault switch says so');
  }
  if (verb === 'delete') return takeDown(operation, parts);
  if (fault === 'quota') {
    const message = 'Quota exceeded for total allowable CPU per project per region.';
    return fail(operation, parts, RESOURCE_EXHAUSTED, message);
  }
  await putUp(operation, parts);
}

function takeDown(operation: StoredOperation, parts: WorkParts): void {
  const { functions } = parts.store.state;
  const { target } = operation;
  const code = functions[target]?.serving?.code;
  delete functions[target];
  // Running calls go on to their end. The operation does not wait for them.
  void parts.fronts
    .get(target)
    ?.serve(undefined)
    .then(() => {
      parts.code.remove(code);
      return parts.logs.remove(basename(target));
    });
  finish(operation, parts);
}

async function putUp(operation: StoredOperation, parts: WorkParts): Promise<void> {
  const { target, wanted } = operation;
  const stored = parts.store.state.functions[target];
  if (!wanted || !stored) return fail(operation, parts, INTERNAL, 'the function is gone');
  const former = stored.serving;
  const { object } = wanted.buildConfig.source.storageSource;
  const kept =
    former?.resource.buildConfig.source.storageSource.object === object ? former.code : undefined;
  const front = await parts.fronts.of(target);

  let code = kept;
  try {
    code ??= parts.code.build(target, object);
    const resource = deployed(stored, wanted, front.uri, parts.nowMs());
    const revision = revisionOf(resource, parts.code.dirOf(code));
    // Cloud Run refuses a revision whose container does not start. This instance serves no calls.
    const trial = await startInstance(revision, parts);
    trial.stop();
    await trial.exited;
    void front.serve(revision).then(() => {
      if (kept === undefined) parts.code.remove(former?.code);
    });
    stored.serving = { resource, code };
    stored.resource = resource;
    stored.revisions += 1;
    parts.code.removeSource(object);
    finish(operation, parts);
  } catch (error) {
    if (kept === undefined) parts.code.remove(code);
    if (parts.isClosed()) return;
    const message = error instanceof Error ? error.message : String(error);
    const told = error instanceof BuildError ? `Build failed: ${message}` : message;
    fail(operation, parts, INVALID_ARGUMENT, told);
  }
}

function deployed(
  stored: StoredFunction,
  wanted: FunctionResource,
  uri: string,
  nowMs: number,
): FunctionResource {
  const service = basename(wanted.name);
  const number = String(stored.revisions + 1).padStart(5, '0');
  return {
    ...wanted,
    state: 'ACTIVE',
    updateTime: new Date(nowMs).toISOString(),
    url: uri,
    serviceConfig: {
      ...wanted.serviceConfig,
      service: wanted.name.replace('/functions/', '/services/'),
      revision: `${service}-${number}-${randomUUID().slice(0, 3)}`,
      uri,
      allTrafficOnLatestRevision: true,
    },
  };
}

function fail(operation: StoredOperation, parts: WorkParts, code: number, message: string): void {
  const stored = parts.store.state.functions[operation.target];
  if (stored) {
    // The former revision goes on serving. It is not known which state the cloud shows then.
    const { serving, resource } = stored;
    stored.resource = {
      ...(serving?.resource ?? resource),
      state: serving ? 'ACTIVE' : 'FAILED',
      stateMessages: [
        ...(resource.stateMessages ?? []).filter(({ severity }) => severity === 'WARNING'),
        { severity: 'ERROR', type: 'DeployFailed', message },
      ],
    };
  }
  finish(operation, parts, { code, message });
}

function finish(
  operation: StoredOperation,
  parts: WorkParts,
  error?: StoredOperation['error'],
): void {
  if (error) operation.error = error;
  delete operation.wanted;
  operation.endTime = new Date(parts.nowMs()).toISOString();
  const { name, verb } = operation;
  parts.log('operation done', { operation: name, verb, ...(error && { error }) });
}
