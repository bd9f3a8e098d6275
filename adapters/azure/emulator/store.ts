// The state of the Azure emulator: plans, apps and their packages. Each record is one file, written
// completely.

import { mkdirSync } from 'node:fs';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { writeWhole } from '../../runtime/whole-file.ts';

export interface PlanRecord {
  readonly name: string;
  readonly location: string;
  readonly kind: string;
  readonly sku: { readonly name: string; readonly tier?: string };
  /** Other properties as the client sent them. */
  readonly given?: Readonly<Record<string, unknown>>;
  readonly tags: Readonly<Record<string, string>>;
}

/** A function that the host found in an app's code. */
export interface FunctionRecord {
  readonly name: string;
  readonly triggerName: string;
  readonly type: string;
  /** In upper case. Empty means all methods. */
  readonly methods: readonly string[];
  readonly route: string;
  readonly authLevel: string;
}

/**
 * A publish at the SCM site. `status` is Kudu's: 0 pending, 1 building, 2 deploying, 3 failed,
 * 4 success.
 */
export interface PublishRecord {
  readonly id: string;
  readonly status: 0 | 1 | 2 | 3 | 4;
  readonly text: string;
  readonly receivedAtMs: number;
  readonly endedAtMs?: number;
}

export interface SiteRecord {
  readonly name: string;
  readonly location: string;
  readonly kind: string;
  readonly plan: string;
  readonly tags: Readonly<Record<string, string>>;
  /** As the client sent it, without `appSettings`. */
  readonly siteConfig: Readonly<Record<string, unknown>>;
  readonly functionAppConfig?: FunctionAppConfig;
  readonly identity?: unknown;
  /** Other properties as the client sent them. */
  readonly given?: Readonly<Record<string, unknown>>;
  readonly settings: Readonly<Record<string, string>>;
  readonly sitePort: number;
  readonly scmPort: number;
  readonly masterKey: string;
  readonly functionKeys: Readonly<Record<string, string>>;
  readonly publishing: { readonly user: string; readonly password: string };
  readonly modifiedAtMs: number;
  readonly publishes: readonly PublishRecord[];
  /** Id of the publish whose code runs. */
  readonly active?: string;
  readonly functions: readonly FunctionRecord[];
}

export interface FunctionAppConfig {
  readonly deployment?: unknown;
  readonly runtime?: { readonly name?: string; readonly version?: string };
  readonly scaleAndConcurrency?: {
    readonly instanceMemoryMB?: number;
    readonly maximumInstanceCount?: number;
    readonly triggers?: { readonly http?: { readonly perInstanceConcurrency?: number } };
  };
}

export interface Store {
  readonly plans: ReadonlyMap<string, PlanRecord>;
  readonly sites: ReadonlyMap<string, SiteRecord>;
  putPlan(plan: PlanRecord): Promise<void>;
  deletePlan(name: string): Promise<void>;
  /** Readers see the change at once. Resolves when it is on disk. */
  putSite(site: SiteRecord): Promise<void>;
  deleteSite(name: string): Promise<void>;
  putPackage(site: string, publish: string, zip: Uint8Array): Promise<void>;
  readPackage(site: string, publish: string): Promise<Uint8Array>;
  /** Removes all packages of an app except `keep`. */
  trimPackages(site: string, keep: string | undefined): Promise<void>;
  /** Resolves when all changes so far are on disk. */
  written(): Promise<void>;
}

export async function openStore(dir: string): Promise<Store> {
  for (const kind of ['plans', 'sites', 'packages']) {
    mkdirSync(join(dir, kind), { recursive: true, mode: 0o700 });
  }
  // Safe: the emulator wrote these files.
  const plans = await readRecords<PlanRecord>(join(dir, 'plans'));
  const sites = await readRecords<SiteRecord>(join(dir, 'sites'));
  let writing: Promise<void> = Promise.resolve();

  /** Writes one after the other, so that an older state never replaces a newer one. */
  function inTurn(work: () => Promise<void>): Promise<void> {
    const done = writing.then(work);
    writing = done.catch(() => {});
    return done;
  }

  async function write(kind: string, name: string, record: unknown): Promise<void> {
    const path = join(dir, kind, `${name}.json`);
    if (record === undefined) await rm(path, { force: true });
    else await writeWhole(path, JSON.stringify(record));
  }

  return {
    plans,
    sites,
    putPlan(plan) {
      plans.set(plan.name, plan);
      return inTurn(() => write('plans', plan.name, plan));
    },
    deletePlan(name) {
      plans.delete(name);
      return inTurn(() => write('plans', name, undefined));
    },
    putSite(site) {
      sites.set(site.name, site);
      return inTurn(() => write('sites', site.name, site));
    },
    deleteSite(name) {
      sites.delete(name);
      return inTurn(() => write('sites', name, undefined));
    },
    putPackage: (site, publish, zip) =>
      writeWhole(join(dir, 'packages', `${site}.${publish}.zip`), zip),
    readPackage: (site, publish) => readFile(join(dir, 'packages', `${site}.${publish}.zip`)),
    written: () => writing,
    async trimPackages(site, keep) {
      for (const file of await readdir(join(dir, 'packages'))) {
        const isOfSite = file.startsWith(`${site}.`) && file !== `${site}.${keep}.zip`;
        if (isOfSite) await rm(join(dir, 'packages', file), { force: true });
      }
    },
  };
}

async function readRecords<T extends { readonly name: string }>(
  dir: string,
): Promise<Map<string, T>> {
  const records = new Map<string, T>();
  for (const file of (await readdir(dir)).sort()) {
    if (!file.endsWith('.json')) continue;
    const record: T = JSON.parse(await readFile(join(dir, file), 'utf8'));
    records.set(record.name, record);
  }
  return records;
}
