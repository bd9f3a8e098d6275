#!/usr/bin/env node
// The launcher: every npm script and the `defaas` command begin here, on any Node from 20 on. On an
// older Node it finds Node 26 and runs itself there; on Node 26 it installs what is missing and
// becomes the command. Everything it prints goes to stderr: stdout belongs to the command. Only
// `node:` imports, and it parses on Node 20.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, realpathSync, rmSync, statSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import module from 'node:module';
import { constants } from 'node:os';
import { basename, delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const NODE_MAJOR = 26;
/** Exact Node version that npx fetches if the user's own is older (npm package `node`). */
const NODE_VERSION = '26.10.0';

/**
 * npm script -> its program and fixed arguments. Any other word is a command of `defaas`. A program
 * runs when imported.
 */
const COMMANDS = {
  start: ['scripts/up.ts'],
  test: ['scripts/test.ts'],
  'test:file': ['scripts/test.ts'],
  check: ['scripts/check.ts'],
  fix: ['node_modules/@biomejs/biome/bin/biome', 'check', '--write', '.'],
  build: ['scripts/build.ts'],
  bench: ['scripts/bench/main.ts'],
  gas: ['scripts/gas.ts'],
  mutate: ['scripts/mutate.ts'],
  fuzz: ['scripts/fuzz.ts'],
  coverage: ['node_modules/hardhat/dist/src/cli.js', 'test', 'solidity', '--coverage'],
  defaas: ['scripts/defaas.ts'],
  emulators: ['scripts/emulators.ts'],
  gateway: ['broker/main.ts'],
};
/** Scripts that read `.env`; tests and checks must not depend on it. */
const CONFIGURED = ['start', 'bench', 'defaas', 'emulators', 'gateway'];

/** Grace period of an interrupted npm; `npm ci` was seen to take 45 s to end. */
const NPM_GRACE_MS = 2_000;
/** A lock of this age is from before a reboot: its pid may belong to another process now. */
const LOCK_STALE_MS = 30 * 60_000;
const LOOK_EVERY_MS = 200;
const LOOPBACK = ['localhost', '127.0.0.1', '::1', '[::1]'];
const ANY_ADDRESS = ['0.0.0.0', '::'];

const root = dirname(dirname(realpathSync(fileURLToPath(import.meta.url))));
const lockfile = join(root, 'package-lock.json');
const stampFile = join(root, 'node_modules', '.launch-stamp.json');
const installLock = join(root, '.install.lock');

process.env.INIT_CWD ??= process.cwd();
if (Number.parseInt(process.versions.node, 10) >= NODE_MAJOR) await becomeCommand();
else await runOnPinnedNode();

/**
 * On Node 26: install if needed, then import the command's program, so that there is no process in
 * between.
 */
async function becomeCommand() {
  process.chdir(root);
  if (existsSync(lockfile) && !isStamped()) await install();
  stopWithParent(() => process.kill(process.pid, 'SIGTERM'));
  const word = process.argv[2] ?? '';
  const name = Object.hasOwn(COMMANDS, word) ? word : 'defaas';
  const [program, ...fixed] = COMMANDS[name];
  if (CONFIGURED.includes(name) && existsSync('.env')) process.loadEnvFile('.env');
  keepOffProxies();
  const given = process.argv.slice(name === word ? 3 : 2);
  // Enables the compile cache, for child processes too: a warm start of the house takes a third of
  // the time.
  process.env.NODE_COMPILE_CACHE ??= join(root, 'node_modules', '.cache', 'compiled');
  module.enableCompileCache(process.env.NODE_COMPILE_CACHE);
  process.argv = [process.execPath, join(root, program), ...fixed, ...given];
  module.runMain();
}

/**
 * Where the environment names a proxy: the house's parts reach each other without it, in this
 * process and in all that it starts. A proxy elsewhere cannot reach this machine's own addresses.
 */
function keepOffProxies() {
  const { env } = process;
  if (!Object.keys(env).some((name) => /^(https?|all)_proxy$/i.test(name))) return;
  const given = `${env.no_proxy ?? ''},${env.NO_PROXY ?? ''}`.split(',');
  const listens = env.DEFAAS_LISTEN_HOST;
  const own = [...LOOPBACK, ...(listens && !ANY_ADDRESS.includes(listens) ? [listens] : [])];
  const all = new Set([...given.map((one) => one.trim()).filter(Boolean), ...own]);
  // Libraries differ in which of the two they read.
  env.no_proxy = env.NO_PROXY = all.has('*') ? '*' : [...all].join(',');
  // Node has read the variables before this line.
  const isNodes = /^1$/.test(env.NODE_USE_ENV_PROXY ?? '') || usesProxy(env.NODE_OPTIONS ?? '');
  if (isNodes || process.execArgv.some(usesProxy)) http.setGlobalProxyFromEnv(env);
}

function usesProxy(option) {
  return option.includes('--use-env-proxy');
}

/**
 * On an older Node: runs this file again under Node 26; passes signals, exit code and streams
 * through.
 */
async function runOnPinnedNode() {
  const node = await findPinnedNode();
  const { code, signal } = await run(
    node,
    [fileURLToPath(import.meta.url), ...process.argv.slice(2)],
    {
      // The channel carries no messages: its end tells the child that this process is gone, even
      // after SIGKILL.
      stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
      env: {
        ...process.env,
        PATH: `${dirname(node)}${delimiter}${process.env.PATH ?? ''}`,
        NODE: node,
        npm_node_execpath: node,
      },
    },
  );
  process.exit(code ?? 128 + constants.signals[signal]);
}

/**
 * Path of a Node 26: that of the last install, else the pinned version, which npx fetches once into
 * npm's cache.
 */
async function findPinnedNode() {
  const known = readJson(stampFile)?.node;
  if (isNewEnough(known)) return known;
  const npm = findNpm();
  say(`this is Node ${process.versions.node}: looking for Node ${NODE_VERSION} with npx ...`);
  const { code, stdout } = npm
    ? await run(
        process.execPath,
        // Two quick retries: with npm's defaults a missing network takes over a minute to fail.
        [
          npm,
          'exec',
          '--yes',
          '--fetch-retry-mintimeout=1000',
          '--fetch-retry-maxtimeout=3000',
        ].concat([`--package=node@${NODE_VERSION}`, '--', 'node', '-p', 'process.execPath']),
        {
          stdio: ['ignore', 'pipe', 2],
          env: npmEnvironment(),
          cwd: root,
          detached: true,
          graceMs: NPM_GRACE_MS,
        },
      )
    : { code: 1, stdout: '' };
  const found = stdout.trim().split('\n').at(-1);
  // Under `--ignore-scripts` the package `node` leaves the old Node in place without an error.
  if (code === 0 && isNewEnough(found)) return found;
  const again = `npx -y -p node@${NODE_VERSION} node scripts/launch.mjs ${process.argv.slice(2).join(' ')}`;
  fail(
    'NODE_MISSING',
    `Node ${NODE_MAJOR} is needed, this is Node ${process.versions.node}, and npx could not fetch node@${NODE_VERSION}; ` +
      `install Node ${NODE_MAJOR} or newer, or with a network run: ${again.trim()}`,
  );
}

function isNewEnough(path) {
  if (!path || !existsSync(path)) return false;
  const { stdout } = spawnSync(path, ['-p', 'process.versions.node'], { encoding: 'utf8' });
  return Number.parseInt(stdout, 10) >= NODE_MAJOR;
}

/**
 * npm's program file, to run it under a Node of our choice: npm checks `engines` against the Node
 * it runs on.
 */
function findNpm() {
  const onPath = (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, 'npm'));
  const candidates = [process.env.npm_execpath, ...onPath].filter(
    (file) => file && existsSync(file),
  );
  return candidates
    .map((file) => realpathSync(file))
    .find((file) => basename(file) === 'npm-cli.js');
}

