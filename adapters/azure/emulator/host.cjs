// The process of one app instance: a small Functions host for an app that uses @azure/functions v4.
// It supplies the module that such an app expects of the real host, `@azure/functions-core`. It
// receives `{id, name, http}` on the IPC channel and sends `{type: 'ready' | 'failed' | 'answer' |
// 'thrown', ...}`. It logs to stdout.

const { readFileSync, globSync } = require('node:fs');
const Module = require('node:module');
const { join, resolve } = require('node:path');
const { pathToFileURL } = require('node:url');

const send = process.send.bind(process);
// The app's code gets no access to the channel.
process.send = undefined;
process.on('disconnect', () => process.exit());

class Disposable {
  constructor(dispose) {
    this.dispose = dispose;
  }
}

const functions = new Map();
const hooks = { appStart: [], appTerminate: [], preInvocation: [], postInvocation: [], log: [] };
let model;

const core = {
  version: '3.11.0',
  hostVersion: '4.1037.0',
  Disposable,
  setProgrammingModel(wanted) {
    model = wanted;
  },
  getProgrammingModel: () => model,
  registerFunction(metadata, callback) {
    functions.set(metadata.name, { metadata, callback });
    return new Disposable(() => functions.delete(metadata.name));
  },
  registerHook(name, callback) {
    const list = hooks[name];
    if (!list) throw new RangeError(`Unrecognized hook "${name}"`);
    list.push(callback);
    return new Disposable(() => list.splice(list.indexOf(callback), 1));
  },
  log: (level, category, message) => writeLog(level, category, message, ''),
};

const load = Module._load;
Module._load = function supply(request, ...rest) {
  return request === '@azure/functions-core' ? core : load.call(this, request, ...rest);
};

function writeLog(level, category, message, id) {
  if (category === 'system' && level !== 'error') return;
  // The emulator's logs read one line per text, so a line break becomes a carriage return.
  const line = String(message).replaceAll('\n', '\r');
  process.stdout.write(`${new Date().toISOString()}\t${id}\t${level}\t${line}\n`);
}

async function start() {
  const manifest = JSON.parse(readFileSync('package.json', 'utf8'));
  const files = globSync(manifest.main ?? 'index.js');
  if (files.length === 0) throw new Error(`package.json main ${manifest.main} names no file`);
  for (const file of files.sort()) {
    const isModule =
      file.endsWith('.mjs') || (manifest.type === 'module' && !file.endsWith('.cjs'));
    if (isModule) await import(pathToFileURL(resolve(file)));
    else require(join(process.cwd(), file));
  }
  const capabilities = (await model?.getCapabilities?.({})) ?? {};
  if (capabilities.HttpUri) throw new Error('HTTP streaming is not offered by this emulator');
  for (const hook of hooks.appStart) await hook({ hookData: {} });
  send({
    type: 'ready',
    functions: [...functions.values()].map(({ metadata }) => describe(metadata)),
  });
}

function describe({ name, bindings }) {
  const [triggerName, trigger] =
    Object.entries(bindings).find(([, binding]) => /trigger$/i.test(binding.type)) ?? [];
  const { type = 'none', methods = [], route = name, authLevel = 'anonymous' } = trigger ?? {};
  return { name, triggerName, type, methods, route, authLevel };
}

process.on('message', ({ id, name, triggerName, http }) => {
  invoke(id, name, triggerName, http).then(
    (answer) => send({ type: 'answer', id, http: answer }),
    (error) => {
      writeLog('error', 'user', error instanceof Error ? error.stack : String(error), id);
      send({ type: 'thrown', id });
    },
  );
});

async function invoke(id, name, triggerName, http) {
  const { metadata, callback } = functions.get(name);
  const request = {
    invocationId: id,
    inputData: [{ name: triggerName, data: { http } }],
    triggerMetadata: {},
    traceContext: {},
  };
  const log = (level, category, message) => writeLog(level, category, message, id);
  const call = model.getInvocationModel({
    invocationId: id,
    metadata,
    request,
    log,
    state: undefined,
  });
  const { context, inputs } = await call.getArguments();

  const hookData = {};
  const before = { hookData, invocationContext: context, inputs, functionCallback: callback };
  for (const hook of hooks.preInvocation) await hook(before);

  const after = {
    hookData,
    invocationContext: context,
    inputs: before.inputs,
    result: null,
    error: null,
  };
  let hasThrown = false;
  try {
    after.result = await call.invokeFunction(context, before.inputs, before.functionCallback);
  } catch (error) {
    hasThrown = true;
    after.error = error;
  }
  for (const hook of hooks.postInvocation) await hook(after);
  // A hook may remove the error.
  if (hasThrown && after.error !== null) throw after.error;

  const { returnValue } = await call.getResponse(context, after.result);
  return returnValue?.http ?? { statusCode: '204', headers: {}, cookies: [], body: null };
}

start().catch((error) => send({ type: 'failed', message: String(error?.message ?? error) }));
