// The configuration of a function: its defaults, what a request may set, and the bounds of that.
// `SETTINGS` says what becomes of each member of a request. Nothing is dropped in silence.

import {
  AwsError,
  checkEnum,
  invalidField,
  invalidFields,
  invalidParameter,
  violation,
} from './errors.ts';
import type { Layers } from './layers.ts';
import {
  checkNumber,
  type Fields,
  isRecord,
  optionalText,
  record,
  stringsOf,
  text,
} from './operation.ts';
import type { Configuration, LoggingConfig } from './records.ts';
import { checkRuntime } from './runtimes.ts';

/** What becomes of a member of a request. */
export interface Setting {
  /** `supported`: it has its effect. `ignored`: kept and given back, with a line in the log. */
  readonly treatment: 'supported' | 'ignored' | 'refused';
  /** For docs/emulators.md. */
  readonly note: string;
}

const supported = (note = ''): Setting => ({ treatment: 'supported', note });
const ignored = (note: string): Setting => ({ treatment: 'ignored', note });
const refused = (note: string): Setting => ({ treatment: 'refused', note });

/** The members of CreateFunction, UpdateFunctionConfiguration and UpdateFunctionCode. */
export const SETTINGS: Readonly<Record<string, Setting>> = {
  FunctionName: supported(),
  Runtime: supported('Node only; each runs on the house’s Node, which the emulator’s log names'),
  Role: supported('checked in form only'),
  Handler: supported(),
  Code: supported('`ZipFile` only'),
  ZipFile: supported(),
  Description: supported(),
  Timeout: supported(),
  MemorySize: supported(),
  Publish: supported(),
  DryRun: supported(),
  RevisionId: supported(),
  Environment: supported('at most 4 KB, no reserved names'),
  Tags: supported('at most 50'),
  Layers: supported(
    'a folder of the instance, in `NODE_PATH`, `PATH`, `LD_LIBRARY_PATH`; not `/opt`',
  ),
  LoggingConfig: ignored('lines are text, in `/aws/lambda/NAME`'),
  EphemeralStorage: ignored('`/tmp` is the machine’s'),
  Architectures: ignored('the machine’s own is used'),
  TracingConfig: ignored('there is no X-Ray'),
  KMSKeyArn: ignored('nothing is encrypted'),
  SourceKMSKeyArn: ignored('nothing is encrypted'),
  PackageType: refused('`Image`; `Zip` is the only one'),
  ImageConfig: refused('there are no images'),
  ImageUri: refused('there are no images'),
  S3Bucket: refused('there is no S3: no bucket exists'),
  S3Key: refused('there is no S3'),
  S3ObjectVersion: refused('there is no S3'),
  VpcConfig: refused('there is no EC2: no subnet and no security group exists'),
  DeadLetterConfig: refused('there is no SQS and no SNS'),
  FileSystemConfigs: refused('there is no EFS'),
  CodeSigningConfigArn: refused('there is no code signing'),
  SnapStart: refused('`PublishedVersions`, as AWS does for Node'),
};

/** Members of newer APIs, which have no meaning here. */
const NEWER = ['CapacityProviderConfig', 'PublishTo', 'DurableConfig', 'TenancyConfig'];

const ROLE = 'arn:(aws[a-zA-Z-]*)?:iam::\\d{12}:role/?[a-zA-Z_0-9+=,.@\\-_/]+';
/** Bytes of JSON. */
const MAX_ENVIRONMENT_BYTES = 4096;
/** Variables that Lambda sets itself (Lambda developer guide, reserved environment variables). */
const RESERVED_VARIABLES = [
  ...['_HANDLER', '_X_AMZN_TRACE_ID', 'AWS_DEFAULT_REGION', 'AWS_REGION', 'AWS_EXECUTION_ENV'],
  ...['AWS_LAMBDA_FUNCTION_NAME', 'AWS_LAMBDA_FUNCTION_MEMORY_SIZE', 'AWS_LAMBDA_RUNTIME_API'],
  ...['AWS_LAMBDA_FUNCTION_VERSION', 'AWS_LAMBDA_INITIALIZATION_TYPE', 'LAMBDA_TASK_ROOT'],
  ...['AWS_LAMBDA_LOG_GROUP_NAME', 'AWS_LAMBDA_LOG_STREAM_NAME', 'LAMBDA_RUNTIME_DIR'],
  ...['AWS_ACCESS_KEY', 'AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN'],
];
const LEVELS = ['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'];

