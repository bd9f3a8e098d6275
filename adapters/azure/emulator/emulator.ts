// Azure Functions on this machine, over TLS: Azure Resource Manager on one port, and the site and
// the SCM site of each app on two others. Runs the published zip in processes of its own.

import { randomBytes, timingSafeEqual } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import { join } from 'node:path';
import { createExecutionSums } from '../../emulators/executions.ts';
import { createFaults, type Faults, serveFaults } from '../../emulators/faults.ts';
import { openPort, type Port } from '../../emulators/port.ts';
import { createChildren } from '../../runtime/children.ts';
import { openLogFolder } from '../../runtime/log-folder.ts';
import { writeWhole } from '../../runtime/whole-file.ts';
import { type App, openApp } from './app.ts';
import { answerArm } from './arm.ts';
import { loadCertificate } from './certificate.ts';
import { answerFront } from './front.ts';
import {
  answerInsights,
  CONNECTION_SETTING,
  CONNECTION_STRING,
  isInsights,
  traceWriter,
} from './logs.ts';
import { unitsOf } from './metrics.ts';
import type { AzureParts } from './parts.ts';
import { answerScm } from './scm.ts';
import { openStore, type SiteRecord } from './store.ts';

export interface AzureFunctionsEmulatorOptions {
  /** Folder of certificate, token, plans, apps and packages. */
  readonly dir: string;
  /** Port of Azure Resource Manager. 0 (default) is any free port. */
  readonly port?: number;
  /** Default: an all-zero GUID and `defaas`. */
  readonly subscriptionId?: string;
  readonly resourceGroup?: string;
  /**
   * How the creation of an app answers: with its result, or with 202 and a header that has a URL to
   * poll. Default: `location`.
   */
  readonly longRunning?: 'none' | 'location' | 'azure-asyncoperation';
  /** Delay between the end of a minute and its executions in the metrics, ms. Default: 1 s. */
  readonly metricDelayMs?: number;
  /** Unix time of the metrics, ms. */
  readonly metricNowMs?: () => number;
  /** Ends an instance that has had no call for this time. Default: 1 min. */
  readonly idleMs?: number;
  /** Serve the fault switch over HTTP too. */
  readonly faults?: boolean;
  /** Gets one line per event, and what functions write. */
  readonly log?: (line: string) => void;
}

export interface AzureFunctionsEmulator {
  /** Origin of Azure Resource Manager, https. */
  readonly endpoint: string;
  readonly port: number;
  /** Certificate of the authority of all its certificates. */
  readonly caPem: string;
  /** The only bearer token that it accepts. */
  readonly token: string;
  readonly subscriptionId: string;
  readonly resourceGroup: string;
  /** A storage account for the adapter's options. Nothing is stored there. */
  readonly storage: { readonly connectionString: string; readonly containerUrl: string };
  /** Connection string of its Application Insights. */
  readonly insightsConnectionString: string;
  readonly faults: Faults;
  readonly faultsUrl?: string;
  /** Number of requests so far that changed something. */
  writes(): number;
  /** Number of processes of all apps. */
  instances(): number;
  close(): Promise<void>;
}

/** As at Azure (4 min, Azure Load Balancer). Adapters close idle sockets sooner. */
const KEEP_ALIVE_MS = 240_000;
const IDLE_MS = 60_000;
const METRIC_DELAY_MS = 1_000;
const MAX_HEADER_BYTES = 64 * 1024;

