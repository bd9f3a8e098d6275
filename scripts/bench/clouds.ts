// `bench clouds`: measures the three emulators with their default options. Deploys 50 functions
// over them, times warm calls in rounds, measures the memory after all instances are reclaimed,
// then times a cold start of each, beside a bare start of the same Node. Also compares the CPU time
// of an outbound Lambda call with the SDK's.
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Deployment, Provider, ProviderName } from '../../adapters/provider.ts';
import { createProviders } from '../../adapters/providers.ts';
import { emulatedClouds } from '../../broker/clouds.ts';
import { measureInvokeCpu } from './clouds/invoke-cpu.ts';
import { pssMiB, withChildren } from './http/processes.ts';
import type { Bar, Run } from './main.ts';

const BARS: readonly Bar[] = [
  { figure: 'awsWarmP50Ms', limit: 3 },
  { figure: 'googleWarmP50Ms', limit: 3 },
  { figure: 'azureWarmP50Ms', limit: 3 },
  { figure: 'awsColdVsNode', limit: 2.5 },
  { figure: 'googleColdVsNode', limit: 4.5 },
  { figure: 'azureColdVsNode', limit: 3 },
  { figure: 'lambdaInvokeCpuVsSdk', limit: 0.1 },
  { figure: 'idle50FunctionsMiB', limit: 1536 },
];

const FUNCTIONS = 50;
const ROUNDS = 6;
const CALLS_A_ROUND = 100;
/** Lifetime of idle instances: longer than all cold starts together, short enough to wait for. */
const IDLE_MS = 30_000;
const RECLAIM_MS = 2 * IDLE_MS;
const DEPLOY_MS = 60_000;
const MEMORY_MIB = 128;
const HANDLER = `export default async (request, context) => Response.json({ hello: context.functionName });`;

/** One cloud with its share of the functions. */
interface Cloud {
  readonly provider: Provider;
  readonly deployments: Deployment[];
  readonly coldMs: number[];
  readonly warmMs: number[];
}

export const run: Run = async (report) => {
  const loadBefore = loadavg();
  report('CPU of a Lambda call, ours and the SDK’s');
  const { oursUs, sdkUs } = await measureInvokeCpu();
  const dir = mkdtempSync(join(tmpdir(), 'bench-clouds-'));
  const emulators = await startEmulators(dir);
  const pid = emulators.pid ?? 0;
  const providers = createProviders(emulatedClouds(join(dir, 'emulators.json')), 'bench');
  try {
    const emptyMiB = Math.round(pssMiB(withChildren(pid)));
    const clouds = [...providers.values()].map(
      (provider): Cloud => ({ provider, deployments: [], coldMs: [], warmMs: [] }),
    );
    report(`deploying ${FUNCTIONS} functions`);
    await inTurn(clouds, FUNCTIONS, async ({ provider, deployments }, index) => {
      deployments.push(await deploy(provider, index));
    });
    report('warm calls');
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const { provider, deployments, warmMs } of clouds) {
        const deployment = deployments.at(-1);
        for (let call = 0; deployment && call < CALLS_A_ROUND; call += 1) {
          warmMs.push(await timeOf(provider, deployment, false));
        }
      }
    }
    report('waiting until idle instances are reclaimed');
    await untilAlone(pid);
    const idle50FunctionsMiB = Math.round(pssMiB(withChildren(pid)));
    report('cold starts');
    const nodeMs: number[] = [];
    await inTurn(clouds, FUNCTIONS, async ({ provider, deployments, coldMs }, index) => {
      const deployment = deployments[Math.floor(index / clouds.length)];
      if (deployment) coldMs.push(await timeOf(provider, deployment, true));
      if (index % clouds.length === 0) nodeMs.push(await startOfNode());
    });
    const allRunningMiB = Math.round(pssMiB(withChildren(pid)));
    const of = (name: ProviderName) => clouds.find(({ provider }) => provider.name === name);
    const p50 = (values: readonly number[] = []) => Number(median(values).toFixed(2));
    const vsNode = (values: readonly number[] = []) =>
      Number((median(values) / median(nodeMs)).toFixed(2));
    const [aws, google, azure] = [
      of('aws-lambda'),
      of('google-cloud-functions'),
      of('azure-functions'),
    ];
    const figures = {
      awsWarmP50Ms: p50(aws?.warmMs),
      googleWarmP50Ms: p50(google?.warmMs),
      azureWarmP50Ms: p50(azure?.warmMs),
      awsColdP50Ms: p50(aws?.coldMs),
      googleColdP50Ms: p50(google?.coldMs),
      azureColdP50Ms: p50(azure?.coldMs),
      nodeStartP50Ms: p50(nodeMs),
      awsColdVsNode: vsNode(aws?.coldMs),
      googleColdVsNode: vsNode(google?.coldMs),
      azureColdVsNode: vsNode(azure?.coldMs),
      lambdaInvokeCpuVsSdk: Number((median(oursUs) / median(sdkUs)).toFixed(3)),
      idle50FunctionsMiB,
    };
    const rounded = (values: readonly number[] = []) => values.map((value) => Math.round(value));
    const details = {
      loadBefore,
      loadAfter: loadavg(),
      lambdaInvokeCpuUs: { ours: rounded(oursUs), sdk: rounded(sdkUs) },
      coldMs: {
        aws: rounded(aws?.coldMs),
        google: rounded(google?.coldMs),
        azure: rounded(azure?.coldMs),
      },
      emptyMiB,
      allRunningMiB,
    };
    return { figures, bars: BARS, details };
  } finally {
    await Promise.all([...providers.values()].map((provider) => provider.close()));
    emulators.kill('SIGTERM');
    if (emulators.exitCode === null) await once(emulators, 'exit');
    rmSync(dir, { recursive: true, force: true });
  }
};

