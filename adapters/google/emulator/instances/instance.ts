// Starts the process of one instance: the revision's unpacked code under the functions-framework.
// Its environment has only what Cloud Run gives to a container.

import { fileURLToPath } from 'node:url';
import { Pool } from 'undici';
import type { Child, Children, Exit } from '../../../runtime/children.ts';
import type { Instance } from '../../../runtime/pool.ts';
import type { Logs } from './logs.ts';

/** One immutable version of a function: code and settings. */
export interface Revision {
  /** Name of the function. */
  readonly service: string;
  /** Name of the revision, `<service>-00001-abc`. */
  readonly name: string;
  readonly codeDir: string;
  readonly entryPoint: string;
  /** How the framework calls it: `http`, `event` or `cloudevent`. */
  readonly signature: string;
  readonly env: Readonly<Record<string, string>>;
  readonly memoryMiB: number;
  readonly timeoutSec: number;
  /** Calls that share an instance. */
  readonly concurrency: number;
  readonly maxInstances: number;
}

export interface FunctionInstance extends Instance {
  readonly exited: Promise<Exit>;
  /** Connections to its server. */
  readonly http: Pool;
}

export interface InstanceParts {
  readonly children: Children;
  /** Folder of V8's compile cache, shared by all functions. */
  readonly cacheDir: string;
  /** Gets what a function writes to stdout and stderr. */
  readonly logs: Pick<Logs, 'writer' | 'remove'>;
}

const BOOTSTRAP = fileURLToPath(new URL('./bootstrap.mjs', import.meta.url));

/** Longest start of an instance. Cloud Run's startup probe waits 240 s. */
const MAX_START_MS = 60_000;
/** Most characters of output in the error of a failed start. */
const TOLD_CHARACTERS = 2_000;

/**
 * Resolves when the instance accepts calls.
 * @throws Error  it exited, or did not listen in time; the message has its last output
 */
export async function startInstance(
  revision: Revision,
  parts: InstanceParts,
): Promise<FunctionInstance> {
  let tail = '';
  const write = parts.logs.writer(revision.service);
  const child = parts.children.start({
    args: [BOOTSTRAP, parts.cacheDir],
    cwd: revision.codeDir,
    env: environmentOf(revision),
    memoryMiB: revision.memoryMiB,
    ipc: true,
    onOutput(chunk) {
      tail = (tail + chunk.toString()).slice(-TOLD_CHARACTERS);
      write(chunk);
    },
  });
  const port = await listeningPort(child, () => tail);
  const http = new Pool(`http://127.0.0.1:${port}`, {
    pipelining: 1,
    // The front ends late calls itself.
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  return {
    http,
    exited: child.exited.then(async (exit) => {
      await http.destroy();
      return exit;
    }),
    stop: () => child.kill(),
  };
}

function listeningPort(child: Child, tail: () => string): Promise<number> {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => child.kill(), MAX_START_MS);
    child.process.once('message', (message) => {
      clearTimeout(late);
      // Safe: bootstrap.mjs sends only this message.
      resolve((message as { port: number }).port);
    });
    void child.exited.then(({ code, signal, isOverMemory }) => {
      clearTimeout(late);
      const how = isOverMemory ? 'was above its memory' : `ended with ${code ?? signal}`;
      reject(new Error(`the container failed to start and listen: it ${how}. ${tail()}`.trim()));
    });
  });
}

function environmentOf(revision: Revision): Record<string, string> {
  return {
    PATH: '/usr/local/bin:/usr/bin:/bin',
    HOME: '/tmp',
    LANG: 'C.UTF-8',
    TZ: 'UTC',
    ...revision.env,
    // Reserved by the container runtime contract. The function's settings cannot change them.
    PORT: '8080',
    K_SERVICE: revision.service,
    K_REVISION: revision.name,
    K_CONFIGURATION: revision.service,
    FUNCTION_TARGET: revision.entryPoint,
    FUNCTION_SIGNATURE_TYPE: revision.signature,
    CLOUD_RUN_TIMEOUT_SECONDS: String(revision.timeoutSec),
  };
}