/** @throws Error EADDRINUSE */
export async function startAzureFunctions(
  options: AzureFunctionsEmulatorOptions,
): Promise<AzureFunctionsEmulator> {
  const { dir } = options;
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const certificate = await loadCertificate(dir);
  const token = await loadToken(dir);
  const store = await openStore(dir);
  const faults = createFaults();
  const children = createChildren(join(dir, 'processes'));
  const codeDir = join(dir, 'code');
  rmSync(codeDir, { recursive: true, force: true });

  const log = options.log ?? (() => {});
  const logs = openLogFolder(join(dir, 'logs'));
  const sums = createExecutionSums({
    nowMs: options.metricNowMs ?? Date.now,
    delayMs: options.metricDelayMs ?? METRIC_DELAY_MS,
  });
  const ports: { scope: 'control' | 'invoke'; port: Port; site?: string; role?: 'site' | 'scm' }[] =
    [];
  const apps = new Map<string, Promise<App>>();
  const running = new Set<App>();
  let opened = 0;
  let writes = 0;

  function serve(answer: (request: IncomingMessage, response: ServerResponse) => Promise<void>) {
    const server = createServer(
      {
        cert: certificate.certPem,
        key: certificate.keyPem,
        keepAliveTimeout: KEEP_ALIVE_MS,
        maxHeaderSize: MAX_HEADER_BYTES,
      },
      (request, response) => {
        answer(request, response).catch((error) => {
          log(`broken ${request.method} ${request.url}: ${error?.stack ?? error}`);
          response.destroy();
        });
      },
    );
    server.requestTimeout = 0;
    return server;
  }

  async function openSite(name: string, wanted?: { sitePort: number; scmPort: number }) {
    const open = async (role: 'site' | 'scm', port = 0) => {
      const answer = role === 'site' ? answerFront : answerScm;
      const server = serve((request, response) => answer(parts, name, request, response));
      // Another program may have taken the port in the meantime. Then the app gets another port,
      // and the gateway learns the new address with its next deploy.
      const opened = await openPort(server, port).catch(() => openPort(server, 0));
      ports.push({ scope: role === 'site' ? 'invoke' : 'control', port: opened, site: name, role });
      return opened.port;
    };
    return {
      sitePort: await open('site', wanted?.sitePort),
      scmPort: await open('scm', wanted?.scmPort),
    };
  }

  function tryApp(site: SiteRecord, publish: string, zip: Uint8Array): App {
    opened += 1;
    const app = openApp({
      site,
      zip,
      codeDir: join(codeDir, site.name, `${publish}.${opened}`),
      children,
      idleMs: options.idleMs ?? IDLE_MS,
      onOutput: outputOf(site),
      onExecution: () => sums.add(site.name, { count: 1, amount: 0 }),
      onActive: (ms) => sums.add(site.name, { count: 0, amount: unitsOf(site, ms) }),
    });
    running.add(app);
    return app;
  }

  /** Writes to the log, and to Application Insights when the app's settings name it. */
  function outputOf({ name, settings }: SiteRecord): (chunk: Buffer) => void {
    const isConnected = settings[CONNECTION_SETTING] === CONNECTION_STRING;
    const trace = isConnected ? traceWriter(logs, name) : () => {};
    return (chunk) => {
      log(chunk.toString());
      trace(chunk);
    };
  }

  /** Waits for the running calls of the app, then ends it. */
  async function retire(opening: Promise<App>): Promise<void> {
    const app = await opening.catch(() => undefined);
    if (!app) return;
    await app.retire();
    running.delete(app);
  }

  const parts: AzureParts = {
    store,
    faults,
    subscriptionId: options.subscriptionId ?? '00000000-0000-0000-0000-000000000000',
    resourceGroup: options.resourceGroup ?? 'defaas',
    longRunning: options.longRunning ?? 'location',
    log,
    logs,
    sums,
    endpoint: () => endpoint,
    isToken: (authorization) => isSame(authorization ?? '', `Bearer ${token}`),
    countWrite: () => {
      writes += 1;
    },
    openSite: (name) => openSite(name),
    async closeSite(name) {
      const app = apps.get(name);
      apps.delete(name);
      if (app) void retire(app);
      const scm = ports.findIndex((one) => one.site === name && one.role === 'scm');
      if (scm >= 0) await ports.splice(scm, 1)[0]?.port.close();
      await logs.remove(name);
      sums.remove(name);
    },
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
  };

  const arm = await openPort(
    // At Azure, Application Insights has a host of its own.
    serve((request, response) =>
      (isInsights(request.url) ? answerInsights : answerArm)(parts, request, response),
    ),
    options.port ?? 0,
  );
  const endpoint = `https://127.0.0.1:${arm.port}`;
  ports.push({ scope: 'control', port: arm });
  for (const site of [...store.sites.values()]) {
    await store.putSite({ ...endPublishes(site), ...(await openSite(site.name, site)) });
  }
  faults.onChange(async () => {
    await Promise.all(ports.map(({ scope, port }) => port.refuse(faults.isOut(scope))));
  });
  const faultSwitch = options.faults ? await serveFaults(faults) : undefined;

  return {
    endpoint,
    port: arm.port,
    caPem: certificate.caPem,
    token,
    subscriptionId: parts.subscriptionId,
    resourceGroup: parts.resourceGroup,
    storage: {
      connectionString: 'UseDevelopmentStorage=true',
      containerUrl: 'https://devstoreaccount1.blob.core.windows.net/packages',
    },
    insightsConnectionString: CONNECTION_STRING,
    faults,
    ...(faultSwitch === undefined ? {} : { faultsUrl: faultSwitch.url }),
    writes: () => writes,
    instances: () => [...running].reduce((sum, app) => sum + app.instances(), 0),
    async close() {
      await faultSwitch?.close();
      await Promise.all(ports.map(({ port }) => port.close()));
      await children.close();
      await Promise.all([...running].map((app) => app.close()));
      await logs.close();
      await store.written();
      rmSync(codeDir, { recursive: true, force: true });
    },
  };
}

/** A publish that a restart has cut off has failed. The client publishes again. */
function endPublishes(site: SiteRecord): SiteRecord {
  const text = 'Deployment was cut off by a restart.';
  const publishes = site.publishes.map((publish) =>
    publish.status < 3 ? { ...publish, status: 3 as const, text, endedAtMs: Date.now() } : publish,
  );
  return { ...site, publishes };
}

async function loadToken(dir: string): Promise<string> {
  const path = join(dir, 'token');
  const kept = await readFile(path, 'utf8').catch(() => undefined);
  if (kept) return kept;
  const token = randomBytes(32).toString('base64url');
  await writeWhole(path, token);
  return token;
}

function isSame(given: string, wanted: string): boolean {
  const [one, other] = [Buffer.from(given), Buffer.from(wanted)];
  return one.length === other.length && timingSafeEqual(one, other);
}
