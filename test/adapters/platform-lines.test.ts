// Lines that a cloud writes into a function's log of its own accord, as the clouds' manuals show
// them: they are told from the function's.
import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createLogsReader as createAwsReader } from '../../adapters/aws/logs.ts';
import { createLogsReader as createGoogleReader } from '../../adapters/google/logs.ts';
import { createSender } from '../../adapters/http/send.ts';

const ID = '8f507cfc-xmpl-4697-b07a-ac58fc914c95';
const LAMBDA: readonly (readonly [level: string, text: string])[] = [
  ['platform', 'INIT_START Runtime Version: nodejs:22.v44\tRuntime Version ARN: arn:aws:lambda:x'],
  ['platform', `START RequestId: ${ID} Version: $LATEST`],
  ['warn', `2026-01-02T03:04:05.006Z\t${ID}\tWARN\tSTART of it`],
  ['info', 'START of a line of its own'],
  ['info', `2026-01-02T03:04:05.006Z ${ID} Task timed out after 3.00 seconds`],
  ['platform', `END RequestId: ${ID}`],
  ['platform', `REPORT RequestId: ${ID}\tDuration: 2.00 ms\tBilled Duration: 2 ms`],
  ['platform', 'INIT_REPORT Init Duration: 10000.09 ms\tPhase: init\tStatus: timeout'],
  ['platform', 'EXTENSION\tName: watcher\tState: Ready\tEvents: [INVOKE, SHUTDOWN]'],
];

const CLOUD_RUN = 'projects/p/logs/run.googleapis.com%2F';
const GOOGLE = [
  {
    logName: `${CLOUD_RUN}requests`,
    severity: 'INFO',
    httpRequest: { requestMethod: 'POST', requestUrl: 'https://f.a.run.app/', status: 200 },
    level: 'platform',
    text: 'POST 200 https://f.a.run.app/',
  },
  {
    logName: `${CLOUD_RUN}varlog%2Fsystem`,
    severity: 'INFO',
    textPayload: 'Default STARTUP TCP probe succeeded after 1 attempt.',
    level: 'platform',
    text: 'Default STARTUP TCP probe succeeded after 1 attempt.',
  },
  {
    logName: `${CLOUD_RUN}varlog%2Fsystem`,
    severity: 'ERROR',
    textPayload: 'Memory limit of 244 MiB exceeded with 250 MiB used.',
    level: 'error',
    text: 'Memory limit of 244 MiB exceeded with 250 MiB used.',
  },
  { logName: `${CLOUD_RUN}stdout`, textPayload: 'hello\n', level: 'info', text: 'hello' },
];

describe('lines that a cloud writes of its own accord', () => {
  const sender = createSender();
  let server: Server;
  let origin: string;
  let answer: object;
  before(async () => {
    server = createServer((request, response) => {
      request.resume().once('end', () => response.end(JSON.stringify(answer)));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    // Safe: a server at a port has an address with a port.
    origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  after(() => {
    server.close();
    return sender.close();
  });
  const question = () => ({
    ...{ name: 'f', region: 'r', sinceMs: 0, limit: 99 },
    signal: AbortSignal.timeout(10_000),
  });

  it('are of the level platform on Lambda, and what the function says is not', async () => {
    const options = { origin, region: 'us-east-1', send: sender.send, clock: Date.now };
    answer = { events: LAMBDA.map(([, message]) => ({ timestamp: 1, message })) };

    const read = await createAwsReader(options)(question(), {
      accessKeyId: 'AKIDEXAMPLE',
      secretAccessKey: 'secret',
    });

    assert.ok(Array.isArray(read));
    assert.deepEqual(
      read.map(({ level }) => level),
      LAMBDA.map(([level]) => level),
    );
  });

  it('show an error that the Lambda runtime reports as its stack', async () => {
    const options = { origin, region: 'us-east-1', send: sender.send, clock: Date.now };
    const stack = ['Error: no', '    at f (file:///var/task/handler.mjs:1:2)'];
    const error = JSON.stringify({ errorType: 'Error', errorMessage: 'no', stack });
    const message = `2026-01-02T03:04:05.006Z\t${ID}\tERROR\tInvoke Error \t${error}\n`;
    answer = { events: [{ timestamp: 1, message }] };

    const read = await createAwsReader(options)(question(), {
      accessKeyId: 'AKIDEXAMPLE',
      secretAccessKey: 'secret',
    });

    assert.deepEqual(read, [{ atMs: 1, requestId: ID, level: 'error', text: stack.join('\n') }]);
  });

  it('are of the level platform on Google, unless the instance was killed', async () => {
    const reader = createGoogleReader({
      ...{ projectId: 'p', endpoint: origin, send: sender.send, accessToken: async () => 'token' },
    });
    answer = { entries: [...GOOGLE].reverse().map((one) => ({ timestamp: '2026-01-02', ...one })) };

    const read = await reader(question());

    assert.deepEqual(
      read.map(({ level, text }) => ({ level, text })),
      GOOGLE.map(({ level, text }) => ({ level, text })),
    );
  });
});
