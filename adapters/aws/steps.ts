// Compares what Lambda has with what is wanted and lists the steps between the two, in order.
// The list leads to the wanted state from every state that an interrupted deploy can leave.

import type { FunctionConfiguration } from '@aws-sdk/client-lambda';
import type { PlanStep } from '../provider.ts';
import { ALIAS } from './call.ts';
import { type Found, isSettling } from './found.ts';
import type { Requests } from './requests.ts';
import type { Wanted } from './wanted.ts';

/** A step of the plan and the request that does it. */
export interface Work {
  readonly step: PlanStep;
  readonly run?: () => Promise<void>;
}

type Add = (
  action: PlanStep['action'],
  resource: string,
  why: string,
  run?: () => Promise<void>,
) => void;

/** Sends nothing: only `run` does. One step of action `keep` means that nothing is to be done. */
export function listWork(wanted: Wanted, found: Found, requests: Requests): Work[] {
  const work: Work[] = [];
  const add: Add = (action, resource, why, run) => {
    work.push({ step: { action, resource, name: wanted.spec.name, why }, ...(run && { run }) });
  };
  const left = addRemoval(add, found, requests);
  addFunction(add, wanted, left, requests);
  addAlias(add, wanted, left, requests);
  addConcurrency(add, wanted, left, requests);
  addTags(add, wanted, left, requests);
  if (work.length === 0) add('keep', 'function', 'it is as wanted');
  return work;
}

/** A function whose creation failed cannot be updated. @returns what there is after the removal */
function addRemoval(add: Add, found: Found, requests: Requests): Found {
  if (found.latest?.State !== 'Failed') return found;
  add('remove', 'function', found.latest.StateReason ?? 'its creation failed', requests.delete);
  // Lambda removes the alias, the tags and the reserved concurrency with the function.
  return { tags: {} };
}

function addFunction(add: Add, wanted: Wanted, found: Found, requests: Requests): void {
  const { latest, live } = found;
  if (!latest) {
    add('create', 'function', 'it is not there', requests.create);
    add('wait', 'function', 'Lambda makes it ready', requests.ready);
    return;
  }
  if (isSettling(latest)) {
    add('wait', 'function', 'an earlier change is not finished', requests.ready);
  }
  if (live?.Description === wanted.settings.Description) return;
  if (!isUpToDate(latest, wanted)) {
    add('update', 'code', 'the spec has changed', requests.updateCode);
    add('wait', 'function', 'Lambda takes the code over', requests.ready);
    add('update', 'configuration', 'the spec has changed', requests.updateConfiguration);
    add('wait', 'function', 'Lambda takes the configuration over', requests.ready);
  }
  add('create', 'version', 'no published version has this spec', requests.publish);
}

/** Whether `$LATEST` has the wanted settings and code, so that it can be published as it is. */
function isUpToDate(latest: FunctionConfiguration, wanted: Wanted): boolean {
  return (
    latest.Description === wanted.settings.Description &&
    latest.LastUpdateStatus !== 'Failed' &&
    latest.CodeSha256 === wanted.package().codeSha256
  );
}

function addAlias(add: Add, wanted: Wanted, { live }: Found, requests: Requests): void {
  const resource = `alias ${ALIAS}`;
  if (!live) add('create', resource, 'it is not there', requests.createAlias);
  else if (live.Description !== wanted.settings.Description) {
    add('update', resource, 'it points to another spec', requests.updateAlias);
  }
}

function addConcurrency(add: Add, { spec }: Wanted, { reserved }: Found, requests: Requests): void {
  if (reserved === spec.maxConcurrency) return;
  const why = `${reserved ?? 'no limit'} becomes ${spec.maxConcurrency ?? 'no limit'}`;
  add('update', 'concurrency', why, requests.setConcurrency);
}

function addTags(add: Add, { tags }: Wanted, found: Found, requests: Requests): void {
  const arn = found.latest?.FunctionArn;
  if (!arn) return;
  if (Object.entries(tags).every(([key, value]) => found.tags[key] === value)) return;
  add('update', 'tags', 'they name another spec', () => requests.tag(arn));
}
