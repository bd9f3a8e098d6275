// The running apps: each opened with the code of its active publish at its first call, and replaced
// while calls still run on the former one.

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionSums } from '../../emulators/executions.ts';
import { createChildren } from '../../runtime/children.ts';
import type { LogFolder } from '../../runtime/log-folder.ts';
import { type App, openApp } from './app.ts';
import { CONNECTION_SETTING, CONNECTION_STRING, traceWriter } from './logs.ts';
import { unitsOf } from './metrics.ts';
import type { AzureParts } from './parts.ts';
import type { SiteRecord, Store } from './store.ts';

export interface Apps extends Pick<AzureParts, 'app' | 'tryApp' | 'dropApp' | 'replaceApp'> {
  /** Number of processes of all apps. */
  instances(): number;
  close(): Promise<void>;
}

export function openApps(parts: {
  readonly dir: string;
  readonly store: Pick<Store, 'readPackage'>;
  readonly sums: ExecutionSums;
  readonly logs: LogFolder;
  readonly idleMs: number;
  readonly log: (line: string) => void;
}): Apps {
  const { dir, store, sums, log } = parts;
  const children = createChildren(join(dir, 'processes'));
  const codeDir = join(dir, 'code');
  rmSync(codeDir, { recursive: true, force: true });
  const apps = new Map<string, Promise<App>>();
  const running = new Set<App>();
  let opened = 0;

  function tryApp(site: SiteRecord, publish: string, zip: Uint8Array): App {
    opened += 1;
    const app = openApp({
      site,
      zip,
      codeDir: join(codeDir, site.name, `${publish}.${opened}`),
      children,
      idleMs: parts.idleMs,
      onOutput: outputOf(site, parts.logs, log),
      onExecution: () => sums.add(site.name, { count: 1, amount: 0 }),
      onActive: (ms) => sums.add(site.name, { count: 0, amount: unitsOf(site, ms) }),
    });
    running.add(app);
    return app;
  }

  /** Waits for the running calls of the app, then ends it. */
  async function retire(opening: Promise<App>): Promise<void> {
    const app = await opening.catch(() => undefined);
    if (!app) return;
    await app.retire();
    running.delete(app);
  }

  return {
    async app(site) {
      const { name, active } = site;
      if (active === undefined) return undefined;
      const known = apps.get(name);
      if (known) return known;
      const opening = store.readPackage(name, active).then((zip) => tryApp(site, active, zip));
      apps.set(name, opening);
      opening.catch(() => apps.delete(name));
      return opening;
    },
    tryApp,
    dropApp: (app) => retire(Promise.resolve(app)),
    replaceApp(name, app) {
      const old = apps.get(name);
      if (app) apps.set(name, Promise.resolve(app));
      else apps.delete(name);
      if (old) void retire(old);
    },
    instances: () => [...running].reduce((sum, app) => sum + app.instances(), 0),
    async close() {
      await children.close();
      await Promise.all([...running].map((app) => app.close()));
      rmSync(codeDir, { recursive: true, force: true });
    },
  };
}

/** Writes to the log, and to Application Insights when the app's settings name it. */
function outputOf(
  { name, settings }: SiteRecord,
  logs: LogFolder,
  log: (line: string) => void,
): (chunk: Buffer) => void {
  const isConnected = settings[CONNECTION_SETTING] === CONNECTION_STRING;
  const trace = isConnected ? traceWriter(logs, name) : () => {};
  return (chunk) => {
    log(chunk.toString());
    trace(chunk);
  };
}
