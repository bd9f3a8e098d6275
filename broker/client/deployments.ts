// Deploying a version on a gateway's clouds, and following it step by step as the gateway reports it (server-sent events).
import { DefaasClientError } from './errors.ts';
import { type Json, readArray, readJson, readObject, readText } from './parse.ts';
import type { Session } from './session.ts';

/** Longest deployment, ms: Google builds for minutes. */
const DEPLOY_TIMEOUT_MS = 900_000;
/** A stream that broke is asked for again, so often. */
const MAX_RECONNECTS = 10;

/** One thing that was done at a cloud. */
export interface DeploymentStep {
  readonly provider: string;
  readonly action: string;
  readonly resource: string;
  readonly state: string;
  readonly message: string;
}

/** How it ended at one cloud. */
export interface ProviderOutcome {
  readonly provider: string;
  readonly region: string;
  readonly state: string;
  /** Why, when it failed. */
  readonly error?: DeploymentFailure;
}

export interface DeploymentFailure {
  readonly code: string;
  /** One line: what, on what, what to do. */
  readonly message: string;
}

export interface DeploymentOutcome {
  /** `live` only when every cloud is. */
  readonly state: 'live' | 'failed';
  readonly providers: readonly ProviderOutcome[];
  /** What ended it before any cloud was asked. */
  readonly error?: DeploymentFailure;
}

export interface DeployRequest {
  readonly owner: string;
  readonly name: string;
  /** A version number or an alias. */
  readonly version: string;
  readonly providers: readonly string[];
  readonly onStep?: (step: DeploymentStep) => void;
}

/**
 * Asks for the deployment and resolves when it has ended, live or failed; a cloud that failed does not undo the others.
 * @throws PUBLISHER_NOT_ALLOWED, FUNCTION_UNKNOWN, PROVIDER_UNKNOWN, PROVIDER_INVALID, ...; GATEWAY_UNREACHABLE
 */
export async function deploy(session: Session, request: DeployRequest): Promise<DeploymentOutcome> {
  const { owner, name, version, providers } = request;
  const accepted = await session.request(`/functions/${owner}/${name}/deployments`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ version, providers }),
  });
  const location = accepted.headers.get('location');
  if (!location) {
    throw new DefaasClientError(
      'GATEWAY_PROTOCOL',
      'the deployment was accepted without a Location',
    );
  }
  return followDeployment(session, new URL(location, session.connection.origin).pathname, request);
}

/** Follows a deployment to its end; a broken stream is taken up again, steps already reported are not reported twice. */
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

interface ServerEvent {
  readonly type: string;
  readonly data: Json;
}

/** Events of a stream whose data is JSON. @see https://html.spec.whatwg.org/multipage/server-sent-events.html */
async function* readEvents(reply: Response): AsyncGenerator<ServerEvent> {
  let rest = '';
  if (!reply.body) return;
  for await (const text of readTexts(reply.body)) {
    const blocks = `${rest}${text}`.replaceAll('\r\n', '\n').split('\n\n');
    rest = blocks.pop() ?? '';
    for (const block of blocks) {
      const event = parseEvent(block);
      if (event) yield event;
    }
  }
}

/** A broken connection ends the stream like its end does: the deployment goes on at the gateway. */
async function* readTexts(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  try {
    for (;;) {
      const { done, value } = await reader.read().catch(() => ({ done: true, value: undefined }));
      if (done) return;
      yield decoder.decode(value, { stream: true });
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

function parseEvent(block: string): ServerEvent | undefined {
  let type = 'message';
  const data: string[] = [];
  for (const line of block.split('\n')) {
    const [, field = '', value = ''] = /^([^:]*): ?(.*)$/.exec(line) ?? [];
    if (field === 'event') type = value;
    if (field === 'data') data.push(value);
  }
  if (data.length === 0) return undefined;
  try {
    return { type, data: readObject(JSON.parse(data.join('\n')), `event ${type}`) };
  } catch (cause) {
    throw new DefaasClientError('GATEWAY_PROTOCOL', `the event ${type} has no JSON`, { cause });
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
    state: data.state === 'live' ? 'live' : 'failed',
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
