// Deploying a version on a gateway's clouds, and following it step by step as the gateway reports
// it.
import { DefaasClientError } from './errors.ts';
import { readEvents } from './event-stream.ts';
import {
  type Json,
  readArray,
  readCount,
  readJson,
  readObject,
  readText,
  readUnits,
} from './parse.ts';
import type { Session } from './session.ts';

/** Longest deployment, ms: Google builds for minutes. */
const DEPLOY_TIMEOUT_MS = 900_000;
/** Longest wait for a plan or a check, for which the gateway asks every cloud, ms. */
const PLAN_TIMEOUT_MS = 120_000;
/** How often a broken stream is requested again. */
const MAX_RECONNECTS = 10;
const JSON_BODY = { 'content-type': 'application/json' };

/** One action at a cloud. */
export interface DeploymentStep {
  readonly provider: string;
  readonly action: string;
  readonly resource: string;
  readonly state: string;
  readonly message: string;
}

/** The outcome at one cloud. */
export interface ProviderOutcome {
  readonly provider: string;
  readonly region: string;
  readonly state: string;
  /** Present when it failed. */
  readonly error?: DeploymentFailure;
}

export interface DeploymentFailure {
  readonly code: string;
  /** One line: what failed, on what, what to do. */
  readonly message: string;
}

export interface DeploymentOutcome {
  /** `live`: live on every cloud; `gone`: removed from every cloud; `failed`: all else. */
  readonly state: 'live' | 'failed' | 'gone';
  readonly providers: readonly ProviderOutcome[];
  /** Present when it ended before any cloud was asked. */
  readonly error?: DeploymentFailure;
}

interface Named {
  readonly owner: string;
  readonly name: string;
}

export interface DeployRequest extends Named {
  /** A version number or an alias. */
  readonly version: string;
  readonly providers: readonly string[];
  /** Deploys even where the operator loses money on a call. */
  readonly acceptLoss?: boolean;
  readonly onStep?: (step: DeploymentStep) => void;
}

export interface DestroyRequest extends Named {
  /** All versions when left out. */
  readonly version?: string;
  /** All clouds when left out. */
  readonly providers?: readonly string[];
  readonly onStep?: (step: DeploymentStep) => void;
}

/** Expected cost of one call at a cloud, and its price. The call is warm and `durationMs` long. */
export interface CallCost {
  /** Name of the cloud's price plan, such as `x86` or `flex`. */
  readonly plan: string;
  /** Day of the price list, RFC 3339. */
  readonly asOf: string;
  readonly durationMs: number;
  /** What the cloud bills, 1e-12 USD. */
  readonly costPico: bigint;
  /** The same in base units of the token, rounded up. */
  readonly costUnits: bigint;
  /** What the caller pays, base units. */
  readonly priceUnits: bigint;
  /** The price without the publisher's share. */
  readonly earnedUnits: bigint;
  readonly belowCost: boolean;
  /** Present for a version with `minWarm`. */
  readonly warm?: WarmCost;
}

/** Highest cost to the operator of keeping instances warm for `days`, without their starts. */
export interface WarmCost {
  readonly instances: number;
  /** Seconds between the calls that keep an instance warm. */
  readonly everySec: number;
  readonly days: number;
  /** 1e-12 USD. */
  readonly costPico: bigint;
  /** The same in base units of the token, rounded up. */
  readonly costUnits: bigint;
}

export interface PlannedStep {
  readonly action: string;
  readonly resource: string;
  readonly why: string;
}

/** What a deploy would do at one cloud. */
export interface CloudPlan {
  readonly provider: string;
  readonly region: string;
  /** create, update, keep, ... */
  readonly action: string;
  readonly steps: readonly PlannedStep[];
  /** Largest bodies there, bytes; a call is bounded by the least of its version's clouds. */
  readonly limits: { readonly requestBytes: number; readonly answerBytes: number };
  /** Absent where the cloud bills nothing. */
  readonly cost?: CallCost;
  /** Present when the cloud could not be asked. */
  readonly error?: DeploymentFailure;
}

export interface DeploymentPlan {
  readonly version: number;
  readonly clouds: readonly CloudPlan[];
}

/** One version at one cloud, as the gateway's records have it. */
export interface DeployedVersion {
  /** `owner/name`, owner as an address. */
  readonly function: string;
  readonly version: number;
  readonly provider: string;
  readonly region: string;
  /** deploying, updating, live, failed or removing. */
  readonly state: string;
  /** Deployment id in the FunctionRegistry. */
  readonly id?: number;
  readonly error?: string;
  readonly cost?: CallCost;
}

/**
 * Deploys a version and resolves when it has ended, live or failed. A cloud that fails does not
 * undo the others.
 * @throws PUBLISHER_NOT_ALLOWED, FUNCTION_UNKNOWN, PROVIDER_UNKNOWN, PROVIDER_INVALID,
 *   SECRET_MISSING, TARIFF_BELOW_COST, ...; GATEWAY_UNREACHABLE
 */
