// Asynchronous calls and function URLs of the Lambda emulator, with a clock that the test moves.

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CreateAliasCommand,
  CreateFunctionCommand,
  CreateFunctionUrlConfigCommand,
  DeleteFunctionCommand,
  DeleteFunctionConcurrencyCommand,
  DeleteFunctionUrlConfigCommand,
  GetFunctionConfigurationCommand,
  InvokeCommand,
  LambdaClient,
  LambdaServiceException,
  PutFunctionConcurrencyCommand,
  PutFunctionEventInvokeConfigCommand,
} from '@aws-sdk/client-lambda';
import { type AwsLambda, startAwsLambda } from '../../../../adapters/aws/emulator/emulator.ts';
import { zip } from '../../../../adapters/deployment/zip.ts';

const credentials = { accessKeyId: 'emulator', secretAccessKey: 'test-key-of-the-emulator' };
const region = 'us-east-1';
const MINUTE_MS = 60_000;

/** Writes its request id to the event's file, then does what the event says. */
const CODE = `
const { appendFileSync } = require('node:fs');
exports.handler = async (event, context) => {
  if (event.file) appendFileSync(event.file, context.awsRequestId + '\\n');
  if (event.fail) throw new Error('on purpose');
  if (event.rawPath === '/parts') {
    const body = Buffer.from('bytes').toString('base64');
    return { statusCode: 201, headers: { 'X-Test': 'yes' }, cookies: ['a=1', 'b=2'], body, isBase64Encoded: true };
  }
  if (event.rawPath === '/throw') throw new Error('on purpose');
  return event.rawPath ? { path: event.rawPath, query: event.rawQueryString, method: event.requestContext.http.method, body: event.body } : null;
};`;

