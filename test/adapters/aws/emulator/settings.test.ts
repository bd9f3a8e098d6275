// What the Lambda emulator does with settings and requests that it cannot serve, or that AWS
// refuses, and that docs/emulators.md says the same. Nothing is dropped in silence.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as sdk from '@aws-sdk/client-lambda';
import { type AwsLambda, startAwsLambda } from '../../../../adapters/aws/emulator/emulator.ts';
import { OPERATIONS } from '../../../../adapters/aws/emulator/model/routes.ts';
import { SETTINGS } from '../../../../adapters/aws/emulator/model/settings.ts';
import { zip } from '../../../../adapters/deployment/zip.ts';

const credentials = { accessKeyId: 'emulator', secretAccessKey: 'test-key-of-the-emulator' };
const region = 'us-east-1';
const MODEL = join(
  process.env.DEFAAS_VECTORS ?? '../shared/vectors',
  'aws/lambda-2015-03-31.smithy.json',
);
const CODE = `exports.handler = async (event, context) => ({
  env: process.env, arn: context.invokedFunctionArn, event,
  layer: event.layer && require('greeting'),
});`;
const zipOf = (files: Record<string, string>) =>
  zip(new Map(Object.entries(files).map(([name, text]) => [name, Buffer.from(text)])));
const ROLE = 'arn:aws:iam::000000000000:role/r';
const ARN = 'arn:aws:lambda:us-east-1:000000000000:function:f';

