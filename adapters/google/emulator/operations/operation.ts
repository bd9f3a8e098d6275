// What each operation of the control plane gets and gives: its call, and a long-running operation
// or a page of a list as its answer.

import type { Fault } from '../../../emulators/faults.ts';
import type { Functions } from '../model/functions.ts';
import type { StoredOperation } from '../model/state.ts';
import type { ControlParts } from './parts.ts';

export type Json = Readonly<Record<string, unknown>>;

export interface Call {
  readonly parent: string;
  /** Name of the function or operation. Empty for a collection. */
  readonly name: string;
  readonly query: URLSearchParams;
  readonly body: Json;
  readonly fault: Fault | undefined;
}

export type Operation = (call: Call, parts: ControlParts) => Promise<Json> | Json;

/** The members of an object in `record`, {} when it has none at `key`. */
export function recordAt(record: Json, key: string): Json {
  const value = record[key];
  return typeof value === 'object' && value !== null ? (value as Json) : {};
}

/** The token of a page is the index of its first entry. */
export function pageOf<T>(
  all: readonly T[],
  query: URLSearchParams,
): { page: T[]; nextPageToken: string } {
  const size = Math.min(Number(query.get('pageSize') ?? 0) || 1000, 1000);
  const from = Number(query.get('pageToken') || 0);
  const next = from + size;
  return { page: all.slice(from, next), nextPageToken: next < all.length ? String(next) : '' };
}

/**
 * `response` is the present state of the function. A copy in the operation would keep the secrets
 * of a function that is deleted.
 */
export function operationJson(
  operation: StoredOperation,
  functions: Pick<Functions, 'find'>,
): Json {
  const { name, verb, target, createTime, endTime, error } = operation;
  const isDone = endTime !== undefined;
  const type = verb === 'delete' ? 'protobuf.Empty' : 'cloud.functions.v2.Function';
  const response = {
    '@type': `type.googleapis.com/google.${type}`,
    ...(verb !== 'delete' && (functions.find(target) ?? { name: target })),
  };
  return {
    name,
    metadata: {
      '@type': 'type.googleapis.com/google.cloud.functions.v2.OperationMetadata',
      createTime,
      ...(endTime !== undefined && { endTime }),
      target,
      verb,
      cancelRequested: false,
      apiVersion: 'v2',
    },
    done: isDone,
    ...(error && { error }),
    ...(isDone && !error && { response }),
  };
}

/** The fault of a call that its long-running operation is to have. */
export function faultOf({ fault }: Call): Pick<StoredOperation, 'fault'> | undefined {
  return fault?.kind === 'operation-fails' ||
    fault?.kind === 'stuck-operation' ||
    fault?.kind === 'quota'
    ? { fault: fault.kind }
    : undefined;
}
