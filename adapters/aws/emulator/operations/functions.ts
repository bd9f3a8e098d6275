// The operations on a function's code and configuration, and on its published versions.

import { checkEnum, conflict, invalidParameter, notFound } from '../model/errors.ts';
import type { Functions } from '../model/functions.ts';
import { MAX_TAGS } from '../model/limits.ts';
import { readNewName } from '../model/names.ts';
import {
  type OperationAnswer,
  type OperationRequest,
  type Operations,
  page,
  record,
  stringsOf,
  text,
} from '../model/operation.ts';
import { type Configuration, type LambdaFunction, markSettling, touch } from '../model/records.ts';
import {
  applySettings,
  checkArchitectures,
  checkSettings,
  createConfiguration,
} from '../model/settings.ts';
import {
  commit,
  type OperationParts,
  publish,
  refuseSettling,
  tellIgnored,
  writable,
  zipOf,
} from './changes.ts';

/** JSON has no undefined, so these members are not sent. */
const NOT_LISTED = {
  ...{ State: undefined, StateReason: undefined, StateReasonCode: undefined },
  ...{ LastUpdateStatus: undefined, LastUpdateStatusReason: undefined },
  ...{ LastUpdateStatusReasonCode: undefined, RuntimeVersionConfig: undefined },
};

export function createFunctionOperations(parts: OperationParts): Operations {
  const { functions } = parts;
  return {
    CreateFunction: (request) => createFunction(parts, request),
    UpdateFunctionConfiguration: (request) => updateConfiguration(parts, request),
    UpdateFunctionCode: (request) => updateCode(parts, request),
    PublishVersion: (request) => publishVersion(parts, request),
    DeleteFunction: (request) => deleteFunction(parts, request),
    GetFunction: (request) => ({ status: 200, body: describe(parts, request) }),

    GetFunctionConfiguration({ functionName, qualifier }) {
      const of = functions.get(functionName, qualifier);
      return { status: 200, body: functions.shown(of, qualifier) };
    },

    ListVersionsByFunction({ functionName, query }) {
      const of = functions.get(functionName);
      const { items, next } = page(allVersions(functions, of), query, ({ Version }) => Version);
      return { status: 200, body: { Versions: items, ...next } };
    },

    ListFunctions({ query }) {
      checkEnum(query.get('FunctionVersion'), 'functionVersion', ['ALL']);
      const withVersions = query.get('FunctionVersion') === 'ALL';
      const all = functions
        .all()
        .flatMap((of) => (withVersions ? allVersions(functions, of) : [listed(of.latest)]));
      const { items, next } = page(all, query, ({ FunctionArn }) => FunctionArn);
      return { status: 200, body: { Functions: items, ...next } };
    },
  };
}

async function createFunction(
  parts: OperationParts,
  { body, fault }: OperationRequest,
): Promise<OperationAnswer> {
  const { functions, layers, nowMs } = parts;
  const name = readNewName(text(body, 'FunctionName'), functions);
  checkSettings(body, layers);
  const tags = stringsOf(record(body, 'Tags'));
  checkTagCount(tags);
  if (functions.find(name)) throw conflict(`Function already exist: ${name}`);
  const code = await functions.storeCode(zipOf(record(body, 'Code')));

  const place = { arn: functions.arn(name), region: functions.region, layers };
  const latest = createConfiguration(place, name, body, code);
  touch(latest, nowMs());
  markSettling(latest, 'create');
  const of: LambdaFunction = { name, latest, versions: [], nextVersion: 1, aliases: [], tags };
  // The answer has the function's own ARN and revision, also when it names the version.
  const shown = structuredClone(latest);
  if (body.Publish === true) shown.Version = publish(functions, of).Version;
  tellIgnored(parts, name, body);
  await commit(parts, of, fault);
  return { status: 201, body: shown };
}

async function updateConfiguration(
  parts: OperationParts,
  request: OperationRequest,
): Promise<OperationAnswer> {
  const { functions, layers, nowMs } = parts;
  const of = writable(functions, request);
  checkSettings(request.body, layers, of.latest);
  applySettings(of.latest, request.body, layers);
  touch(of.latest, nowMs());
  markSettling(of.latest, 'update');
  const answer = structuredClone(of.latest);
  tellIgnored(parts, of.name, request.body);
  await commit(parts, of, request.fault);
  return { status: 200, body: answer };
}

