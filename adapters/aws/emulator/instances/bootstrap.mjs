// Runs in each instance of the Lambda emulator. Loads the handler and serves it over the Lambda
// Runtime API, as the managed Node runtime does. It runs beside the publisher's code and imports
// nothing of ours.

import { existsSync } from 'node:fs';
import { Agent, request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { format } from 'node:util';

const API = `http://${process.env.AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime`;
const agent = new Agent({ keepAlive: true, maxSockets: 1 });

/** Id of the call being served, for log lines and for errors outside the handler. */
let requestId = 'undefined';
/**
 * Answers null when the event loop is empty and the handler has neither returned a promise nor
 * called back.
 */
let answerNull;

patchConsole();
process.on('uncaughtException', (error) => die(error, 129));
process.on('unhandledRejection', (reason) => {
  const error = new Error(String(reason?.message ?? reason), { cause: reason });
  error.name = 'Runtime.UnhandledPromiseRejection';
  die(error, 128);
});
process.on('beforeExit', () => answerNull?.());

let handler;
try {
  handler = await loadHandler(process.env.LAMBDA_TASK_ROOT, process.env._HANDLER);
} catch (error) {
  await call('POST', '/init/error', JSON.stringify(describe(error)));
  process.exit(1);
}
for (;;) await serve(await call('GET', '/invocation/next'));

async function serve({ headers, body }) {
  requestId = headers['lambda-runtime-aws-request-id'];
  process.env._X_AMZN_TRACE_ID = headers['lambda-runtime-trace-id'];
  try {
    const result = await run(JSON.parse(body), createContext(headers));
    await call('POST', `/invocation/${requestId}/response`, JSON.stringify(result) ?? 'null');
  } catch (error) {
    const { trace: stack, ...told } = describe(error);
    writeLine('ERROR', `Invoke Error \t${JSON.stringify({ ...told, stack })}`);
    await call('POST', `/invocation/${requestId}/error`, JSON.stringify(describe(error)));
  }
}

/** The result of the returned promise, or without a promise that of the callback. */
function run(event, context) {
  return new Promise((resolve, reject) => {
    const callback = (error, value) => (error ? reject(error) : resolve(value));
    answerNull = undefined;
    const value = handler(event, context, callback);
    if (typeof value?.then === 'function') value.then(resolve, reject);
    else answerNull = () => resolve(null);
  }).finally(() => {
    answerNull = undefined;
  });
}

function createContext(headers) {
  const deadlineMs = Number(headers['lambda-runtime-deadline-ms']);
  const clientContext = headers['lambda-runtime-client-context'];
  return {
    callbackWaitsForEmptyEventLoop: true,
    functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: process.env.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: process.env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: process.env.AWS_LAMBDA_LOG_STREAM_NAME,
    invokedFunctionArn: headers['lambda-runtime-invoked-function-arn'],
    awsRequestId: requestId,
    ...(clientContext && { clientContext: JSON.parse(clientContext) }),
    getRemainingTimeInMillis: () => deadlineMs - Date.now(),
  };
}

/** `_HANDLER` is `file.export`, the file without its extension. */
async function loadHandler(root, name) {
  const [, file, path] = /^([^.]+)\.(.+)$/.exec(name) ?? [];
  if (!file) throw fail('Runtime.MalformedHandlerName', 'Bad handler');
  const found = ['.js', '.mjs', '.cjs'].map((end) => join(root, file + end)).find(existsSync);
  if (!found) throw fail('Runtime.ImportModuleError', `Error: Cannot find module '${file}'`);

  let module;
  try {
    module = await import(pathToFileURL(found).href);
  } catch (error) {
    if (error instanceof SyntaxError)
      throw fail('Runtime.UserCodeSyntaxError', String(error), error);
    if (!/MODULE_NOT_FOUND$/.test(error?.code)) throw error;
    throw fail('Runtime.ImportModuleError', `Error: ${error.message}`, error);
  }
  const keys = path.split('.');
  const pick = (from) => keys.reduce((value, key) => value?.[key], from);
  // The exports of a CommonJS file are the default export of its namespace.
  const picked = pick(module) ?? pick(module.default);
  if (typeof picked === 'function') return picked;
  throw fail('Runtime.HandlerNotFound', `${name} is undefined or not exported`);
}

function call(method, path, body) {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { 'content-length': Buffer.byteLength(body) };
    const request = httpRequest(API + path, { method, agent, headers }, (response) => {
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('end', () => resolve({ headers: response.headers, body: Buffer.concat(chunks) }));
      response.on('error', reject);
    });
    // The emulator has ended.
    request.on('error', () => process.exit(1));
    request.end(body);
  });
}

function die(error, code) {
  process.stderr.write(`${error?.stack ?? error}\n`);
  call('POST', `/invocation/${requestId}/error`, JSON.stringify(describe(error))).finally(() =>
    process.exit(code),
  );
}

function describe(error) {
  if (!(error instanceof Error)) {
    return { errorType: typeof error, errorMessage: String(error), trace: [] };
  }
  const trace = (error.stack ?? '').split('\n');
  return { errorType: error.name, errorMessage: error.message, trace };
}

function fail(name, message, cause) {
  const error = new Error(message, { cause });
  error.name = name;
  return error;
}

/** Lambda's text log format: time, request id, level, text. */
function patchConsole() {
  const levels = {
    log: 'INFO',
    info: 'INFO',
    warn: 'WARN',
    error: 'ERROR',
    debug: 'DEBUG',
    trace: 'TRACE',
  };
  for (const [method, level] of Object.entries(levels)) {
    console[method] = (...values) => writeLine(level, format(...values));
  }
}

function writeLine(level, text) {
  process.stdout.write(`${new Date().toISOString()}\t${requestId}\t${level}\t${text}\n`);
}
