// Deploys a version to clouds: plan, record, create, announce on-chain, put in force. Idempotent: a
// repeated run converges.

import { type Plan, type PlanStep, type Provider, ProviderError } from '../../adapters/provider.ts';
import { DefaasError, toDefaasError } from '../errors.ts';
import type { DeploymentRecord, RecordedStep } from '../ledger/ledger.ts';
import type { Target } from '../routing/target.ts';
import { announce, enrol } from './announce.ts';
import type { DeployedProvider, DeployStep, Failure } from './deploy-step.ts';
import type { DeploymentParts } from './parts.ts';
import type { Prepared, Wanted } from './prepare.ts';

/** Longest time one cloud may take, ms. */
const DEPLOY_MS = 600_000;
/** Longest time that the adapter polls a new function until it answers, ms. */
const DEPLOY_PROBES_MS = 120_000;
/** Longest time to inspect one cloud for the plan, ms. */
const PLAN_MS = 60_000;

export interface DeployOptions {
  readonly onStep: (step: DeployStep) => void;
}

/** What a deploy would do at a cloud now, or why it would fail. */
export interface CloudPlan {
  readonly wanted: Wanted;
  readonly steps: readonly PlanStep[];
  readonly error?: Failure;
}

/** Inspects each cloud without changing anything; missing credentials show here. */
export function plan(gateway: DeploymentParts, { clouds, hide }: Prepared): Promise<CloudPlan[]> {
  const signal = AbortSignal.any([gateway.closing, AbortSignal.timeout(PLAN_MS)]);
  return Promise.all(
    clouds.map(async (wanted): Promise<CloudPlan> => {
      try {
        const { steps }: Plan = await wanted.provider.plan(wanted.spec, { signal });
        return { wanted, steps };
      } catch (error) {
        return { wanted, steps: [], error: failureOf(error, hide) };
      }
    }),
  );
}

/**
 * Deploys to all clouds in parallel; a failure at one does not undo the others.
 * @throws DefaasError PROVIDER_INVALID, PROVIDER_TOO_LARGE  a cloud cannot take the version;
 *   nothing was done at any
 */
export async function deploy(
  gateway: DeploymentParts,
  prepared: Prepared,
  { onStep }: DeployOptions,
): Promise<DeployedProvider[]> {
  const { target, manifestBytes } = prepared;
  const plans = await plan(gateway, prepared);
  for (const { error } of plans) {
    if (error?.code === 'PROVIDER_INVALID' || error?.code === 'PROVIDER_TOO_LARGE') {
      throw new DefaasError(error.code, error.message);
    }
  }
  await gateway.deployments.putManifest(target.version.functionVersion, manifestBytes);
  const done = await Promise.all(
    plans.map((planned) => deployTo(gateway, prepared, { planned, onStep })),
  );
  await announce(gateway, target.version.functionVersion, onStep);
  return done;
}

async function deployTo(
  gateway: DeploymentParts,
  { target, hide }: Prepared,
  { planned, onStep }: DeployOptions & { readonly planned: CloudPlan },
): Promise<DeployedProvider> {
  const { wanted, error } = planned;
  const { provider, spec } = wanted;
  const outcome = { provider: provider.name, region: spec.region };
  const earlier = findRecord(gateway, target, wanted);
  const isUp = earlier?.state === 'live' || earlier?.state === 'updating';
  const changes = createRecorder(gateway, {
    functionVersion: target.version.functionVersion,
    ...outcome,
    name: spec.name,
    state: isUp ? 'updating' : 'deploying',
    ...(isUp && earlier.deployment && { deployment: earlier.deployment }),
    ...(isUp && earlier.chainId !== undefined && { chainId: earlier.chainId }),
    steps: [],
  });
  const told = { functionVersion: target.version.functionVersion, ...outcome };
  if (error !== undefined) return fail(gateway, { changes, failure: error, onStep });
  // If everything is already as wanted, write nothing to the ledger either.
  const isKept =
    earlier?.state === 'live' && planned.steps.every(({ action }) => action === 'keep');
  try {
    if (!isKept) await changes.put({});
    const startedMs = gateway.nowMs();
    const deployment = await provider
      .deploy(spec, {
        signal: AbortSignal.any([gateway.closing, AbortSignal.timeout(DEPLOY_MS)]),
        onStep: (step) => {
          changes.step(step);
          onStep(stepDone(provider, step, hide));
        },
      })
      .finally(() => countProbes(gateway, { wanted, target, startedMs }));
    const chainId = await enrol(gateway, told, onStep);
    const isNew =
      chainId !== earlier?.chainId ||
      earlier.error !== undefined ||
      JSON.stringify(deployment) !== JSON.stringify(earlier.deployment);
    if (!isKept || isNew) await changes.put({ state: 'live', deployment, chainId });
    return { ...outcome, state: 'live' };
  } catch (cause) {
    const failure = failureOf(cause, hide);
    // The text of the cause may contain settings, so hide secrets before logging it.
    const detail = hide(cause instanceof Error ? (cause.stack ?? cause.message) : String(cause));
    gateway.log.warn({ ...told, name: spec.name, code: failure.code, detail }, 'deployment failed');
    return fail(gateway, { changes, failure, onStep });
  }
}