/**
 * Removes the outer npm's variables (script, package, workspace, `-s`, `--json`), which are not
 * meant for the nested npm.
 */
function npmEnvironment() {
  const outer =
    /^npm_(command|lifecycle|package|config_(loglevel|json|workspaces?|local_prefix|include_workspace_root)$)/;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !outer.test(name)));
}

/**
 * Runs `npm ci` under this Node, unless the tree matches the lockfile and its native part loads.
 */
async function install() {
  await takeInstallLock();
  if (!isStamped()) {
    if (!matchesLockfile() || !loadsNativePart()) await installPackages();
    writeFileSync(stampFile, JSON.stringify(expectedStamp()));
  }
  rmSync(installLock, { force: true });
}

async function installPackages() {
  const npm = findNpm();
  if (npm === undefined)
    fail('INSTALL_FAILED', 'npm is not on PATH; install npm, then run this again');
  say('installing packages with npm ci, about a minute ...');
  const startedAtMs = Date.now();
  const { code } = await run(
    process.execPath,
    // Below another project's `workspaces`, npm would install that one instead.
    [
      npm,
      'ci',
      '--no-workspaces',
      '--include=dev',
      '--include=optional',
      '--no-audit',
      '--no-fund',
    ],
    {
      stdio: ['ignore', 2, 2],
      env: npmEnvironment(),
      cwd: root,
      detached: true,
      graceMs: NPM_GRACE_MS,
      onStart: (pid) => writeFileSync(installLock, String(pid)),
    },
  );
  if (code !== 0 || !loadsNativePart()) {
    fail(
      'INSTALL_FAILED',
      `npm ci ended with ${code}; its lines above say why: mend that, or check the network, then run this again`,
    );
  }
  say(`installed in ${Math.round((Date.now() - startedAtMs) / 1000)} s`);
}

