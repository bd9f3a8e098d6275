// The routes of the Lambda API: which operation a request asks for, and on which function.

import { AwsError } from './errors.ts';
import { type Owner, readReference, readResource } from './names.ts';

/** What a request asks for. Nothing of it is authenticated yet. */
export interface Asked {
  readonly operation: string;
  /** Name without account or region, empty where the operation has none. */
  readonly functionName: string;
  readonly qualifier: string | undefined;
  /** The other parts of the path: an alias, a statement, or a layer and its version. */
  readonly item: string;
  readonly subitem: string;
  readonly query: URLSearchParams;
}

/** What the first group of a path is. `url`: a function or an alias of it. */
type Target = 'function' | 'url' | 'resource' | 'none';

interface Route {
  readonly method: string;
  /** Groups: the target, unless it is `none`, then the items. */
  readonly path: RegExp;
  readonly operation: string;
  readonly target: Target;
  /** A parameter of the query that the operation has and its neighbour has not. */
  readonly find?: string;
}

const FUNCTIONS = '/2015-03-31/functions';
const FUNCTION = `${FUNCTIONS}/([^/]+)`;
const EVENT_CONFIG = '/2019-09-25/functions/([^/]+)/event-invoke-config';
const URL_CONFIG = '/2021-10-31/functions/([^/]+)/url';
const LAYERS = '/2018-10-31/layers';
const LAYER = `${LAYERS}/([^/]+)/versions`;
const TAGS = '/2017-03-31/tags/([^/]+)';
const ROUTES: readonly Route[] = [
  route('POST', `${FUNCTION}/invocations`, 'Invoke'),
  route('POST', FUNCTIONS, 'CreateFunction', 'none'),
  route('GET', FUNCTIONS, 'ListFunctions', 'none'),
  route('GET', FUNCTION, 'GetFunction'),
  route('DELETE', FUNCTION, 'DeleteFunction'),
  route('GET', `${FUNCTION}/configuration`, 'GetFunctionConfiguration'),
  route('PUT', `${FUNCTION}/configuration`, 'UpdateFunctionConfiguration'),
  route('PUT', `${FUNCTION}/code`, 'UpdateFunctionCode'),
  route('POST', `${FUNCTION}/versions`, 'PublishVersion'),
  route('GET', `${FUNCTION}/versions`, 'ListVersionsByFunction'),
  route('POST', `${FUNCTION}/aliases`, 'CreateAlias'),
  route('GET', `${FUNCTION}/aliases`, 'ListAliases'),
  route('GET', `${FUNCTION}/aliases/([^/]+)`, 'GetAlias'),
  route('PUT', `${FUNCTION}/aliases/([^/]+)`, 'UpdateAlias'),
  route('DELETE', `${FUNCTION}/aliases/([^/]+)`, 'DeleteAlias'),
  route('POST', `${FUNCTION}/policy`, 'AddPermission'),
  route('GET', `${FUNCTION}/policy`, 'GetPolicy'),
  route('DELETE', `${FUNCTION}/policy/([^/]+)`, 'RemovePermission'),
  route('PUT', '/2017-10-31/functions/([^/]+)/concurrency', 'PutFunctionConcurrency'),
  route('GET', '/2019-09-30/functions/([^/]+)/concurrency', 'GetFunctionConcurrency'),
  route('DELETE', '/2017-10-31/functions/([^/]+)/concurrency', 'DeleteFunctionConcurrency'),
  route('PUT', EVENT_CONFIG, 'PutFunctionEventInvokeConfig'),
  route('POST', EVENT_CONFIG, 'UpdateFunctionEventInvokeConfig'),
  route('GET', EVENT_CONFIG, 'GetFunctionEventInvokeConfig'),
  route('DELETE', EVENT_CONFIG, 'DeleteFunctionEventInvokeConfig'),
  route('GET', `${EVENT_CONFIG}/list`, 'ListFunctionEventInvokeConfigs'),
  route('POST', URL_CONFIG, 'CreateFunctionUrlConfig', 'url'),
  route('PUT', URL_CONFIG, 'UpdateFunctionUrlConfig', 'url'),
  route('GET', URL_CONFIG, 'GetFunctionUrlConfig', 'url'),
  route('DELETE', URL_CONFIG, 'DeleteFunctionUrlConfig', 'url'),
  route('GET', '/2021-10-31/functions/([^/]+)/urls', 'ListFunctionUrlConfigs'),
  route('GET', '/2024-08-31/functions/([^/]+)/recursion-config', 'GetFunctionRecursionConfig'),
  route('PUT', '/2024-08-31/functions/([^/]+)/recursion-config', 'PutFunctionRecursionConfig'),
  route('GET', '/2020-06-30/functions/([^/]+)/code-signing-config', 'GetFunctionCodeSigningConfig'),
  route('GET', TAGS, 'ListTags', 'resource'),
  route('POST', TAGS, 'TagResource', 'resource'),
  route('DELETE', TAGS, 'UntagResource', 'resource'),
  route('POST', LAYER, 'PublishLayerVersion', 'none'),
  route('GET', LAYER, 'ListLayerVersions', 'none'),
  route('GET', `${LAYER}/([^/]+)`, 'GetLayerVersion', 'none'),
  route('DELETE', `${LAYER}/([^/]+)`, 'DeleteLayerVersion', 'none'),
  { ...route('GET', LAYERS, 'GetLayerVersionByArn', 'none'), find: 'LayerVersion' },
  route('GET', LAYERS, 'ListLayers', 'none'),
  route('GET', '/2016-08-19/account-settings', 'GetAccountSettings', 'none'),
];

/** The operations that the emulator offers. docs/emulators.md lists them. */
export const OPERATIONS: readonly string[] = ROUTES.map(({ operation }) => operation);

/** @throws AwsError 404 no such operation or region, 400 not a name of a function, 403 */
export function parseRequest(method: string, url: string, owner: Owner): Asked {
  const [pathname = '', search = ''] = url.split(/\?(.*)/s, 2);
  const query = new URLSearchParams(search);
  const found = ROUTES.find(
    (one) =>
      one.method === method &&
      one.path.test(pathname) &&
      (one.find === undefined || query.get('find') === one.find),
  );
  if (!found) {
    const message = `This emulator does not offer ${method} ${pathname}`;
    throw new AwsError(404, 'UnknownOperationException', { message });
  }
  const parts = (found.path.exec(pathname) ?? []).slice(1).map(decode);
  const target = found.target === 'none' ? '' : (parts.shift() ?? '');
  const qualifier = query.get('Qualifier') ?? undefined;
  const [item = '', subitem = ''] = parts;
  return {
    operation: found.operation,
    qualifier: undefined,
    ...refer(found.target, target, qualifier, owner),
    ...{ item, subitem, query },
  };
}

function refer(target: Target, given: string, qualifier: string | undefined, owner: Owner) {
  if (target === 'none') return { functionName: '' };
  if (target === 'resource') return { functionName: readResource(given, owner) };
  return readReference(given, qualifier, owner, target === 'url');
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    // Not percent-encoded: no name matches it.
    return part;
  }
}

function route(
  method: string,
  path: string,
  operation: string,
  target: Target = 'function',
): Route {
  return { method, path: new RegExp(`^${path}$`), operation, target };
}
