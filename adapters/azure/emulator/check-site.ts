// Checks a site and a plan as Azure does, and tells which of their settings have no effect here.

import { type Judgement, judge } from '../../emulators/settings.ts';
import { asRecord } from './resource.ts';
import { appSetting, PLAN_SETTINGS, SITE_SETTINGS } from './settings.ts';
import type { PlanRecord, SiteRecord } from './store.ts';

const FLEX_INSTANCE_MIB: readonly unknown[] = [512, 2048, 4096];
/** Settings that Flex Consumption refuses (Flex Consumption plan, "Deprecated settings"). */
const NOT_ON_FLEX = [
  'FUNCTIONS_WORKER_RUNTIME',
  'FUNCTIONS_EXTENSION_VERSION',
  'WEBSITE_RUN_FROM_PACKAGE',
  'SCM_DO_BUILD_DURING_DEPLOYMENT',
];

/** Application settings by name. */
export type AppSettings = Readonly<Record<string, string>>;

export interface Verdict {
  /** Why the request is refused. */
  readonly refused: string | undefined;
  /** Sentences about what has no effect. */
  readonly warnings: readonly string[];
}

/** `body` is what the client sent, `site` the app as it would then be. */
export function checkSite(
  body: unknown,
  site: Pick<SiteRecord, 'kind' | 'siteConfig' | 'functionAppConfig' | 'settings'>,
  plan: Pick<PlanRecord, 'sku'>,
): Verdict {
  const problem = plan.sku.name === 'FC1' ? flexFault(site) : y1Fault(site);
  if (problem) return { refused: problem, warnings: [] };
  if (!/(^|,)functionapp(,|$)/i.test(site.kind)) {
    return { refused: `The kind ${site.kind} is not emulated: only functionapp`, warnings: [] };
  }
  return verdictOf(judge(SITE_SETTINGS, asRecord(body)), judgeSettings(site.settings));
}

export function checkPlan(body: unknown): Verdict {
  return verdictOf(judge(PLAN_SETTINGS, asRecord(body)));
}

function judgeSettings(settings: AppSettings): Judgement {
  const table = Object.fromEntries(Object.keys(settings).map((name) => [name, appSetting(name)]));
  return judge(table, settings);
}

function verdictOf(...judgements: readonly Judgement[]): Verdict {
  const refused = judgements.flatMap((one) => one.refused);
  return {
    refused: refused.length === 0 ? undefined : `${refused.join('; ')}.`,
    warnings: judgements.flatMap((one) => [
      ...one.ignored,
      ...one.unknown.map((path) => `${path} is unknown`),
    ]),
  };
}

function flexFault({
  functionAppConfig,
  settings,
}: Pick<SiteRecord, 'functionAppConfig' | 'settings'>): string | undefined {
  const { deployment, runtime, scaleAndConcurrency } = asRecord(functionAppConfig);
  const storage = asRecord(asRecord(deployment).storage);
  const scale = asRecord(scaleAndConcurrency);
  if (storage.type !== 'blobContainer' || !storage.value)
    return 'Site.FunctionAppConfig.Deployment.Storage is required.';
  if (asRecord(runtime).name !== 'node') return 'Site.FunctionAppConfig.Runtime.Name is invalid.';
  if (!FLEX_INSTANCE_MIB.includes(scale.instanceMemoryMB))
    return `Site.FunctionAppConfig.ScaleAndConcurrency.InstanceMemoryMB ${String(scale.instanceMemoryMB)} is invalid.`;
  const counts = {
    MaximumInstanceCount: scale.maximumInstanceCount,
    'Triggers.Http.PerInstanceConcurrency': asRecord(asRecord(scale.triggers).http)
      .perInstanceConcurrency,
  };
  for (const [name, count] of Object.entries(counts)) {
    if (!isCount(count))
      return `Site.FunctionAppConfig.ScaleAndConcurrency.${name} ${String(count)} is invalid.`;
  }
  const refused = NOT_ON_FLEX.find((name) => settings[name] !== undefined);
  if (refused)
    return `The following app setting (Site.SiteConfig.AppSettings.${refused}) for Flex Consumption sites is invalid. Please remove or rename it before retrying.`;
  return settings.AzureWebJobsStorage
    ? undefined
    : 'Parameter Site.SiteConfig.AppSettings.AzureWebJobsStorage is required.';
}

/** Not set, or from 1 to 1000 (Flex Consumption plan, "Instance memory" and "Concurrency"). */
function isCount(value: unknown): boolean {
  if (value === undefined || value === null) return true;
  return Number.isInteger(value) && Number(value) >= 1 && Number(value) <= 1000;
}

function y1Fault({
  siteConfig,
  settings,
}: Pick<SiteRecord, 'siteConfig' | 'settings'>): string | undefined {
  if (!/^node\|\d+$/i.test(String(siteConfig.linuxFxVersion)))
    return `The parameter LinuxFxVersion has an invalid value ${String(siteConfig.linuxFxVersion)}.`;
  if (settings.FUNCTIONS_WORKER_RUNTIME !== 'node')
    return 'The app setting FUNCTIONS_WORKER_RUNTIME is required.';
  return settings.AzureWebJobsStorage
    ? undefined
    : 'The app setting AzureWebJobsStorage is required.';
}
