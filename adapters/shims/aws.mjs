// The shim for AWS Lambda. It answers API Gateway v2 events, of the gateway or of a Function URL.
// `Handler` is `aws.handler`.

import { isUtf8 } from 'node:buffer';
import { fetchCall, hold } from './fetch-call.mjs';

const { stringify } = JSON;
/** A shorter body fits into the payload also when every character is escaped, bytes. */
const LONG_BYTES = 1_000_000;

// Loads the module in the init phase. Each call reports a module that fails, so that it differs
// from a handler that throws.
const loaded = import('./handler.mjs').then(
  (module) => () => Promise.resolve(module),
  (error) => () => Promise.reject(error),
);
const load = await loaded;

/**
 * @param {object} event  API Gateway v2 payload; any other JSON is the body of a POST to `/`
 * @throws Error  with name and message of what the handler threw, so that the cloud's error metrics
 *   and retries work; `Init.*` when the module failed
 */
export async function handler(event, context) {
  // The adapter sends a probe at the end of a deploy or to keep the instance warm. The handler does
  // not run.
  const probe = event?.['x-defaas-probe'];
  if (probe) {
    await hold(probe);
    return { statusCode: 204, headers: {}, cookies: [], body: '', isBase64Encoded: false };
  }
  const outgoing = await fetchCall(load, toIncoming(event), {
    provider: 'aws-lambda',
    requestId: context.awsRequestId,
    // The runtime subtracts the same `Date.now()`. The sum is the deadline, even when the publisher
    // has replaced that function.
    deadlineMs: Date.now() + context.getRemainingTimeInMillis(),
  });
  if (outgoing.outcome === 'ok') return toResult(outgoing);

  // A new error: the runtime cannot report everything that a handler can throw.
  const { kind, type, message } = JSON.parse(Buffer.from(outgoing.body).toString());
  const error = new Error(message);
  error.name = kind === 'init' ? `Init.${type}` : type;
  error.stack = outgoing.error;
  throw error;
}

function toIncoming(event) {
  const http = event?.requestContext?.http;
  if (!http) {
    const headers = [['content-type', 'application/json']];
    return {
      method: 'POST',
      path: '/',
      query: '',
      headers,
      body: Buffer.from(JSON.stringify(event ?? null)),
    };
  }

  const headers = Object.entries(event.headers ?? {});
  if (event.cookies?.length) headers.push(['cookie', event.cookies.join('; ')]);
  const body = event.body
    ? Buffer.from(event.body, event.isBase64Encoded ? 'base64' : 'utf8')
    : undefined;
  return {
    method: http.method,
    path: event.rawPath,
    query: event.rawQueryString,
    headers,
    body,
  };
}

/** Whether the text is no longer as JSON than as base64: an escaped character takes up to six. */
function isShortAsJson(bytes) {
  return bytes.length < LONG_BYTES || stringify(bytes.toString()).length <= (bytes.length * 4) / 3;
}

function toResult({ status, headers, body }) {
  const single = {};
  const cookies = [];
  for (const [name, value] of headers) {
    if (name === 'set-cookie') cookies.push(value);
    else single[name] = value;
  }
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  const isText = isUtf8(bytes) && isShortAsJson(bytes);
  return {
    statusCode: status,
    headers: single,
    cookies,
    body: bytes.toString(isText ? 'utf8' : 'base64'),
    isBase64Encoded: !isText,
  };
}
