// The shim for Google: one HTTP function on the functions-framework that calls the publisher's
// handler.
//
// A call of the gateway carries the path in `x-defaas-path`. Call and answer carry each header with
// the prefix `x-defaas-h-`. Otherwise the cloud's front and the framework's body parsers would add,
// rewrite, inflate or refuse some of them: before any function runs, they answer 400 to invalid
// JSON and 404 to /favicon.ico. A call without `x-defaas-path` is a plain HTTP request.

import { format } from 'node:util';
import functions from '@google-cloud/functions-framework';
import { clockMs, fetchCall, hold, stackOf, unixMs } from './fetch-call.mjs';

const CARRIED = 'x-defaas-h-';

/** Largest answer, bytes (Cloud Run quotas: HTTP/1 response without streaming). */
const MAX_RESPONSE_BYTES = 32 * 1024 * 1024;

/** Set by the adapter, else from the framework's variable, else the cloud's default. */
const timeoutMs =
  Number(process.env.DEFAAS_TIMEOUT_MS) ||
  Number(process.env.CLOUD_RUN_TIMEOUT_SECONDS ?? 60) * 1000 - 250;

/** Imports the module at the start of the instance. Each call reports a module that fails. */
const importedFromMs = clockMs();
let initMs;
const handler = import('./handler.mjs').finally(() => {
  initMs = clockMs() - importedFromMs;
});
handler.catch((error) => log('ERROR', stackOf(error)));

functions.http(process.env.FUNCTION_TARGET ?? 'main', async (request, response) => {
  // The adapter sends a probe at the end of a deploy or to keep the instance warm. The handler does
  // not run.
  const probe = request.headers['x-defaas-probe'];
  if (probe) {
    await hold(probe);
    response.setHeader('x-defaas-outcome', 'ok');
    response.status(204).end();
    return;
  }
  const requestId = request.executionId;
  const target = request.headers['x-defaas-path'];
  const [path, query] = splitTarget(target ?? request.originalUrl);
  const headers = target === undefined ? plainHeaders(request) : carriedHeaders(request);
  const answer = await fetchCall(
    () => handler,
    { method: request.method, path, query, headers, body: request.rawBody },
    {
      provider: 'google-cloud-functions',
      requestId,
      deadlineMs: unixMs() + timeoutMs,
      initMs: () => initMs,
      // The timeout of the deployment is at least 250 ms longer.
      answerBeforeMs: 0,
      holdsExit: true,
      log: (...values) => log('INFO', format(...values), requestId),
    },
  );
  if (answer.error !== undefined) log('ERROR', answer.error, requestId);
  response.setHeader('x-defaas-request-id', requestId);
  send(response, bounded(answer), target !== undefined);
});

function splitTarget(target) {
  const at = target.indexOf('?');
  return at < 0 ? [target, ''] : [target.slice(0, at), target.slice(at + 1)];
}

/** Reads the raw list, because Node's `headers` joins or drops repeated headers. */
function* pairsOf(request) {
  const raw = request.rawHeaders;
  for (let at = 0; at < raw.length; at += 2) yield [raw[at].toLowerCase(), raw[at + 1]];
}

function* carriedHeaders(request) {
  for (const [name, value] of pairsOf(request)) {
    if (name.startsWith(CARRIED)) yield [name.slice(CARRIED.length), value];
  }
}

function* plainHeaders(request) {
  for (const pair of pairsOf(request)) {
    // Express has inflated the body. The token was for the cloud's front.
    if (!['authorization', 'content-encoding', 'content-length'].includes(pair[0])) yield pair;
  }
}

function bounded(answer) {
  if (answer.body.length <= MAX_RESPONSE_BYTES) return answer;
  const message = `answer of ${answer.body.length} bytes, limit ${MAX_RESPONSE_BYTES}`;
  const failure = { kind: 'too-large', type: 'ResponseSizeTooLarge', message };
  const marks = answer.headers.filter(([name]) => name.startsWith('x-defaas-'));
  return {
    status: 500,
    headers: marks.map(([name, value]) => [name, name === 'x-defaas-outcome' ? 'error' : value]),
    body: new TextEncoder().encode(JSON.stringify(failure)),
  };
}

function send(response, { status, headers, body }, isCarried) {
  const cookies = headers.filter(([name]) => name === 'set-cookie').map(([, value]) => value);
  // Needs no prefix: no server may join this header.
  if (cookies.length > 0) response.setHeader('set-cookie', cookies);
  for (const [name, value] of headers) {
    if (name === 'set-cookie') continue;
    if (name.startsWith('x-defaas-')) response.setHeader(name, value);
    else response.setHeader(isCarried ? CARRIED + name : name, value);
  }
  response.statusCode = status;
  response.end(body);
}

/** Writes the structured form that Cloud Logging reads from standard output. */
function log(severity, message, requestId) {
  const labels = requestId === undefined ? {} : { execution_id: requestId };
  const entry = { severity, message, 'logging.googleapis.com/labels': labels };
  process.stdout.write(`${JSON.stringify(entry)}\n`);
}
