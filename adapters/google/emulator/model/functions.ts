// The functions of the Google emulator and the long-running operations that change them. An
// operation is on disk before the emulator answers. The next start resumes one that was cut off.

import { randomUUID } from 'node:crypto';
import type { FrontParts } from '../instances/front.ts';
import { openCode } from './code.ts';
import { openFronts } from './fronts.ts';
import { revisionOf } from './revision.ts';
import type { FunctionResource, State, Store, StoredOperation } from './state.ts';
import { perform, type WorkParts } from './work.ts';

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

export async function openFunctions(parts: FunctionsParts): Promise<Functions> {
  const { store, dir, nowMs } = parts;
  const { state } = store;
  const code = openCode(dir);
  code.sweep(state, nowMs());
  const fronts = await openFronts(dir, state, parts);
  for (const [name, { serving }] of Object.entries(state.functions)) {
    if (!serving) continue;
    void fronts.get(name)?.serve(revisionOf(serving.resource, code.dirOf(serving.code)));
  }
  await store.save();
  const work = createWork({ ...parts, fronts, code });
  work.resume();

  return {
    ...readsOf(state),
    async begin(asked) {
      const operation = note(state, asked, nowMs());
      await store.save();
      work.start(operation);
      return operation;
    },
    saveSource: code.saveSource,
    hasSource: code.hasSource,
    resume: work.resume,
    refuse: fronts.refuse,
    async close() {
      work.stop();
      await fronts.close();
      await parts.children.close();
      await work.ended();
    },
  };
}

/** Runs operations, each once at a time. */
function createWork(parts: Omit<WorkParts, 'isClosed'> & { readonly store: Store }) {
  const working = new Map<string, Promise<void>>();
  let isClosed = false;

  function start(operation: StoredOperation): void {
    if (isClosed || operation.fault === 'stuck-operation') return;
    const work = perform(operation, { ...parts, isClosed: () => isClosed })
      .then(() => parts.store.save())
      .finally(() => working.delete(operation.name));
    working.set(operation.name, work);
  }

  return {
    start,
    resume(): void {
      for (const operation of Object.values(parts.store.state.operations)) {
        if (operation.endTime !== undefined || working.has(operation.name)) continue;
        if (operation.fault === 'stuck-operation') delete operation.fault;
        start(operation);
      }
    },
    stop(): void {
      isClosed = true;
    },
    async ended(): Promise<void> {
      await Promise.all(working.values());
    },
  };
}

function readsOf({
  functions,
  operations,
}: State): Pick<Functions, 'find' | 'list' | 'operation' | 'operations' | 'isBusy'> {
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
  };
}

/** Enters an operation, and the state that its function has during it. */
function note(
  { functions, operations }: State,
  { verb, target, wanted, fault }: Parameters<Functions['begin']>[0],
  nowMs: number,
): StoredOperation {
  const parent = target.slice(0, target.indexOf('/functions/'));
  const operation: StoredOperation = {
    name: `${parent}/operations/operation-${nowMs}-${randomUUID()}`,
    verb,
    target,
    createTime: new Date(nowMs).toISOString(),
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
  return operation;
}
