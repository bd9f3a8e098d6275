// Every setting of a function that Google's own definition has is supported, ignored with a warning
// or refused by the emulator.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type GoogleCloudFunctionsEmulator,
  startGoogleCloudFunctions,
} from '../../../../adapters/google/emulator/emulator.ts';
import {
  NOT_EMULATED,
  ROUTES,
} from '../../../../adapters/google/emulator/operations/operations.ts';
import {
  ENUMS,
  FUNCTION_SETTINGS,
} from '../../../../adapters/google/emulator/operations/settings.ts';
import { createWire, functionOf, PARENT } from './wire.ts';

const HELLO = { 'index.js': "exports.hello = (request, response) => response.send('hello');" };

/** What the official client's descriptor says of a message, an enumeration or a service. */
interface Definition {
  readonly nested?: Readonly<Record<string, Definition>>;
  readonly fields?: Readonly<Record<string, { type: string; rule?: string; keyType?: string }>>;
  readonly values?: Readonly<Record<string, number>>;
  readonly methods?: Readonly<Record<string, object>>;
}

describe('Google Cloud Functions emulator, settings', () => {
  let dir: string;
  let emulator: GoogleCloudFunctionsEmulator;
  const logged: string[] = [];
  const { control, upload, done, create } = createWire(() => emulator);

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-google-settings-'));
    emulator = await startGoogleCloudFunctions({
      dir,
      projectId: 'defaas-local',
      log: (event, facts) => logged.push(`${event} ${JSON.stringify(facts)}`),
    });
  });
  after(async () => {
    await emulator.close();
    rmSync(dir, { recursive: true, force: true });
  });

  it('has an entry for each setting of the definition, and for nothing else', () => {
    const defined = [...leaves('Function', '')];
    const listed = Object.keys(FUNCTION_SETTINGS);

    const missing = defined.filter(
      (path) => !listed.some((one) => path === one || path.startsWith(`${one}.`)),
    );
    const invented = listed.filter(
      (path) =>
        !defined.some((one) => one === path || one.startsWith(`${path}.`)) &&
        !path.includes('environmentVariables.'),
    );

    assert.deepEqual([missing, invented], [[], []]);
    assert.ok(defined.length > 60, `${defined.length} settings`);
  });

  it('knows the names of each enumeration, and each operation of the service', () => {
    const names = [...leaves('Function', '')].flatMap((path) => {
      const values = enumOf(path);
      return values && FUNCTION_SETTINGS[path]?.treatment !== 'output' ? [[path, values]] : [];
    });

    assert.deepEqual(ENUMS, Object.fromEntries(names));
    const { methods = {} } = functionsV2().FunctionService ?? {};
    const known = [...ROUTES.map(({ operation }) => operation), ...NOT_EMULATED];
    assert.deepEqual(
      Object.keys(methods).filter((method) => !known.includes(method)),
      [],
    );
  });

  it('keeps and shows a setting that has no effect, with a warning at the function', async () => {
    const serviceConfig = { minInstanceCount: 2, ingressSettings: 2, availableCpu: '1' };
    const buildConfig = { environmentVariables: { GOOGLE_NODE_RUN_SCRIPTS: 'build' } };
    await create('warned', { serviceConfig, buildConfig }, HELLO);
    const path = `${PARENT}/functions/warned`;

    const { document } = await control('GET', path);
    const none = { serviceConfig: { minInstanceCount: 0, ingressSettings: 'ALLOW_ALL' } };
    const mask = 'serviceConfig.minInstanceCount,serviceConfig.ingressSettings';
    const updated = await done(
      (await control('PATCH', `${path}?updateMask=${mask}`, none)).document,
    );

    assert.equal(document.serviceConfig.minInstanceCount, 2);
    assert.equal(document.serviceConfig.ingressSettings, 'ALLOW_INTERNAL_ONLY');
    assert.deepEqual(warned(document), [
      'buildConfig.environmentVariables.GOOGLE_NODE_RUN_SCRIPTS',
      'serviceConfig.availableCpu',
      'serviceConfig.ingressSettings',
      'serviceConfig.minInstanceCount',
    ]);
    assert.deepEqual(warned(updated.response), [
      'buildConfig.environmentVariables.GOOGLE_NODE_RUN_SCRIPTS',
      'serviceConfig.availableCpu',
    ]);
    assert.ok(logged.some((line) => /minInstanceCount has no effect/.test(line)));
  });

  it('refuses what it does not emulate, an unknown field, and an unknown value', async () => {
    const source = await upload(HELLO);
    const plain = functionOf(source);
    const secret = { key: 'KEY', projectId: 'p', secret: 's', version: '1' };
    const cases: [object, RegExp][] = [
      [functionOf(source, { secretEnvironmentVariables: [secret] }), /no Secret Manager/],
      [functionOf(source, { environmentVariables: { PORT: '1', A: '2' } }), /reserved.*: PORT$/],
      [functionOf(source, { environmentVariables: { X_GOOGLE_A: '1' } }), /X_GOOGLE_A/],
      [functionOf(source, { allTrafficOnLatestRevision: false }), /only true/],
      [functionOf(source, { ingressSettings: 'ALLOW_SOME' }), /Invalid value.*ingress_settings/],
      [
        functionOf(source, { timeoutSecs: 5 }),
        /Unknown name "timeoutSecs" at 'function.service_config'/,
      ],
      [{ ...plain, environment: 'GEN_1' }, /only "GEN_2"/],
      [{ ...plain, buildConfig: { ...plain.buildConfig, source: { gitUri: 'g' } } }, /gitUri/],
    ];

    for (const [body, reason] of cases) {
      const { status, document } = await control('POST', `${PARENT}/functions?functionId=no`, body);
      assert.deepEqual([status, document.error?.status], [400, 'INVALID_ARGUMENT'], String(reason));
      assert.match(document.error.message, reason);
    }
    const filtered = await control('GET', `${PARENT}/functions?filter=state%3DACTIVE`);
    assert.equal(filtered.status, 501);
  });

  it('ignores the fields that the cloud sets, also in an update without a mask', async () => {
    await create('outputs', { state: 'FAILED', url: 'http://mine' }, HELLO);
    const path = `${PARENT}/functions/outputs`;
    const { document } = await control('GET', path);

    const update = await control('PATCH', path, {
      ...document,
      url: 'http://mine',
      labels: { a: 'b' },
    });
    const { response } = await done(update.document);

    assert.deepEqual([document.state, response.url], ['ACTIVE', document.url]);
    assert.deepEqual(response.labels, { a: 'b' });
  });
});

