// The SCM site of an app: receives the zip (at one path on Flex, at another on Consumption) and
// reports the state of its deployment.

import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Fault, sendAnswer, spoilBefore } from '../../emulators/faults.ts';
import { readBody } from '../../emulators/request-body.ts';
import type { AzureParts } from './parts.ts';
import type { ArmAnswer } from './resource.ts';
import { deploymentBody, deploymentLog } from './site-body.ts';
import type { PublishRecord, SiteRecord } from './store.ts';

/** Largest package of a Consumption app, bytes (Azure Functions scale and hosting). */
const MAX_ZIP_BYTES = 1024 * 1024 * 1024;
/** Most deployments to keep per app. */
const MAX_PUBLISHES = 10;

export async function answerScm(
  parts: AzureParts,
  name: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const site = parts.store.sites.get(name);
  const url = new URL(request.url ?? '/', 'https://scm');
  const [isOfDeployments, id, log] =
    /^\/api\/deployments(?:\/([\w-]+)(\/log)?)?$/.exec(url.pathname) ?? [];
  const operation = isOfDeployments ? 'deployments' : (url.pathname.split('/').at(-1) ?? '');
  const fault = parts.faults.take(operation, name);
  const reply = (status: number, value?: unknown, headers: Record<string, string> = {}) =>
    sendAnswer(
      response,
      {
        status,
        headers: { 'content-type': 'application/json', ...headers },
        body: Buffer.from(value === undefined ? '' : JSON.stringify(value)),
      },
      fault,
    );

  if (!(await spoilBefore(response, fault))) return;
  const zip = await readBody(request, MAX_ZIP_BYTES);
  if (fault?.kind === 'throttle') return reply(429, { Message: 'Too many requests' });
  if (fault?.kind === 'status') return reply(fault.code, { Message: 'An error has occurred.' });
  const isIn = site && isSignedIn(parts, site, request.headers.authorization);
  if (!isIn || fault?.kind === 'expire-credentials') return reply(401);

  if (isOfDeployments && request.method === 'GET') {
    const { status, body, headers } = readDeployments(site, id, log !== undefined);
    return reply(status, body, headers);
  }
  if (request.method !== 'POST') return unsupported(parts, request, reply);
  if (!zip) return reply(413, { Message: 'Request body too large.' });

  const isFlex = site.functionAppConfig !== undefined;
  const isFlexWay = url.pathname === '/api/publish' && url.searchParams.get('type') !== 'zip';
  const isZipDeploy = url.pathname === '/api/zipdeploy' || url.pathname === '/api/publish';
  if (!isZipDeploy) return unsupported(parts, request, reply);
  if (isFlex !== isFlexWay) {
    const text = isFlex ? 'Flex Consumption takes /api/publish only' : 'wants zipdeploy';
    return reply(400, { Message: `Bad request: ${text}.` });
  }

  if (url.searchParams.get('RemoteBuild')?.toLowerCase() === 'true') {
    return reply(400, { Message: 'RemoteBuild is not emulated: nothing is built here.' });
  }

  parts.countWrite();
  const publish = await receive(parts, site, zip, fault);
  if (isFlex) return reply(202, publish.id);
  const location = `https://127.0.0.1:${site.scmPort}/api/deployments/latest`;
  return reply(202, undefined, { location });
}

/**
 * All deployments, one, or the log of one. As in Kudu, only `latest` answers 202 and a Location
 * while the deployment goes on.
 */
function readDeployments(site: SiteRecord, id: string | undefined, isLog: boolean): ArmAnswer {
  const base = `https://127.0.0.1:${site.scmPort}/api/deployments`;
  if (id === undefined) {
    const all = site.publishes.map((one) => deploymentBody(one, site, `${base}/${one.id}`));
    return { status: 200, body: all };
  }
  const found =
    id === 'latest' ? site.publishes[0] : site.publishes.find((publish) => publish.id === id);
  if (!found) return { status: 404, body: { Message: `Deployment '${id}' not found.` } };
  if (isLog) return { status: 200, body: deploymentLog(found) };
  const url = `${base}/${id}`;
  const body = deploymentBody(found, site, url);
  return id === 'latest' && found.status < 3
    ? { status: 202, body, headers: { location: url } }
    : { status: 200, body };
}

function unsupported(
  parts: AzureParts,
  request: IncomingMessage,
  reply: (status: number, value: unknown) => Promise<void>,
): Promise<void> {
  parts.log(`unsupported: scm ${request.method} ${request.url}`);
  return reply(404, { Message: 'No HTTP resource was found that matches the request URI.' });
}

/** Accepts a bearer token of Azure Resource Manager, or the publishing credentials. */
function isSignedIn(
  parts: AzureParts,
  { publishing }: SiteRecord,
  authorization: string | undefined,
): boolean {
  if (parts.isToken(authorization)) return true;
  const basic = Buffer.from(`${publishing.user}:${publishing.password}`).toString('base64');
  return authorization === `Basic ${basic}`;
}

/** Stores the package. Installs it after the answer. */
async function receive(
  parts: AzureParts,
  site: SiteRecord,
  zip: Uint8Array,
  fault: Fault | undefined,
): Promise<PublishRecord> {
  const publish: PublishRecord = {
    id: randomUUID(),
    status: 0,
    text: '',
    receivedAtMs: Date.now(),
  };
  await parts.store.putPackage(site.name, publish.id, zip);
  await note(parts, site.name, publish);
  if (fault?.kind === 'stuck-operation') return publish;

  void install(parts, site, publish, zip, fault).catch((error) => {
    const text = error instanceof Error ? error.message : String(error);
    return note(parts, site.name, { ...publish, status: 3, text, endedAtMs: Date.now() });
  });
  return publish;
}

/** Unpacks, starts the app once to learn its functions, and replaces the former code. */
async function install(
  parts: AzureParts,
  site: SiteRecord,
  publish: PublishRecord,
  zip: Uint8Array,
  fault: Fault | undefined,
): Promise<void> {
  await note(parts, site.name, { ...publish, status: 2 });
  if (fault?.kind === 'operation-fails') throw new Error('Deployment failed: storage error');
  const app = parts.tryApp(site, publish.id, zip);
  try {
    const functions = await app.load();
    const other = functions.find(({ type }) => type.toLowerCase() !== 'httptrigger');
    if (other) throw new Error(`trigger ${other.type} of ${other.name} is not offered`);

    const current = parts.store.sites.get(site.name);
    if (!current) throw new Error('the app was deleted');
    const done: PublishRecord = { ...publish, status: 4, endedAtMs: Date.now() };
    await parts.store.putSite(
      withPublish({ ...current, active: publish.id, functions, modifiedAtMs: Date.now() }, done),
    );
    parts.replaceApp(site.name, app);
    await parts.store.trimPackages(site.name, publish.id);
  } catch (error) {
    await parts.dropApp(app);
    throw error;
  }
}

/** Stores the state of a publish with its app, unless the app is deleted. */
async function note(parts: AzureParts, name: string, publish: PublishRecord): Promise<void> {
  const site = parts.store.sites.get(name);
  if (site) await parts.store.putSite(withPublish(site, publish));
}

function withPublish(site: SiteRecord, publish: PublishRecord): SiteRecord {
  const others = site.publishes.filter(({ id }) => id !== publish.id);
  const publishes = [publish, ...others].slice(0, MAX_PUBLISHES);
  return { ...site, publishes };
}
