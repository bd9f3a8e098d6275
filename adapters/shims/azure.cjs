// The shim for Azure Functions: one HTTP function of the v4 programming model that calls the
// publisher's handler. It is CommonJS, because the Functions host supplies `@azure/functions-core`
// through `require` and expects a synchronous registration.
//
// A call of the gateway carries method, path, query and headers in `x-defaas-call` (base64url of
// JSON). The answer carries its headers in `x-defaas-headers`. Otherwise the host would take
// `?code=` for a key, answer /admin itself, decode parts of the path, join repeated headers and
// keep only one `set-cookie`. A call without `x-defaas-call` is a plain HTTP request.

const { app } = require('@azure/functions');
/** Captured before the publisher's module loads, as in `fetch-call.mjs`. */
const { now: unixMs } = Date;
const { defaas } = require('./package.json');

/** Timeout of the load balancer (Azure Functions scale and hosting, "Timeout"). */
const FRONT_TIMEOUT_MS = 230_000;
const ANSWER_BEFORE_MS = 250;
/** Largest answer, bytes: our own limit, `maxResponseBytes` of the adapter. */
const MAX_RESPONSE_BYTES = 32 * 1024 * 1024;

const timeoutMs = Math.min(
  Number(process.env.DEFAAS_TIMEOUT_MS) || FRONT_TIMEOUT_MS,
  FRONT_TIMEOUT_MS - ANSWER_BEFORE_MS,
);

app.http('main', {
  methods: ['GET', 'POST', 'DELETE', 'HEAD', 'PATCH', 'PUT', 'OPTIONS', 'TRACE', 'CONNECT'],
  authLevel: 'function',
  route: '{*rest}',
  handler: answer,
});

async function answer(request, context) {
  const deadlineMs = unixMs() + timeoutMs;
  // The adapter sends a probe at the end of a deploy (0: no code of the publisher runs), or to keep
  // the instance warm.
  const probe = request.headers.get('x-defaas-probe');
  if (probe !== null) {
    if (probe !== '0') await warmUp(probe);
    return { status: 204, headers: { 'x-defaas-spec': defaas.spec } };
  }

  const { fetchCall } = await import('./fetch-call.mjs');
  const carried = request.headers.get('x-defaas-call');
  const incoming = carried
    ? JSON.parse(Buffer.from(carried, 'base64url').toString())
    : plain(request);
  const body = new Uint8Array(await request.arrayBuffer());
  const outgoing = bounded(
    await fetchCall(
      () => import('./handler.mjs'),
      { ...incoming, body },
      {
        provider: 'azure-functions',
        requestId: context.invocationId,
        deadlineMs,
        answerBeforeMs: 0,
        holdsExit: true,
        log: (...values) => context.log(...values),
      },
    ),
  );
  if (outgoing.error !== undefined) context.error(outgoing.error);

  const isMark = ([name]) => name.startsWith('x-defaas-');
  const headers = Object.fromEntries(outgoing.headers.filter(isMark));
  headers['x-defaas-request-id'] = context.invocationId;
  const own = outgoing.headers.filter((pair) => !isMark(pair));
  if (carried) headers['x-defaas-headers'] = Buffer.from(JSON.stringify(own)).toString('base64url');
  else Object.assign(headers, Object.fromEntries(own));
  return { status: outgoing.status, headers, body: outgoing.body };
}

/** Loads what a call needs. A later call reports a module that fails. */
async function warmUp(holdMs) {
  const { hold } = await import('./fetch-call.mjs');
  await Promise.allSettled([import('./handler.mjs'), hold(holdMs)]);
}

function plain(request) {
  const url = new URL(request.url);
  const headers = [...request.headers].filter(([name]) => name !== 'x-functions-key');
  return { method: request.method, path: url.pathname, query: url.search.slice(1), headers };
}

function bounded(outgoing) {
  if (outgoing.body.length <= MAX_RESPONSE_BYTES) return outgoing;
  const message = `answer of ${outgoing.body.length} bytes, limit ${MAX_RESPONSE_BYTES}`;
  const failure = { kind: 'too-large', type: 'ResponseSizeTooLarge', message };
  const headers = outgoing.headers
    .filter(([name]) => name.startsWith('x-defaas-'))
    .map(([name, value]) => [name, name === 'x-defaas-outcome' ? 'error' : value]);
  return { status: 500, headers, body: Buffer.from(JSON.stringify(failure)) };
}
