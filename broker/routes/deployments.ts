// Deployments: PUT plans or starts a deployment, DELETE removes versions from clouds, GET
// /deployments/{id} shows progress.
import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import type { PlanStep } from '../../adapters/provider.ts';
import { callCost, costDocument, refuseLoss } from '../deployments/costs.ts';
import { type CloudPlan, deploy, plan } from '../deployments/deploy.ts';
import type { Job } from '../deployments/jobs.ts';
import { warmInstances } from '../deployments/keep-warm.ts';
import { prepare } from '../deployments/prepare.ts';
import { claimShare, claimWarm } from '../deployments/publisher-limits.ts';
import { queueOf, targetOf } from '../deployments/resume.ts';
import { undeploy } from '../deployments/undeploy.ts';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import { signedIn } from '../http/bearer.ts';
import { jsonBody } from '../http/json.ts';
import type { DeploymentRecord } from '../ledger/ledger.ts';
import { refusePublisher } from './artifacts.ts';
import { type FunctionParams, ownedFunction, versionOf } from './owned.ts';

const Version = Type.Union([Type.String({ maxLength: 63 }), Type.Integer({ minimum: 1 })]);
const Providers = Type.Array(
  Type.Union([
    Type.Literal('aws-lambda'),
    Type.Literal('google-cloud-functions'),
    Type.Literal('azure-functions'),
    Type.Literal('local'),
  ]),
  { minItems: 1, maxItems: 4, uniqueItems: true },
);

const DeployBody = Type.Object(
  {
    /** Defaults to `latest`. */
    version: Type.Optional(Version),
    providers: Providers,
    /** Only show what would change. */
    dryRun: Type.Optional(Type.Boolean()),
    /** Deploy even if a call costs more than it earns. */
    acceptLoss: Type.Optional(Type.Boolean()),
  },
  { additionalProperties: false },
);

const DestroyBody = Type.Object(
  {
    /** Defaults to all versions. */
    version: Type.Optional(Version),
    /** Defaults to all clouds. */
    providers: Type.Optional(Providers),
  },
  { additionalProperties: false },
);

