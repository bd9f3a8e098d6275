// The Azure emulator by its wire: the resources as Azure shows them, and each setting of the
// official client's definition supported, ignored with a warning or refused.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { Agent, request } from 'undici';
import {
  type AzureFunctionsEmulator,
  startAzureFunctions,
} from '../../../../adapters/azure/emulator/emulator.ts';
import { PLAN_SETTINGS, SITE_SETTINGS } from '../../../../adapters/azure/emulator/settings.ts';
import { zip } from '../../../../adapters/deployment/zip.ts';

const APP = zip(
  new Map([
    ['host.json', Buffer.from('{"version":"2.0"}')],
    ['package.json', Buffer.from('{"main":"index.cjs"}')],
    ['index.cjs', Buffer.from("require('@azure/functions-core');")],
  ]),
);
const SETTINGS = { FUNCTIONS_WORKER_RUNTIME: 'node', AzureWebJobsStorage: 'none' };

describe('Azure Functions emulator, resources and settings', () => {
  let dir: string;
  let emulator: AzureFunctionsEmulator;
  let dispatcher: Agent;
  const logged: string[] = [];

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-azure-settings-'));
    const log = (line: string) => logged.push(line);
    emulator = await startAzureFunctions({ dir, longRunning: 'none', log });
    dispatcher = new Agent({ connect: { ca: emulator.caPem } });
    await arm('PUT', 'serverfarms/plan', planOf({}));
  });
  afterEach(() => emulator.faults.clear());
  after(async () => {
    await dispatcher.close();
    await emulator.close();
    rmSync(dir, { recursive: true, force: true });
  });

  async function send(
    url: string,
    method: 'GET' | 'PUT' | 'PATCH' | 'POST',
    body?: string | Buffer,
  ) {
    const headers = { authorization: `Bearer ${emulator.token}` };
    const answer = await request(url, { dispatcher, method, headers, body: body ?? null });
    const text = await answer.body.text();
    return {
      status: answer.statusCode,
      headers: answer.headers,
      // biome-ignore lint/suspicious/noExplicitAny: a foreign document, looked at field by field
      body: (text.startsWith('{') || text.startsWith('[') ? JSON.parse(text) : text) as any,
    };
  }
  const arm = (method: 'GET' | 'PUT' | 'PATCH' | 'POST', path: string, body?: object) =>
    send(
      `${emulator.endpoint}/subscriptions/${emulator.subscriptionId}/resourceGroups/defaas/providers/Microsoft.Web/${path}?api-version=2025-05-01`,
      method,
      body && JSON.stringify(body),
    );
  const planOf = (properties: object, sku: object = { name: 'Y1' }) => ({
    location: 'westeurope',
    kind: 'functionapp',
    sku,
    properties: { reserved: true, ...properties },
  });
  const siteOf = (properties: object = {}, siteConfig: object = {}, settings: object = {}) => ({
    location: 'westeurope',
    kind: 'functionapp,linux',
    properties: {
      serverFarmId: 'plan',
      siteConfig: {
        linuxFxVersion: 'Node|22',
        appSettings: Object.entries({ ...SETTINGS, ...settings }).map(([name, value]) => ({
          name,
          value,
        })),
        ...siteConfig,
      },
      ...properties,
    },
  });
  const hostOf = async (name: string, hostType: string): Promise<string> => {
    const { body } = await arm('GET', `sites/${name}`);
    const hosts: { name: string; hostType: string }[] = body.properties.hostNameSslStates;
    return `https://${hosts.find((host) => host.hostType === hostType)?.name}`;
  };

  it('has an entry for each setting of a site and of a plan in the official client', () => {
    const site = [
      ...keysOf('siteSerializer').filter((name) => name !== 'properties'),
      ...keysOf('sitePropertiesSerializer')
        .filter((name) => name !== 'siteConfig' && name !== 'functionAppConfig')
        .map((name) => `properties.${name}`),
      ...keysOf('siteConfigSerializer').map((name) => `properties.siteConfig.${name}`),
      ...keysOf('functionsScaleAndConcurrencySerializer')
        .filter((name) => name !== 'triggers')
        .map((name) => `properties.functionAppConfig.scaleAndConcurrency.${name}`),
      ...keysOf('functionsRuntimeSerializer').map(
        (name) => `properties.functionAppConfig.runtime.${name}`,
      ),
      'properties.functionAppConfig.siteUpdateStrategy',
    ];
    const plan = [
      ...keysOf('appServicePlanSerializer').filter((name) => !['properties', 'sku'].includes(name)),
      ...keysOf('skuDescriptionSerializer').map((name) => `sku.${name}`),
      ...keysOf('appServicePlanPropertiesSerializer').map((name) => `properties.${name}`),
    ];

    assert.deepEqual(
      site.filter((path) => !SITE_SETTINGS[path]),
      [],
    );
    assert.deepEqual(
      plan.filter((path) => !PLAN_SETTINGS[path]),
      [],
    );
    assert.ok(site.length > 110 && plan.length > 30, `${site.length} and ${plan.length}`);
  });

  it('keeps httpsOnly, which is false unless a client says otherwise', async () => {
    const httpsOnly = async () => (await arm('GET', 'sites/secure')).body.properties.httpsOnly;

    await arm('PUT', 'sites/secure', siteOf());
    const first = await httpsOnly();
    await arm('PATCH', 'sites/secure', { properties: { httpsOnly: true } });
    const patched = await httpsOnly();
    await arm('PUT', 'sites/secure', siteOf({ httpsOnly: false }));

    assert.deepEqual([first, patched, await httpsOnly()], [false, true, false]);
  });

  it('shows sites and plans with the usual fields, as application/json with an etag', async () => {
    await arm('PUT', 'sites/shown', siteOf());

    const site = await arm('GET', 'sites/shown');
    const plan = await arm('GET', 'serverfarms/plan');

    assert.equal(site.headers['content-type'], 'application/json');
    const { properties } = site.body;
    const modifiedMs = Date.parse(`${properties.lastModifiedTimeUtc}Z`);
    const fileTime = BigInt(`0x${String(site.headers.etag).slice(1, -1)}`);
    assert.equal(Number((fileTime - 116_444_736_000_000_000n) / 10_000n), modifiedMs);
    const recorded =
      'name state hostNames webSpace selfLink repositorySiteName owner usageState enabled adminEnabled enabledHostNames siteProperties availabilityState sslCertificates csrs cers siteMode hostNameSslStates computeMode serverFarm serverFarmId reserved isXenon hyperV lastModifiedTimeUtc storageRecoveryDefaultState contentAvailabilityState runtimeAvailabilityState siteConfig deploymentId trafficManagerHostNames sku scmSiteAlsoStopped targetSwapSlot hostingEnvironment hostingEnvironmentProfile clientAffinityEnabled clientCertEnabled clientCertExclusionPaths hostNamesDisabled kind outboundIpAddresses possibleOutboundIpAddresses containerSize dailyMemoryTimeQuota suspendedTill siteDisabledReason functionExecutionUnitsCache maxNumberOfWorkers homeStamp cloningInfo hostingEnvironmentId tags resourceGroup defaultHostName slotSwapStatus httpsOnly redundancyMode inProgressOperationId geoDistributions';
    assert.deepEqual(
      recorded.split(' ').filter((name) => !(name in properties)),
      [],
    );
    assert.deepEqual([properties.sku, properties.state], ['Dynamic', 'Running']);
    const shown = plan.body.properties;
    assert.deepEqual(
      [shown.name, shown.sku.name, shown.computeMode, shown.geoRegion, shown.planName],
      ['plan', 'Y1', 'Dynamic', 'West Europe', 'VirtualDedicatedPlan'],
    );
    assert.ok(shown.numberOfSites >= 1);
  });

  it('gives no warning when a client sends back what it was shown', async () => {
    await arm('PUT', 'sites/again', siteOf());
    const site = (await arm('GET', 'sites/again')).body;
    site.properties.siteConfig.appSettings = siteOf().properties.siteConfig.appSettings;
    const plan = (await arm('GET', 'serverfarms/plan')).body;

    const siteAnswer = await arm('PUT', 'sites/again', site);
    const planAnswer = await arm('PUT', 'serverfarms/plan', plan);

    assert.deepEqual(
      [
        siteAnswer.status,
        siteAnswer.headers.warning,
        planAnswer.status,
        planAnswer.headers.warning,
      ],
      [200, undefined, 200, undefined],
    );
  });

  it('keeps and shows a setting without an effect, with a warning in the answer and the log', async () => {
    const properties = { virtualNetworkSubnetId: '/subnet', typo: 1 };
    const siteConfig = { cors: { allowedOrigins: ['*'] }, alwaysOn: true };

    const put = await arm(
      'PUT',
      'sites/warned',
      siteOf(properties, siteConfig, { NODE_OPTIONS: '--inspect' }),
    );
    const { body } = await arm('GET', 'sites/warned');

    const warning = String(put.headers.warning);
    for (const name of ['virtualNetworkSubnetId', 'cors', 'alwaysOn', 'NODE_OPTIONS'])
      assert.match(warning, new RegExp(`${name} has no effect here`));
    assert.match(warning, /properties\.typo is unknown/);
    assert.match(warning, /^299 - "[^"]*"$/);
    assert.equal(body.properties.virtualNetworkSubnetId, '/subnet');
    assert.deepEqual(body.properties.siteConfig.cors, { allowedOrigins: ['*'] });
    assert.ok(logged.some((line) => /ignored: warned: .*alwaysOn/.test(line)));
  });

  it('refuses what it does not emulate, and changes nothing', async () => {
    await arm('PUT', 'sites/kept', siteOf());
    const before = await arm('GET', 'sites/kept');
    const sites: [object, RegExp][] = [
      [siteOf({ clientCertEnabled: true }), /clientCertEnabled/],
      [siteOf({ publicNetworkAccess: 'Disabled' }), /publicNetworkAccess "Disabled"/],
      [siteOf({ reserved: false }), /reserved false/],
      [siteOf({}, { ipSecurityRestrictions: [{ ipAddress: '10.0.0.0/8' }] }), /ipSecurity/],
      [siteOf({}, { connectionStrings: [{ name: 'db' }] }), /connectionStrings/],
      [siteOf({}, {}, { WEBSITE_RUN_FROM_PACKAGE: 'https://x' }), /RUN_FROM_PACKAGE/],
      [siteOf({}, {}, { 'AzureWebJobs.main.Disabled': 'true' }), /AzureWebJobs.main.Disabled/],
      [{ ...siteOf(), kind: 'app,linux' }, /kind app,linux/],
    ];

    for (const [body, reason] of sites) {
      const { status, body: document } = await arm('PUT', 'sites/kept', body);
      assert.deepEqual([status, document.error?.code], [400, 'BadRequest'], String(reason));
      assert.match(document.error.message, reason);
    }
    const patch = await arm('PATCH', 'sites/kept', { properties: { clientCertEnabled: true } });
    const settings = await arm('PUT', 'sites/kept/config/appsettings', { properties: {} });
    const plan = await arm('PUT', 'serverfarms/other', planOf({ hyperV: true }));
    assert.deepEqual([patch.status, settings.status, plan.status], [400, 400, 400]);
    assert.deepEqual((await arm('GET', 'sites/kept')).body, before.body);
    assert.equal((await arm('GET', 'serverfarms/other')).status, 404);
  });

  it('refuses counts out of range on Flex, and a build at the SCM site', async () => {
    await arm('PUT', 'serverfarms/flex', planOf({}, { name: 'FC1' }));
    const flexOf = (scale: object) => ({
      location: 'westeurope',
      kind: 'functionapp,linux',
      properties: {
        serverFarmId: 'flex',
        siteConfig: { appSettings: [{ name: 'AzureWebJobsStorage', value: 'none' }] },
        functionAppConfig: {
          deployment: { storage: { type: 'blobContainer', value: 'https://x' } },
          runtime: { name: 'node', version: '22' },
          scaleAndConcurrency: { instanceMemoryMB: 512, ...scale },
        },
      },
    });

    for (const scale of [
      { maximumInstanceCount: 0 },
      { maximumInstanceCount: '5' },
      { triggers: { http: { perInstanceConcurrency: 1001 } } },
    ]) {
      const { status } = await arm('PUT', 'sites/flex', flexOf(scale));
      assert.equal(status, 400, JSON.stringify(scale));
    }
    const made = await arm('PUT', 'sites/flex', flexOf({ maximumInstanceCount: 1000 }));
    assert.deepEqual([made.status, made.body.properties.sku], [200, 'FlexConsumption']);
    const scm = await hostOf('flex', 'Repository');
    const built = await send(`${scm}/api/publish?RemoteBuild=true`, 'POST', Buffer.from(APP));
    assert.equal(built.status, 400);
    assert.equal((await send(`${scm}/api/deployments`, 'GET')).body.length, 0);
  });

  it('answers 403 while the app is not enabled', async () => {
    await arm('PUT', 'sites/stopped', siteOf({ enabled: false }));
    const site = await hostOf('stopped', 'Standard');

    const stopped = await send(`${site}/x`, 'GET');
    const { body } = await arm('GET', 'sites/stopped');
    await arm('PATCH', 'sites/stopped', { properties: { enabled: true } });

    assert.deepEqual([stopped.status, body.properties.state], [403, 'Stopped']);
    assert.equal((await send(`${site}/x`, 'GET')).status, 404);
  });

  it('shows a deployment as Kudu does, with a Location only for latest and only while it runs', async () => {
    await arm('PUT', 'sites/deployed', siteOf());
    const scm = await hostOf('deployed', 'Repository');
    await emulator.faults.set([{ kind: 'stuck-operation', on: { operation: 'zipdeploy' } }]);
    const sent = await send(`${scm}/api/zipdeploy?isAsync=true`, 'POST', Buffer.from(APP));
    const running = await send(`${scm}/api/deployments/latest`, 'GET');
    const byId = await send(`${scm}/api/deployments/${running.body.id}`, 'GET');
    await emulator.faults.clear();
    await send(`${scm}/api/zipdeploy?isAsync=true`, 'POST', Buffer.from(APP));
    const latest = () => send(`${scm}/api/deployments/latest`, 'GET');
    let ended = await latest();
    for (; ended.status === 202; ended = await latest()) await wait(20);
    const log = await send(String(ended.body.log_url), 'GET');

    const url = `${scm}/api/deployments/latest`;
    assert.deepEqual([sent.status, sent.headers.location], [202, url]);
    assert.deepEqual([running.status, running.headers.location], [202, url]);
    assert.deepEqual([byId.status, byId.headers.location], [200, undefined]);
    const { is_temp, complete, provisioningState, last_success_end_time } = running.body;
    assert.deepEqual(
      [is_temp, complete, provisioningState, last_success_end_time],
      [true, false, 'InProgress', null],
    );
    const recorded =
      'active author author_email build_summary complete deployer end_time id is_readonly is_temp last_success_end_time log_url message progress provisioningState received_time site_name start_time status status_text url';
    assert.deepEqual(Object.keys(ended.body).sort(), recorded.split(' '));
    assert.deepEqual([ended.status, ended.headers.location], [200, undefined]);
    assert.deepEqual(
      [ended.body.is_temp, ended.body.provisioningState, ended.body.url],
      [false, 'Succeeded', url],
    );
    assert.equal(ended.body.last_success_end_time, ended.body.end_time);
    assert.equal(log.body.length, 2);
  });
});

/** The members that a serializer of the official client reads. */
function keysOf(serializer: string): readonly string[] {
  const require = createRequire(import.meta.url);
  const main = require.resolve('@azure/arm-appservice');
  const models = require(main.replace(/index\.js$/, 'models/models.js'));
  return Object.keys(models[serializer]({}));
}