export async function deploy(session: Session, request: DeployRequest): Promise<DeploymentOutcome> {
  const { version, providers, acceptLoss = false } = request;
  const accepted = await session.request(pathOf(request), {
    method: 'PUT',
    headers: JSON_BODY,
    body: JSON.stringify({ version, providers, acceptLoss }),
    timeoutMs: PLAN_TIMEOUT_MS,
  });
  return follow(session, accepted, request.onStep);
}

/**
 * What `deploy` would change, and what a call would cost. Changes nothing.
 * @throws as `deploy`, except TARIFF_BELOW_COST
 */
export async function planDeployment(
  session: Session,
  request: Omit<DeployRequest, 'onStep' | 'acceptLoss'>,
): Promise<DeploymentPlan> {
  const { version, providers } = request;
  const reply = await session.request(pathOf(request), {
    method: 'PUT',
    headers: JSON_BODY,
    body: JSON.stringify({ version, providers, dryRun: true }),
    timeoutMs: PLAN_TIMEOUT_MS,
  });
  const plan = await readJson(reply, 'the plan');
  return {
    version: readCount(plan.version, 'version'),
    clouds: readArray(plan.clouds, 'clouds').map(parsePlan),
  };
}

/**
 * Removes versions from clouds and retires them on-chain; resolves when it has ended.
 * @throws FUNCTION_UNKNOWN, NOT_OWNER
 */
export async function destroy(
  session: Session,
  request: DestroyRequest,
): Promise<DeploymentOutcome> {
  const { version, providers } = request;
  const accepted = await session.request(pathOf(request), {
    method: 'DELETE',
    headers: JSON_BODY,
    body: JSON.stringify({ ...(version && { version }), ...(providers && { providers }) }),
  });
  return follow(session, accepted, request.onStep);
}

/**
 * The deployments, also unfinished ones, of all functions of the session's key, or of the named
 * one.
 */
export async function fetchDeployments(
  session: Session,
  of?: Named,
): Promise<readonly DeployedVersion[]> {
  const query = of ? `?function=${encodeURIComponent(`${of.owner}/${of.name}`)}` : '';
  const reply = await readJson(await session.request(`/deployments${query}`), 'the deployments');
  return readArray(reply.deployments, 'deployments').map((item) => {
    const one = readObject(item, 'a deployment');
    return {
      function: readText(one.function, 'function'),
      version: readCount(one.version, 'version'),
      provider: readText(one.provider, 'provider'),
      region: readText(one.region, 'region'),
      state: readText(one.state, 'state'),
      ...(one.id !== undefined && { id: readCount(one.id, 'id') }),
      ...(one.error !== undefined && { error: readText(one.error, 'error') }),
      ...parseCost(one),
    };
  });
}

/**
 * An orphan, which is a function at a cloud without a record, or a ghost, a record without its
 * function.
 */
export interface Stray {
  /** The function's name at the cloud. */
  readonly name: string;
  /** `owner/name@number`, of a ghost. */
  readonly function?: string;
}

export interface CloudCheck {
  readonly provider: string;
  readonly region: string;
  /** Number of this gateway's functions at the cloud. */
  readonly functions: number;
  readonly orphans: readonly Stray[];
  readonly ghosts: readonly Stray[];
  readonly error?: DeploymentFailure;
}

/** Compares the clouds with the gateway's records. @throws OPERATOR_ONLY */
export async function checkDeployments(session: Session): Promise<{
  readonly clouds: readonly CloudCheck[];
  /** Day of the gateway's oldest price list, Unix ms. */
  readonly pricesAsOfMs: number;
}> {
  const reply = await session.request('/deployments/check', { timeoutMs: PLAN_TIMEOUT_MS });
  const { clouds, pricesAsOfMs } = await readJson(reply, 'the check');
  return {
    pricesAsOfMs: readCount(pricesAsOfMs, 'pricesAsOfMs'),
    clouds: readArray(clouds, 'clouds').map((item) => {
      const cloud = readObject(item, 'a cloud');
      return {
        provider: readText(cloud.provider, 'provider'),
        region: readText(cloud.region, 'region'),
        functions: readCount(cloud.functions, 'functions'),
        orphans: readArray(cloud.orphans, 'orphans').map(parseStray),
        ghosts: readArray(cloud.ghosts, 'ghosts').map(parseStray),
        ...parseFailure(cloud),
      };
    }),
  };
}

/** Removes orphans and deploys ghosts again; resolves when it has ended. @throws OPERATOR_ONLY */
export async function repairDeployments(
  session: Session,
  onStep?: (step: DeploymentStep) => void,
): Promise<DeploymentOutcome> {
  const accepted = await session.request('/deployments/repair', { method: 'POST' });
  return follow(session, accepted, onStep);
}

function pathOf({ owner, name }: Named): string {
  return `/functions/${owner}/${name}/deployments`;
}

async function follow(
  session: Session,
  accepted: Response,
  onStep: DeployRequest['onStep'],
): Promise<DeploymentOutcome> {
  const location = accepted.headers.get('location');
  if (!location) {
    throw new DefaasClientError(
      'GATEWAY_PROTOCOL',
      'the deployment was accepted without a Location',
    );
  }
  const path = new URL(location, session.connection.origin).pathname;
  return followDeployment(session, path, { ...(onStep && { onStep }) });
}