export async function deploymentRoutes(
  server: FastifyInstance,
  { gateway }: { readonly gateway: Gateway },
): Promise<void> {
  const url = '/functions/:owner/:name/deployments';
  const parseDeploy = jsonBody(DeployBody);
  const parseDestroy = jsonBody(DestroyBody);
  // A closing server waits for its replies, and a reply that follows a job would last until the job
  // ends.
  const ending = new AbortController();
  server.addHook('preClose', async () => ending.abort());

  server.put<FunctionParams>(url, async (request, reply) => {
    const body = parseDeploy(request);
    const owned = await ownedFunction(gateway, request);
    const version = versionOf(gateway, owned, String(body.version ?? 'latest'));
    refusePublisher(gateway, owned.signedBy);
    const label = `${owned.label}@${version.number}`;
    const target = { function: owned.function, version, label };
    const claim = claimShare(gateway, target, body.providers);
    let isStarted = false;
    try {
      const places = body.providers.map((provider) => ({ provider }));
      const prepared = await prepare(gateway, target, places);
      claimWarm(gateway, claim, prepared.manifest);
      if (body.dryRun) {
        const clouds = (await plan(gateway, prepared)).map(planDocument);
        return { function: label, version: version.number, clouds };
      }
      if (!body.acceptLoss) {
        refuseLoss(
          prepared.clouds.map(({ provider, cost }) => ({ provider: provider.name, cost })),
        );
      }
      const job = gateway.jobs.start(
        { owner: owned.function.namespace, function: label, queue: queueOf(target) },
        (onStep) =>
          deploy(gateway, prepared, { onStep }).finally(() => gateway.claims.release(claim)),
      );
      isStarted = true;
      return reply.code(202).header('location', `/deployments/${job.id}`).send(job);
    } finally {
      if (!isStarted) gateway.claims.release(claim);
    }
  });

  server.delete<FunctionParams>(url, async (request, reply) => {
    const { version: reference, providers } = parseDestroy(request);
    const owned = await ownedFunction(gateway, request);
    const chosen =
      reference === undefined
        ? owned.function.versions
        : [versionOf(gateway, owned, String(reference), { allowDeprecated: true }).functionVersion];
    const job = gateway.jobs.start(
      { owner: owned.function.namespace, function: owned.label, queue: queueOf(owned) },
      (onStep) => {
        const records = chosen
          .flatMap((functionVersion) => gateway.deployments.records(functionVersion))
          .filter((record) => providers?.includes(record.provider) ?? true);
        return undeploy(gateway, records, { onStep });
      },
    );
    return reply.code(202).header('location', `/deployments/${job.id}`).send(job);
  });

  server.get<{ Querystring: { function?: string } }>('/deployments', async (request) => {
    const { signedBy } = await signedIn(gateway, request);
    const wanted = request.query.function;
    const deployments = gateway.deployments.records().flatMap((record) => {
      const target = targetOf(gateway.chain.view, record.functionVersion);
      if (record.state === 'gone' || target?.function.owner !== signedBy) return [];
      const { namespace, name } = target.function;
      const label = `${namespace}/${name}`;
      if (wanted !== undefined && wanted.toLowerCase() !== label) return [];
      const manifest = gateway.deployments.manifest(record.functionVersion);
      const cost = callCost(gateway.config, record.provider, {
        version: target.version,
        minWarm: warmInstances(manifest, record.provider),
      });
      return [
        {
          function: label,
          version: target.version.number,
          ...recordDocument(record),
          ...(cost && { cost: costDocument(cost) }),
        },
      ];
    });
    return { deployments };
  });

  server.get<{ Params: { id: string } }>('/deployments/:id', async (request, reply) => {
    const { id } = request.params;
    const job = gateway.jobs.find(id);
    if (job === undefined) {
      throw new DefaasError(
        'DEPLOYMENT_UNKNOWN',
        `no deployment ${id} since the gateway started, run defaas list`,
      );
    }
    if (!request.headers.accept?.includes('text/event-stream')) return job;
    const left = new AbortController();
    reply.raw.once('close', () => left.abort());
    const signal = AbortSignal.any([left.signal, ending.signal, gateway.closing]);
    return reply
      .header('content-type', 'text/event-stream')
      .header('cache-control', 'no-store')
      .send(Readable.from(eventsOf(gateway.jobs.watch(id, signal), signal)));
  });
}

/**
 * The job as server-sent events: each step once, then `done`. A stream that ends without `done` was
 * interrupted.
 */
async function* eventsOf(
  changes: AsyncGenerator<Job>,
  signal: AbortSignal,
): AsyncGenerator<string> {
  let told = 0;
  try {
    for await (const job of changes) {
      for (const step of job.steps.slice(told)) {
        yield `event: step\ndata: ${JSON.stringify(step)}\n\n`;
      }
      told = job.steps.length;
      if (job.state !== 'running') {
        const { state, providers, error } = job;
        yield `event: done\ndata: ${JSON.stringify({ state, providers, error })}\n\n`;
      }
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

function planDocument({ wanted, steps, error }: CloudPlan) {
  const { provider, spec, cost } = wanted;
  return {
    provider: provider.name,
    region: spec.region,
    action: actionOf(steps),
    steps,
    limits: {
      requestBytes: provider.limits.maxRequestBytes,
      answerBytes: provider.limits.maxResponseBytes,
    },
    ...(cost && { cost: costDocument(cost) }),
    ...(error && { error }),
  };
}

/** Sums up a cloud's steps in one action. */
function actionOf(steps: readonly PlanStep[]): PlanStep['action'] {
  const [first] = steps.filter(({ action }) => action !== 'keep' && action !== 'wait');
  return first?.action ?? steps[0]?.action ?? 'keep';
}

/** Leaves out the cloud's own deployment data, which may contain a key of the cloud. */
function recordDocument({
  provider,
  region,
  name,
  state,
  chainId,
  steps,
  error,
}: DeploymentRecord) {
  return { provider, region, name, state, id: chainId, steps, error };
}
