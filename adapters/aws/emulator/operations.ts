// The control plane of the Lambda emulator: one function per operation of the API, over the functions it keeps.

import { randomUUID } from 'node:crypto';
import type { Fault } from '../../emulators/faults.ts';
import {
  AwsError,
  conflict,
  invalidField,
  invalidParameter,
  notFound,
  wrongRevision,
} from './errors.ts';
import {
  type Alias,
  type Configuration,
  type Functions,
  isSettling,
  type LambdaFunction,
  markSettling,
  touch,
} from './functions.ts';
import type { Invocations } from './invocations.ts';

export interface OperationRequest {
  /** Name without account or region; checked to be of this region. */
  readonly functionName: string;
  readonly qualifier: string | undefined;
  /** Last part of the path, where the operation has one. */
  readonly item: string;
  readonly query: URLSearchParams;
  /** The parsed JSON body, or an empty object. */
  readonly body: Readonly<Record<string, unknown>>;
  readonly fault: Fault | undefined;
}

export interface OperationAnswer {
  readonly status: number;
  readonly body?: unknown;
}

export type Operation = (request: OperationRequest) => OperationAnswer | Promise<OperationAnswer>;

/** Of the API's model. Node runtimes only run here, under the emulator's own Node; others are refused as unknown. */
const RUNTIMES = ['nodejs18.x', 'nodejs20.x', 'nodejs22.x', 'nodejs24.x'];
const RETIRED_RUNTIMES = [
  'nodejs',
  'nodejs4.3',
  'nodejs6.10',
  'nodejs8.10',
  'nodejs10.x',
  'nodejs12.x',
  'nodejs14.x',
  'nodejs16.x',
];
const ROLE = /^arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role\/?[a-zA-Z_0-9+=,.@\-_/]+$/;
const ALIAS_NAME = /^(?!^[0-9]+$)([a-zA-Z0-9-_]+)$/;
const MAX_NAME = 64;
const MAX_ENVIRONMENT_BYTES = 4096;
const MAX_PAGE = 50;

