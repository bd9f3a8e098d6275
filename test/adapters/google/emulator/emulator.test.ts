// The Google emulator by its wire: what its control plane, metadata server and fronts answer to any
// client.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import {
  type GoogleCloudFunctionsEmulator,
  startGoogleCloudFunctions,
} from '../../../../adapters/google/emulator/emulator.ts';
import { createWire, functionOf, PARENT } from './wire.ts';

/** An ordinary function on the functions-framework, without our shim. */
const PLAIN = `
  const functions = require('@google-cloud/functions-framework');
  let calls = 0;
  functions.http('hello', async (request, response) => {
    calls += 1;
    if (request.path === '/crash') throw new Error('crashed on purpose');
    if (request.path === '/spin') for (;;);
    if (request.path === '/eat') for (const kept = []; ; ) kept.push(Buffer.alloc(1 << 20, 1));
    if (request.path === '/sleep') await new Promise((resolve) => setTimeout(resolve, 1500));
    response.json({ calls, pid: process.pid, body: request.body, env: process.env, headers: request.headers });
  });
`;

describe('Google Cloud Functions emulator', () => {
  let dir: string;
  let emulator: GoogleCloudFunctionsEmulator;
  let token: string;
  const start = (options: { idleMs?: number; port?: number } = {}) =>
    startGoogleCloudFunctions({ dir, projectId: 'defaas-local', ...options });

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-google-wire-'));
    emulator = await start();
    token = await createWire(() => emulator).accessToken();
  });
  afterEach(() => emulator.faults.clear());
  after(async () => {
    await emulator.close();
    rmSync(dir, { recursive: true, force: true });
  });

  const { metadata, idToken, control, upload, done, call } = createWire(() => emulator);
  const create = (id: string, serviceConfig: object = {}, files = { 'index.js': PLAIN }) =>
    createWire(() => emulator).create(id, { serviceConfig }, files);

  it('runs any function, registered by name or exported, with the environment of the cloud', async () => {
    const uri = await create('plain', {
      environmentVariables: { WORD: 'hi' },
      timeoutSeconds: 30,
    });
    const exported = "exports.hello = (request, response) => response.send('exported');";
    const other = await create('exported', {}, { 'index.js': exported });

    const seen = await (await call(uri)).json();

    const { env, headers } = seen;
    assert.equal(env.WORD, 'hi');
    assert.equal(env.K_SERVICE, 'plain');
    assert.equal(env.FUNCTION_TARGET, 'hello');
    assert.equal(env.NODE_OPTIONS, undefined);
    assert.match(headers.authorization, /\.SIGNATURE_REMOVED_BY_GOOGLE$/);
    assert.match(headers['x-cloud-trace-context'], /^[0-9a-f]{32}\/\d+;o=0$/);
    assert.equal(await (await call(other)).text(), 'exported');
  });

  it('gives tokens only to requests with the header Metadata-Flavor', async () => {
    const root = `http://${emulator.metadataHost}/computeMetadata/v1/`;

    const without = await fetch(`${root}project/project-id`);
    const withHeader = await metadata('project/project-id');
    const noAudience = await metadata('instance/service-accounts/default/identity');

    assert.equal(without.status, 403);
    assert.equal(await withHeader.text(), 'defaas-local');
    assert.equal(withHeader.headers.get('metadata-flavor'), 'Google');
    assert.equal(noAudience.status, 400);
  });

  it('answers 403 to a call without a token, and 401 to one with a bad token', async () => {
    const uri = await create('guarded');
    const good = await idToken(uri);
    const [header, payload] = good.split('.');
    const forged = `${Buffer.from('{"alg":"HS256"}').toString('base64url')}.${payload}`;
    const bad = {
      garbage: 'no token',
      'another audience': await idToken('http://127.0.0.1:1'),
      'an access token': token,
      'no signature': `${header}.${payload}.`,
      'a signature of another': `${good.slice(0, -6)}AAAAAA`,
      'another algorithm': `${forged}.${createHmac('sha256', 'x').update(forged).digest('base64url')}`,
    };

    assert.equal((await fetch(uri)).status, 403);
    for (const [what, value] of Object.entries(bad)) {
      const answer = await call(uri, '/', { headers: { authorization: `Bearer ${value}` } });
      assert.equal(answer.status, 401, what);
      assert.equal(answer.headers.get('www-authenticate'), 'Bearer error="invalid_token"');
    }
    assert.equal((await call(uri)).status, 200);
  });

  it('passes the caller’s authorization on when the token is in X-Serverless-Authorization', async () => {
    const uri = await create('own-authorization');
    const headers = {
      authorization: 'Basic of-the-function',
      'x-serverless-authorization': `Bearer ${await idToken(uri)}`,
    };

    const seen = await (await call(uri, '/', { headers })).json();

    assert.equal(seen.headers.authorization, 'Basic of-the-function');
  });

  it('refuses requests to the control plane with the statuses and documents of the cloud', async () => {
    const source = await upload({ 'index.js': PLAIN });
    const functions = `${PARENT}/functions`;
    const body = functionOf(source);
    const withBuild = (more: object) => ({
      ...body,
      buildConfig: { ...body.buildConfig, ...more },
    });
    const cases: [string, string, object | undefined, number, string, string?][] = [
      ['GET', `${functions}/missing`, undefined, 404, 'NOT_FOUND'],
      ['GET', `${functions}/missing`, undefined, 401, 'UNAUTHENTICATED', 'ya29.bad'],
      [
        'GET',
        'projects/other/locations/us-central1/functions',
        undefined,
        403,
        'PERMISSION_DENIED',
      ],
      [
        'GET',
        'projects/defaas-local/locations/mars/functions',
        undefined,
        403,
        'PERMISSION_DENIED',
      ],
      ['GET', `${PARENT}/runtimes`, undefined, 501, 'UNIMPLEMENTED'],
      ['POST', `${functions}?functionId=Bad_Name`, body, 400, 'INVALID_ARGUMENT'],
      [
        'POST',
        `${functions}?functionId=x`,
        withBuild({ runtime: 'cobol' }),
        400,
        'INVALID_ARGUMENT',
      ],
      ['POST', `${functions}?functionId=x`, withBuild({ entryPoint: '' }), 400, 'INVALID_ARGUMENT'],
      ['POST', `${functions}?functionId=x`, withBuild({ source: {} }), 400, 'INVALID_ARGUMENT'],
      [
        'POST',
        `${functions}?functionId=x`,
        { ...body, labels: { 'not a label': '' } },
        400,
        'INVALID_ARGUMENT',
      ],
      [
        'POST',
        `${functions}?functionId=x`,
        functionOf(source, { timeoutSeconds: 3601 }),
        400,
        'INVALID_ARGUMENT',
      ],
      [
        'POST',
        `${functions}?functionId=x`,
        functionOf(source, { availableMemory: '1Gb' }),
        400,
        'INVALID_ARGUMENT',
      ],
      ['PATCH', `${functions}/missing`, body, 404, 'NOT_FOUND'],
      ['DELETE', `${functions}/missing`, undefined, 404, 'NOT_FOUND'],
    ];

    for (const [method, path, sent, status, name, bearer] of cases) {
      const answer = await control(method, path, sent, bearer);

      const { code, status: said, message, details } = answer.document.error;
      assert.deepEqual([answer.status, code, said], [status, status, name], `${method} ${path}`);
      assert.ok(message !== '' && Array.isArray(details));
    }
  });

  it('accepts an upload only as application/zip and without authorization', async () => {
    const { document } = await control('POST', `${PARENT}/functions:generateUploadUrl`, {});
    const put = (headers: Record<string, string>) =>
      fetch(document.uploadUrl, { method: 'PUT', headers, body: 'zip' });

    const withToken = await put({ 'content-type': 'application/zip', authorization: 'Bearer x' });
    const otherType = await put({ 'content-type': 'application/octet-stream' });
    const asSigned = await put({ 'content-type': 'application/zip' });

    assert.deepEqual([withToken.status, otherType.status, asSigned.status], [403, 403, 200]);
  });

  it('fails the operation of a build or start that fails, and reports why', async () => {
    const failing: [string, Record<string, string>, RegExp][] = [
      ['no-zip', {}, /missing main file/],
      [
        'no-start',
        { 'index.js': "throw new Error('not today')" },
        /failed to start[\s\S]*not today/,
      ],
      ['no-entry', { 'index.js': 'exports.other = () => {}' }, /hello/],
      [
        'no-package',
        { 'index.js': PLAIN, 'package.json': '{"dependencies":{"left-pad":"1.0.0"}}' },
        /left-pad/,
      ],
    ];
    for (const [id, files, reason] of failing) {
      const body = functionOf(await upload(files));
      const { document } = await control('POST', `${PARENT}/functions?functionId=${id}`, body);

      const { error, response } = await done(document);

      assert.equal(response, undefined);
      assert.match(error.message, reason);
      const found = await control('GET', `${PARENT}/functions/${id}`);
      assert.equal(found.document.state, 'FAILED');
    }
  });

  it('updates only the fields of the mask, and serves the former revision when an update fails', async () => {
    const uri = await create('masked', {
      environmentVariables: { WORD: 'one' },
      timeoutSeconds: 30,
    });
    const path = `${PARENT}/functions/masked`;
    const settings = {
      serviceConfig: { environmentVariables: { WORD: 'two' }, timeoutSeconds: 5 },
    };
    const patch = async (mask: string, body: object) =>
      control('PATCH', `${path}?updateMask=${mask}`, body);

    const updated = await done(
      (await patch('service_config.environment_variables', settings)).document,
    );
    const source = await upload({ 'index.js': 'not JavaScript' });
    const broken = await done((await patch('build_config.source', functionOf(source))).document);
    const refused = await patch('state', {});

    const { serviceConfig } = updated.response;
    assert.deepEqual([serviceConfig.timeoutSeconds, serviceConfig.uri], [30, uri]);
    assert.ok(broken.error);
    assert.equal(refused.status, 400);
    assert.equal((await (await call(uri)).json()).env.WORD, 'two');
    assert.equal((await control('GET', path)).document.state, 'ACTIVE');
  });

  it('lets calls share an instance up to its concurrency, and starts at most maxInstanceCount', async () => {
    const uri = await create('shared', { maxInstanceRequestConcurrency: 3, maxInstanceCount: 1 });
    await call(uri);

    const answers = await Promise.all(Array.from({ length: 4 }, () => call(uri, '/sleep')));

    assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 200, 200, 429]);
    assert.equal(await answers.find(({ status }) => status === 429)?.text(), 'Rate exceeded.');
  });

  it('answers 504 to a call at its timeout, and ends the busy instance', async () => {
    const uri = await create('spinning', { timeoutSeconds: 3 });
    const { pid } = await (await call(uri)).json();

    const late = await call(uri, '/spin');
    const next = await (await call(uri)).json();

    assert.equal(late.status, 504);
    assert.equal(await late.text(), 'upstream request timeout');
    assert.notEqual(next.pid, pid);
    assert.equal(next.calls, 1);
  });

  it('answers a crash as the framework does, and starts a new instance', async () => {
    const uri = await create('crashing');

    const crashed = await call(uri, '/crash');

    assert.equal(crashed.status, 500);
    assert.equal(crashed.headers.get('x-google-status'), 'crash');
    assert.equal(await crashed.text(), 'crashed on purpose');
    assert.equal((await (await call(uri)).json()).calls, 1);
  });

  it('ends an instance that is above its memory, answers 500 and starts a new one', async () => {
    const uri = await create('eating', { availableMemory: '128Mi' });

    const eaten = await call(uri, '/eat');

    assert.equal(eaten.status, 500);
    assert.match(await eaten.text(), /Memory limit of 128 MiB exceeded/);
    assert.equal((await call(uri)).status, 200);
  });

  it('answers 404 at the address of a deleted function, and reuses it for the same name', async () => {
    const uri = await create('deleted');

    const { document } = await control('DELETE', `${PARENT}/functions/deleted`);
    await done(document);

    assert.equal((await call(uri)).status, 404);
    assert.equal(await create('deleted'), uri);
  });

  it('lists functions in pages', async () => {
    const seen: string[] = [];
    let pageToken = '';
    do {
      const query = `pageSize=2&pageToken=${pageToken}`;
      const { document } = await control('GET', `${PARENT}/functions?${query}`);
      assert.ok(document.functions.length <= 2);
      seen.push(...document.functions.map(({ name }: { name: string }) => name));
      pageToken = document.nextPageToken;
    } while (pageToken !== '');

    assert.equal(new Set(seen).size, seen.length);
    assert.ok(seen.includes(`${PARENT}/functions/plain`));
  });

  it('keeps functions, addresses, tokens and operations over a restart, and resumes operations', async () => {
    const uri = await create('lasting');
    const headers = { authorization: `Bearer ${await idToken(uri)}` };
    await emulator.faults.set([{ kind: 'stuck-operation', on: { operation: 'CreateFunction' } }]);
    const body = functionOf(await upload({ 'index.js': PLAIN }));
    const unfinished = await control('POST', `${PARENT}/functions?functionId=unfinished`, body);
    const { port } = emulator;

    await emulator.close();
    emulator = await start({ port });

    const finished = await done(unfinished.document);
    assert.equal(finished.response.state, 'ACTIVE');
    assert.equal((await call(uri, '/', { headers })).status, 200);
    assert.equal((await call(finished.response.serviceConfig.uri)).status, 200);
  });

  it('stops an idle instance', async () => {
    await emulator.close();
    emulator = await start({ idleMs: 50 });
    const { document } = await control('GET', `${PARENT}/functions/plain`);
    const { pid } = await (await call(document.serviceConfig.uri)).json();

    while (isAlive(pid)) await wait(20);

    assert.equal((await call(document.serviceConfig.uri)).status, 200);
  });
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    // ESRCH
    return false;
  }
}
