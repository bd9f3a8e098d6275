// The routes of the Lambda API: which operation a request asks for, and on which function.

import { AwsError, invalidField, notFound } from './errors.ts';
import type { Functions } from './functions.ts';

/** What a request asks for. Nothing of it is authenticated yet. */
export interface Asked {
  readonly operation: string;
  /** Name without account or region, empty where the operation has none. */
  readonly functionName: string;
  readonly qualifier: string | undefined;
  /** The alias in the path, else empty. */
  readonly item: string;
  readonly query: URLSearchParams;
}

interface Route {
  readonly method: string;
  /** Groups: the function's name or ARN, then the item. */
  readonly path: RegExp;
  readonly operation: string;
}

const FUNCTIONS = '/2015-03-31/functions';
const EVENT_CONFIG = '/2019-09-25/functions/([^/]+)/event-invoke-config';
const URL_CONFIG = '/2021-10-31/functions/([^/]+)/url';
const ROUTES: readonly Route[] = [
  route('POST', `${FUNCTIONS}/([^/]+)/invocations`, 'Invoke'),
  route('POST', FUNCTIONS, 'CreateFunction'),
  route('GET', FUNCTIONS, 'ListFunctions'),
  route('GET', `${FUNCTIONS}/([^/]+)`, 'GetFunction'),
  route('DELETE', `${FUNCTIONS}/([^/]+)`, 'DeleteFunction'),
  route('GET', `${FUNCTIONS}/([^/]+)/configuration`, 'GetFunctionConfiguration'),
  route('PUT', `${FUNCTIONS}/([^/]+)/configuration`, 'UpdateFunctionConfiguration'),
  route('PUT', `${FUNCTIONS}/([^/]+)/code`, 'UpdateFunctionCode'),
  route('POST', `${FUNCTIONS}/([^/]+)/versions`, 'PublishVersion'),
  route('GET', `${FUNCTIONS}/([^/]+)/versions`, 'ListVersionsByFunction'),
  route('POST', `${FUNCTIONS}/([^/]+)/aliases`, 'CreateAlias'),
  route('GET', `${FUNCTIONS}/([^/]+)/aliases`, 'ListAliases'),
  route('GET', `${FUNCTIONS}/([^/]+)/aliases/([^/]+)`, 'GetAlias'),
  route('PUT', `${FUNCTIONS}/([^/]+)/aliases/([^/]+)`, 'UpdateAlias'),
  route('DELETE', `${FUNCTIONS}/([^/]+)/aliases/([^/]+)`, 'DeleteAlias'),
  route('PUT', '/2017-10-31/functions/([^/]+)/concurrency', 'PutFunctionConcurrency'),
  route('GET', '/2019-09-30/functions/([^/]+)/concurrency', 'GetFunctionConcurrency'),
  route('DELETE', '/2017-10-31/functions/([^/]+)/concurrency', 'DeleteFunctionConcurrency'),
  route('PUT', EVENT_CONFIG, 'PutFunctionEventInvokeConfig'),
  route('GET', EVENT_CONFIG, 'GetFunctionEventInvokeConfig'),
  route('DELETE', EVENT_CONFIG, 'DeleteFunctionEventInvokeConfig'),
  route('POST', URL_CONFIG, 'CreateFunctionUrlConfig'),
  route('GET', URL_CONFIG, 'GetFunctionUrlConfig'),
  route('DELETE', URL_CONFIG, 'DeleteFunctionUrlConfig'),
  route('GET', '/2017-03-31/tags/([^/]+)', 'ListTags'),
  route('POST', '/2017-03-31/tags/([^/]+)', 'TagResource'),
  route('DELETE', '/2017-03-31/tags/([^/]+)', 'UntagResource'),
];

/** @throws AwsError 404 no such operation or region, 400 not a name of a function */
export function parseRequest(method: string, url: string, region: string): Asked {
  const { pathname, searchParams } = new URL(url, 'http://127.0.0.1');
  const found = ROUTES.find((one) => one.method === method && one.path.test(pathname));
  if (!found) {
    const message = `This emulator does not offer ${method} ${pathname}`;
    throw new AwsError(404, 'UnknownOperationException', { message });
  }
  const [, target = '', item = ''] = found.path.exec(pathname) ?? [];
  const named =
    target === '' ? { functionName: '' } : parseName(decodeURIComponent(target), { region });
  return {
    operation: found.operation,
    functionName: named.functionName,
    qualifier: searchParams.get('Qualifier') ?? named.qualifier,
    item: decodeURIComponent(item),
    query: searchParams,
  };
}

/**
 * The parts of a function's name, given plain, as a partial ARN or as a whole ARN.
 * @throws AwsError 404 another region, 400 not a name
 */
export function parseName(
  given: string,
  { region }: Pick<Functions, 'region'>,
): { functionName: string; qualifier?: string } {
  const match =
    /^(?:(?:arn:aws[a-zA-Z-]*:lambda:([a-z0-9-]+):)?(?:\d{12}:)?function:)?([a-zA-Z0-9-_]+)(?::(\$LATEST|[a-zA-Z0-9-_]+))?$/.exec(
      given,
    );
  if (!match) {
    throw invalidField(
      given,
      'functionName',
      'Member must satisfy regular expression pattern: (arn:(aws[a-zA-Z-]*)?:lambda:)?([a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\\d{1}:)?(\\d{12}:)?(function:)?([a-zA-Z0-9-_]+)(:(\\$LATEST|[a-zA-Z0-9-_]+))?',
    );
  }
  const [, givenRegion, functionName = '', qualifier] = match;
  if (givenRegion !== undefined && givenRegion !== region) {
    throw notFound(
      `Functions from '${givenRegion}' are not reachable in this region ('${region}')`,
    );
  }
  return { functionName, ...(qualifier !== undefined && { qualifier }) };
}

function route(method: string, path: string, operation: string): Route {
  return { method, path: new RegExp(`^${path}$`), operation };
}
