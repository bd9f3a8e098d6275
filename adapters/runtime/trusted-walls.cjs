'use strict';
// Preloaded into an instance where there is no sandbox. Node's permission model allows some calls
// that reach other processes and files: this replaces them before the publisher's code loads.
// test/adapters/builtins.test.ts decides each built-in module.

const { syncBuiltinESMExports } = require('node:module');
const os = require('node:os');
const v8 = require('node:v8');

const own = process.pid;
const kill = process._kill;

function refuse(name) {
  return () => {
    const error = new Error(`${name} is refused where there is no sandbox`);
    throw Object.assign(error, { code: 'ERR_ACCESS_DENIED' });
  };
}

// V8 writes files at paths that its flags name.
v8.setFlagsFromString = refuse('v8.setFlagsFromString');
os.setPriority = refuse('os.setPriority');
process._debugProcess = refuse('process._debugProcess');
// process.kill calls it.
process._kill = (pid, signal) =>
  pid === own ? kill(own, signal) : refuse('process.kill of another process')();
syncBuiltinESMExports();