/** A new `$LATEST`, which is `Pending`. `code` is what was stored. */
export function createConfiguration(
  place: { readonly arn: string; readonly region: string; readonly layers: Layers },
  name: string,
  body: Fields,
  code: { CodeSha256: string; CodeSize: number },
): Configuration {
  const configuration: Configuration = {
    FunctionName: name,
    FunctionArn: place.arn,
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
      RuntimeVersionArn: `arn:aws:lambda:${place.region}::runtime:${'0'.repeat(64)}`,
    },
    LoggingConfig: { LogFormat: 'Text', LogGroup: `/aws/lambda/${name}` },
  };
  applySettings(configuration, body, place.layers);
  return configuration;
}

/** Sets what the request names and leaves the rest. The request was checked. */
export function applySettings(to: Configuration, body: Fields, layers: Layers): void {
  for (const field of ['Runtime', 'Role', 'Handler', 'Description', 'KMSKeyArn'] as const) {
    const value = optionalText(body, field);
    if (value !== undefined) to[field] = value;
  }
  for (const field of ['Timeout', 'MemorySize'] as const) {
    const value = body[field];
    if (typeof value === 'number') to[field] = value;
  }
  if (isRecord(body.Environment))
    to.Environment = { Variables: stringsOf(record(body.Environment, 'Variables')) };
  if (isRecord(body.TracingConfig))
    to.TracingConfig = { Mode: optionalText(body.TracingConfig, 'Mode') ?? 'PassThrough' };
  const storage = body.EphemeralStorage;
  if (isRecord(storage) && typeof storage.Size === 'number')
    to.EphemeralStorage = { Size: storage.Size };
  if (Array.isArray(body.Architectures)) to.Architectures = body.Architectures.map(String);
  if (isRecord(body.VpcConfig)) to.VpcConfig = { SubnetIds: [], SecurityGroupIds: [], VpcId: '' };
  if (isRecord(body.LoggingConfig))
    to.LoggingConfig = toLogging(body.LoggingConfig, to.LoggingConfig);
  if (Array.isArray(body.Layers)) {
    const named = layers.check(body.Layers.map(String));
    if (named.length > 0) to.Layers = named;
    else delete to.Layers;
  }
}

/** The settings of a request that are kept and have no effect here. */
export function ignoredSettings(body: Fields): string[] {
  const code = isRecord(body.Code) ? Object.keys(body.Code) : [];
  return [...Object.keys(body), ...code].filter((name) => SETTINGS[name]?.treatment === 'ignored');
}

/** @throws AwsError 400, 404 beyond the bounds. `present` is what an update leaves unchanged */
export function checkSettings(body: Fields, layers: Layers, present?: Configuration): void {
  checkForms(body, present);
  checkRuntime(optionalText(body, 'Runtime') ?? present?.Runtime ?? 'null');
  checkNumber(body.Timeout, 'timeout', 1, 900);
  checkNumber(body.MemorySize, 'memorySize', 128, 10_240);
  checkNumber(record(body, 'EphemeralStorage').Size, 'ephemeralStorage.size', 512, 10_240);
  checkArchitectures(body.Architectures);
  checkEnvironment(body.Environment);
  checkLogging(record(body, 'LoggingConfig'));
  refuseAbsentServices(body, present);
  if (Array.isArray(body.Layers)) layers.check(body.Layers.map(String));
}

