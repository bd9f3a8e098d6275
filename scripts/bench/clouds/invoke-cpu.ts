// Compares the CPU time of one outbound Lambda call, ours and the SDK's Invoke, against a stub.
// Each runs in its own process, so that neither's garbage and code burden the other; the rounds
// alternate. Both turn the same InvokeRequest into the same InvokeResult with the same code around
// the wire, ask for the log's end, keep their connections and have a signal; the SDK has its own
// HTTP handler and does not retry.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { InvokeCommand, LambdaClient } from '@aws-sdk/client-lambda';
import { readAnswer, toPayload } from '../../../adapters/aws/invocation.ts';
import { createAwsLambda } from '../../../adapters/aws/provider.ts';
import type { Deployment, InvokeRequest } from '../../../adapters/provider.ts';

export interface InvokeCpu {
  /** us of user and system time per call, each round. */
  readonly oursUs: readonly number[];
  readonly sdkUs: readonly number[];
}

const IN_FLIGHT = 32;
const ROUNDS = 15;
const CALLS = { ours: 8000, sdk: 1500 };
/** Warm-up calls, after which the code is compiled. */
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

type Who = keyof typeof CALLS;
type Invoke = (signal: AbortSignal) => Promise<ReturnType<typeof readAnswer>>;

/** Measures in processes of their own. */
export async function measureInvokeCpu(): Promise<InvokeCpu> {
  const stub = fork(new URL('./lambda-stub.ts', import.meta.url));
  const [{ ready }] = await once(stub, 'message');
  const endpoint = `http://127.0.0.1:${ready.port}`;
  const [ours, sdk] = (['ours', 'sdk'] as const).map((who) =>
    fork(import.meta.filename, [who, endpoint]),
  );
  const measure = async (caller: typeof ours, calls: number): Promise<number> => {
    caller?.send(calls);
    // Sent by `serve`, below.
    const [us] = caller ? await once(caller, 'message') : [];
    return us as number;
  };
  await measure(ours, WARM_UP_CALLS.ours);
  await measure(sdk, WARM_UP_CALLS.sdk);
  const oursUs: number[] = [];
  const sdkUs: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    oursUs.push(await measure(ours, CALLS.ours));
    sdkUs.push(await measure(sdk, CALLS.sdk));
  }
  for (const child of [ours, sdk, stub]) child?.disconnect();
  return { oursUs, sdkUs };
}

const INVOKERS: Readonly<Record<Who, (endpoint: string) => Invoke>> = {
  ours(endpoint) {
    const aws = createAwsLambda({ region, endpoint, credentials, gateway: '' });
    return (signal) => aws.invoke(deployment, request, { signal });
  },
  sdk(endpoint) {
    const client = new LambdaClient({ region, endpoint, credentials, maxAttempts: 1 });
    const asked = { FunctionName: deployment.name, Qualifier: 'live', LogType: 'Tail' } as const;
    return async (abortSignal) => {
      const startedAtMs = performance.now();
      const command = new InvokeCommand({ ...asked, Payload: toPayload(request) });
      const { $metadata, ...said } = await client.send(command, { abortSignal });
      const headers = {
        'x-amzn-requestid': $metadata.requestId,
        'x-amz-log-result': said.LogResult,
      };
      const body = Buffer.from(said.Payload ?? []);
      const measuredMs = performance.now() - startedAtMs;
      const answer = { status: said.StatusCode ?? 0, headers, body, measuredMs };
      return readAnswer(answer, deployment, Date.now());
    };
  },
};

/** Answers each number of calls with what one of them took, us. */
function serve(invoke: Invoke): void {
  const call = async (signal: AbortSignal): Promise<void> => {
    const result = await invoke(signal);
    const isAnswer = 'ok' in result && result.ok && result.usage.source === 'provider';
    if (!isAnswer) throw new Error(`no answer: ${JSON.stringify(result)}`);
  };
  const measure = async (count: number): Promise<number> => {
    let left = count;
    const before = process.cpuUsage();
    const lane = async (): Promise<void> => {
      const { signal } = new AbortController();
      while (left-- > 0) await call(signal);
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
    const { user, system } = process.cpuUsage(before);
    return (user + system) / count;
  };
  process.on('message', (count: number) => {
    measure(count).then((us) => process.send?.(us));
  });
  process.on('disconnect', () => process.exit(0));
}

const [, file, who = '', endpoint = ''] = process.argv;
if (file === import.meta.filename) serve(INVOKERS[who === 'sdk' ? 'sdk' : 'ours'](endpoint));