async function startEmulators(dir: string): Promise<ChildProcess> {
  const args = ['--dir', dir, '--idle-ms', String(IDLE_MS)];
  const child = fork('scripts/emulators.ts', args, {
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
  const [message] = await Promise.race([once(child, 'message'), once(child, 'exit')]);
  if (message?.ready === undefined)
    throw new Error('the emulators have ended: npm run emulators says why');
  return child;
}

/** Time from the start of a Node process with an empty program to its end, ms. */
async function startOfNode(): Promise<number> {
  const startMs = performance.now();
  await once(spawn(process.execPath, ['-e', '0'], { stdio: 'ignore' }), 'exit');
  return performance.now() - startMs;
}

/** Runs `times` tasks, one at a time, on the clouds in turn. */
async function inTurn(
  clouds: readonly Cloud[],
  times: number,
  work: (cloud: Cloud, index: number) => Promise<void>,
): Promise<void> {
  for (let index = 0; index < times; index += 1) {
    const cloud = clouds[index % clouds.length];
    if (cloud) await work(cloud, index);
  }
}

function deploy(provider: Provider, index: number): Promise<Deployment> {
  const name = `df-bench-${String(index).padStart(2, '0')}`;
  const spec = {
    name,
    region: provider.regions[0] ?? '',
    files: new Map([['handler.mjs', Buffer.from(HANDLER)]]),
    artifactCid: 'bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi',
    functionName: `bench/${name}`,
    version: 1,
    memoryMiB: MEMORY_MIB,
    timeoutMs: 10_000,
    env: {},
    secrets: {},
  };
  return provider.deploy(spec, { signal: AbortSignal.timeout(DEPLOY_MS) });
}

/**
 * Time of one call, ms.
 * @throws Error no answer, or not from an instance that was cold as expected
 */
async function timeOf(
  provider: Provider,
  deployment: Deployment,
  isCold: boolean,
): Promise<number> {
  const request = {
    ...{ callId: 'bench', method: 'GET', path: '/', query: '' },
    ...{ headers: [], body: new Uint8Array() },
  };
  const startedAtMs = performance.now();
  const result = await provider.invoke(deployment, request, {
    signal: AbortSignal.timeout(10_000),
  });
  const tookMs = performance.now() - startedAtMs;
  if (!result.ok) throw new Error(`${provider.name} answered ${result.error.message}`);
  if (isCold && result.cold === false) throw new Error(`${provider.name} was not cold`);
  return tookMs;
}

async function untilAlone(pid: number): Promise<void> {
  const endMs = performance.now() + RECLAIM_MS;
  while (withChildren(pid).length > 1) {
    if (performance.now() > endMs) throw new Error(`instances are left after ${RECLAIM_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