/** The values that the API's model restricts by a pattern or by a list. */
function checkForms(body: Fields, present: Configuration | undefined): void {
  const role = optionalText(body, 'Role') ?? present?.Role;
  if (role === undefined || !new RegExp(`^${ROLE}$`).test(role)) {
    const constraint = `Member must satisfy regular expression pattern: ${ROLE}`;
    throw invalidField(role ?? null, 'role', constraint);
  }
  const handler = optionalText(body, 'Handler');
  if (handler !== undefined && !/^[^\s]{1,128}$/.test(handler)) {
    const constraint = 'Member must satisfy regular expression pattern: [^\\s]+';
    throw invalidField(handler, 'handler', constraint);
  }
  if ((optionalText(body, 'Description') ?? '').length > 256) {
    const constraint = 'Member must have length less than or equal to 256';
    throw invalidField(body.Description, 'description', constraint);
  }
  checkEnum(body.PackageType, 'packageType', ['Image', 'Zip']);
  checkEnum(record(body, 'TracingConfig').Mode, 'tracingConfig.mode', ['Active', 'PassThrough']);
  checkEnum(record(body, 'SnapStart').ApplyOn, 'snapStart.applyOn', ['PublishedVersions', 'None']);
}

export function checkArchitectures(given: unknown): void {
  if (!Array.isArray(given)) return;
  const shown = `[${given.join(', ')}]`;
  if (given.length !== 1) {
    const constraint = `Member must have length ${given.length > 1 ? 'less' : 'greater'} than or equal to 1`;
    throw invalidField(shown, 'architectures', constraint);
  }
  if (given[0] === 'x86_64' || given[0] === 'arm64') return;
  const constraint =
    'Member must satisfy constraint: [Member must satisfy enum value set: [x86_64, arm64], Member must not be null]';
  throw invalidField(shown, 'architectures', constraint);
}

function checkEnvironment(environment: unknown): void {
  if (!isRecord(environment)) return;
  const variables = record(environment, 'Variables');
  const names = Object.keys(variables);
  const reserved = names.filter((name) => RESERVED_VARIABLES.includes(name));
  if (reserved.length > 0) {
    throw invalidParameter(
      `Lambda was unable to configure your environment variables because the environment variables you have provided contains reserved keys that are currently not supported for modification. Reserved keys used in this request: ${reserved.join(', ')}`,
    );
  }
  const odd = names.filter((name) => !/^[a-zA-Z]([a-zA-Z0-9_])+$/.test(name));
  if (odd.length > 0) {
    const constraint =
      'Map keys must satisfy constraint: [Member must satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+, Member must not be null]';
    throw invalidField(`{${odd.join(', ')}}`, 'environment.variables', constraint);
  }
  const measured = JSON.stringify(variables);
  if (Buffer.byteLength(measured) <= MAX_ENVIRONMENT_BYTES) return;
  throw invalidParameter(
    `Lambda was unable to configure your environment variables because the environment variables you have provided exceeded the 4KB limit. String measured: ${measured}`,
  );
}