/**
 * Allows one install at a time: the lock holds the installer's pid, first the launcher's, then its
 * npm's.
 */
async function takeInstallLock() {
  for (let told = false; ; told = true) {
    try {
      writeFileSync(installLock, String(process.pid), { flag: 'wx' });
      // `process.exit` skips every `finally`, but not this handler.
      process.once('exit', () => rmSync(installLock, { force: true }));
      return;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    const pid = lockedBy();
    if (pid === undefined) rmSync(installLock, { force: true });
    else if (!told) say(`another install is at work here (pid ${pid}), waiting for it ...`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

/**
 * Pid of the living owner of the lock; undefined when there is none. An empty lock is one being
 * written.
 */
function lockedBy() {
  try {
    const text = readFileSync(installLock, 'utf8');
    if (Date.now() - statSync(installLock).mtimeMs > LOCK_STALE_MS) return undefined;
    if (text === '') return 0;
    process.kill(Number(text), 0);
    return Number(text);
  } catch (error) {
    return error.code === 'EPERM' ? -1 : undefined;
  }
}

function expectedStamp() {
  const lockHash = createHash('sha256').update(readFileSync(lockfile)).digest('hex');
  return { node: process.execPath, lockHash };
}

function isStamped() {
  const stamp = readJson(stampFile);
  const expected = expectedStamp();
  return stamp?.node === expected.node && stamp.lockHash === expected.lockHash;
}

/**
 * npm writes `node_modules/.package-lock.json` when an install is complete: the same packages in
 * the same versions?
 */
function matchesLockfile() {
  const installed = readJson(join(root, 'node_modules/.package-lock.json'))?.packages;
  if (installed === undefined) return false;
  return Object.entries(readJson(lockfile).packages).every(
    ([path, { version, optional, devOptional }]) =>
      !path.startsWith('node_modules/') ||
      optional ||
      devOptional ||
      installed[path]?.version === version,
  );
}

/** npm on an older Node omits Hardhat's native part silently (its `engines` says >= 22). */
function loadsNativePart() {
  const load = ['-e', 'require("@nomicfoundation/edr")'];
  return spawnSync(process.execPath, load, { cwd: root }).status === 0;
}

/**
 * Runs a program to its end; signals to this process reach it. With `graceMs` a signal ends its
 * whole process group, then this process.
 */
function run(program, args, { graceMs, onStart, ...options }) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, options);
    let stdout = '';
    let stoppedBy;
    child.stdout?.setEncoding('utf8').on('data', (text) => {
      stdout += text;
    });
    const stop = (signal) => {
      if (graceMs === undefined) return void child.kill(signal);
      if (stoppedBy !== undefined) return;
      stoppedBy = signal;
      killGroup(child.pid, 'SIGTERM');
      setTimeout(() => killGroup(child.pid, 'SIGKILL'), graceMs);
    };
    const unwatch = stopWithParent(() => stop('SIGTERM'));
    const signals = ['SIGTERM', 'SIGINT', 'SIGHUP'];
    for (const signal of signals) process.on(signal, stop);
    child.once('error', reject);
    child.once('spawn', () => onStart?.(child.pid));
    child.once('close', (code, signal) => {
      unwatch();
      for (const name of signals) process.off(name, stop);
      if (stoppedBy !== undefined) process.exit(128 + constants.signals[stoppedBy]);
      resolve({ code, signal, stdout });
    });
  });
}

function killGroup(pid, signal) {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}

/**
 * Calls `stop` once when the process that started this one is gone, however it died: the launcher
 * under the older Node (its channel ends) or npm (another parent pid). Started by hand, the command
 * may outlive its shell. Returns the undo.
 */
function stopWithParent(stop) {
  if (process.channel) {
    process.once('disconnect', stop);
    process.channel.unref();
    return () => process.off('disconnect', stop);
  }
  if (process.env.npm_lifecycle_event === undefined) return () => {};
  const parent = process.ppid;
  const look = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(look);
    stop();
  }, LOOK_EVERY_MS);
  look.unref();
  return () => clearInterval(look);
}

function readJson(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return undefined;
  }
}

function say(text) {
  process.stderr.write(`defaas: ${text}\n`);
}

/** One line, `CODE: what, on what, what to do`, and exit code 1. */
function fail(code, text) {
  process.stderr.write(`${code}: ${text}\n`);
  process.exit(1);
}
