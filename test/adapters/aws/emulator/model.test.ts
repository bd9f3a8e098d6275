// Tests the Lambda emulator against AWS's own model of the API. The real SDK sends every example of
// each operation offered; answers have the model's shapes, errors its codes and statuses.

import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import * as sdk from '@aws-sdk/client-lambda';
import { type AwsLambda, startAwsLambda } from '../../../../adapters/aws/emulator/emulator.ts';
import { zip } from '../../../../adapters/deployment/zip.ts';

const VECTORS = process.env.DEFAAS_VECTORS ?? '../shared/vectors';
const MODEL = join(VECTORS, 'aws', 'lambda-2015-03-31.smithy.json');
const NAMESPACE = 'com.amazonaws.lambda#';
/** The region in the examples' ARNs. */
const REGION = 'us-west-2';
const ACCOUNT = '123456789012';

/**
 * Operations that the adapter uses, and those that belong to them (docs/providers.md 4); no
 * streaming.
 */
const OFFERED = [
  ...['CreateFunction', 'GetFunction', 'GetFunctionConfiguration', 'UpdateFunctionConfiguration'],
  ...['UpdateFunctionCode', 'PublishVersion', 'ListVersionsByFunction', 'CreateAlias', 'GetAlias'],
  ...['UpdateAlias', 'ListAliases', 'DeleteAlias', 'ListFunctions', 'PutFunctionConcurrency'],
  ...['GetFunctionConcurrency', 'DeleteFunctionConcurrency', 'PutFunctionEventInvokeConfig'],
  ...['GetFunctionEventInvokeConfig', 'DeleteFunctionEventInvokeConfig', 'CreateFunctionUrlConfig'],
  ...['GetFunctionUrlConfig', 'DeleteFunctionUrlConfig', 'Invoke', 'DeleteFunction'],
  ...['TagResource', 'ListTags', 'UntagResource', 'AddPermission', 'GetPolicy', 'RemovePermission'],
  ...['UpdateFunctionEventInvokeConfig', 'ListFunctionEventInvokeConfigs', 'GetAccountSettings'],
  ...['UpdateFunctionUrlConfig', 'ListFunctionUrlConfigs', 'GetFunctionRecursionConfig'],
  ...['PutFunctionRecursionConfig', 'GetFunctionCodeSigningConfig', 'PublishLayerVersion'],
  ...['GetLayerVersion', 'GetLayerVersionByArn', 'ListLayers', 'ListLayerVersions'],
  'DeleteLayerVersion',
];
/**
 * Members that an example's answer has and ours may lack: a function is not ready at once, and
 * there may be no further page.
 */
const MAY_LACK = new Set(['LastUpdateStatus', 'NextMarker']);

interface Shape {
  readonly type: string;
  readonly members?: Readonly<Record<string, Member>>;
  readonly member?: Member;
  readonly value?: Member;
  readonly input?: Member;
  readonly output?: Member;
  readonly errors?: readonly Member[];
  readonly traits?: Readonly<Record<string, unknown>>;
}
interface Member {
  readonly target: string;
  readonly traits?: Readonly<Record<string, unknown>>;
}
interface Example {
  readonly title: string;
  readonly input?: Readonly<Record<string, unknown>>;
  readonly output?: Readonly<Record<string, unknown>>;
}

const ZIP = (code: string) =>
  zip(new Map([['index.js', Buffer.from(`exports.handler = async () => '${code}'`)]]));
const FUNCTION = {
  Role: `arn:aws:iam::${ACCOUNT}:role/lambda-role`,
  Runtime: 'nodejs22.x',
  Handler: 'index.handler',
  Environment: { Variables: { PREFIX: 'inbound' } },
  KMSKeyArn: `arn:aws:kms:us-west-2:${ACCOUNT}:key/b0844d6c-aaaa-4463-97a4-d49f50839966`,
} as const;
/**
 * Values that the real service was seen to answer to an update, though the model's enumeration
 * lacks them.
 */
const SEEN = ['Creating'];

