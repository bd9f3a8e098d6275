// Azure Functions on this machine, over TLS: Azure Resource Manager on one port, and the site and
// the SCM site of each app on two others. Runs the published zip in processes of its own.

import { randomBytes, timingSafeEqual } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createExecutionSums } from '../../emulators/executions.ts';
import { createFaults, type Faults, serveFaults } from '../../emulators/faults.ts';
import { openLogFolder } from '../../runtime/log-folder.ts';
import { writeWhole } from '../../runtime/whole-file.ts';
import { openApps } from './apps.ts';
import { answerArm } from './arm.ts';
import { loadCertificate } from './certificate.ts';
import { answerFront } from './front.ts';
import { type Answer, createListeners } from './listeners.ts';
import { answerInsights, CONNECTION_STRING, isInsights } from './logs.ts';
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

const IDLE_MS = 60_000;
const METRIC_DELAY_MS = 1_000;
/** No storage account is used. */
const STORAGE = {
  connectionString: 'UseDevelopmentStorage=true',
  containerUrl: 'https://devstoreaccount1.blob.core.windows.net/packages',
};

/** @throws Error EADDRINUSE */
export async function startAzureFunctions(
  options: AzureFunctionsEmulatorOptions,
): Promise<AzureFunctionsEmulator> {
  const { dir, log = () => {} } = options;
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const certificate = await loadCertificate(dir);
  const token = await loadToken(dir);
  const store = await openStore(dir);
  const faults = createFaults();
  const logs = openLogFolder(join(dir, 'logs'));
  const sums = createExecutionSums({
    nowMs: options.metricNowMs ?? Date.now,
    delayMs: options.metricDelayMs ?? METRIC_DELAY_MS,
  });
  const apps = openApps({ dir, store, sums, logs, log, idleMs: options.idleMs ?? IDLE_MS });
  const listeners = createListeners(certificate, log);
  let writes = 0;

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
    openSite: (name) => listeners.openSite(name, answersOf(name, parts)),
    async closeSite(name) {
      apps.replaceApp(name);
      await listeners.closeScm(name);
      await logs.remove(name);
      sums.remove(name);
    },
    app: apps.app,
    tryApp: apps.tryApp,
    dropApp: apps.dropApp,
    replaceApp: apps.replaceApp,
  };

  const port = await listeners.open(
    // At Azure, Application Insights has a host of its own.
    (request, response) =>
      (isInsights(request.url) ? answerInsights : answerArm)(parts, request, response),
    options.port ?? 0,
  );
  const endpoint = `https://127.0.0.1:${port}`;
  for (const site of [...store.sites.values()]) {
    const ports = await listeners.openSite(site.name, answersOf(site.name, parts), site);
    await store.putSite({ ...endPublishes(site), ...ports });
  }
  faults.onChange(() => listeners.follow(faults));
  const faultSwitch = options.faults ? await serveFaults(faults) : undefined;

  return {
    endpoint,
    port,
    caPem: certificate.caPem,
    token,
    subscriptionId: parts.subscriptionId,
    resourceGroup: parts.resourceGroup,
    storage: STORAGE,
    insightsConnectionString: CONNECTION_STRING,
    faults,
    ...(faultSwitch === undefined ? {} : { faultsUrl: faultSwitch.url }),
    writes: () => writes,
    instances: apps.instances,
    async close() {
      await faultSwitch?.close();
      await listeners.close();
      await apps.close();
      await logs.close();
      await store.written();
    },
  };
}

function answersOf(name: string, parts: AzureParts): Readonly<Record<'site' | 'scm', Answer>> {
  return {
    site: (request, response) => answerFront(parts, name, request, response),
    scm: (request, response) => answerScm(parts, name, request, response),
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