/**
 * Counts the adapter's readiness requests: the cloud counts them as executions, and nobody is
 * billed for them.
 */
function countProbes(
  { executions, nowMs }: Pick<DeploymentParts, 'executions' | 'nowMs'>,
  of: { readonly wanted: Wanted; readonly target: Target; readonly startedMs: number },
): void {
  const { wanted, target, startedMs } = of;
  const endedMs = nowMs();
  const ms = Math.min(endedMs - startedMs, DEPLOY_PROBES_MS);
  const { functionVersion } = target.version;
  executions.of(wanted.provider, wanted.spec, functionVersion)?.add({ startedMs, endedMs, ms });
}

/** Writes a record's changes in order, each durable when its promise resolves. */
interface Recorder {
  readonly record: DeploymentRecord;
  put(change: Partial<DeploymentRecord>): Promise<void>;
  /** Adds a step; the next `put` stores it. */
  step(step: PlanStep): void;
}

function createRecorder(gateway: DeploymentParts, first: DeploymentRecord): Recorder {
  let record = first;
  let written = Promise.resolve();
  const write = (next: DeploymentRecord): Promise<void> => {
    record = next;
    written = written.then(() => gateway.deployments.putRecord(next));
    // The next `put` reports the failure; until then avoid an unhandled rejection.
    written.catch(() => {});
    return written;
  };
  return {
    get record() {
      return record;
    },
    put: (change) => write({ ...record, ...change }),
    step: ({ action, resource }) => {
      if (action === 'keep') return;
      const done: RecordedStep = { action, resource, atMs: gateway.nowMs() };
      void write({ ...record, steps: [...(record.steps ?? []), done] });
    },
  };
}

/**
 * Records a failure. What was live before stays live. If the gateway is closing, leaves the record
 * as it is; the next start continues the deployment.
 */
async function fail(
  gateway: DeploymentParts,
  {
    changes,
    failure,
    onStep,
  }: DeployOptions & { readonly changes: Recorder; readonly failure: Failure },
): Promise<DeployedProvider> {
  const { provider, region, state } = changes.record;
  const error = `${failure.code}: ${failure.message}`;
  if (!gateway.closing.aborted) {
    await changes.put({ state: state === 'updating' ? 'live' : 'failed', error });
  }
  const { message } = failure;
  onStep({ provider, action: 'wait', resource: 'deployment', state: 'failed', message });
  return { provider, region, state: 'failed', error: failure };
}

function findRecord(gateway: DeploymentParts, { version }: Target, { provider, spec }: Wanted) {
  return gateway.deployments
    .records(version.functionVersion)
    .find((one) => one.provider === provider.name && one.region === spec.region);
}

export function failureOf(error: unknown, hide: (text: string) => string): Failure {
  const { code, message } = toDefaasError(error);
  // Name the cloud in the message if it does not do so itself.
  const where = error instanceof ProviderError && !message.includes(error.provider);
  return { code, message: hide(where ? `${message}, on ${error.provider}` : message) };
}

function stepDone(
  { name: provider }: Pick<Provider, 'name'>,
  { action, resource, name, why }: PlanStep,
  hide: (text: string) => string,
): DeployStep {
  return { provider, action, resource, state: 'done', message: hide(`${name}: ${why}`) };
}