// biome-ignore lint/suspicious/noExplicitAny: a foreign document, looked at field by field
function warned({ stateMessages }: any): string[] {
  return stateMessages
    .filter(({ severity }: { severity: string }) => severity === 'WARNING')
    .map(({ message }: { message: string }) => message.split(' ')[0])
    .sort();
}

/** The messages of google.cloud.functions.v2 in the official client. */
function functionsV2(): Readonly<Record<string, Definition>> {
  const path = createRequire(import.meta.url)
    .resolve('@google-cloud/functions')
    .replace(/build\/.*$/, 'build/protos/protos.json');
  let at: Definition = JSON.parse(readFileSync(path, 'utf8'));
  for (const name of ['google', 'cloud', 'functions', 'v2']) at = at.nested?.[name] ?? {};
  return at.nested ?? {};
}

/** The paths of the settings of a message. A list or a map is one setting. */
function* leaves(message: string, prefix: string): Generator<string> {
  for (const [name, { type, rule, keyType }] of Object.entries(
    functionsV2()[message]?.fields ?? {},
  )) {
    const below = functionsV2()[type]?.fields;
    const isOne =
      rule === 'repeated' || keyType !== undefined || Object.keys(below ?? {}).length === 0;
    if (isOne) yield prefix + name;
    else yield* leaves(type, `${prefix}${name}.`);
  }
}

/** The names of an enumeration in the order of their numbers. */
function enumOf(path: string): readonly string[] | undefined {
  let message = 'Function';
  let type = '';
  for (const name of path.split('.')) {
    if (type !== '') message = type;
    type = functionsV2()[message]?.fields?.[name]?.type ?? '';
  }
  const values = functionsV2()[message]?.nested?.[type]?.values ?? functionsV2()[type]?.values;
  return values && Object.keys(values);
}
