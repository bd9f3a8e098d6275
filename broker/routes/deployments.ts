// Deployments: PUT puts a version on clouds, DELETE takes it off; both begin work that GET /deployments/{id} shows.
import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';
import { deploy, undeploy } from '../deployments/deploy.ts';
import type { Job } from '../deployments/jobs.ts';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import { resolveTarget, type Target } from '../invocation/resolve.ts';
import { refusePublisher } from './artifacts.ts';
import { signedIn } from './bearer.ts';
import { jsonBody } from './json.ts';

const DeploymentsBody = Type.Object(
  {
    version: Type.Optional(
      Type.Union([Type.String({ maxLength: 63 }), Type.Integer({ minimum: 1 })]),
    ),
    providers: Type.Array(
      Type.Union([
        Type.Literal('aws-lambda'),
        Type.Literal('google-cloud-functions'),
        Type.Literal('azure-functions'),
        Type.Literal('local'),
      ]),
      { minItems: 1, maxItems: 4, uniqueItems: true },
    ),
  },
  { additionalProperties: false },
);

type FunctionParams = { Params: { owner: string; name: string } };

export async function deploymentRoutes(
  server: FastifyInstance,
  { gateway }: { readonly gateway: Gateway },
): Promise<void> {
  const parse = jsonBody(DeploymentsBody);
  const begin = async (
    request: FastifyRequest<FunctionParams>,
    work: typeof deploy,
  ): Promise<Job> => {
    const body = parse(request);
    const target = await ownTarget(gateway, request, body);
    const { namespace } = target.function;
    return gateway.jobs.start({ owner: namespace, function: target.label }, (onStep) =>
      work(gateway, { target, providers: body.providers, onStep }),
    );
  };
  const url = '/functions/:owner/:name/deployments';
  server.put<FunctionParams>(url, async (request, reply) => {
    const job = await begin(request, deploy);
    return reply.code(202).header('location', `/deployments/${job.id}`).send(job);
  });
  server.delete<FunctionParams>(url, async (request, reply) => {
    const job = await begin(request, undeploy);
    return reply.code(202).header('location', `/deployments/${job.id}`).send(job);
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
    const signal = AbortSignal.any([left.signal, gateway.closing]);
    return reply
      .header('content-type', 'text/event-stream')
      .header('cache-control', 'no-store')
      .send(Readable.from(eventsOf(gateway.jobs.watch(id, signal))));
  });
}

/** The job as server-sent events: each step once, then `done`. */
async function* eventsOf(changes: AsyncGenerator<Job>): AsyncGenerator<string> {
  let told = 0;
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
}

/** @throws DefaasError NOT_OWNER, PUBLISHER_NOT_ALLOWED, FUNCTION_UNKNOWN */
async function ownTarget(
  gateway: Gateway,
  request: FastifyRequest<FunctionParams>,
  body: Static<typeof DeploymentsBody>,
): Promise<Target> {
  const { signedBy } = await signedIn(gateway, request);
  const { owner, name } = request.params;
  // The client has just published: the view must hold what the chain already has.
  await gateway.chain.synced();
  const target = resolveTarget(gateway.chain.view, {
    owner,
    name,
    reference: String(body.version ?? 'latest'),
  });
  if (target.function.owner !== signedBy) {
    throw new DefaasError(
      'NOT_OWNER',
      `${signedBy} does not own ${target.label}, use the owner's account`,
    );
  }
  refusePublisher(gateway, signedBy);
  return target;
}