describe('the aws-lambda emulator, called asynchronously,', () => {
  let dir: string;
  let nowMs: number;
  let timers: { atMs: number; work: () => void }[];
  let emulator: AwsLambda;
  let client: LambdaClient;
  let witness: string;

  const start = async () => {
    emulator = await startAwsLambda({
      dir: join(dir, 'state'),
      credentials,
      region,
      nowMs: () => nowMs,
      schedule(work, delayMs) {
        const timer = { atMs: nowMs + delayMs, work };
        timers.push(timer);
        return () => {
          timers = timers.filter((one) => one !== timer);
        };
      },
    });
    const { endpoint } = emulator;
    client = new LambdaClient({ region, endpoint, credentials, maxAttempts: 1 });
  };
  const stop = async () => {
    client.destroy();
    await emulator.close();
  };

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-events-'));
    witness = join(dir, 'ran');
    nowMs = Date.now();
    timers = [];
    await start();
    await client.send(
      new CreateFunctionCommand({
        FunctionName: 'f',
        Role: 'arn:aws:iam::000000000000:role/r',
        Runtime: 'nodejs22.x',
        Handler: 'index.handler',
        Code: { ZipFile: zip(new Map([['index.js', Buffer.from(CODE)]])) },
      }),
    );
    const look = new GetFunctionConfigurationCommand({ FunctionName: 'f' });
    await until(async () => (await client.send(look)).State === 'Active');
  });
  afterEach(async () => {
    await stop();
    rmSync(dir, { recursive: true, force: true });
  });

  const send = async (event: object = {}) => {
    const Payload = JSON.stringify({ file: witness, ...event });
    const answer = await client.send(
      new InvokeCommand({ FunctionName: 'f', InvocationType: 'Event', Payload }),
    );
    assert.equal(answer.StatusCode, 202);
    return answer.$metadata.requestId ?? '';
  };
  const ran = (): string[] => {
    try {
      return readFileSync(witness, 'utf8').trim().split('\n');
    } catch {
      // The function has not run.
      return [];
    }
  };
  /** Advances the clock and processes the events that are due. */
  const pass = (ms: number) => {
    nowMs += ms;
    const due = timers.filter(({ atMs }) => atMs <= nowMs);
    timers = timers.filter(({ atMs }) => atMs > nowMs);
    for (const { work } of due) work();
  };
  const waits = () => until(() => timers.length === 1);
  const finished = () => until(() => emulator.events() === 0);
  const kept = () => readdirSync(join(dir, 'state', 'events')).filter((file) => !/tmp$/.test(file));

  it('answers 202 and runs the function once', async () => {
    const id = await send();
    await finished();

    assert.deepEqual(ran(), [id]);
    assert.deepEqual(kept(), []);
  });

  it('runs a function that fails again after one and two minutes, under the same request id', async () => {
    const id = await send({ fail: true });
    await waits();
    pass(MINUTE_MS - 1);
    assert.equal(timers.length, 1);
    pass(1);
    await until(() => ran().length === 2);
    await waits();
    pass(2 * MINUTE_MS);
    await finished();

    assert.deepEqual(ran(), [id, id, id]);
    assert.equal(timers.length, 0);
  });

  it('keeps queued events across a restart', async () => {
    const id = await send({ fail: true });
    await waits();
    assert.equal(kept().length, 1);
    await stop();
    assert.equal(timers.length, 0);

    await start();
    pass(MINUTE_MS);
    await until(() => ran().length === 2);

    assert.deepEqual(ran(), [id, id]);
  });

  it('obeys the function’s own limits of retries and event age', async () => {
    const FunctionName = 'f';
    const config = { FunctionName, MaximumRetryAttempts: 1, MaximumEventAgeInSeconds: 60 };
    await client.send(new PutFunctionEventInvokeConfigCommand(config));
    await send({ fail: true });
    await waits();
    pass(MINUTE_MS);
    await finished();
    assert.equal(ran().length, 2);

    await send({ fail: true });
    await waits();
    pass(MINUTE_MS + 1);
    await finished();

    assert.equal(ran().length, 3);
    const bad = { FunctionName, MaximumRetryAttempts: 3 };
    await rejects(client.send(new PutFunctionEventInvokeConfigCommand(bad)), 'ValidationException');
  });

  it('keeps events waiting that find no free instance, and counts no attempt for them', async () => {
    const FunctionName = 'f';
    const none = { FunctionName, ReservedConcurrentExecutions: 0 };
    await client.send(new PutFunctionConcurrencyCommand(none));
    const id = await send();
    for (const waitMs of [1000, 2000, 4000, 8000]) {
      await waits();
      pass(waitMs);
    }
    await waits();
    assert.deepEqual(ran(), []);

    await client.send(new DeleteFunctionConcurrencyCommand({ FunctionName }));
    pass(16_000);
    await finished();

    assert.deepEqual(ran(), [id]);
  });

  it('drops the events of a deleted function', async () => {
    await send({ fail: true });
    await waits();
    await client.send(new DeleteFunctionCommand({ FunctionName: 'f' }));
    pass(MINUTE_MS);
    await finished();

    assert.equal(ran().length, 1);
  });

  it('checks a dry run and does not run the function', async () => {
    const dry = { FunctionName: 'f', InvocationType: 'DryRun' } as const;
    const Payload = JSON.stringify({ file: witness });

    const answer = await client.send(new InvokeCommand({ ...dry, Payload }));
    const other = client.send(new InvokeCommand({ ...dry, Qualifier: 'nope' }));

    await rejects(other, 'ResourceNotFoundException');
    assert.equal(answer.StatusCode, 204);
    assert.deepEqual(ran(), []);
  });

  describe('behind function URLs', () => {
    it('serves HTTP in payload format 2.0', async () => {
      const FunctionName = 'f';
      const url = { FunctionName, AuthType: 'NONE' } as const;
      const { FunctionUrl = '' } = await client.send(new CreateFunctionUrlConfigCommand(url));

      const plain = await call(FunctionUrl, 'a/b?q=1', 'text');
      const parts = await call(FunctionUrl, 'parts');
      const thrown = await call(FunctionUrl, 'throw');
      const again = client.send(new CreateFunctionUrlConfigCommand(url));
      await rejects(again, 'ResourceConflictException');
      await client.send(new DeleteFunctionUrlConfigCommand({ FunctionName }));
      const gone = await call(FunctionUrl, '');

      const value = { path: '/a/b', query: 'q=1', method: 'POST', body: 'text' };
      assert.deepEqual([plain.status, JSON.parse(plain.body)], [200, value]);
      assert.deepEqual([parts.status, parts.body], [201, 'bytes']);
      assert.equal(parts.headers['x-test'], 'yes');
      assert.deepEqual(parts.headers['set-cookie'], ['a=1', 'b=2']);
      assert.deepEqual([thrown.status, gone.status], [502, 403]);
    });

    it('refuses unsigned requests to a URL with AuthType AWS_IAM', async () => {
      const FunctionName = 'f';
      const alias = { FunctionName, Name: 'live', FunctionVersion: '$LATEST' };
      await client.send(new CreateAliasCommand(alias));
      const url = { FunctionName, AuthType: 'AWS_IAM', Qualifier: 'live' } as const;
      const { FunctionUrl = '' } = await client.send(new CreateFunctionUrlConfigCommand(url));

      assert.equal((await call(FunctionUrl, '')).status, 403);
    });
  });
});

/** Over a socket to loopback: not every resolver knows names under `.localhost`. */
async function call(base: string, path: string, body = '') {
  const { host, port, pathname } = new URL(base);
  const sent = request({
    host: '127.0.0.1',
    port,
    method: 'POST',
    path: pathname + path,
    headers: { host },
  });
  const answered = Promise.withResolvers<import('node:http').IncomingMessage>();
  sent.on('response', answered.resolve).on('error', answered.reject).end(body);
  const response = await answered.promise;
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  const { statusCode: status = 0, headers } = response;
  return { status, headers, body: Buffer.concat(chunks).toString() };
}

async function rejects(work: Promise<unknown>, name: string): Promise<void> {
  await assert.rejects(work, (error) => {
    assert.ok(error instanceof LambdaServiceException, String(error));
    assert.equal(error.name, name);
    return true;
  });
}

/** Polls until the condition holds; fails after 10 s. */
async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = performance.now() + 10_000;
  while (!(await isSo())) {
    assert.ok(performance.now() < endMs, 'not so within 10 s');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
