// The Lambda emulator answers the real SDK with exactly the answers known from the real service.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CreateAliasCommand,
  CreateFunctionCommand,
  type CreateFunctionCommandInput,
  DeleteAliasCommand,
  DeleteFunctionCommand,
  DeleteFunctionConcurrencyCommand,
  GetAliasCommand,
  GetFunctionCommand,
  GetFunctionConcurrencyCommand,
  GetFunctionConfigurationCommand,
  InvokeCommand,
  LambdaClient,
  LambdaServiceException,
  ListAliasesCommand,
  ListEventSourceMappingsCommand,
  ListFunctionsCommand,
  ListTagsCommand,
  ListVersionsByFunctionCommand,
  PublishVersionCommand,
  PutFunctionConcurrencyCommand,
  TagResourceCommand,
  UntagResourceCommand,
  UpdateAliasCommand,
  UpdateFunctionCodeCommand,
  UpdateFunctionConfigurationCommand,
  waitUntilFunctionActiveV2,
  waitUntilFunctionUpdatedV2,
} from '@aws-sdk/client-lambda';
import { type AwsLambda, startAwsLambda } from '../../../../adapters/aws/emulator/emulator.ts';
import { zip } from '../../../../adapters/deployment/zip.ts';

const credentials = { accessKeyId: 'emulator', secretAccessKey: 'test-key-of-the-emulator' };
const region = 'us-east-1';
const A = 'arn:aws:lambda:us-east-1:000000000000:function:f';

const CODE = `
exports.handler = async (event, context) => {
  if (event.throw) throw new TypeError('on purpose');
  if (event.exit !== undefined) process.exit(event.exit);
  if (event.sleepMs) await new Promise((resolve) => setTimeout(resolve, event.sleepMs));
  if (event.log) console.log(event.log);
  if (event.nothing) return undefined;
  return { event, version: context.functionVersion, id: context.awsRequestId, memory: context.memoryLimitInMB };
};
exports.callback = (event, context, callback) => callback(null, 'called back');
exports.silent = () => {};
`;
const zipOf = (code: string) => zip(new Map([['index.js', Buffer.from(code)]]));