describe('the aws-lambda emulator, by AWS’s model of the API,', function () {
  if (!existsSync(MODEL)) {
    it.skip(`every example of the model (no ${MODEL}: set DEFAAS_VECTORS)`);
    return;
  }
  this.timeout(120_000);
  const { shapes }: { shapes: Readonly<Record<string, Shape>> } = JSON.parse(
    readFileSync(MODEL, 'utf8'),
  );
  const shapeOf = (name: string): Shape => {
    const shape = shapes[name.includes('#') ? name : `${NAMESPACE}${name}`];
    assert.ok(shape, `no shape ${name}`);
    return shape;
  };
  const operations = Object.keys(shapes)
    .filter((name) => shapes[name]?.type === 'operation')
    .map((name) => name.slice(NAMESPACE.length));
  const examplesOf = (operation: string): readonly Example[] => {
    const examples = shapeOf(operation).traits?.['smithy.api#examples'];
    // The trait has this shape in Smithy 2.0.
    return (examples ?? []) as readonly Example[];
  };

  let dir: string;
  let emulator: AwsLambda;
  let client: sdk.LambdaClient;
  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-model-'));
    const credentials = { accessKeyId: 'emulator', secretAccessKey: 'test-key-of-the-emulator' };
    emulator = await startAwsLambda({ dir, credentials, region: REGION, accountId: ACCOUNT });
    const { endpoint } = emulator;
    client = new sdk.LambdaClient({ region: REGION, endpoint, credentials, maxAttempts: 1 });
  });
  afterEach(async () => {
    client.destroy();
    await emulator.close();
    rmSync(dir, { recursive: true, force: true });
  });

  /**
   * Sends with the SDK.
   * @returns the answer as it was on the wire, its JSON before the SDK has looked at it
   */
  async function send(operation: string, input: object = {}) {
    const wire = { body: '' };
    client.middlewareStack.add(
      (next) => async (args) => {
        const result = await next(args);
        // The SDK's HTTP response, whose body is a stream.
        const response = result.response as { body: Readable };
        const chunks: Buffer[] = [];
        for await (const chunk of response.body) chunks.push(chunk);
        wire.body = Buffer.concat(chunks).toString();
        response.body = Readable.from(chunks);
        return result;
      },
      { step: 'deserialize', priority: 'low', name: 'wire', override: true },
    );
    // The SDK exports one command per operation, named after it.
    const commands = sdk as unknown as Record<string, new (input: object) => sdk.InvokeCommand>;
    const Command = commands[`${operation}Command`];
    assert.ok(Command, `no command for ${operation}`);
    const answer = await client.send(new Command(input));
    return { status: answer.$metadata.httpStatusCode, answer, body: wire.body };
  }

  /** Creates what the examples name: two functions with two versions each, aliases and settings. */
  async function setUp(operation: string): Promise<void> {
    if (operation === 'CreateFunction') return;
    for (const FunctionName of ['my-function', 'myFunction']) {
      const Code = { ZipFile: ZIP('one') };
      const Tags = { DEPARTMENT: 'Assets' };
      await send('CreateFunction', { ...FUNCTION, FunctionName, Code, Tags, Publish: true });
      await ready(FunctionName);
      await send('UpdateFunctionCode', { FunctionName, ZipFile: ZIP('two') });
      await ready(FunctionName);
      if (operation !== 'PublishVersion') await send('PublishVersion', { FunctionName });
    }
    const FunctionName = 'my-function';
    if (operation === 'PublishVersion' || operation === 'DeleteFunction') return;
    const alias = { FunctionName, Name: 'BLUE', FunctionVersion: '2', Description: 'blue' };
    await send('CreateAlias', alias);
    await send('PutFunctionConcurrency', { FunctionName, ReservedConcurrentExecutions: 9 });
    await send('CreateAlias', { ...alias, Name: 'GREEN' });
    for (const Qualifier of ['GREEN', 'BLUE', '$LATEST']) {
      await send('PutFunctionEventInvokeConfig', {
        ...{ FunctionName, Qualifier, MaximumRetryAttempts: 1 },
      });
    }
    await setUpOthers(operation, FunctionName);
  }

  /** Statements and layers that the examples name. */
  async function setUpOthers(operation: string, FunctionName: string): Promise<void> {
    await send('CreateAlias', { FunctionName, Name: 'PROD', FunctionVersion: '1' });
    if (operation !== 'AddPermission') {
      const statement = { Action: 'lambda:InvokeFunction', Principal: 's3.amazonaws.com' };
      for (const Qualifier of [undefined, '1', 'PROD']) {
        for (const StatementId of ['s3', 'xaccount', 'role-statement-id']) {
          await send('AddPermission', { FunctionName, Qualifier, StatementId, ...statement });
        }
      }
    }
    if (operation === 'PublishLayerVersion') return;
    for (const LayerName of ['my-layer', 'test-layer', 'blank-java-lib', 'blank-python-lib']) {
      for (let version = 1; version <= 3; version += 1) {
        const more = { CompatibleRuntimes: ['python3.7'], LicenseInfo: 'MIT' };
        await send('PublishLayerVersion', {
          ...{ LayerName, Content: { ZipFile: ZIP('layer') }, ...more },
        });
      }
    }
  }

  async function ready(FunctionName: string): Promise<void> {
    const endMs = performance.now() + 10_000;
    for (;;) {
      const { body } = await send('GetFunctionConfiguration', { FunctionName });
      if (/"LastUpdateStatus":"Successful"/.test(body)) return;
      assert.ok(performance.now() < endMs, `${FunctionName} is not ready`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  describe('accepts every example and answers in its shape:', () => {
    for (const operation of OFFERED) {
      for (const example of examplesOf(operation)) {
        it(`${operation}: ${example.title}`, async () => {
          await setUp(operation);

          const { status, body } = await send(operation, adapted(operation, example.input));

          const { type, output } = read(operation);
          assert.equal(status, expectedStatus(operation, example));
          if (type !== 'json') return;
          const value = JSON.parse(body);
          conform(output, value, operation);
          const lacking = Object.keys(example.output ?? {}).filter(
            (key) => !(key in value) && !MAY_LACK.has(key),
          );
          assert.deepEqual(lacking, []);
        });
      }
    }

    it('operations without an example are answered in their shapes too', async () => {
      await setUp('');
      const FunctionName = 'my-function';
      const url = { FunctionName, AuthType: 'NONE' };
      for (const [operation, input] of [
        ['PutFunctionEventInvokeConfig', { FunctionName, MaximumRetryAttempts: 0 }],
        ['GetFunctionEventInvokeConfig', { FunctionName }],
        ['CreateFunctionUrlConfig', url],
        ['GetFunctionUrlConfig', { FunctionName }],
        ['DeleteFunctionUrlConfig', { FunctionName }],
      ] as const) {
        const { status, body } = await send(operation, input);

        const { type, output } = read(operation);
        assert.equal(status, expectedStatus(operation));
        if (type === 'json') conform(output, JSON.parse(body), operation);
      }
    });
  });

  describe('gives errors the model’s codes:', () => {
    const unnamed = ['CreateFunction', 'ListFunctions', 'DeleteAlias', 'GetAccountSettings'];
    const named = OFFERED.filter(
      (operation) => !unnamed.includes(operation) && !operation.includes('Layer'),
    );
    it(`an unknown function gets the model’s code in each of ${named.length} operations`, async () => {
      const Resource = `arn:aws:lambda:${REGION}:${ACCOUNT}:function:nope`;
      for (const operation of named) {
        const error = await refused(operation, {
          ...{ FunctionName: 'nope', Name: 'live', FunctionVersion: '1', AuthType: 'NONE' },
          ...{ ReservedConcurrentExecutions: 1, MaximumRetryAttempts: 1, ZipFile: ZIP('x') },
          ...{ Resource, Tags: { a: 'b' }, TagKeys: ['a'], RecursiveLoop: 'Allow' },
          ...{ StatementId: 's', Action: 'lambda:InvokeFunction', Principal: '*' },
        });

        assert.equal(error, 'ResourceNotFoundException', operation);
      }
    });

    for (const [operation, input, code] of [
      ['CreateFunction', { FunctionName: 'my-function' }, 'ResourceConflictException'],
      ['CreateFunction', { Runtime: 'cobol' }, 'InvalidParameterValueException'],
      ['CreateFunction', { Code: { ZipFile: Buffer.from('x') } }, 'InvalidParameterValueException'],
      [
        'CreateFunction',
        { Code: { S3Bucket: 'bucket', S3Key: 'k' } },
        'InvalidParameterValueException',
      ],
      ['UpdateFunctionConfiguration', { RevisionId: 'x' }, 'PreconditionFailedException'],
      ['PublishVersion', { CodeSha256: 'x' }, 'InvalidParameterValueException'],
      ['CreateAlias', { Name: 'BLUE', FunctionVersion: '1' }, 'ResourceConflictException'],
      ['CreateAlias', { Name: 'x', FunctionVersion: '9' }, 'ResourceNotFoundException'],
      [
        'UpdateAlias',
        { Name: 'BLUE', RoutingConfig: { AdditionalVersionWeights: { 1: 0.1, 3: 0.1 } } },
        'InvalidParameterValueException',
      ],
      ['DeleteFunction', { Qualifier: '2' }, 'ResourceConflictException'],
      ['PutFunctionEventInvokeConfig', {}, 'InvalidParameterValueException'],
      ['Invoke', { Payload: 'no json' }, 'InvalidRequestContentException'],
      ['Invoke', { Qualifier: '9' }, 'ResourceNotFoundException'],
    ] as const) {
      it(`${operation} with ${JSON.stringify(Object.keys(input))}: ${code}`, async () => {
        await setUp('');
        const whole =
          operation === 'CreateFunction' ? { ...FUNCTION, Code: { ZipFile: ZIP('x') } } : {};
        const FunctionName = operation === 'CreateFunction' ? 'other' : 'my-function';

        assert.equal(await refused(operation, { ...whole, FunctionName, ...input }), code);
      });
    }

    it('a call without a free instance is TooManyRequestsException with its reason', async () => {
      await setUp('');
      const FunctionName = 'my-function';
      await send('PutFunctionConcurrency', { FunctionName, ReservedConcurrentExecutions: 0 });

      assert.equal(await refused('Invoke', { FunctionName }), 'TooManyRequestsException');
    });

    it('every operation that it does not offer is refused in the API’s own form', async () => {
      const others = operations.filter((operation) => !OFFERED.includes(operation));
      const FunctionName = 'my-function';
      for (const operation of others) {
        // The members that each operation's path needs.
        const input = {
          ...{
            FunctionName,
            Name: 'n',
            LayerName: 'l',
            VersionNumber: 1,
            StatementId: 's',
            UUID: 'u',
          },
          ...{ CodeSigningConfigArn: 'a', Qualifier: '1', Arn: 'a', AuthType: 'NONE' },
        };
        const error = await send(operation, input).then(
          () => assert.fail(`${operation} was answered`),
          (reason: unknown) => reason,
        );
        assert.ok(error instanceof sdk.LambdaServiceException, `${operation}: ${error}`);
        assert.equal(error.name, 'UnknownOperationException', operation);
      }
    });

    /** @returns the code of the refusal, which the model gives this operation with this status */
    async function refused(operation: string, input: object): Promise<string> {
      const error = await send(operation, input).then(
        () => assert.fail(`${operation} was not refused`),
        (reason: unknown) => reason,
      );
      assert.ok(error instanceof sdk.LambdaServiceException, `${operation}: ${error}`);
      const codes = (shapeOf(operation).errors ?? []).map(({ target }) => target);
      assert.ok(codes.includes(`${NAMESPACE}${error.name}`), `${operation}: ${error.name}`);
      const status = shapeOf(error.name).traits?.['smithy.api#httpError'];
      assert.equal(error.$metadata.httpStatusCode, status, `${operation}: ${error.name}`);
      return error.name;
    }
  });

  /** Replaces an S3 object, a retired runtime, a queue and a region: there are none of them here. */
  function adapted(operation: string, input: Example['input'] = {}): Record<string, unknown> {
    const { S3Bucket, S3Key, Runtime, Code, Content, DestinationConfig, Arn, ...rest } = input;
    const code = { ZipFile: ZIP('three') };
    return {
      ...rest,
      ...(Runtime !== undefined && { Runtime: 'nodejs22.x' }),
      ...(DestinationConfig !== undefined && { MaximumEventAgeInSeconds: 3600 }),
      ...(Arn !== undefined && { Arn: String(Arn).replace('ca-central-1', REGION) }),
      ...(Content !== undefined && { Content: code }),
      ...(operation === 'CreateFunction' && { Code: code }),
      ...(operation === 'UpdateFunctionCode' && code),
    };
  }

  /** The form of the operation's answer; `blob` where the body is the function's own. */
  function read(operation: string): { type: 'json' | 'blob' | 'empty'; output: string } {
    const output = shapeOf(operation).output?.target ?? 'smithy.api#Unit';
    if (output === 'smithy.api#Unit') return { type: 'empty', output };
    const members = Object.values(shapeOf(output).members ?? {});
    const isBlob = members.some(({ traits }) => traits?.['smithy.api#httpPayload'] !== undefined);
    return { type: isBlob ? 'blob' : 'json', output };
  }

  /** The model's status, except where the member `StatusCode` is the status. */
  function expectedStatus(operation: string, example?: Example): unknown {
    const told = example?.output?.StatusCode;
    if (told !== undefined) return told;
    // Of the trait's own shape in Smithy 2.0.
    const http = shapeOf(operation).traits?.['smithy.api#http'] as { code: number };
    return http.code;
  }

  /**
   * Asserts that each value has its shape, each name is in the model, and no required member is
   * missing.
   */
  function conform(target: string, value: unknown, at: string): void {
    const known = target.startsWith('smithy.api#') ? target.slice('smithy.api#'.length) : undefined;
    const shape: Shape = known ? { type: known.toLowerCase() } : shapeOf(target);
    switch (shape.type) {
      case 'structure': {
        assert.ok(isRecord(value), `${at} is no structure`);
        const members = shape.members ?? {};
        for (const [name, each] of Object.entries(value)) {
          const member = members[name];
          assert.ok(member, `${at}.${name} is not in the model`);
          conform(member.target, each, `${at}.${name}`);
        }
        for (const [name, { traits }] of Object.entries(members)) {
          const isRequired = traits?.['smithy.api#required'] !== undefined;
          assert.ok(!isRequired || name in value, `${at}.${name} is missing`);
        }
        return;
      }
      case 'list':
        assert.ok(Array.isArray(value), `${at} is no list`);
        for (const each of value) conform(shape.member?.target ?? '', each, `${at}[]`);
        return;
      case 'map':
        assert.ok(isRecord(value), `${at} is no map`);
        for (const each of Object.values(value))
          conform(shape.value?.target ?? '', each, `${at}{}`);
        return;
      case 'enum': {
        const values = Object.values(shape.members ?? {}).map(
          ({ traits }) => traits?.['smithy.api#enumValue'],
        );
        const isSeen = at.endsWith('LastUpdateStatusReasonCode') && SEEN.includes(String(value));
        assert.ok(isSeen || values.includes(value), `${at} is ${value}`);
        return;
      }
      case 'string': {
        assert.equal(typeof value, 'string', at);
        // Both traits have these shapes in Smithy 2.0.
        const length = shape.traits?.['smithy.api#length'] as { min?: number; max?: number };
        const { min = 0, max = Number.POSITIVE_INFINITY } = length ?? {};
        const { length: is } = String(value);
        assert.ok(is >= min && is <= max, `${at} has ${is} characters`);
        const pattern = shape.traits?.['smithy.api#pattern'];
        if (pattern) assert.match(String(value), new RegExp(String(pattern)), at);
        return;
      }
      case 'boolean':
        assert.equal(typeof value, 'boolean', at);
        return;
      case 'integer':
      case 'long':
        assert.ok(Number.isInteger(value), `${at} is ${value}`);
        return;
      case 'double':
      case 'timestamp':
        assert.equal(typeof value, 'number', at);
        return;
      default:
        assert.fail(`${at}: no check for ${shape.type}`);
    }
  }
});

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
