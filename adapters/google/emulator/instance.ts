// Starts the process of one instance: the revision's unpacked code under the functions-framework, as Cloud Run starts a
// container, with nothing in its environment but what that cloud gives.

import { fileURLToPath } from 'node:url';
import { Pool } from 'undici';
import type { Child, Children, Exit } from '../../runtime/children.ts';
import type { Instance } from '../../runtime/pool.ts';
import type { Logs } from './logs.ts';

/** One immutable state of a function: code and settings. */
export interface Revision {
  /** Name of the function. */
  readonly service: string;
  /** Name of the revision, `<service>-00001-abc`. */
  readonly name: string;
  readonly codeDir: string;
  readonly entryPoint: string;
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
  /** What a function writes to stdout and stderr. */
  readonly logs: Pick<Logs, 'writer' | 'remove'>;
}

const BOOTSTRAP = fileURLToPath(new URL('./bootstrap.mjs', import.meta.url));

/** Cloud Run's startup probe waits 240 s; nobody wants to wait that long for an emulator. */
const MAX_START_MS = 60_000;
/** How much of the output a failed start tells. */
const TOLD_CHARACTERS = 2_000;

/** Resolves when the instance takes calls. @throws Error with the last output: it exited, or did not listen in time */
export async function startInstance(
  revision: Revision,
  parts: InstanceParts,
): Promise<FunctionInstance> {
  let tail = '';
  const write = parts.logs.writer(revision.service);
  const child = parts.children.start({
    args: [BOOTSTRAP, parts.cacheDir, revision.entryPoint],
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
    // The front's own clock is the only deadline.
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
      // Our bootstrap's one message.
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
    // Reserved names of the container runtime contract; nobody sets them otherwise.
    PORT: '8080',
    K_SERVICE: revision.service,
    K_REVISION: revision.name,
    K_CONFIGURATION: revision.service,
    FUNCTION_TARGET: revision.entryPoint,
    FUNCTION_SIGNATURE_TYPE: 'http',
    CLOUD_RUN_TIMEOUT_SECONDS: String(revision.timeoutSec),
  };
}