describe('the aws-lambda emulator', () => {
  let dir: string;
  let emulator: AwsLambda;
  let client: LambdaClient;
  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-lambda-'));
    emulator = await startAwsLambda({ dir, credentials });
    client = new LambdaClient({ region, endpoint: emulator.endpoint, credentials, maxAttempts: 1 });
    await create('f');
  });
  after(async () => {
    client.destroy();
    await emulator.close();
    rmSync(dir, { recursive: true, force: true });
  });

  const settings = (FunctionName: string): CreateFunctionCommandInput => ({
    FunctionName,
    Role: 'arn:aws:iam::000000000000:role/r',
    Runtime: 'nodejs22.x',
    Handler: 'index.handler',
    Code: { ZipFile: zipOf(CODE) },
  });

  async function create(name: string, more: Partial<CreateFunctionCommandInput> = {}) {
    const created = await client.send(new CreateFunctionCommand({ ...settings(name), ...more }));
    await ready(name);
    return created;
  }

  /** The SDK's own waiters look once a second; one test uses them. */
  async function ready(FunctionName: string) {
    for (;;) {
      const { State, LastUpdateStatus } = await client.send(
        new GetFunctionConfigurationCommand({ FunctionName }),
      );
      if (State === 'Active' && LastUpdateStatus === 'Successful') return;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  async function invoke(FunctionName: string, event: unknown, more: { Qualifier?: string } = {}) {
    const Payload = typeof event === 'string' ? event : JSON.stringify(event);
    const answer = await client.send(
      new InvokeCommand({ FunctionName, Payload, LogType: 'Tail', ...more }),
    );
    return {
      ...answer,
      value: JSON.parse(Buffer.from(answer.Payload ?? []).toString()),
      log: Buffer.from(answer.LogResult ?? '', 'base64').toString(),
    };
  }

  describe('keeps functions', () => {
    it('with all fields of their configuration, with defaults and states', async () => {
      const input = { ...settings('fields'), Publish: true, Tags: { team: 'a' } };
      const created = await client.send(new CreateFunctionCommand(input));
      const waiting = { client, maxWaitTime: 10, minDelay: 1 };
      await waitUntilFunctionActiveV2(waiting, { FunctionName: 'fields' });
      await waitUntilFunctionUpdatedV2(waiting, { FunctionName: 'fields' });
      const found = await client.send(new GetFunctionCommand({ FunctionName: 'fields' }));

      assert.equal(created.State, 'Pending');
      assert.equal(created.StateReasonCode, 'Creating');
      assert.equal(created.Version, '1');
      assert.equal(created.LastUpdateStatus, undefined);
      const { Configuration } = found;
      assert.deepEqual(found.Tags, { team: 'a' });
      assert.equal(found.Code?.RepositoryType, 'S3');
      assert.equal(Configuration?.State, 'Active');
      assert.equal(Configuration.LastUpdateStatus, 'Successful');
      assert.equal(Configuration.Version, '$LATEST');
      assert.equal(Configuration.Timeout, 3);
      assert.equal(Configuration.MemorySize, 128);
      assert.deepEqual(Configuration.TracingConfig, { Mode: 'PassThrough' });
      assert.deepEqual(Configuration.EphemeralStorage, { Size: 512 });
      assert.deepEqual(Configuration.Architectures, ['x86_64']);
      assert.equal(Configuration.PackageType, 'Zip');
      assert.match(
        Configuration.LastModified ?? '',
        /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000$/,
      );
      assert.match(Configuration.CodeSha256 ?? '', /^[A-Za-z0-9+/]{43}=$/);
    });

    it('in versions that do not change, behind aliases that move', async () => {
      await create('v');
      const FunctionName = 'v';
      const one = await client.send(new PublishVersionCommand({ FunctionName }));
      const same = await client.send(new PublishVersionCommand({ FunctionName }));
      await client.send(
        new CreateAliasCommand({ FunctionName, Name: 'live', FunctionVersion: '1' }),
      );
      const ZipFile = zipOf("exports.handler = async () => 'new'");
      const updated = await client.send(new UpdateFunctionCodeCommand({ FunctionName, ZipFile }));
      await ready(FunctionName);
      const two = await client.send(new PublishVersionCommand({ FunctionName }));

      const old = await invoke('v', {}, { Qualifier: 'live' });
      await client.send(
        new UpdateAliasCommand({ FunctionName, Name: 'live', FunctionVersion: '2' }),
      );
      const moved = await invoke('v', {}, { Qualifier: 'live' });
      const versions = await client.send(new ListVersionsByFunctionCommand({ FunctionName }));

      assert.deepEqual([one.Version, same.Version, two.Version], ['1', '1', '2']);
      assert.equal(one.FunctionArn, `${A.slice(0, -1)}v:1`);
      assert.equal(updated.LastUpdateStatus, 'InProgress');
      assert.notEqual(updated.CodeSha256, one.CodeSha256);
      assert.deepEqual([old.ExecutedVersion, old.value.version], ['1', '1']);
      assert.deepEqual([moved.ExecutedVersion, moved.value], ['2', 'new']);
      assert.deepEqual(
        versions.Versions?.map(({ Version }) => Version),
        ['$LATEST', '1', '2'],
      );
    });

    it('whose calls it distributes by the weights of an alias', async () => {
      await create('w', { Publish: true });
      const FunctionName = 'w';
      await client.send(new UpdateFunctionConfigurationCommand({ FunctionName, Timeout: 9 }));
      await ready(FunctionName);
      await client.send(new PublishVersionCommand({ FunctionName }));
      const RoutingConfig = { AdditionalVersionWeights: { 2: 0.5 } };
      const alias = { FunctionName, Name: 'both', FunctionVersion: '1', RoutingConfig };
      const created = await client.send(new CreateAliasCommand(alias));

      const seen = new Set<string>();
      while (seen.size < 2) {
        seen.add((await invoke('w', {}, { Qualifier: 'both' })).ExecutedVersion ?? '');
      }

      assert.deepEqual([...seen].sort(), ['1', '2']);
      assert.equal(created.AliasArn, `${A.slice(0, -1)}w:both`);
      assert.deepEqual(created.RoutingConfig, RoutingConfig);
      const listed = await client.send(new ListAliasesCommand({ FunctionName }));
      assert.equal(listed.Aliases?.length, 1);
      await client.send(new DeleteAliasCommand({ FunctionName, Name: 'both' }));
    });

    it('with tags and reserved concurrency, and lists them by pages', async () => {
      const FunctionName = 'f';
      const Resource = A;
      await client.send(new TagResourceCommand({ Resource, Tags: { a: '1', b: '2' } }));
      await client.send(new UntagResourceCommand({ Resource, TagKeys: ['a'] }));
      const put = { FunctionName, ReservedConcurrentExecutions: 2 };
      await client.send(new PutFunctionConcurrencyCommand(put));
      const limit = await client.send(new GetFunctionConcurrencyCommand({ FunctionName }));
      await client.send(new DeleteFunctionConcurrencyCommand({ FunctionName }));
      const unset = await client.send(new GetFunctionConcurrencyCommand({ FunctionName }));
      await create('g');

      const first = await client.send(new ListFunctionsCommand({ MaxItems: 1 }));
      const Marker = first.NextMarker;
      const second = await client.send(new ListFunctionsCommand({ MaxItems: 1, Marker }));

      assert.deepEqual((await client.send(new ListTagsCommand({ Resource }))).Tags, { b: '2' });
      assert.equal(limit.ReservedConcurrentExecutions, 2);
      assert.equal(unset.ReservedConcurrentExecutions, undefined);
      assert.deepEqual([first.Functions?.length, second.Functions?.length], [1, 1]);
      assert.notEqual(first.Functions?.[0]?.FunctionName, second.Functions?.[0]?.FunctionName);
      await client.send(new DeleteFunctionCommand({ FunctionName: 'g' }));
    });
  });

  describe('runs', () => {
    it('handlers that return a value, call back, or do neither', async () => {
      await create('cb', { Handler: 'index.callback' });
      await create('silent', { Handler: 'index.silent' });

      assert.equal((await invoke('f', { nothing: true })).value, null);
      assert.equal((await invoke('cb', {})).value, 'called back');
      assert.equal((await invoke('silent', {})).value, null);
    });

    it('functions with the platform’s log lines, and returns the last 4096 bytes of the log', async () => {
      const { log, value } = await invoke('f', { log: 'a line' });
      const long = await invoke('f', { log: 'x'.repeat(10_000) });

      const [start, line, end, report] = log.split('\n');
      assert.equal(start, `START RequestId: ${value.id} Version: $LATEST`);
      assert.match(line ?? '', new RegExp(`^\\d{4}-.{19}\\t${value.id}\\tINFO\\ta line$`));
      assert.equal(end, `END RequestId: ${value.id}`);
      assert.match(
        report ?? '',
        new RegExp(
          `^REPORT RequestId: ${value.id}\\tDuration: \\d+\\.\\d\\d ms\\tBilled Duration: \\d+ ms\\tMemory Size: 128 MB\\tMax Memory Used: \\d+ MB\\t`,
        ),
      );
      assert.equal(Buffer.byteLength(long.log), 4096);
    });

    for (const [title, event, type, message] of [
      ['throws', { throw: true }, 'TypeError', 'on purpose'],
      [
        'exits with 0',
        { exit: 0 },
        'Runtime.ExitError',
        'RequestId: ID Error: Runtime exited without providing a reason',
      ],
      [
        'exits with 7',
        { exit: 7 },
        'Runtime.ExitError',
        'RequestId: ID Error: Runtime exited with error: exit status 7',
      ],
      [
        'sleeps too long',
        { sleepMs: 5000 },
        'Sandbox.Timedout',
        'RequestId: ID Error: Task timed out after 1.00 seconds',
      ],
    ] as const) {
      it(`a function that ${title}, and answers 200 with FunctionError Unhandled`, async () => {
        const name = `fails-${Object.keys(event)[0]}-${Object.values(event)[0]}`;
        await create(name, { Timeout: 1 });

        const answer = await invoke(name, event);

        assert.equal(answer.StatusCode, 200);
        assert.equal(answer.FunctionError, 'Unhandled');
        assert.equal(answer.value.errorType, type);
        const id = answer.$metadata.requestId ?? '';
        assert.equal(answer.value.errorMessage.replace(id, 'ID'), message);
      });
    }

    for (const [title, more, type] of [
      ['a missing file', { Handler: 'other.handler' }, 'Runtime.ImportModuleError'],
      ['a missing export', { Handler: 'index.other' }, 'Runtime.HandlerNotFound'],
      ['a handler without a dot', { Handler: 'index' }, 'Runtime.MalformedHandlerName'],
      [
        'a syntax error',
        { Code: { ZipFile: zipOf('exports.handler = (') } },
        'Runtime.UserCodeSyntaxError',
      ],
    ] as const) {
      it(`a function with ${title}, and reports the error at each call`, async () => {
        const name = `start-${title.replaceAll(' ', '-')}`;
        await create(name, more);

        for (let call = 0; call < 2; call += 1) {
          const { FunctionError, value } = await invoke(name, {});
          assert.deepEqual([FunctionError, value.errorType], ['Unhandled', type]);
        }
      });
    }

    it('nothing in an instance between calls, because the instance is frozen', async () => {
      const code = `let ticks = 0; setInterval(() => ticks += 1, 5);
        exports.handler = async () => ticks;`;
      await create('ticks', { Code: { ZipFile: zipOf(code) } });
      await invoke('ticks', {});
      await new Promise((resolve) => setTimeout(resolve, 500));

      const { value } = await invoke('ticks', {});

      assert.ok(value < 20, `${value} ticks`);
    });
  });

  describe('answers as the service does to', () => {
    const cases: readonly (readonly [
      title: string,
      send: () => Promise<unknown>,
      status: number,
      type: string,
      message: string | RegExp,
    ])[] = [
      [
        'an unknown function',
        () => invoke('x', {}),
        404,
        'ResourceNotFoundException',
        'Function not found: arn:aws:lambda:us-east-1:000000000000:function:x:$LATEST',
      ],
      [
        'an unknown qualifier',
        () => invoke('f', {}, { Qualifier: 'nope' }),
        404,
        'ResourceNotFoundException',
        `Function not found: ${A}:nope`,
      ],
      [
        'an unknown alias',
        () => client.send(new GetAliasCommand({ FunctionName: 'f', Name: 'x' })),
        404,
        'ResourceNotFoundException',
        `Cannot find alias arn: ${A}:x`,
      ],
      [
        'an update of an unknown alias',
        () => client.send(new UpdateAliasCommand({ FunctionName: 'f', Name: 'x' })),
        404,
        'ResourceNotFoundException',
        `Alias not found: ${A}:x`,
      ],
      [
        'another region',
        () => invoke('arn:aws:lambda:eu-west-1:000000000000:function:f', {}),
        404,
        'ResourceNotFoundException',
        "Functions from 'eu-west-1' are not reachable in this region ('us-east-1')",
      ],
      [
        'a function that exists',
        () => create('f'),
        409,
        'ResourceConflictException',
        'Function already exist: f',
      ],
      [
        'a bad zip',
        () => create('x', { Code: { ZipFile: Buffer.from('no zip') } }),
        400,
        'InvalidParameterValueException',
        'Could not unzip uploaded file. Please check your file, then try to upload again.',
      ],
      [
        'a bad role',
        () => create('x', { Role: 'r1' }),
        400,
        'ValidationException',
        "1 validation error detected: Value 'r1' at 'role' failed to satisfy constraint: Member must satisfy regular expression pattern: arn:(aws[a-zA-Z-]*)?:iam::\\d{12}:role/?[a-zA-Z_0-9+=,.@\\-_/]+",
      ],
      [
        'a retired runtime',
        () => create('x', { Runtime: 'nodejs14.x' }),
        400,
        'InvalidParameterValueException',
        'The runtime parameter of nodejs14.x is no longer supported for creating or updating AWS Lambda functions. We recommend you use a supported runtime while creating or updating functions.',
      ],
      [
        'a runtime that is none',
        () => create('x', JSON.parse('{"Runtime":"cobol"}')),
        400,
        'InvalidParameterValueException',
        /^Value cobol at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: \[/,
      ],
      [
        'a long name',
        () => create('n'.repeat(65)),
        400,
        'InvalidParameterValueException',
        `1 validation error detected: Value '${'n'.repeat(65)}' at 'functionName' failed to satisfy constraint: Member must have length less than or equal to 64`,
      ],
      [
        'too much environment',
        () => create('x', { Environment: { Variables: { LONG: 'x'.repeat(4096) } } }),
        400,
        'InvalidParameterValueException',
        /^Lambda was unable to configure your environment variables because the environment variables you have provided exceeded the 4KB limit\. String measured: \{"LONG":"x/,
      ],
      [
        'an alias of digits',
        () =>
          client.send(
            new CreateAliasCommand({ FunctionName: 'f', Name: '12', FunctionVersion: '$LATEST' }),
          ),
        400,
        'ValidationException',
        /pattern: \(\?!\^\[0-9\]\+\$\)\(\[a-zA-Z0-9-_\]\+\)$/,
      ],
      [
        'concurrency on a version',
        () =>
          client.send(
            new PutFunctionConcurrencyCommand({
              FunctionName: 'f:1',
              ReservedConcurrentExecutions: 1,
            }),
          ),
        400,
        'InvalidParameterValueException',
        'This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. Please specify either a function name or an unqualified function ARN.',
      ],
      [
        'a wrong revision',
        () =>
          client.send(
            new UpdateFunctionConfigurationCommand({
              FunctionName: 'f',
              RevisionId: 'x',
              Timeout: 4,
            }),
          ),
        412,
        'PreconditionFailedException',
        'The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id',
      ],
      [
        'a payload that is no JSON',
        () => invoke('f', 'no json'),
        400,
        'InvalidRequestContentException',
        /^Could not parse request body into json: Could not parse payload into json: /,
      ],
    ];
    for (const [title, send, status, type, message] of cases) {
      it(title, async () => {
        const error = await send().catch((reason: unknown) => reason);

        assert.ok(error instanceof LambdaServiceException, String(error));
        assert.deepEqual([error.$metadata.httpStatusCode, error.name], [status, type]);
        if (typeof message === 'string') assert.equal(error.message, message);
        else assert.match(error.message, message);
      });
    }

    it('an update while another update runs', async () => {
      await create('busy');
      const update = { FunctionName: 'busy', Timeout: 5 };

      const both = await Promise.allSettled([
        client.send(new UpdateFunctionConfigurationCommand(update)),
        client.send(new UpdateFunctionConfigurationCommand(update)),
      ]);

      const [refused] = both.flatMap((each) => (each.status === 'rejected' ? [each.reason] : []));
      assert.ok(refused instanceof LambdaServiceException);
      assert.equal(refused.name, 'ResourceConflictException');
      assert.equal(
        refused.message,
        'The operation cannot be performed at this time. An update is in progress for resource: arn:aws:lambda:us-east-1:000000000000:function:busy',
      );
    });

    it('calls above the reserved limit', async () => {
      const put = { FunctionName: 'f', ReservedConcurrentExecutions: 0 };
      await client.send(new PutFunctionConcurrencyCommand(put));

      const error = await invoke('f', {}).catch((reason: unknown) => reason);
      await client.send(new DeleteFunctionConcurrencyCommand({ FunctionName: 'f' }));

      assert.ok(error instanceof LambdaServiceException);
      assert.equal(error.name, 'TooManyRequestsException');
      assert.equal(error.message, 'Rate Exceeded.');
      assert.equal(
        'Reason' in error && error.Reason,
        'ReservedFunctionConcurrentInvocationLimitExceeded',
      );
    });

    it('a request without a signature, and an operation it does not offer', async () => {
      const unsigned = await fetch(`${emulator.endpoint}/2015-03-31/functions`);
      const other = await client
        .send(new ListEventSourceMappingsCommand({}))
        .catch((reason: unknown) => reason);

      const type = unsigned.headers.get('x-amzn-errortype');
      assert.deepEqual([unsigned.status, type], [403, 'MissingAuthenticationTokenException']);
      assert.ok(other instanceof LambdaServiceException);
      assert.deepEqual(
        [other.$metadata.httpStatusCode, other.name],
        [404, 'UnknownOperationException'],
      );
    });
  });
});