/** The operations by their names; `Invoke` is the server's. */
export function createOperations(parts: {
  readonly functions: Functions;
  readonly invocations: Invocations;
  readonly nowMs: () => number;
}): Readonly<Record<string, Operation>> {
  const { functions, invocations, nowMs } = parts;

  /** Saves, and lets what is pending or updating become ready, unless a fault has it fail or hang. */
  async function commit(of: LambdaFunction, fault?: Fault): Promise<void> {
    if (fault?.kind === 'operation-fails') fail(of);
    await functions.save(of);
    if (isSettling(of) && fault?.kind !== 'stuck-operation') functions.settle(of);
    invocations.retire(of.name);
  }

  function writable(request: OperationRequest): LambdaFunction {
    const of = functions.get(request.functionName, request.qualifier);
    const { RevisionId } = request.body;
    if (RevisionId !== undefined && RevisionId !== of.latest.RevisionId) throw wrongRevision();
    if (isSettling(of)) throw conflict(busy(of));
    return of;
  }

  const busy = (of: LambdaFunction) =>
    `The operation cannot be performed at this time. An update is in progress for resource: ${functions.arn(of.name)}`;

  function publish(of: LambdaFunction, description?: string): Configuration {
    const last = of.versions.at(-1);
    if (last && of.publishedRevision === of.latest.RevisionId) return last;
    const Version = String(of.nextVersion);
    const version: Configuration = {
      ...structuredClone(of.latest),
      Version,
      FunctionArn: functions.arn(of.name, Version),
      RevisionId: randomUUID(),
      ...(description && { Description: description }),
    };
    of.nextVersion += 1;
    of.versions.push(version);
    of.publishedRevision = of.latest.RevisionId;
    return version;
  }

  function findAlias(of: LambdaFunction, name: string, text: string): Alias {
    const alias = of.aliases.find(({ Name }) => Name === name);
    if (!alias) throw notFound(`${text}: ${functions.arn(of.name, name)}`);
    return alias;
  }

  function checkTarget(of: LambdaFunction, version: string, routing: Alias['RoutingConfig']): void {
    functions.version(of, version);
    const extra = Object.entries(routing?.AdditionalVersionWeights ?? {});
    if (extra.length > 1)
      throw invalidParameter(
        'Number of items in AdditionalVersionWeights cannot be greater than 1',
      );
    for (const [other, weight] of extra) {
      if (!(weight >= 0 && weight <= 1)) {
        throw invalidField(
          `{${other}=${weight}}`,
          'routingConfig.additionalVersionWeights',
          'Map value must satisfy constraint: [Member must have value less than or equal to 1.0, Member must have value greater than or equal to 0.0]',
        );
      }
      if (version === '$LATEST')
        throw invalidParameter(
          '$LATEST is not supported for an alias pointing to more than 1 version',
        );
      if (other === version) {
        throw invalidParameter(
          `Invalid function version ${other}. Function version ${other} is already included in routing configuration.`,
        );
      }
      functions.version(of, other);
    }
  }

  function ofTags(request: OperationRequest): LambdaFunction {
    return functions.get(request.functionName, request.qualifier);
  }

  return {
    async CreateFunction({ body, fault }) {
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
      const shown = body.Publish === true ? publish(of) : latest;
      const answer = structuredClone(shown);
      await commit(of, fault);
      return { status: 201, body: answer };
    },

    GetFunction({ functionName, qualifier }) {
      const of = functions.get(functionName, qualifier);
      const Configuration = functions.version(of, qualifier);
      const { reservedConcurrency, tags } = of;
      return {
        status: 200,
        body: {
          Configuration,
          Code: { RepositoryType: 'S3', Location: codeLocation(functions, Configuration) },
          ...(Object.keys(tags).length > 0 && { Tags: tags }),
          ...(reservedConcurrency !== undefined && {
            Concurrency: { ReservedConcurrentExecutions: reservedConcurrency },
          }),
        },
      };
    },

    GetFunctionConfiguration({ functionName, qualifier }) {
      const of = functions.get(functionName, qualifier);
      return { status: 200, body: functions.version(of, qualifier) };
    },

    async UpdateFunctionConfiguration(request) {
      const of = writable(request);
      checkSettings(request.body, of.latest);
      applySettings(of.latest, request.body);
      touch(of.latest, nowMs());
      markSettling(of.latest, 'update');
      const answer = structuredClone(of.latest);
      await commit(of, request.fault);
      return { status: 200, body: answer };
    },

    async UpdateFunctionCode(request) {
      const of = writable(request);
      const code = await functions.storeCode(zipOf(request.body));
      if (isSettling(of)) throw conflict(busy(of));
      if (request.body.DryRun === true) return { status: 200, body: { ...of.latest, ...code } };
      Object.assign(of.latest, code);
      touch(of.latest, nowMs());
      markSettling(of.latest, 'update');
      const shown = request.body.Publish === true ? publish(of) : of.latest;
      const answer = structuredClone(shown);
      await commit(of, request.fault);
      return { status: 200, body: answer };
    },

    async PublishVersion(request) {
      const of = writable(request);
      const { CodeSha256, Description } = request.body;
      if (CodeSha256 && CodeSha256 !== of.latest.CodeSha256) {
        throw invalidParameter(
          `CodeSHA256 (${CodeSha256}) is different from current CodeSHA256 in $LATEST (${of.latest.CodeSha256}). Please try again with the CodeSHA256 in $LATEST.`,
        );
      }
      const version = publish(of, typeof Description === 'string' ? Description : undefined);
      await commit(of, request.fault);
      return { status: 201, body: version };
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

    async DeleteFunction({ functionName, qualifier }) {
      const of = functions.get(functionName, qualifier);
      if (qualifier === undefined) {
        await functions.remove(of.name);
      } else {
        if (qualifier === '$LATEST')
          throw invalidParameter(
            '$LATEST version cannot be deleted without deleting the function.',
          );
        const pointing = of.aliases.find(({ FunctionVersion }) => FunctionVersion === qualifier);
        if (pointing) throw conflict(`Version ${qualifier} is in use by alias ${pointing.Name}.`);
        of.versions = of.versions.filter(({ Version }) => Version !== qualifier);
        await functions.save(of);
      }
      invocations.retire(of.name);
      return { status: 204 };
    },

    async CreateAlias({ functionName, body }) {
      const of = functions.get(functionName);
      const name = text(body, 'Name');
      if (!ALIAS_NAME.test(name)) {
        throw invalidField(
          name,
          'name',
          'Member must satisfy regular expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)',
        );
      }
      if (of.aliases.some(({ Name }) => Name === name)) {
        throw conflict(`Alias already exists: ${functions.arn(of.name, name)}`);
      }
      const alias: Alias = {
        AliasArn: functions.arn(of.name, name),
        Name: name,
        FunctionVersion: text(body, 'FunctionVersion'),
        Description: optionalText(body, 'Description') ?? '',
        ...routingOf(body),
        RevisionId: randomUUID(),
      };
      checkTarget(of, alias.FunctionVersion, alias.RoutingConfig);
      of.aliases.push(alias);
      await functions.save(of);
      return { status: 201, body: alias };
    },

    GetAlias({ functionName, item }) {
      const of = functions.get(functionName);
      return { status: 200, body: findAlias(of, item, 'Cannot find alias arn') };
    },

    ListAliases({ functionName, query }) {
      const { aliases } = functions.get(functionName);
      const wanted = query.get('FunctionVersion');
      const matching = aliases.filter(
        ({ FunctionVersion }) => !wanted || FunctionVersion === wanted,
      );
      const { items, next } = page(matching, query, ({ Name }) => Name);
      return { status: 200, body: { Aliases: items, ...next } };
    },

    async UpdateAlias({ functionName, item, body }) {
      const of = functions.get(functionName);
      const alias = findAlias(of, item, 'Alias not found');
      if (body.RevisionId !== undefined && body.RevisionId !== alias.RevisionId)
        throw wrongRevision();
      const changed: Alias = {
        ...alias,
        FunctionVersion: optionalText(body, 'FunctionVersion') ?? alias.FunctionVersion,
        Description: optionalText(body, 'Description') ?? alias.Description,
        ...routingOf(body),
        RevisionId: randomUUID(),
      };
      if (Object.keys(changed.RoutingConfig?.AdditionalVersionWeights ?? {}).length === 0) {
        delete changed.RoutingConfig;
      }
      checkTarget(of, changed.FunctionVersion, changed.RoutingConfig);
      of.aliases[of.aliases.indexOf(alias)] = changed;
      await functions.save(of);
      return { status: 200, body: changed };
    },

    /** The model names no error for an alias or function that is not there. */
    async DeleteAlias({ functionName, item }) {
      const of = functions.find(functionName);
      if (!of) return { status: 204 };
      of.aliases = of.aliases.filter(({ Name }) => Name !== item);
      await functions.save(of);
      return { status: 204 };
    },

    async PutFunctionConcurrency({ functionName, qualifier, body }) {
      const of = functions.get(functionName);
      if (qualifier !== undefined) {
        throw invalidParameter(
          'This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. Please specify either a function name or an unqualified function ARN.',
        );
      }
      const wanted = body.ReservedConcurrentExecutions;
      if (typeof wanted !== 'number' || !Number.isInteger(wanted) || wanted < 0) {
        throw invalidField(
          wanted,
          'reservedConcurrentExecutions',
          'Member must have value greater than or equal to 0',
        );
      }
      of.reservedConcurrency = wanted;
      await functions.save(of);
      return { status: 200, body: { ReservedConcurrentExecutions: wanted } };
    },

    GetFunctionConcurrency({ functionName }) {
      const { reservedConcurrency } = functions.get(functionName);
      return {
        status: 200,
        body:
          reservedConcurrency === undefined
            ? {}
            : { ReservedConcurrentExecutions: reservedConcurrency },
      };
    },

    async DeleteFunctionConcurrency({ functionName }) {
      const of = functions.get(functionName);
      delete of.reservedConcurrency;
      await functions.save(of);
      return { status: 204 };
    },

    ListTags: (request) => ({ status: 200, body: { Tags: ofTags(request).tags } }),

    async TagResource(request) {
      const of = ofTags(request);
      Object.assign(of.tags, stringsOf(record(request.body, 'Tags')));
      await functions.save(of);
      return { status: 204 };
    },

    async UntagResource(request) {
      const of = ofTags(request);
      for (const key of request.query.getAll('tagKeys')) delete of.tags[key];
      await functions.save(of);
      return { status: 204 };
    },
  };
}

/**
 * The parts of a function's name, partial or whole ARN.
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

function createConfiguration(
  functions: Functions,
  name: string,
  body: OperationRequest['body'],
  code: { CodeSha256: string; CodeSize: number },
): Configuration {
  const configuration: Configuration = {
    FunctionName: name,
    FunctionArn: functions.arn(name),
    Runtime: text(body, 'Runtime'),
    Role: text(body, 'Role'),
    Handler: text(body, 'Handler'),
    ...code,
    Description: '',
    Timeout: 3,
    MemorySize: 128,
    LastModified: '',
    Version: '$LATEST',
    TracingConfig: { Mode: 'PassThrough' },
    RevisionId: '',
    State: 'Pending',
    PackageType: 'Zip',
    Architectures: ['x86_64'],
    EphemeralStorage: { Size: 512 },
    SnapStart: { ApplyOn: 'None', OptimizationStatus: 'Off' },
    RuntimeVersionConfig: {
      RuntimeVersionArn: `arn:aws:lambda:${functions.region}::runtime:${'0'.repeat(64)}`,
    },
    LoggingConfig: { LogFormat: 'Text', LogGroup: `/aws/lambda/${name}` },
  };
  applySettings(configuration, body);
  return configuration;
}

function applySettings(to: Configuration, body: OperationRequest['body']): void {
  for (const field of ['Runtime', 'Role', 'Handler', 'Description', 'KMSKeyArn'] as const) {
    const value = optionalText(body, field);
    if (value !== undefined) to[field] = value;
  }
  for (const field of ['Timeout', 'MemorySize'] as const) {
    const value = body[field];
    if (typeof value === 'number') to[field] = value;
  }
  const environment = body.Environment;
  if (isRecord(environment))
    to.Environment = { Variables: stringsOf(record(environment, 'Variables')) };
  const tracing = body.TracingConfig;
  if (isRecord(tracing))
    to.TracingConfig = { Mode: optionalText(tracing, 'Mode') ?? 'PassThrough' };
  const storage = body.EphemeralStorage;
  if (isRecord(storage) && typeof storage.Size === 'number')
    to.EphemeralStorage = { Size: storage.Size };
  if (Array.isArray(body.Architectures)) to.Architectures = body.Architectures.map(String);
}

/** Checks what is given; `present` has what an update leaves as it is. */
function checkSettings(body: OperationRequest['body'], present?: Configuration): void {
  const { Timeout, MemorySize } = body;
  const role = optionalText(body, 'Role') ?? present?.Role;
  if (role === undefined || !ROLE.test(role)) {
    throw invalidField(
      role ?? 'null',
      'role',
      `Member must satisfy regular expression pattern: ${ROLE.source.slice(1, -1).replaceAll('\\/', '/')}`,
    );
  }
  const runtime = optionalText(body, 'Runtime') ?? present?.Runtime ?? 'null';
  if (RETIRED_RUNTIMES.includes(runtime)) {
    throw invalidParameter(
      `The runtime parameter of ${runtime} is no longer supported for creating or updating AWS Lambda functions. We recommend you use a supported runtime while creating or updating functions.`,
    );
  }
  if (!RUNTIMES.includes(runtime)) {
    throw invalidParameter(
      `Value ${runtime} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [${RUNTIMES.join(', ')}]`,
    );
  }
  checkNumber(Timeout, 'timeout', 1, 900);
  checkNumber(MemorySize, 'memorySize', 128, 10_240);
  checkEnvironment(body.Environment);
}

/** @throws AwsError 400 given, and not a whole number within the bounds */
export function checkNumber(value: unknown, field: string, min: number, max: number): void {
  if (value === undefined || value === null) return;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < min) {
    throw invalidField(value, field, `Member must have value greater than or equal to ${min}`);
  }
  if (value > max)
    throw invalidField(value, field, `Member must have value less than or equal to ${max}`);
}