async function updateCode(
  parts: OperationParts,
  request: OperationRequest,
): Promise<OperationAnswer> {
  const { functions, nowMs } = parts;
  const { body } = request;
  const of = writable(functions, request);
  checkArchitectures(body.Architectures);
  const code = await functions.storeCode(zipOf(body));
  // Another update may have begun while the zip was written.
  refuseSettling(functions, of);
  const changed = {
    ...code,
    ...(Array.isArray(body.Architectures) && { Architectures: body.Architectures.map(String) }),
  };
  tellIgnored(parts, of.name, body);
  if (body.DryRun === true) return { status: 200, body: { ...of.latest, ...changed } };
  Object.assign(of.latest, changed);
  touch(of.latest, nowMs());
  const shown = body.Publish === true ? publishUpdate(functions, of) : of.latest;
  markSettling(of.latest, 'update');
  const answer = structuredClone(shown);
  await commit(parts, of, request.fault);
  return { status: 200, body: answer };
}

/** A version that is published with new code is pending like a new function. */
function publishUpdate(functions: Functions, of: LambdaFunction): Configuration {
  const version = publish(functions, of);
  delete version.LastUpdateStatus;
  markSettling(version, 'create');
  return version;
}

async function publishVersion(
  parts: OperationParts,
  request: OperationRequest,
): Promise<OperationAnswer> {
  const { functions } = parts;
  const of = writable(functions, request);
  const { CodeSha256, Description } = request.body;
  if (CodeSha256 && CodeSha256 !== of.latest.CodeSha256) {
    throw invalidParameter(
      `CodeSHA256 (${CodeSha256}) is different from current CodeSHA256 in $LATEST (${of.latest.CodeSha256}). Please try again with the CodeSHA256 in $LATEST.`,
    );
  }
  const version = publish(functions, of, typeof Description === 'string' ? Description : undefined);
  await commit(parts, of, request.fault);
  return { status: 201, body: version };
}

async function deleteFunction(
  { functions, invocations }: OperationParts,
  { functionName, qualifier }: OperationRequest,
): Promise<OperationAnswer> {
  const of = functions.get(functionName);
  if (qualifier === undefined) {
    await functions.remove(of.name);
  } else {
    if (qualifier === '$LATEST')
      throw invalidParameter('$LATEST version cannot be deleted without deleting the function.');
    if (of.aliases.some(({ Name }) => Name === qualifier)) {
      throw invalidParameter('Deletion of aliases is not currently supported.');
    }
    const pointing = of.aliases.find(
      ({ FunctionVersion, RoutingConfig }) =>
        FunctionVersion === qualifier ||
        qualifier in (RoutingConfig?.AdditionalVersionWeights ?? {}),
    );
    if (pointing) throw conflict(`Version ${qualifier} is in use by alias ${pointing.Name}.`);
    of.versions = of.versions.filter(({ Version }) => Version !== qualifier);
    for (const kept of [of.eventInvoke, of.policies]) delete kept?.[qualifier];
    await functions.save(of);
  }
  invocations.retire(of.name);
  return { status: 204 };
}

/** The body of GetFunction. */
function describe(
  { functions, codeUrl }: OperationParts,
  { functionName, qualifier }: OperationRequest,
): object {
  const of = functions.get(functionName, qualifier);
  const isAlias = qualifier !== undefined && /^[a-zA-Z]/.test(qualifier);
  if (isAlias && !of.aliases.some(({ Name }) => Name === qualifier)) {
    throw notFound(`Cannot find alias arn: ${functions.arn(of.name, qualifier)}`);
  }
  const Configuration = functions.shown(of, qualifier);
  const { reservedConcurrency, tags } = of;
  return {
    Configuration,
    Code: { RepositoryType: 'S3', Location: codeUrl(Configuration.CodeSha256) },
    ...(Object.keys(tags).length > 0 && { Tags: tags }),
    ...(reservedConcurrency !== undefined && {
      Concurrency: { ReservedConcurrentExecutions: reservedConcurrency },
    }),
  };
}

/** `$LATEST` first. Each has an ARN with its version. */
function allVersions(functions: Functions, of: LambdaFunction) {
  return [of.latest, ...of.versions].map((each) =>
    listed({ ...each, FunctionArn: functions.arn(of.name, each.Version) }),
  );
}

/** What a list shows of a configuration: nothing of its state. */
function listed(configuration: Configuration) {
  return { ...configuration, ...NOT_LISTED };
}

/** @throws AwsError 400 more than a function may have */
export function checkTagCount(tags: Readonly<Record<string, string>>): void {
  if (Object.keys(tags).length <= MAX_TAGS) return;
  throw invalidParameter('Number of tags exceeds resource tag limit.');
}
