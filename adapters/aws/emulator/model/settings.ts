// The configuration of a function: its defaults, what a request may set, and the bounds of that.

import { invalidField, invalidParameter } from './errors.ts';
import type { Configuration, Functions } from './functions.ts';
import {
  checkNumber,
  type Fields,
  isRecord,
  optionalText,
  record,
  stringsOf,
  text,
} from './operation.ts';

/** The Node runtimes of the API's model. All of them run under the emulator's own Node. */
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
/** Bytes of JSON. */
const MAX_ENVIRONMENT_BYTES = 4096;

/** A new `$LATEST`, which is `Pending`. `code` is what was stored. */
export function createConfiguration(
  functions: Functions,
  name: string,
  body: Fields,
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

/** Sets what the request names and leaves the rest. */
export function applySettings(to: Configuration, body: Fields): void {
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

/** @throws AwsError 400 beyond the bounds. `present` is what an update leaves unchanged */
export function checkSettings(body: Fields, present?: Configuration): void {
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

function checkEnvironment(environment: unknown): void {
  if (!isRecord(environment)) return;
  const measured = JSON.stringify(record(environment, 'Variables'));
  if (Buffer.byteLength(measured) <= MAX_ENVIRONMENT_BYTES) return;
  throw invalidParameter(
    `Lambda was unable to configure your environment variables because the environment variables you have provided exceeded the 4KB limit. String measured: ${measured}`,
  );
}