function checkEnvironment(environment: unknown): void {
  if (!isRecord(environment)) return;
  const measured = JSON.stringify(record(environment, 'Variables'));
  if (Buffer.byteLength(measured) <= MAX_ENVIRONMENT_BYTES) return;
  throw invalidParameter(
    `Lambda was unable to configure your environment variables because the environment variables you have provided exceeded the 4KB limit. String measured: ${measured}`,
  );
}

function zipOf(code: OperationRequest['body']): Uint8Array {
  const { ZipFile } = code;
  if (typeof ZipFile === 'string') return Buffer.from(ZipFile, 'base64');
  throw invalidParameter(
    'Only ZipFile is supported by this emulator; S3 objects and images are not.',
  );
}

function fail(of: LambdaFunction): void {
  for (const each of [of.latest, ...of.versions]) {
    if (each.State === 'Pending') {
      each.State = 'Failed';
      each.StateReason = 'The function could not be created.';
      each.StateReasonCode = 'InternalError';
    } else if (each.LastUpdateStatus === 'InProgress') {
      each.LastUpdateStatus = 'Failed';
      each.LastUpdateStatusReason = 'The function could not be updated.';
      each.LastUpdateStatusReasonCode = 'InternalError';
    }
  }
}

function codeLocation({ region }: Functions, { FunctionName, CodeSha256 }: Configuration): string {
  const hex = Buffer.from(CodeSha256, 'base64').toString('hex');
  return `https://awslambda-${region}-tasks.s3.${region}.amazonaws.com/snapshots/${FunctionName}-${hex}`;
}