/**
 * Follows a deployment to its end. A broken stream is requested again; each step is reported once.
 */
async function followDeployment(
  session: Session,
  path: string,
  { onStep }: Pick<DeployRequest, 'onStep'>,
): Promise<DeploymentOutcome> {
  const signal = AbortSignal.timeout(DEPLOY_TIMEOUT_MS);
  let reported = 0;
  for (let reconnects = 0; ; reconnects += 1) {
    const reply = await session.request(path, {
      headers: { accept: 'text/event-stream' },
      timeoutMs: DEPLOY_TIMEOUT_MS,
      signal,
    });
    if (!reply.headers.get('content-type')?.startsWith('text/event-stream')) {
      return parseOutcome(await readJson(reply, 'the deployment'));
    }
    let seen = 0;
    for await (const event of readEvents(reply)) {
      if (event.type === 'done') return parseOutcome(event.data);
      if (event.type !== 'step') continue;
      seen += 1;
      if (seen <= reported) continue;
      reported = seen;
      onStep?.(parseStep(event.data));
    }
    if (reconnects === MAX_RECONNECTS) {
      throw new DefaasClientError(
        'GATEWAY_PROTOCOL',
        `the steps of ${path} broke off ${reconnects} times`,
      );
    }
  }
}

function parseStep(data: Json): DeploymentStep {
  return {
    provider: readText(data.provider, 'step.provider'),
    action: readText(data.action, 'step.action'),
    resource: readText(data.resource, 'step.resource'),
    state: readText(data.state, 'step.state'),
    message: typeof data.message === 'string' ? data.message : '',
  };
}

function parseOutcome(data: Json): DeploymentOutcome {
  return {
    state: data.state === 'live' || data.state === 'gone' ? data.state : 'failed',
    providers: readArray(data.providers, 'providers').map((item) => {
      const provider = readObject(item, 'a provider');
      return {
        provider: readText(provider.provider, 'provider'),
        region: readText(provider.region, 'region'),
        state: readText(provider.state, 'state'),
        ...parseFailure(provider),
      };
    }),
    ...parseFailure(data),
  };
}

function parseFailure({ error }: Json): { error?: DeploymentFailure } {
  if (error === undefined || error === null) return {};
  const { code, message } = readObject(error, 'error');
  return { error: { code: readText(code, 'error.code'), message: readText(message, 'message') } };
}

function parsePlan(item: unknown): CloudPlan {
  const cloud = readObject(item, 'a cloud');
  const limits = readObject(cloud.limits, 'limits');
  return {
    provider: readText(cloud.provider, 'provider'),
    region: readText(cloud.region, 'region'),
    limits: {
      requestBytes: readCount(limits.requestBytes, 'limits.requestBytes'),
      answerBytes: readCount(limits.answerBytes, 'limits.answerBytes'),
    },
    action: readText(cloud.action, 'action'),
    steps: readArray(cloud.steps, 'steps').map((value) => {
      const step = readObject(value, 'a step');
      return {
        action: readText(step.action, 'step.action'),
        resource: readText(step.resource, 'step.resource'),
        why: readText(step.why, 'step.why'),
      };
    }),
    ...parseCost(cloud),
    ...parseFailure(cloud),
  };
}

function parseCost({ cost: value }: Json): { cost?: CallCost } {
  if (value === undefined || value === null) return {};
  const cost = readObject(value, 'cost');
  return {
    cost: {
      plan: readText(cost.plan, 'cost.plan'),
      asOf: readText(cost.asOf, 'cost.asOf'),
      durationMs: readCount(cost.durationMs, 'cost.durationMs'),
      costPico: readUnits(cost.costPico, 'cost.costPico'),
      costUnits: readUnits(cost.costUnits, 'cost.costUnits'),
      priceUnits: readUnits(cost.priceUnits, 'cost.priceUnits'),
      earnedUnits: readUnits(cost.earnedUnits, 'cost.earnedUnits'),
      belowCost: cost.belowCost === true,
      ...parseWarm(cost),
    },
  };
}

function parseWarm({ warm: value }: Json): { warm?: WarmCost } {
  if (value === undefined || value === null) return {};
  const warm = readObject(value, 'cost.warm');
  return {
    warm: {
      instances: readCount(warm.instances, 'cost.warm.instances'),
      everySec: readCount(warm.everySec, 'cost.warm.everySec'),
      days: readCount(warm.days, 'cost.warm.days'),
      costPico: readUnits(warm.costPico, 'cost.warm.costPico'),
      costUnits: readUnits(warm.costUnits, 'cost.warm.costUnits'),
    },
  };
}

function parseStray(item: unknown): Stray {
  const stray = readObject(item, 'a stray');
  return {
    name: readText(stray.name, 'name'),
    ...(typeof stray.function === 'string' && { function: stray.function }),
  };
}
