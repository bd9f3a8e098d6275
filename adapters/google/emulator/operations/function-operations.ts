// The operations on functions (google.cloud.functions.v2.FunctionService) and the reads of their
// long-running operations (google.longrunning.Operations).

import type { FunctionResource } from '../model/state.ts';
import { checked, updated } from './check-function.ts';
import { type Call, faultOf, type Json, operationJson, pageOf } from './operation.ts';
import type { ControlParts } from './parts.ts';
import { busy, notFound, Refusal } from './refusal.ts';

export async function createFunction(
  call: Call,
  { functions, nowMs, log }: ControlParts,
): Promise<Json> {
  const { parent, name: id, body } = call;
  if (!/^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/.test(id)) {
    throw new Refusal(
      'INVALID_ARGUMENT',
      `Invalid function id ${id}: must match [a-z]([a-z0-9-]{0,61}[a-z0-9])?`,
    );
  }
  const target = `${parent}/functions/${id}`;
  if (functions.isBusy(target)) throw busy();
  if (functions.find(target)) {
    throw new Refusal('ALREADY_EXISTS', `Resource '${target}' already exists`);
  }
  const now = new Date(nowMs()).toISOString();
  const wanted = checked(
    {
      ...body,
      name: target,
      state: 'DEPLOYING',
      createTime: now,
      updateTime: now,
    },
    functions,
  );
  tellIgnored(wanted, log);
  const operation = await functions.begin({ verb: 'create', target, wanted, ...faultOf(call) });
  return operationJson(operation, functions);
}

export async function updateFunction(
  call: Call,
  { functions, nowMs, log }: ControlParts,
): Promise<Json> {
  const target = `${call.parent}/functions/${call.name}`;
  const former = functions.find(target);
  if (!former) throw notFound(target);
  if (functions.isBusy(target)) throw busy();

  const wanted = updated({ ...former }, call.body, call.query.get('updateMask'));
  const full = checked(
    { ...wanted, name: target, state: 'DEPLOYING', updateTime: new Date(nowMs()).toISOString() },
    functions,
  );
  tellIgnored(full, log);
  const asked = { verb: 'update', target, wanted: full, ...faultOf(call) } as const;
  return operationJson(await functions.begin(asked), functions);
}

function tellIgnored({ name, stateMessages }: FunctionResource, log: ControlParts['log']): void {
  for (const { message } of stateMessages ?? []) log('ignored', { function: name, message });
}

export async function deleteFunction(call: Call, { functions }: ControlParts): Promise<Json> {
  const target = `${call.parent}/functions/${call.name}`;
  if (!functions.find(target)) throw notFound(target);
  if (functions.isBusy(target)) throw busy();
  const operation = await functions.begin({ verb: 'delete', target, ...faultOf(call) });
  return operationJson(operation, functions);
}

export function getFunction({ parent, name }: Call, { functions }: ControlParts): Json {
  const target = `${parent}/functions/${name}`;
  const found = functions.find(target);
  if (!found) throw notFound(target);
  return { ...found };
}

export function listFunctions(call: Call, { functions }: ControlParts): Json {
  const { page, nextPageToken } = pageOf(functions.list(call.parent), call.query);
  return { functions: page, nextPageToken, unreachable: [] };
}

export function getOperation({ parent, name }: Call, { functions }: ControlParts): Json {
  const operation = functions.operation(`${parent}/operations/${name}`);
  if (!operation) throw notFound(`${parent}/operations/${name}`);
  return operationJson(operation, functions);
}

export function listOperations(call: Call, { functions }: ControlParts): Json {
  const { page, nextPageToken } = pageOf(functions.operations(call.parent), call.query);
  return { operations: page.map((one) => operationJson(one, functions)), nextPageToken };
}
