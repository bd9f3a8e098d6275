// The part of Azure Resource Manager that function apps need: checks the token, finds the route,
// and answers as Azure does. Paths and bodies are those of the resource provider Microsoft.Web,
// api-version 2025-05-01.

import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Fault, sendAnswer, spoilBefore } from '../../emulators/faults.ts';
import { readBody } from '../../emulators/request-body.ts';
import { listMetrics } from './metrics.ts';
import type { AzureParts } from './parts.ts';
import { deletePlan, getPlan, listPlans, putPlan } from './plans.ts';
import { type ArmAnswer, type ArmRequest, failed } from './resource.ts';
import {
  deleteSite,
  getOperation,
  getOperationResult,
  getSettings,
  getSite,
  listFunctions,
  listKeys,
  listPublishing,
  listSites,
  patchSite,
  patchTags,
  putKey,
  putSettings,
  putSite,
  syncTriggers,
} from './sites.ts';

/** Largest request of Azure Resource Manager, bytes. */
const MAX_BODY_BYTES = 4 * 1024 * 1024;

interface Route {
  readonly method: string;
  readonly pattern: RegExp;
  /** Name of the operation in the specification of the REST API. */
  readonly operation: string;
  /** Whether it changes something. Some POSTs only read. */
  readonly isWrite: boolean;
  answer(request: ArmRequest): Promise<ArmAnswer> | ArmAnswer;
}

export const ROUTES: readonly Route[] = [
  route('PUT', 'serverfarms/:', 'AppServicePlans_CreateOrUpdate', putPlan),
  route('GET', 'serverfarms/:', 'AppServicePlans_Get', getPlan),
  route('DELETE', 'serverfarms/:', 'AppServicePlans_Delete', deletePlan),
  route('GET', 'serverfarms', 'AppServicePlans_ListByResourceGroup', listPlans),
  route('PUT', 'sites/:', 'WebApps_CreateOrUpdate', putSite),
  route('GET', 'sites/:', 'WebApps_Get', getSite),
  route('PATCH', 'sites/:', 'WebApps_Update', patchSite),
  route('DELETE', 'sites/:', 'WebApps_Delete', deleteSite),
  route('GET', 'sites', 'WebApps_ListByResourceGroup', listSites),
  route('PUT', 'sites/:/config/appsettings', 'WebApps_UpdateApplicationSettings', putSettings),
  route(
    'POST',
    'sites/:/config/appsettings/list',
    'WebApps_ListApplicationSettings',
    getSettings,
    false,
  ),
  route('POST', 'sites/:/host/default/listkeys', 'WebApps_ListHostKeys', listKeys, false),
  route('PUT', 'sites/:/host/default/functionKeys/:', 'WebApps_CreateOrUpdateHostSecret', putKey),
  route('GET', 'sites/:/functions', 'WebApps_ListFunctions', listFunctions),
  route('POST', 'sites/:/syncfunctiontriggers', 'WebApps_SyncFunctionTriggers', syncTriggers),
  route(
    'POST',
    'sites/:/config/publishingcredentials/list',
    'WebApps_ListPublishingCredentials',
    listPublishing,
    false,
  ),
  route(
    'PATCH',
    'sites/:/providers/Microsoft.Resources/tags/default',
    'Tags_UpdateAtScope',
    patchTags,
  ),
  route('GET', 'sites/:/providers/Microsoft.Insights/metrics', 'Metrics_List', listMetrics),
  route('GET', 'locations/:/operations/:', 'GetOperation', getOperation),
  route('GET', 'locations/:/operationresults/:', 'GetOperationResult', getOperationResult),
];

/**
 * `under` is the path after `.../providers/Microsoft.Web/`, with `:` for one segment. Azure
 * Resource Manager ignores case in paths.
 */
function route(
  method: string,
  under: string,
  operation: string,
  answer: Route['answer'],
  isWrite = method !== 'GET',
): Route {
  const pattern = new RegExp(`^${under.replaceAll('.', '\\.').replaceAll(':', '([^/]+)')}$`, 'i');
  return { method, pattern, operation, isWrite, answer };
}

