// CPU of one outbound Lambda call, ours beside the SDK's own Invoke: a process that does nothing else, against a stub. Both
// send the same payload, ask for the log's end, keep their connections and have a signal; rounds in turn.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { InvokeCommand, LambdaClient } from '@aws-sdk/client-lambda';
import { toPayload } from '../../../adapters/aws-invocation.ts';
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
  const Payload = toPayload(request);
  const calls = {
    async ours(signal: AbortSignal) {
      const result = await aws.invoke(deployment, request, { signal });
      if (!result.ok || result.usage.source !== 'provider') throw new Error('no answer of ours');
    },
    async sdk(abortSignal: AbortSignal) {
      const input = { FunctionName, Qualifier: 'live', LogType: 'Tail', Payload } as const;
      const answer = await client.send(new InvokeCommand(input), { abortSignal });
      const { body } = JSON.parse(Buffer.from(answer.Payload ?? []).toString());
      if (body === undefined) throw new Error('no answer of the SDK');
    },
  };
  const measure = async (who: keyof typeof calls, count: number): Promise<number> => {
    let left = count;
    const before = process.cpuUsage();
    const lane = async (): Promise<void> => {
      const { signal } = new AbortController();
      while (left-- > 0) await calls[who](signal);
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