function checkLogging(logging: Fields): void {
  checkEnum(logging.LogFormat, 'loggingConfig.logFormat', ['JSON', 'Text']);
  checkEnum(logging.ApplicationLogLevel, 'loggingConfig.applicationLogLevel', LEVELS);
  checkEnum(logging.SystemLogLevel, 'loggingConfig.systemLogLevel', ['DEBUG', 'INFO', 'WARN']);
  const group = optionalText(logging, 'LogGroup');
  if (group !== undefined && !/^[.\-_/#A-Za-z0-9]{1,512}$/.test(group)) {
    const constraint = 'Member must satisfy regular expression pattern: [\\.\\-_/#A-Za-z0-9]+';
    throw invalidField(group, 'loggingConfig.logGroup', constraint);
  }
}

function toLogging(given: Fields, present: LoggingConfig): LoggingConfig {
  const LogFormat = optionalText(given, 'LogFormat') ?? present.LogFormat;
  const LogGroup = optionalText(given, 'LogGroup') ?? present.LogGroup;
  if (LogFormat === 'Text') return { LogFormat, LogGroup };
  return {
    LogFormat,
    ApplicationLogLevel:
      optionalText(given, 'ApplicationLogLevel') ?? present.ApplicationLogLevel ?? 'INFO',
    SystemLogLevel: optionalText(given, 'SystemLogLevel') ?? present.SystemLogLevel ?? 'INFO',
    LogGroup,
  };
}

/** Refuses what needs a service that is not emulated, as AWS does when the thing is not there. */
function refuseAbsentServices(body: Fields, present: Configuration | undefined): void {
  refuseVpc(record(body, 'VpcConfig'));
  if (body.PackageType === 'Image' || isFilled(body.ImageConfig)) {
    throw invalidParameter('Container images are not supported by this emulator.');
  }
  if (isFilled(record(body, 'DeadLetterConfig').TargetArn)) {
    const service = String(record(body, 'DeadLetterConfig').TargetArn).split(':')[2];
    const [call, name] = service === 'sns' ? ['Publish', 'SNS'] : ['SendMessage', 'SQS'];
    throw invalidParameter(
      `The provided execution role does not have permissions to call ${call} on ${name}`,
    );
  }
  if (isFilled(body.FileSystemConfigs)) {
    throw invalidParameter('File systems are not supported by this emulator.');
  }
  const signing = optionalText(body, 'CodeSigningConfigArn');
  if (signing) {
    throw new AwsError(404, 'CodeSigningConfigNotFoundException', {
      Message: `The code signing configuration cannot be found. Check that the provided configuration is not deleted: ${signing}.`,
      Type: 'User',
    });
  }
  if (record(body, 'SnapStart').ApplyOn === 'PublishedVersions') {
    const runtime = optionalText(body, 'Runtime') ?? present?.Runtime;
    throw invalidParameter(`${runtime} is not supported for SnapStart enabled functions.`);
  }
  for (const name of NEWER) {
    if (isFilled(body[name])) throw invalidParameter(`${name} is not supported by this emulator.`);
  }
}

function refuseVpc(vpc: Fields): void {
  const ids = (field: string) => {
    const value = vpc[field];
    return Array.isArray(value) ? value.map(String) : [];
  };
  const [groups, subnets] = [ids('SecurityGroupIds'), ids('SubnetIds')];
  const faults = [
    ...idFaults(groups, 'vpcConfig.securityGroupIds', 'sg-[0-9a-zA-Z]*'),
    ...idFaults(subnets, 'vpcConfig.subnetIds', 'subnet-[0-9a-z]*'),
  ];
  if (faults.length > 0) throw invalidFields(faults);
  if (groups[0] !== undefined) {
    throw invalidParameter(
      `Error occurred while DescribeSecurityGroups. EC2 Error Code: InvalidGroup.NotFound. EC2 Error Message: The security group '${groups[0]}' does not exist`,
    );
  }
  if (subnets[0] !== undefined) {
    throw invalidParameter(
      `Error occurred while DescribeSubnets. EC2 Error Code: InvalidSubnetID.NotFound. EC2 Error Message: The subnet ID '${subnets[0]}' does not exist`,
    );
  }
}

function idFaults(ids: readonly string[], field: string, pattern: string): string[] {
  if (ids.every((id) => new RegExp(`^${pattern}$`).test(id))) return [];
  const constraint = `Member must satisfy constraint: [Member must have length less than or equal to 1024, Member must have length greater than or equal to 0, Member must satisfy regular expression pattern: ${pattern}]`;
  return [violation(`[${ids.join(', ')}]`, field, constraint)];
}

/** Whether a setting asks for something. An empty one takes it away. */
function isFilled(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  if (isRecord(value)) return Object.keys(value).length > 0;
  return value !== undefined && value !== null && value !== '';
}