export async function answerArm(
  parts: AzureParts,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = new URL(request.url ?? '/', parts.endpoint());
  const found = findRoute(parts, request.method ?? 'GET', url.pathname);
  const operation = found?.route.operation ?? 'unknown';
  const fault = parts.faults.take(operation, found?.path[0]);
  if (!(await spoilBefore(response, fault))) return;

  const bytes = await readBody(request, MAX_BODY_BYTES);
  const answer = await answerRequest();
  const body = Buffer.from(answer.body === undefined ? '' : JSON.stringify(answer.body));
  const headers = {
    ...(body.length > 0 && { 'content-type': 'application/json' }),
    'cache-control': 'no-cache',
    pragma: 'no-cache',
    expires: '-1',
    'strict-transport-security': 'max-age=31536000; includeSubDomains',
    'x-content-type-options': 'nosniff',
    'x-ms-request-id': randomUUID(),
    'x-ms-correlation-request-id': randomUUID(),
    ...answer.headers,
  };
  await sendAnswer(response, { status: answer.status, headers, body }, fault);

  async function answerRequest(): Promise<ArmAnswer> {
    if (fault?.kind === 'throttle') return throttled(fault);
    if (fault?.kind === 'status')
      return failed(fault.code, 'InternalServerError', 'An error occurred.');
    if (fault?.kind === 'expire-credentials') {
      return failed(
        401,
        'ExpiredAuthenticationToken',
        'The access token expiry UTC time is earlier than current UTC time.',
      );
    }
    if (!parts.isToken(request.headers.authorization)) {
      return failed(401, 'InvalidAuthenticationToken', 'The access token is invalid.');
    }
    if (!bytes) return failed(413, 'RequestEntityTooLarge', 'The request is too large.');
    if (!url.searchParams.has('api-version')) {
      return failed(
        400,
        'MissingApiVersionParameter',
        'The api-version query parameter (?api-version=) is required for all requests.',
      );
    }
    if (!found) {
      parts.log(`unsupported: arm ${request.method} ${url.pathname}`);
      return failed(
        404,
        'InvalidResourceType',
        `The resource at '${url.pathname}' could not be found.`,
      );
    }
    if (found.scope === 'other') {
      return failed(404, 'ResourceGroupNotFound', 'The resource group could not be found.');
    }
    let body: unknown;
    try {
      body = bytes.length > 0 ? JSON.parse(bytes.toString()) : undefined;
    } catch {
      return failed(
        400,
        'InvalidRequestContent',
        'The request content was invalid and could not be deserialized.',
      );
    }
    if (found.route.isWrite) parts.countWrite();
    return found.route.answer({ parts, path: found.path, url, body, fault });
  }
}

/** Splits subscription and resource group off the path. A list may be of a whole subscription. */
function findRoute(parts: AzureParts, method: string, pathname: string) {
  const [, subscription, group, under] =
    /^\/subscriptions\/([^/]+)(?:\/resourceGroups\/([^/]+))?\/providers\/Microsoft\.Web\/(.+)$/i.exec(
      pathname,
    ) ?? [];
  if (under === undefined) return undefined;
  const isOurs =
    subscription === parts.subscriptionId &&
    (group === undefined || group.toLowerCase() === parts.resourceGroup.toLowerCase());
  for (const route of ROUTES) {
    const match = route.method === method ? route.pattern.exec(under) : null;
    if (!match) continue;
    const path = match.slice(1).map(decodeURIComponent);
    return { route, path, scope: isOurs ? ('ours' as const) : ('other' as const) };
  }
  return undefined;
}

function throttled({ retryAfterMs }: Fault & { kind: 'throttle' }): ArmAnswer {
  const headers = { 'retry-after': String(Math.ceil((retryAfterMs ?? 1000) / 1000)) };
  return { ...failed(429, 'TooManyRequests', 'The request is being throttled.'), headers };
}
