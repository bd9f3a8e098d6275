// The operations on a function's code and configuration, and on its published versions.

import { conflict, invalidParameter } from '../model/errors.ts';
import {
  type Configuration,
  type Functions,
  type LambdaFunction,
  markSettling,
  touch,
} from '../model/functions.ts';
import {
  type OperationAnswer,
  type OperationRequest,
  type Operations,
  page,
  record,
  stringsOf,
  text,
} from '../model/operation.ts';
import { parseName } from '../model/routes.ts';
import { applySettings, checkSettings, createConfiguration } from '../model/settings.ts';
import {
  commit,
  type OperationParts,
  publish,
  refuseSettling,
  writable,
  zipOf,
} from './changes.ts';

/** Longest name, characters. */
const MAX_NAME = 64;

export function createFunctionOperations(parts: OperationParts): Operations {
  const { functions } = parts;
  return {
    CreateFunction: (request) => createFunction(parts, request),
    UpdateFunctionConfiguration: (request) => updateConfiguration(parts, request),
    UpdateFunctionCode: (request) => updateCode(parts, request),
    PublishVersion: (request) => publishVersion(parts, request),
    DeleteFunction: (request) => deleteFunction(parts, request),
    GetFunction: (request) => ({ status: 200, body: describe(functions, request) }),

    GetFunctionConfiguration({ functionName, qualifier }) {
      const of = functions.get(functionName, qualifier);
      return { status: 200, body: functions.version(of, qualifier) };
    },

    ListVersionsByFunction({ functionName, query }) {
      const { latest, versions } = functions.get(functionName);
      const { items, next } = page([latest, ...versions], query, ({ Version }) => Version);
      return { status: 200, body: { Versions: items, ...next } };
    },

    ListFunctions({ query }) {
      const all = functions
        .all()
        .flatMap(({ latest, versions }) =>
          query.get('FunctionVersion') === 'ALL' ? [latest, ...versions] : [latest],
        );
      const { items, next } = page(all, query, ({ FunctionArn }) => FunctionArn);
      return { status: 200, body: { Functions: items, ...next } };
    },
  };
}

async function createFunction(
  parts: OperationParts,
  { body, fault }: OperationRequest,
): Promise<OperationAnswer> {
  const { functions, nowMs } = parts;
  const name = parseName(text(body, 'FunctionName'), functions).functionName;
  if (name.length > MAX_NAME) {
    throw invalidParameter(
      `1 validation error detected: Value '${name}' at 'functionName' failed to satisfy constraint: Member must have length less than or equal to ${MAX_NAME}`,
    );
  }
  checkSettings(body);
  if (functions.find(name)) throw conflict(`Function already exist: ${name}`);
  const code = await functions.storeCode(zipOf(record(body, 'Code')));

  const latest = createConfiguration(functions, name, body, code);
  touch(latest, nowMs());
  markSettling(latest, 'create');
  const of: LambdaFunction = {
    name,
    latest,
    versions: [],
    nextVersion: 1,
    aliases: [],
    tags: { ...stringsOf(record(body, 'Tags')) },
  };
  const shown = body.Publish === true ? publish(functions, of) : latest;
  const answer = structuredClone(shown);
  await commit(parts, of, fault);
  return { status: 201, body: answer };
}

async function updateConfiguration(
  parts: OperationParts,
  request: OperationRequest,
): Promise<OperationAnswer> {
  const { functions, nowMs } = parts;
  const of = writable(functions, request);
  checkSettings(request.body, of.latest);
  applySettings(of.latest, request.body);
  touch(of.latest, nowMs());
  markSettling(of.latest, 'update');
  const answer = structuredClone(of.latest);
  await commit(parts, of, request.fault);
  return { status: 200, body: answer };
}

async function updateCode(
  parts: OperationParts,
  request: OperationRequest,
): Promise<OperationAnswer> {
  const { functions, nowMs } = parts;
  const of = writable(functions, request);
  const code = await functions.storeCode(zipOf(request.body));
  // Another update may have begun while the zip was written.
  refuseSettling(functions, of);
  if (request.body.DryRun === true) return { status: 200, body: { ...of.latest, ...code } };
  Object.assign(of.latest, code);
  touch(of.latest, nowMs());
  markSettling(of.latest, 'update');
  const shown = request.body.Publish === true ? publish(functions, of) : of.latest;
  const answer = structuredClone(shown);
  await commit(parts, of, request.fault);
  return { status: 200, body: answer };
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
  const of = functions.get(functionName, qualifier);
  if (qualifier === undefined) {
    await functions.remove(of.name);
  } else {
    if (qualifier === '$LATEST')
      throw invalidParameter('$LATEST version cannot be deleted without deleting the function.');
    const pointing = of.aliases.find(({ FunctionVersion }) => FunctionVersion === qualifier);
    if (pointing) throw conflict(`Version ${qualifier} is in use by alias ${pointing.Name}.`);
    of.versions = of.versions.filter(({ Version }) => Version !== qualifier);
    await functions.save(of);
  }
  invocations.retire(of.name);
  return { status: 204 };
}

/** The body of GetFunction. */
function describe(functions: Functions, { functionName, qualifier }: OperationRequest): object {
  const of = functions.get(functionName, qualifier);
  const Configuration = functions.version(of, qualifier);
  const { reservedConcurrency, tags } = of;
  return {
    Configuration,
    Code: { RepositoryType: 'S3', Location: codeLocation(functions, Configuration) },
    ...(Object.keys(tags).length > 0 && { Tags: tags }),
    ...(reservedConcurrency !== undefined && {
      Concurrency: { ReservedConcurrentExecutions: reservedConcurrency },
    }),
  };
}

function codeLocation({ region }: Functions, { FunctionName, CodeSha256 }: Configuration): string {
  const hex = Buffer.from(CodeSha256, 'base64').toString('hex');
  return `https://awslambda-${region}-tasks.s3.${region}.amazonaws.com/snapshots/${FunctionName}-${hex}`;
}
