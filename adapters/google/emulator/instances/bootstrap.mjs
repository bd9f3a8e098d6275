// The process of one instance of a function: the official functions-framework, on loopback only.
// The framework's command line listens on all interfaces. This file does the same as that command
// line (functions-framework/build/src/main.js) with another address. Arguments: folder of the
// compile cache, name of the function's entry point.

import { createRequire, enableCompileCache } from 'node:module';
import { dirname, join } from 'node:path';

const [, , cacheDir, target] = process.argv;
enableCompileCache(cacheDir);

// The function's own node_modules links to the same package, so both share one registry.
const require = createRequire(import.meta.url);
const framework = require('@google-cloud/functions-framework');
const { getTestServer } = require('@google-cloud/functions-framework/testing');
const inside = dirname(require.resolve('@google-cloud/functions-framework'));
const { getUserFunction } = require(join(inside, 'loader.js'));
const { ErrorHandler } = require(join(inside, 'invoker.js'));

const loaded = await getUserFunction(process.cwd(), target, 'http');
if (!loaded) {
  process.stderr.write('Could not load the function, shutting down.\n');
  process.exit(1);
}
if (loaded.signatureType === 'cloudevent') framework.cloudEvent(target, loaded.userFunction);
else framework.http(target, loaded.userFunction);

const server = getTestServer(target);
server.setTimeout(0);
server.requestTimeout = 0;
server.listen(0, '127.0.0.1', () => {
  new ErrorHandler(server).register();
  // The channel to the front carries only this message. The function gets no channel.
  process.send({ port: server.address().port }, () => process.disconnect());
});
