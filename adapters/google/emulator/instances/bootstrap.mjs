// The process of one instance of a function: the official functions-framework, on loopback only.
// The framework's command line listens on all interfaces. This file does the same as that command
// line (functions-framework/build/src/main.js) with another address and no timeout, which the front
// has. Argument: folder of the compile cache. The rest stands in the environment, as in the cloud.

import { createRequire, enableCompileCache } from 'node:module';
import { dirname, join } from 'node:path';

enableCompileCache(process.argv[2]);

// The function's own node_modules links to the same package, so both share one registry.
const require = createRequire(import.meta.url);
const inside = dirname(require.resolve('@google-cloud/functions-framework'));
const { getUserFunction } = require(join(inside, 'loader.js'));
const { ErrorHandler } = require(join(inside, 'invoker.js'));
const { OptionsError, parseOptions } = require(join(inside, 'options.js'));
const { getServer } = require(join(inside, 'server.js'));

const options = { ...readOptions(), timeoutMilliseconds: 0 };
const loaded = await getUserFunction(process.cwd(), options.target, options.signatureType);
if (!loaded) end('Could not load the function, shutting down.');

// A function that registers itself has the signature of its registration.
const { userFunction, signatureType } = loaded;
const server = getServer(userFunction, { ...options, signatureType });
server.setTimeout(0);
server.requestTimeout = 0;
server.listen(0, '127.0.0.1', () => {
  new ErrorHandler(server).register();
  // The channel to the front carries only this message. The function gets no channel.
  process.send({ port: server.address().port }, () => process.disconnect());
});

function readOptions() {
  try {
    return parseOptions([], process.env);
  } catch (error) {
    if (error instanceof OptionsError) end(error.message);
    throw error;
  }
}

function end(message) {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}
