// `defaas dev <folder>`: runs a function on this machine with the local provider and reloads it
// after each change. No gateway, no chain, no price. Errors are shown with file and line until they
// are fixed.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { createLocal } from '../../adapters/local/provider.ts';
import type { Deployment, InvokeRequest, InvokeResult, Provider } from '../../adapters/provider.ts';
import { ArtifactError } from '../../ipfs/artifact-error.ts';
import { type Bundle, bundle } from '../../ipfs/bundle.ts';
import { CliError, errorLine } from './cli-error.ts';
import { type Flags, note, type Outcome } from './context.ts';
import { startDevServer } from './dev-server.ts';
import { userPath } from './house.ts';
import { interrupted } from './interrupted.ts';
import { createSourceLines } from './source-lines.ts';
import { watchFolder } from './watch-folder.ts';

/** Longest time to load a change, ms. */
const DEPLOY_MS = 60_000;
/** Above any timeout of a function. */
const CALL_MS = 1_000_000;

/** Result of the last load: a callable deployment, or the error. */
type Loaded = { readonly deployment: Deployment } | { readonly error: unknown };

/**
 * Serves until interrupted, then ends cleanly.
 * @throws CliError USAGE, PORT_TAKEN; ArtifactError NOT_A_FUNCTION_FOLDER
 */
export async function dev(
  flags: Flags,
  folder: string,
  options: { readonly port?: string },
): Promise<Outcome> {
  const port = parsePort(options.port ?? '0');
  const root = userPath(folder);
  const dir = await mkdtemp(join(tmpdir(), 'defaas-dev-'));
  const source = createSource(flags, root, dir);
  try {
    await source.reload();
    const { error } = source;
    if (error instanceof ArtifactError && error.code === 'NOT_A_FUNCTION_FOLDER') throw error;
    const server = await startDevServer({
      port,
      maxRequestBytes: source.maxRequestBytes,
      onCall: (line) => note(flags, line),
      call: source.call,
    });
    const watcher = watchFolder(root, () => void source.reload());
    note(
      flags,
      `${basename(root)} is at ${server.url}; it is loaded again when ${folder} changes; Ctrl-C ends it`,
    );

    await interrupted();
    watcher.close();
    await server.close();
    const { url, calls } = server;
    return { document: { folder: root, url, calls, loads: source.loads } };
  } finally {
    await source.close();
    await rm(dir, { recursive: true, force: true });
  }
}

interface Source {
  /** Reads the folder again and reports errors. Never rejects. */
  reload(): Promise<void>;
  /** Of what was read last. @throws what is wrong with it */
  readonly call: (request: InvokeRequest) => Promise<InvokeResult>;
  /** The error of the last load, if it failed. */
  readonly error: unknown;
  /** Number of loads that found a change or an error. */
  readonly loads: number;
  readonly maxRequestBytes: number;
  close(): Promise<void>;
}

function createSource(flags: Flags, root: string, dir: string): Source {
  let toSource = (text: string) => text;
  let loaded: Loaded = { error: undefined };
  let loading: Promise<void> = Promise.resolve();
  let loads = 0;
  const provider = createLocal({
    dir,
    gateway: 'dev',
    // The publisher's own code on the publisher's own machine.
    trustedPublishers: 'any',
    onLine: (_, { text }) => note(flags, `  ${toSource(text)}`),
  });
  if (provider.isolation === 'trusted') {
    note(flags, 'no sandbox on this machine: here the function reaches the network, on local not');
  }

  async function load(): Promise<Loaded> {
    try {
      const read = await bundle(root);
      const deployment = await deployTo(provider, read);
      toSource = createSourceLines(read.files.get('handler.mjs.map'));
      return { deployment };
    } catch (error) {
      return { error };
    }
  }

  async function loadAgain(): Promise<void> {
    const beganAtMs = performance.now();
    const before = loaded;
    loaded = await load();
    if ('error' in loaded) {
      loads += 1;
      note(flags, errorLine(loaded.error));
    } else if ('error' in before || before.deployment.specHash !== loaded.deployment.specHash) {
      loads += 1;
      note(flags, `loaded in ${(performance.now() - beganAtMs).toFixed(0)} ms`);
    }
  }

  return {
    reload() {
      loading = loading.then(loadAgain);
      return loading;
    },
    async call(request) {
      // A call after a change runs the changed code.
      await loading;
      if ('error' in loaded) throw loaded.error;
      return provider.invoke(loaded.deployment, request, { signal: AbortSignal.timeout(CALL_MS) });
    },
    get error() {
      return 'error' in loaded ? loaded.error : undefined;
    },
    get loads() {
      return loads;
    },
    maxRequestBytes: provider.limits.maxRequestBytes,
    async close() {
      await loading;
      await provider.close();
    },
  };
}

/** Secrets take their values from the environment. */
function deployTo(provider: Provider, { manifest, files }: Bundle): Promise<Deployment> {
  const { env, secrets, memoryMiB, timeoutMs } = manifest;
  const values = secrets.flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return provider.deploy(
    {
      name: 'dev',
      region: provider.regions[0] ?? '',
      files,
      artifactCid: 'dev',
      functionName: `dev/${manifest.name}`,
      version: 0,
      memoryMiB,
      timeoutMs,
      env,
      secrets: Object.fromEntries(values),
    },
    { signal: AbortSignal.timeout(DEPLOY_MS) },
  );
}

function parsePort(text: string): number {
  const port = Number(text);
  if (/^\d+$/.test(text) && port <= 65_535) return port;
  throw new CliError('USAGE', `"${text}" is no port, on --port, use 0 to 65535`);
}