/** Items behind the `Marker`, at most `MaxItems`, and the marker of the next page. */
function page<T>(
  all: readonly T[],
  query: URLSearchParams,
  keyOf: (item: T) => string,
): { items: T[]; next: { NextMarker?: string } } {
  const wanted = Number(query.get('MaxItems') ?? MAX_PAGE);
  if (!(wanted >= 1 && wanted <= 10_000)) {
    throw invalidField(
      query.get('MaxItems'),
      'maxItems',
      'Member must have value between 1 and 10000',
    );
  }
  const marker = query.get('Marker');
  const key = marker === null ? undefined : Buffer.from(marker, 'base64url').toString();
  const start = key === undefined ? 0 : all.findIndex((item) => keyOf(item) === key) + 1;
  const items = all.slice(start, start + Math.min(wanted, MAX_PAGE));
  const last = items.at(-1);
  const isMore = start + items.length < all.length && last !== undefined;
  return {
    items,
    next: isMore ? { NextMarker: Buffer.from(keyOf(last)).toString('base64url') } : {},
  };
}

function routingOf(body: OperationRequest['body']): Pick<Alias, 'RoutingConfig'> {
  if (!isRecord(body.RoutingConfig)) return {};
  const weights = record(body.RoutingConfig, 'AdditionalVersionWeights');
  const AdditionalVersionWeights = Object.fromEntries(
    Object.entries(weights).map(([version, weight]) => [version, Number(weight)]),
  );
  return { RoutingConfig: { AdditionalVersionWeights } };
}

function text(body: OperationRequest['body'], field: string): string {
  const value = optionalText(body, field);
  if (value !== undefined) return value;
  const name = field.charAt(0).toLowerCase() + field.slice(1);
  throw invalidField('null', name, 'Member must not be null');
}

/** @throws AwsError 400 given, and not a string */
export function optionalText(body: OperationRequest['body'], field: string): string | undefined {
  const value = body[field];
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'string') return value;
  throw new AwsError(400, 'SerializationException', { Message: `${field} is not a string` });
}

function record(body: OperationRequest['body'], field: string): Record<string, unknown> {
  const value = body[field];
  return isRecord(value) ? value : {};
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function stringsOf(value: Readonly<Record<string, unknown>>): Record<string, string> {
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, String(each)]));
}
