// The requests of the control plane, one function each. `control.ts` decides which of them run.

import type { protos } from '@google-cloud/functions';
import type { Sender } from '../http/send.ts';
import type { Deployment } from '../provider.ts';
import { isMissing, operationError } from './errors.ts';
import { type CloudFunction, isSettling } from './found.ts';
import { functionOf, labelValue, UPDATED_FIELDS } from './function.ts';
import { type Operation, once, poll, retried, type SdkLoader } from './sdk.ts';
import { upload } from './upload.ts';
import type { Wanted } from './wanted.ts';

export interface RequestsParts {
  readonly projectId: string;
  readonly gateway: string;
  readonly sdk: Pick<SdkLoader, 'open'>;
  /** Uploads packages. */
  readonly send: Sender['send'];
}

export type FunctionName = Pick<Deployment, 'name' | 'region'>;

/** Page of a list: the functions of this gateway, and the token of the next page, '' at the end. */
export interface Page {
  readonly ours: readonly Pick<Deployment, 'name' | 'region' | 'specHash'>[];
  readonly next: string;
}

/** Functions of one page of a list. */
const PAGE_FUNCTIONS = 100;

/** @returns undefined when Google has no such function */
export async function find(
  { projectId, sdk }: RequestsParts,
  of: FunctionName,
  signal: AbortSignal,
): Promise<CloudFunction | undefined> {
  const asked = { operation: 'GetFunction', target: of.name, signal };
  try {
    const [found] = await retried(sdk, asked, (api) =>
      api.getFunction({ name: pathOf(projectId, of) }),
    );
    return found;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** Waits until the function is neither being deployed nor deleted. */
export function waitUntilSettled(
  parts: RequestsParts,
  of: FunctionName,
  signal: AbortSignal,
): Promise<void> {
  return poll({ operation: 'GetFunction', target: of.name, signal }, async () => {
    const found = await find(parts, of, signal);
    return found === undefined || !isSettling(found);
  });
}

/**
 * Uploads the package, then creates or updates the function and waits for the end of it.
 * @throws ProviderError PROVIDER_DEPLOY_FAILED, with the first line of Google's message
 */
export async function write(
  parts: RequestsParts,
  wanted: Wanted,
  action: 'create' | 'update',
  signal: AbortSignal,
): Promise<void> {
  const { projectId, gateway, sdk, send } = parts;
  const { spec, hash } = wanted;
  const { name: target } = spec;
  const bytes = wanted.package();
  const parent = parentOf(projectId, spec.region);
  const asked = { operation: 'GenerateUploadUrl', target, signal };
  const [place] = await once(sdk, asked, (api) =>
    api.generateUploadUrl({ parent, environment: 'GEN_2' }),
  );
  await upload(send, place.uploadUrl ?? '', bytes, { target, signal });

  const { storageSource } = place;
  const path = pathOf(projectId, spec);
  const resource = functionOf(spec, { hash, path, gateway, storageSource });
  const operation = action === 'create' ? 'CreateFunction' : 'UpdateFunction';
  const [started] = await once(sdk, { operation, target, signal }, (api) =>
    action === 'create'
      ? api.createFunction({ parent, functionId: target, function: resource })
      : api.updateFunction({ function: resource, updateMask: { paths: [...UPDATED_FIELDS] } }),
  );
  await waitUntilDone(sdk, started.name ?? '', { operation, target, signal });
}

/** Deletes the function and waits for the end of it. @throws ProviderError PROVIDER_NOT_FOUND */
export async function removeFunction(
  { projectId, sdk }: RequestsParts,
  of: FunctionName,
  signal: AbortSignal,
): Promise<void> {
  const asked = { operation: 'DeleteFunction', target: of.name, signal };
  const [started] = await once(sdk, asked, (api) =>
    api.deleteFunction({ name: pathOf(projectId, of) }),
  );
  await waitUntilDone(sdk, started.name ?? '', asked);
}

export async function listPage(
  { projectId, gateway, sdk }: RequestsParts,
  region: string,
  pageToken: string,
  signal: AbortSignal,
): Promise<Page> {
  const asked = { operation: 'ListFunctions', target: region, signal };
  const [functions, , page] = await retried(sdk, asked, (api) =>
    api.listFunctions(
      { parent: parentOf(projectId, region), pageSize: PAGE_FUNCTIONS, pageToken },
      { autoPaginate: false },
    ),
  );
  const ours: Page['ours'][number][] = [];
  for (const { name, labels } of functions) {
    if (labels?.['defaas-gateway'] !== labelValue(gateway)) continue;
    const specHash = labels['defaas-spec'] ?? '';
    ours.push({ name: name?.split('/').at(-1) ?? '', region, specHash });
  }
  return { ours, next: page?.nextPageToken ?? '' };
}

/** Waits for the long-running operation `name`. */
async function waitUntilDone(
  sdk: Pick<SdkLoader, 'open'>,
  name: string,
  { operation, target, signal }: Operation,
): Promise<void> {
  await poll({ operation, target, signal }, async () => {
    const asked = { operation: 'GetOperation', target, signal };
    const [state] = await retried(sdk, asked, (api) =>
      api.operationsClient.getOperation(
        // The declared type is the message's class. The call takes the plain object.
        { name } as protos.google.longrunning.GetOperationRequest,
        // By default the SDK retries this call, and only this one, for ten minutes.
        { retry: null },
      ),
    );
    if (state.done && state.error) throw operationError(state.error, { operation, target });
    return state.done === true;
  });
}

function parentOf(projectId: string, region: string): string {
  return `projects/${projectId}/locations/${region}`;
}

function pathOf(projectId: string, { name, region }: FunctionName): string {
  return `${parentOf(projectId, region)}/functions/${name}`;
}