describe('the aws-lambda emulator’s settings', () => {
  let dir: string;
  let emulator: AwsLambda;
  let client: sdk.LambdaClient;
  const logged: [string, Readonly<Record<string, unknown>>][] = [];
  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-lambda-settings-'));
    const log = (message: string, fields: Readonly<Record<string, unknown>>) =>
      void logged.push([message, fields]);
    emulator = await startAwsLambda({ dir, credentials, log });
    client = new sdk.LambdaClient({ region, endpoint: emulator.endpoint, credentials });
    await create('f', {});
  });
  after(async () => {
    client.destroy();
    await emulator.close();
    rmSync(dir, { recursive: true, force: true });
  });

  async function create(FunctionName: string, more: object) {
    const Code = { ZipFile: zipOf({ 'index.js': CODE }) };
    const base = { FunctionName, Role: ROLE, Handler: 'index.handler', Code };
    const created = await client.send(
      new sdk.CreateFunctionCommand({ ...base, Runtime: 'nodejs22.x', ...more }),
    );
    await ready(FunctionName);
    return created;
  }

  async function ready(FunctionName: string) {
    for (;;) {
      const found = await client.send(new sdk.GetFunctionConfigurationCommand({ FunctionName }));
      if (found.LastUpdateStatus === 'Successful') return found;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async function invoke(FunctionName: string, event: object, Qualifier?: string) {
    const Payload = JSON.stringify(event);
    const command = new sdk.InvokeCommand({ FunctionName, Payload, Qualifier });
    const answer = await client.send(command);
    return JSON.parse(Buffer.from(answer.Payload ?? []).toString());
  }

  async function refusal(work: Promise<unknown>): Promise<string> {
    const error = await work.then(
      () => assert.fail('it was not refused'),
      (reason: unknown) => reason,
    );
    assert.ok(error instanceof sdk.LambdaServiceException, String(error));
    return error.name;
  }

  const parameter = 'InvalidParameterValueException';
  for (const [title, more, code] of [
    ['a subnet', { VpcConfig: { SubnetIds: ['subnet-1'] } }, parameter],
    [
      'a queue for dead letters',
      { DeadLetterConfig: { TargetArn: 'arn:aws:sqs:r:1:q' } },
      parameter,
    ],
    ['SnapStart', { SnapStart: { ApplyOn: 'PublishedVersions' } }, parameter],
    ['an image', { PackageType: 'Image' }, parameter],
    ['an image’s settings', { ImageConfig: { Command: ['x'] } }, parameter],
    ['an image’s address', { Code: { ImageUri: 'x' } }, parameter],
    ['an object of S3', { Code: { S3Bucket: 'bucket', S3Key: 'k' } }, parameter],
    ['a file system', { FileSystemConfigs: [{ Arn: 'a', LocalMountPath: '/mnt/a' }] }, parameter],
    ['code signing', { CodeSigningConfigArn: 'arn:x' }, 'CodeSigningConfigNotFoundException'],
    ['two architectures', { Architectures: ['x86_64', 'arm64'] }, 'ValidationException'],
    ['too much storage', { EphemeralStorage: { Size: 99_999 } }, 'ValidationException'],
    ['a reserved variable', { Environment: { Variables: { AWS_REGION: 'x' } } }, parameter],
    [
      'a variable without a name',
      { Environment: { Variables: { '1A': 'x' } } },
      'ValidationException',
    ],
    [
      'a layer that is not there',
      { Layers: [`${ARN.replace('function:f', 'layer:l:1')}`] },
      parameter,
    ],
    ['another tracing mode', { TracingConfig: { Mode: 'Some' } }, 'ValidationException'],
    ['a runtime that it has not', { Runtime: 'python3.12' }, parameter],
    [
      '51 tags',
      { Tags: Object.fromEntries([...Array(51).keys()].map((n) => [n, 'x'])) },
      parameter,
    ],
  ] as const) {
    it(`refuse ${title} with ${code}`, async () => {
      assert.equal(await refusal(create('refused', more)), code);
      const missing = new sdk.GetFunctionCommand({ FunctionName: 'refused' });
      assert.equal(await refusal(client.send(missing)), 'ResourceNotFoundException');
    });
  }

  it('without effect are given back, and the log names them', async () => {
    const kept = {
      EphemeralStorage: { Size: 1024 },
      Architectures: ['arm64' as const],
      TracingConfig: { Mode: 'Active' as const },
      KMSKeyArn: `arn:aws:kms:${region}:000000000000:key/k`,
      LoggingConfig: { LogFormat: 'JSON' as const, LogGroup: 'mine' },
    };
    await create('kept', kept);

    const found = await ready('kept');

    const levels = { ApplicationLogLevel: 'INFO', SystemLogLevel: 'INFO' };
    const LoggingConfig = { ...kept.LoggingConfig, ...levels };
    for (const [name, value] of Object.entries({ ...kept, LoggingConfig })) {
      assert.deepEqual(found[name as keyof typeof found], value, name);
      assert.equal(SETTINGS[name]?.treatment, 'ignored', name);
    }
    const lines = logged.filter(([, { functionName }]) => functionName === 'kept');
    const [[, told] = [], [, runtime] = []] = lines;
    assert.deepEqual([...Object(told?.settings)].sort(), Object.keys(kept).sort());
    assert.deepEqual([runtime?.named, runtime?.used], ['nodejs22.x', process.version]);
  });

  it('name the function by the qualifier that was called, and give it Lambda’s variables', async () => {
    await client.send(new sdk.PublishVersionCommand({ FunctionName: 'f' }));
    const alias = { FunctionName: 'f', Name: 'live', FunctionVersion: '1' };
    await client.send(new sdk.CreateAliasCommand(alias));

    const plain = await invoke('f', {});
    const qualified = [];
    for (const each of ['$LATEST', '1', 'live']) {
      const got = await client.send(
        new sdk.GetFunctionCommand({ FunctionName: 'f', Qualifier: each }),
      );
      qualified.push([(await invoke('f', {}, each)).arn, got.Configuration?.FunctionArn]);
    }

    const own = ['$LATEST', '1', 'live'].map((each) => `${ARN}:${each}`);
    assert.deepEqual([plain.arn, ...qualified], [ARN, ...own.map((arn) => [arn, arn])]);
    for (const name of [
      ...['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN', 'NODE_PATH'],
      ...['_X_AMZN_TRACE_ID', 'LD_LIBRARY_PATH', 'AWS_XRAY_DAEMON_ADDRESS', 'LAMBDA_TASK_ROOT'],
    ]) {
      assert.ok(plain.env[name], name);
    }
    assert.match(plain.env._X_AMZN_TRACE_ID, /^Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=/);
    assert.match(
      plain.env.AWS_LAMBDA_LOG_STREAM_NAME,
      /^\d{4}\/\d\d\/\d\d\/\[\$LATEST\][0-9a-f]{32}$/,
    );
  });

  it('change the RevisionId with each change of state, of tags and of the policy', async () => {
    const { RevisionId: first } = await create('r', {});
    const seen = [first, (await ready('r')).RevisionId];
    const Resource = ARN.replace(/f$/, 'r');
    await client.send(new sdk.TagResourceCommand({ Resource, Tags: { a: 'b' } }));
    seen.push((await ready('r')).RevisionId);
    const statement = { StatementId: 's', Action: 'lambda:InvokeFunction', Principal: '*' };
    await client.send(new sdk.AddPermissionCommand({ FunctionName: 'r', ...statement }));
    seen.push((await ready('r')).RevisionId);
    await client.send(
      new sdk.UpdateFunctionConfigurationCommand({ FunctionName: 'r', Timeout: 9 }),
    );
    seen.push((await ready('r')).RevisionId);

    assert.equal(new Set(seen).size, seen.length, String(seen));
  });

  it('refuse an ARN of another qualifier, of another account, and of a version with tags', async () => {
    const get = (FunctionName: string, Qualifier?: string) =>
      client.send(new sdk.GetFunctionCommand({ FunctionName, Qualifier }));
    const other = ARN.replace('000000000000', '111111111111');
    const tagged = new sdk.TagResourceCommand({ Resource: `${ARN}:1`, Tags: { a: 'b' } });

    assert.equal(await refusal(get(`${ARN}:1`, '2')), parameter);
    assert.equal(await refusal(get(other)), 'AccessDeniedException');
    assert.equal(await refusal(client.send(tagged)), parameter);
  });

  it('refuse an alias that gives $LATEST a part of the calls', async () => {
    await create('w', { Publish: true });
    const alias = (FunctionVersion: string, other: string) =>
      client.send(
        new sdk.CreateAliasCommand({
          ...{ FunctionName: 'w', Name: 'both', FunctionVersion },
          RoutingConfig: { AdditionalVersionWeights: { [other]: 0.5 } },
        }),
      );

    assert.equal(await refusal(alias('1', '$LATEST')), 'ValidationException');
    assert.equal(await refusal(alias('$LATEST', '1')), parameter);
  });

  it('give the function its layers, the code a URL, and the wrapper its turn', async () => {
    const script = '#!/bin/sh\nexport WRAPPED=yes\nexec "$@"\n';
    const layer = zipOf({
      'nodejs/node_modules/greeting.js': "module.exports = 'hello'",
      wrapper: script,
    });
    const published = await client.send(
      new sdk.PublishLayerVersionCommand({ LayerName: 'l', Content: { ZipFile: layer } }),
    );
    const Variables = { AWS_LAMBDA_EXEC_WRAPPER: '/opt/wrapper' };
    const Layers = [published.LayerVersionArn ?? ''];
    await create('layered', { Layers, Environment: { Variables } });

    const value = await invoke('layered', { layer: true });

    assert.deepEqual([value.layer, value.env.WRAPPED], ['hello', 'yes']);
    const bytes = await download(published.Content?.Location ?? '');
    const hash = createHash('sha256').update(bytes).digest('base64');
    assert.equal(hash, published.Content?.CodeSha256);
    const forged = (published.Content?.Location ?? '').replace(/.$/, (end) =>
      end === '0' ? '1' : '0',
    );
    assert.equal((await fetch(forged)).status, 403);
  });

  it('of function URLs: two slashes, a repeated key, bytes as base64, a status in text', async () => {
    const code = `exports.handler = async (event) => ({ statusCode: '201', body: JSON.stringify(event) });`;
    await create('url', { Code: { ZipFile: zipOf({ 'index.js': code }) } });
    const created = await client.send(
      new sdk.CreateFunctionUrlConfigCommand({ FunctionName: 'url', AuthType: 'NONE' }),
    );
    const { host } = new URL(created.FunctionUrl ?? '');
    const send = (path: string) =>
      new Promise<{ status?: number | undefined; event: Record<string, unknown> }>(
        (resolve, reject) => {
          const headers = { host, 'content-type': 'multipart/form-data; boundary=b' };
          const request = httpRequest(
            { host: '127.0.0.1', port: emulator.port, path, headers, method: 'POST' },
            async (response) => {
              const chunks = await response.toArray();
              const event = JSON.parse(Buffer.concat(chunks).toString());
              resolve({ status: response.statusCode, event });
            },
          );
          request.on('error', reject);
          request.end('--b--');
        },
      );

    const { status, event } = await send('//a/b?q=1&m=x&m=%2Fy');

    assert.deepEqual([status, event.rawPath], [201, '//a/b']);
    assert.deepEqual(event.queryStringParameters, { q: '1', m: 'x,/y' });
    assert.deepEqual([event.isBase64Encoded, event.body], [true, 'LS1iLS0=']);
  });

  describe('in docs/emulators.md', () => {
    const page = readFileSync('docs/emulators.md', 'utf8');

    it('are listed as in the code', () => {
      const rows = Object.entries(SETTINGS).map(
        ([name, { treatment, note }]) => `| \`${name}\` | ${treatment} | ${note} |`,
      );
      assert.deepEqual(
        rows.filter((row) => !page.includes(row)),
        [],
      );
    });

    it('stand beside all operations that are offered', () => {
      const listed = page
        .match(/^Offered: (.*)$/m)?.[1]
        ?.replace(/\.$/, '')
        .split(', ');
      assert.deepEqual(listed, [...OPERATIONS].sort());
    });

    const [itHasModel, reason] = existsSync(MODEL)
      ? [it, '']
      : [it.skip, ` (no ${MODEL}: set DEFAAS_VECTORS)`];
    itHasModel(`are all members of the model’s requests${reason}`, () => {
      const { shapes } = JSON.parse(readFileSync(MODEL, 'utf8'));
      const members = [
        'CreateFunctionRequest',
        'UpdateFunctionConfigurationRequest',
        'FunctionCode',
      ]
        .concat('UpdateFunctionCodeRequest')
        .flatMap((name) => Object.keys(shapes[`com.amazonaws.lambda#${name}`].members));
      assert.deepEqual(
        members.filter((name) => !(name in SETTINGS)),
        [],
      );
    });
  });
});

async function download(url: string): Promise<Buffer> {
  const answer = await fetch(url);
  assert.equal(answer.status, 200);
  return Buffer.from(await answer.arrayBuffer());
}
