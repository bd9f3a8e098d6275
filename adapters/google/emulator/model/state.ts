// The state of the Google emulator: functions, operations, and the ports of functions. It is one
// file, written completely after each change.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeWhole } from '../../../runtime/whole-file.ts';

/** The members of `google.cloud.functions.v2.Function` that the emulator keeps, as JSON. */
export interface FunctionResource {
  readonly name: string;
  readonly description?: string;
  readonly buildConfig: BuildConfig;
  readonly serviceConfig: ServiceConfig;
  readonly eventTrigger?: EventTrigger;
  readonly labels?: Readonly<Record<string, string>>;
  readonly environment: 'GEN_2';
  readonly state: 'ACTIVE' | 'FAILED' | 'DEPLOYING' | 'DELETING';
  readonly stateMessages?: readonly { severity: string; type: string; message: string }[];
  readonly createTime: string;
  readonly updateTime: string;
  readonly url?: string;
}

export interface BuildConfig {
  readonly build?: string;
  readonly runtime: string;
  readonly entryPoint: string;
  readonly source: { readonly storageSource: StorageSource };
  readonly environmentVariables?: Readonly<Record<string, string>>;
}

export interface EventTrigger {
  readonly trigger: string;
  readonly triggerRegion: string;
  readonly eventType: string;
  readonly pubsubTopic?: string;
}

export interface StorageSource {
  readonly bucket: string;
  readonly object: string;
}

export interface ServiceConfig {
  readonly service?: string;
  readonly revision?: string;
  readonly uri?: string;
  readonly timeoutSeconds: number;
  readonly availableMemory: string;
  readonly availableCpu?: string;
  readonly maxInstanceCount: number;
  readonly minInstanceCount?: number;
  readonly maxInstanceRequestConcurrency: number;
  readonly environmentVariables?: Readonly<Record<string, string>>;
  readonly ingressSettings?: string;
  readonly serviceAccountEmail?: string;
  readonly allTrafficOnLatestRevision?: boolean;
}

export interface StoredFunction {
  resource: FunctionResource;
  /** Settings and code that serve. Undefined until the first build has succeeded. */
  serving?: {
    readonly resource: FunctionResource;
    /** Name of its folder in `code/`. */
    readonly code: string;
  };
  /** Number of revisions so far. */
  revisions: number;
}

export interface StoredOperation {
  readonly name: string;
  readonly verb: 'create' | 'update' | 'delete';
  /** Name of the function. */
  readonly target: string;
  readonly createTime: string;
  /** What to deploy. Undefined for a delete, and after the end: its environment has secrets. */
  wanted?: FunctionResource;
  /** The fault that the fault switch had for the call. */
  fault?: 'operation-fails' | 'stuck-operation' | 'quota';
  endTime?: string;
  error?: { readonly code: number; readonly message: string };
}

export interface State {
  readonly functions: Record<string, StoredFunction>;
  readonly operations: Record<string, StoredOperation>;
  /** By name of the function. Kept after a delete, so that no other function gets the address. */
  readonly ports: Record<string, number>;
}

export interface Store {
  /** Change it in place, then call `save`. */
  readonly state: State;
  /** Resolves when everything changed so far is on disk. */
  save(): Promise<void>;
}

/** Most finished operations, and most addresses of deleted functions, to keep. */
const MAX_FINISHED = 500;
const MAX_PORTS = 1000;

/** @throws SyntaxError  the file in `dir` is not JSON */
export function openStore(dir: string): Store {
  const file = join(dir, 'state.json');
  const state: State = existsSync(file)
    ? (JSON.parse(readFileSync(file, 'utf8')) as State)
    : { functions: {}, operations: {}, ports: {} };
  let last = Promise.resolve();

  return {
    state,
    save() {
      last = last
        .catch(() => undefined)
        .then(() => {
          prune(state);
          return writeWhole(file, JSON.stringify(state));
        });
      return last;
    },
  };
}

function prune({ functions, operations, ports }: State): void {
  const finished = Object.values(operations).filter(({ endTime }) => endTime !== undefined);
  for (const { name } of finished.slice(0, -MAX_FINISHED)) delete operations[name];
  const unused = Object.keys(ports).filter((name) => !functions[name]);
  for (const name of unused.slice(0, -MAX_PORTS)) delete ports[name];
}
