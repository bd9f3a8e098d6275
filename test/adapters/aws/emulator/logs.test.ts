// The Lambda emulator's part of CloudWatch Logs, over its own protocol, signed as AWS's clients
// sign.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AwsLambda, startAwsLambda } from '../../../../adapters/aws/emulator/emulator.ts';
import { openLogs } from '../../../../adapters/aws/emulator/instances/logs.ts';
import { createLogsReader } from '../../../../adapters/aws/logs.ts';
import { createSender } from '../../../../adapters/http/send.ts';

const CREDENTIALS = { accessKeyId: 'emulator', secretAccessKey: 'well-known-test-key' };
const GROUP = { logGroupName: '/aws/lambda/f' };
const TARGET = 'Logs_20140328.FilterLogEvents';

interface Page {
  readonly events: readonly { readonly message: string; readonly timestamp: number }[];
  readonly nextToken?: string;
}

describe('the Lambda emulator’s logs', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-aws-logs-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it('are read by pages, within a time range, also by another process', async () => {
    const first = openLogs(dir, () => 5_000);
    first.append('f', 'START RequestId: a\n1970-01-01T00:00:04.000Z\ta\tINFO\tone\nEND\n');
    first.append('f', 'START RequestId: b\n');
    await first.close();
    const logs = openLogs(dir, () => 5_000);
    // Safe: the emulator's own answer type.
    const ask = async (more: object) => (await logs.answer(TARGET, { ...GROUP, ...more })) as Page;

    const page = await ask({ limit: 3 });
    const rest = await ask({ limit: 3, nextToken: page.nextToken });
    const late = await ask({ startTime: 4_500 });
    const early = await ask({ endTime: 4_500 });

    assert.deepEqual(
      page.events.map(({ timestamp }) => timestamp),
      [4_000, 4_000, 5_000],
    );
    assert.deepEqual([rest.events.length, rest.nextToken], [1, undefined]);
    assert.deepEqual([late.events.length, early.events.length], [2, 2]);
  });

  it('are in streams, which are listed by pages and by prefix, and filter the lines', async () => {
    const logs = openLogs(dir, () => 5_000);
    logs.append('f', 'one\n', 'a');
    logs.append('f', 'two\n', 'b');
    logs.append('f', 'three\n', 'a');
    const list = async (more: object) =>
      // Safe: the emulator's own answer type.
      (await logs.answer('Logs_20140328.DescribeLogStreams', { ...GROUP, ...more })) as {
        readonly logStreams: readonly { readonly logStreamName: string }[];
        readonly nextToken?: string;
      };

    const first = await list({ limit: 1 });
    const rest = await list({ limit: 1, nextToken: first.nextToken });
    const prefixed = await list({ logStreamNamePrefix: 'b' });
    // Safe: the emulator's own answer type.
    const lines = (await logs.answer(TARGET, { ...GROUP, logStreamNames: ['a'] })) as Page;

    const names = [first, rest, prefixed].map(({ logStreams }) =>
      logStreams.map(({ logStreamName }) => logStreamName),
    );
    assert.deepEqual(names, [['a'], ['b'], ['b']]);
    assert.deepEqual(
      lines.events.map(({ message }) => message),
      ['one\n', 'three\n'],
    );
  });

  it('refuse unknown groups, other operations and bad parameters', async () => {
    const logs = openLogs(dir, () => 5_000);
    logs.append('f', 'x');
    const cases: [string, object, string][] = [
      [TARGET, { logGroupName: '/aws/lambda/g' }, 'ResourceNotFoundException'],
      [TARGET, { logGroupName: '/other' }, 'ResourceNotFoundException'],
      [TARGET, { ...GROUP, limit: 0 }, 'InvalidParameterException'],
      [TARGET, { ...GROUP, nextToken: 'x' }, 'InvalidParameterException'],
      ['Logs_20140328.DeleteLogGroup', GROUP, 'UnknownOperationException'],
    ];

    for (const [target, body, type] of cases) {
      await assert.rejects(logs.answer(target, { ...body }), { type });
    }
    await logs.close();
  });

  describe('over the wire', () => {
    let aws: AwsLambda;
    const sender = createSender();
    beforeEach(async () => {
      aws = await startAwsLambda({ dir, credentials: CREDENTIALS });
    });
    afterEach(() => aws.close());
    after(() => sender.close());

    it('are shown to requests that are signed for the service, and to no other', async () => {
      const clock = Date.now;
      const read = createLogsReader({
        origin: aws.endpoint,
        region: 'us-east-1',
        send: sender.send,
        clock,
      });
      const question = { name: 'f', sinceMs: 0, limit: 9, signal: AbortSignal.timeout(10_000) };

      const own = await read(question, CREDENTIALS);
      const forged = await read(question, { ...CREDENTIALS, secretAccessKey: 'other' });
      const plain = await fetch(aws.endpoint, {
        method: 'POST',
        headers: { 'x-amz-target': TARGET },
      });
      aws.faults.set([{ kind: 'throttle' }]);
      const throttled = await read(question, CREDENTIALS);

      assert.deepEqual(own, []);
      assert.ok('code' in forged && forged.code === 'PROVIDER_UNAUTHENTICATED');
      assert.equal(plain.status, 403);
      assert.ok('code' in throttled && throttled.code === 'PROVIDER_THROTTLED');
    });
  });
});
