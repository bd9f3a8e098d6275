// CPU of one outbound Lambda call, ours beside the SDK's own Invoke: a process that does nothing else, against a stub. Both
// turn the same InvokeRequest into the same InvokeResult with the same code around the wire, ask for the log's end, keep
// their connections and have a signal; the SDK has its own HTTP handler and does not retry; rounds in turn.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { InvokeCommand, LambdaClient } from '@aws-sdk/client-lambda';
import { readAnswer, toPayload } from '../../../adapters/aws-invocation.ts';
import { createAwsLambda } from '../../../adapters/aws-lambda.ts';
import type { Deployment, InvokeRequest } from '../../../adapters/provider.ts';

export interface InvokeCpu {
  /** us of user and system time per call, each round. */
  readonly oursUs: readonly number[];
  readonly sdkUs: readonly number[];
}

const IN_FLIGHT = 32;
const ROUNDS = 9;
const CALLS = { ours: 8000, sdk: 1500 };
/** Their code is compiled by then. */
const WARM_UP_CALLS = { ours: 16_000, sdk: 3000 };

const region = 'us-east-1';
const credentials = { accessKeyId: 'bench', secretAccessKey: 'no-secret-of-anyone' };
const deployment: Deployment = {
  provider: 'aws-lambda',
  name: `df-${'a'.repeat(26)}`,
  region,
  specHash: '',
  artifactCid: '',
  memoryMiB: 128,
  timeoutMs: 10_000,
  url: '',
};
const request: InvokeRequest = {
  callId: '0x01',
  method: 'POST',
  path: '/',
  query: '',
  headers: [
    ['content-type', 'application/json'],
    ['accept', '*/*'],
  ],
  body: Buffer.from('{"city":"Zurich"}'),
};

/** Measures in a process of its own. */
export async function measureInvokeCpu(): Promise<InvokeCpu> {
  const child = fork(import.meta.filename);
  const [measured] = await once(child, 'message');
  // Sent by `main`, below.
  return measured as InvokeCpu;
}

async function main(): Promise<InvokeCpu> {
  const stub = fork(new URL('./lambda-stub.ts', import.meta.url));
  const [{ ready }] = await once(stub, 'message');
  const endpoint = `http://127.0.0.1:${ready.port}`;
  const aws = createAwsLambda({ region, endpoint, credentials, gateway: '' });
  const client = new LambdaClient({ region, endpoint, credentials, maxAttempts: 1 });
  const FunctionName = deployment.name;
  const calls = {
    ours: (signal: AbortSignal) => aws.invoke(deployment, request, { signal }),
    async sdk(abortSignal: AbortSignal) {
      const startedAtMs = performance.now();
      const Payload = toPayload(request);
      const input = { FunctionName, Qualifier: 'live', LogType: 'Tail', Payload } as const;
      const { $metadata, ...said } = await client.send(new InvokeCommand(input), { abortSignal });
      const answer = {
        status: said.StatusCode ?? 0,
        headers: {
          'x-amzn-requestid': $metadata.requestId,
          'x-amz-log-result': said.LogResult,
        },
        body: Buffer.from(said.Payload ?? []),
        measuredMs: performance.now() - startedAtMs,
      };
      return readAnswer(answer, deployment, Date.now());
    },
  };
  const isAnswer = (result: ReturnType<typeof readAnswer>): boolean =>
    'ok' in result && result.ok && result.usage.source === 'provider';
  const measure = async (who: keyof typeof calls, count: number): Promise<number> => {
    let left = count;
    const before = process.cpuUsage();
    const lane = async (): Promise<void> => {
      const { signal } = new AbortController();
      while (left-- > 0) {
        if (!isAnswer(await calls[who](signal))) throw new Error(`no answer of ${who}`);
      }
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
    const { user, system } = process.cpuUsage(before);
    return (user + system) / count;
  };
  await measure('ours', WARM_UP_CALLS.ours);
  await measure('sdk', WARM_UP_CALLS.sdk);
  const oursUs: number[] = [];
  const sdkUs: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    oursUs.push(await measure('ours', CALLS.ours));
    sdkUs.push(await measure('sdk', CALLS.sdk));
  }
  client.destroy();
  await aws.close();
  stub.disconnect();
  return { oursUs, sdkUs };
}

if (process.argv[1] === import.meta.filename) {
  const measured = await main();
  process.send?.(measured, () => process.disconnect());
}
