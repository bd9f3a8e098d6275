// The functions of the Google emulator and the long-running operations that change them. An
// operation is on disk before the emulator answers. The next start resumes one that was cut off.

import { createHash, randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { writeWhole } from '../../../runtime/whole-file.ts';
import { type Front, type FrontParts, openFront } from '../instances/front.ts';
import { type Revision, startInstance } from '../instances/instance.ts';
import { BuildError, build } from './build.ts';
import { readdress, revisionOf } from './revision.ts';
import type { FunctionResource, Store, StoredFunction, StoredOperation } from './state.ts';

export interface Functions {
  find(name: string): FunctionResource | undefined;
  /** The functions of `projects/P/locations/L`, sorted by name. */
  list(parent: string): FunctionResource[];
  operation(name: string): StoredOperation | undefined;
  operations(parent: string): StoredOperation[];
  /** Whether an operation on this function is not yet done. */
  isBusy(name: string): boolean;
  /** Resolves when the operation is on disk. Its work goes on after that. */
  begin(
    operation: Pick<StoredOperation, 'verb' | 'target'> &
      Partial<Pick<StoredOperation, 'wanted' | 'fault'>>,
  ): Promise<StoredOperation>;
  saveSource(object: string, zip: Uint8Array): Promise<void>;
  hasSource(object: string): boolean;
  /** Continues the operations that the fault switch has stopped. */
  resume(): void;
  refuse(isOut: boolean): Promise<void>;
  close(): Promise<void>;
}

export interface FunctionsParts extends FrontParts {
  readonly dir: string;
  readonly store: Store;
  readonly nowMs: () => number;
  readonly log: (event: string, facts: object) => void;
}

/** Keep an uploaded zip for this long when no operation uses it. */
const KEEP_SOURCE_MS = 60 * 60 * 1000;
/** Codes of google/rpc/code.proto. */
const INVALID_ARGUMENT = 3;
const RESOURCE_EXHAUSTED = 8;
const INTERNAL = 13;

export async function openFunctions(parts: FunctionsParts): Promise<Functions> {
  const { store, dir, log } = parts;
  const { functions, operations, ports } = store.state;
  const sourcesDir = join(dir, 'sources');
  const codeRoot = join(dir, 'code');
  mkdirSync(sourcesDir, { recursive: true });
  mkdirSync(codeRoot, { recursive: true });

  const fronts = new Map<string, Front>();
  const working = new Map<string, Promise<void>>();
  let isOut = false;
  let isClosed = false;

  sweep();
  for (const name of Object.keys(ports)) await frontOf(name);
  for (const [name, { serving }] of Object.entries(functions)) {
    if (!serving) continue;
    void fronts.get(name)?.serve(revisionOf(serving.resource, join(codeRoot, serving.code)));
  }
  await store.save();
  resume();

  async function frontOf(name: string): Promise<Front> {
    const known = fronts.get(name);
    if (known) return known;
    const seed = createHash('sha256').update(`${dir}\n${name}`).digest().readUInt32BE();
    const front = await openFront(basename(name), { port: ports[name], seed }, parts);
    if (isOut) await front.refuse(true);
    ports[name] = front.port;
    fronts.set(name, front);
    const stored = functions[name];
    if (stored) readdress(stored, front.uri);
    return front;
  }

  function resume(): void {
    for (const operation of Object.values(operations)) {
      if (operation.endTime !== undefined || working.has(operation.name)) continue;
      if (operation.fault === 'stuck-operation') delete operation.fault;
      start(operation);
    }
  }

  function start(operation: StoredOperation): void {
    if (isClosed || operation.fault === 'stuck-operation') return;
    const work = perform(operation)
      .catch((error: unknown) => {
        log('operation failed inside', { operation: operation.name, error: String(error) });
        finish(operation, { code: INTERNAL, message: 'An internal error has occurred' });
      })
      .then(() => store.save())
      .finally(() => working.delete(operation.name));
    working.set(operation.name, work);
  }

  async function perform(operation: StoredOperation): Promise<void> {
    if (operation.fault === 'operation-fails') {
      return fail(operation, INTERNAL, 'Build failed: the fault switch says so');
    }
    if (operation.verb === 'delete') return takeDown(operation);
    if (operation.fault === 'quota') {
      return fail(
        operation,
        RESOURCE_EXHAUSTED,
        'Quota exceeded for total allowable CPU per project per region.',
      );
    }
    await putUp(operation);
  }

  async function takeDown(operation: StoredOperation): Promise<void> {
    const stored = functions[operation.target];
    delete functions[operation.target];
    // Running calls go on to their end. The operation does not wait for them.
    void fronts
      .get(operation.target)
      ?.serve(undefined)
      .then(() => {
        removeCode(stored?.serving?.code);
        return parts.logs.remove(basename(operation.target));
      });
    finish(operation);
  }

  async function putUp(operation: StoredOperation): Promise<void> {
    const { target, wanted } = operation;
    const stored = functions[target];
    if (!wanted || !stored) return fail(operation, INTERNAL, 'the function is gone');
    const former = stored.serving;
    const front = await frontOf(target);
    const { object } = wanted.buildConfig.source.storageSource;
    const sourceFile = join(sourcesDir, object);
    const isSameCode = former?.resource.buildConfig.source.storageSource.object === object;
    const code = isSameCode ? former.code : `${basename(target)}-${randomUUID()}`;
    const codeDir = join(codeRoot, code);

    try {
      if (!isSameCode) {
        if (!existsSync(sourceFile)) throw new BuildError(`source ${object} not found`);
        build(readFileSync(sourceFile), codeDir);
      }
      const resource = deployed(stored, wanted, front.uri);
      const revision = revisionOf(resource, codeDir);
      await tryStart(revision);
      void front.serve(revision).then(() => {
        if (former && !isSameCode) removeCode(former.code);
      });
      stored.serving = { resource, code };
      stored.resource = resource;
      stored.revisions += 1;
      rmSync(sourceFile, { force: true });
      finish(operation);
    } catch (error) {
      if (!isSameCode) removeCode(code);
      if (isClosed) return;
      const message = error instanceof Error ? error.message : String(error);
      fail(
        operation,
        INVALID_ARGUMENT,
        error instanceof BuildError ? `Build failed: ${message}` : message,
      );
    }
  }

  /**
   * Cloud Run refuses a revision whose container does not start. The instance of this trial serves
   * no calls.
   */
  async function tryStart(revision: Revision): Promise<void> {
    const instance = await startInstance(revision, parts);
    instance.stop();
    await instance.exited;
  }

  function deployed(
    stored: StoredFunction,
    wanted: FunctionResource,
    uri: string,
  ): FunctionResource {
    const service = basename(wanted.name);
    const number = String(stored.revisions + 1).padStart(5, '0');
    return {
      ...wanted,
      state: 'ACTIVE',
      updateTime: new Date(parts.nowMs()).toISOString(),
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

  function fail(operation: StoredOperation, code: number, message: string): void {
    const stored = functions[operation.target];
    if (stored) {
      // The former revision goes on serving. It is not known which state the cloud shows then.
      const { serving } = stored;
      stored.resource = {
        ...(serving?.resource ?? stored.resource),
        state: serving ? 'ACTIVE' : 'FAILED',
        stateMessages: [
          ...(stored.resource.stateMessages ?? []).filter(({ severity }) => severity === 'WARNING'),
          { severity: 'ERROR', type: 'DeployFailed', message },
        ],
      };
    }
    finish(operation, { code, message });
  }

  function finish(operation: StoredOperation, error?: StoredOperation['error']): void {
    if (error) operation.error = error;
    delete operation.wanted;
    operation.endTime = new Date(parts.nowMs()).toISOString();
    const { name, verb } = operation;
    log('operation done', { operation: name, verb, ...(error && { error }) });
  }

  /** Removes unused code and sources, which a killed emulator leaves. */
  function sweep(): void {
    const used = new Set(Object.values(functions).map(({ serving }) => serving?.code));
    for (const code of readdirSync(codeRoot)) if (!used.has(code)) removeCode(code);
    const wanted = new Set(
      Object.values(operations)
        .filter(({ endTime }) => endTime === undefined)
        .map((operation) => operation.wanted?.buildConfig.source.storageSource.object),
    );
    for (const name of readdirSync(sourcesDir)) {
      const file = join(sourcesDir, name);
      const isOld = statSync(file).mtimeMs < parts.nowMs() - KEEP_SOURCE_MS;
      if (isOld && !wanted.has(name)) rmSync(file, { force: true });
    }
  }

  function removeCode(code: string | undefined): void {
    if (code !== undefined) rmSync(join(codeRoot, code), { recursive: true, force: true });
  }

  return {
    find: (name) => functions[name]?.resource,
    list: (parent) =>
      Object.values(functions)
        .map(({ resource }) => resource)
        .filter(({ name }) => name.startsWith(`${parent}/functions/`))
        .sort((a, b) => (a.name < b.name ? -1 : 1)),
    operation: (name) => operations[name],
    operations: (parent) =>
      Object.values(operations).filter(({ name }) => name.startsWith(`${parent}/operations/`)),
    isBusy: (name) =>
      Object.values(operations).some(
        ({ target, endTime }) => target === name && endTime === undefined,
      ),

    async begin({ verb, target, wanted, fault }) {
      const parent = target.slice(0, target.indexOf('/functions/'));
      const operation: StoredOperation = {
        name: `${parent}/operations/operation-${parts.nowMs()}-${randomUUID()}`,
        verb,
        target,
        createTime: new Date(parts.nowMs()).toISOString(),
        ...(wanted && { wanted }),
        ...(fault && { fault }),
      };
      operations[operation.name] = operation;
      const stored = functions[target];
      if (wanted && !stored) functions[target] = { resource: wanted, revisions: 0 };
      if (stored) {
        const state = verb === 'delete' ? 'DELETING' : 'DEPLOYING';
        stored.resource = { ...stored.resource, state };
      }
      await store.save();
      start(operation);
      return operation;
    },

    saveSource: (object, zip) => writeWhole(join(sourcesDir, object), zip),
    hasSource: (object) => existsSync(join(sourcesDir, object)),
    resume,

    async refuse(out) {
      isOut = out;
      await Promise.all([...fronts.values()].map((front) => front.refuse(out)));
    },

    async close() {
      isClosed = true;
      await Promise.all([...fronts.values()].map((front) => front.close()));
      await parts.children.close();
      await Promise.all(working.values());
    },
  };
}
