// Publishes a package to an app's SCM site, and waits until the new code answers calls.

import { setTimeout as wait } from 'node:timers/promises';
import type { Site } from '@azure/arm-appservice';
import type { Sender } from '../http/send.ts';
import { ProviderError } from '../provider.ts';
import { about, headerOf, protocolError, statusError } from './errors.ts';
import { probeRequest } from './invocation.ts';
import type { PlanKind } from './limits.ts';
import type { SdkLoader } from './sdk.ts';

/** Longest wait for the first answer of the new code. */
const READY_MS = 120_000;
const POLL_MS = 1000;
const MAX_PROBE_BYTES = 64 * 1024;

/** @throws ProviderError PROVIDER_DEPLOY_FAILED, with the first line of the SCM site's message */
export async function publish(
  parts: {
    readonly sdk: Pick<SdkLoader, 'open'>;
    readonly planKind: PlanKind;
    readonly pollMs: number | undefined;
  },
  site: Site,
  bytes: Uint8Array,
  signal: AbortSignal,
): Promise<void> {
  const name = site.name ?? '';
  const scm = site.hostNameSslStates?.find((host) => host.hostType === 'Repository')?.name;
  if (!scm) throw protocolError('deploy', name, 'the app has no SCM host');
  const { send } = await parts.sdk.open();
  const path =
    parts.planKind === 'flex'
      ? '/api/publish?RemoteBuild=false&Deployer=defaas'
      : '/api/zipdeploy?isAsync=true&deployer=defaas';
  const answer = await send({
    url: `https://${scm}${path}`,
    method: 'POST',
    headers: { 'content-type': 'application/zip' },
    body: bytes,
    signal,
  });
  if (answer.status !== 200 && answer.status !== 202) throw statusError('publish', name, answer);

  // Flex answers with the id of the deployment as a JSON string. The older plan has no ids, only
  // the latest deployment.
  const id = /^"([\w-]+)"$/.exec(answer.body.toString().trim())?.[1] ?? 'latest';
  for (;;) {
    const url = `https://${scm}/api/deployments/${id}`;
    const polled = await send({ url, method: 'GET', signal });
    if (polled.status === 200 && isPublished(polled.body.toString(), name)) return;
    // The deployment is not listed yet, or the SCM site restarts.
    const isEarly = polled.status === 200 || polled.status === 202 || polled.status === 404;
    if (!isEarly) throw statusError('publish', name, polled);
    await wait(parts.pollMs ?? POLL_MS, undefined, { signal });
  }
}

/**
 * `text` is the JSON of a deployment. Its `status` is Kudu's DeployStatus: 3 failed, 4 success, 5
 * conflict, 6 partial success. Any other means that the deployment goes on.
 */
function isPublished(text: string, name: string): boolean {
  const { status, status_text: detail, message } = JSON.parse(text);
  if (status === 4) return true;
  if (status !== 3 && status !== 5 && status !== 6 && !(status < 0)) return false;
  const line = String(detail || message || `status ${status}`)
    .split('\n', 1)[0]
    ?.slice(0, 256);
  const what = `${line}, on ${name}, see the deployment's log at the app's SCM site`;
  throw new ProviderError('PROVIDER_DEPLOY_FAILED', what, about('publish', name));
}

/**
 * Calls until the shim of the new code answers. The publisher's code does not run.
 * @throws ProviderError PROVIDER_DEPLOY_FAILED
 */
export async function waitForCode(
  parts: {
    readonly send: Sender['send'];
    readonly pollMs: number | undefined;
    /** Monotonic clock in milliseconds. */
    readonly nowMs: () => number;
  },
  app: { readonly origin: string; readonly key: string; readonly hash: string; name: string },
  signal: AbortSignal,
): Promise<void> {
  const { send, pollMs, nowMs } = parts;
  const untilMs = nowMs() + READY_MS;
  const request = probeRequest(app.origin, app.key, 0);
  let seen = 'no answer';
  do {
    try {
      const answer = await send(request, { signal, maxResponseBytes: MAX_PROBE_BYTES });
      if (headerOf(answer, 'x-defaas-spec') === app.hash) return;
      seen = `status ${answer.status}`;
    } catch (error) {
      if (signal.aborted) throw error;
      seen = String(error);
    }
    await wait(pollMs ?? POLL_MS, undefined, { signal });
  } while (nowMs() < untilMs);
  const what = `the new code does not answer (${seen}), on ${app.name}, see the app's log stream`;
  throw new ProviderError('PROVIDER_DEPLOY_FAILED', what, about('deploy', app.name));
}
